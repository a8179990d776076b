"""The explorer of votes: what its controls show is what the rules say."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from diffseg_utils.data import Sample
from diffseg_utils.explorer import SLIDER_KS, Explorer, Opinions, step_times
from diffseg_utils.figures.style import colour_labels
from diffseg_utils.presets import DATASETS
from diffseg_utils.voting import RULES, disagreement, entropy, vote

PRESET = DATASETS["mini_smoke"]
C, SIZE = PRESET.n_classes, PRESET.label_size


def some_probs(seed, n_members=4):
    """[N, C, H, W]: members that agree on half of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(1, C, SIZE, SIZE, generator=generator)
    own = torch.randn(n_members, C, SIZE, SIZE, generator=generator)
    return (2 * common + own).softmax(1)


def some_samples(n):
    rng = np.random.default_rng(0)
    for i in range(n):
        image = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        yield Sample(f"test_{i}", image, rng.integers(0, C, (SIZE, SIZE)))


@pytest.fixture
def explorer():
    """Three images; the second has most disagreement, the third changes most."""
    found = {"disagreement": np.array([0.1, 0.3, 0.2]), "changed": np.array([5, 6, 7])}
    return Explorer(list(some_samples(3)), some_probs, 4, found, PRESET)


def pictures(explorer):
    """The four pictures [H, W, 3] on show."""
    found = re.findall(r"data:image/png;base64,([^\"]+)", explorer.pictures.value)
    return [np.asarray(Image.open(BytesIO(base64.b64decode(text)))) for text in found]


@pytest.mark.parametrize("n_members", [1, 3, 4])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_gives_the_labels_of_the_rule(rule, n_members):
    probs = some_probs(0)
    opinions = Opinions(probs)
    for k in (0.0, 1.0, 16.0, float("inf")) if rule == "entropy_weighted" else (None,):
        expected = vote(probs[:n_members], rule, **({} if k is None else {"k": k}))
        for _ in range(2):  # the second time from what is kept
            assert (opinions.vote(rule, k, n_members) == expected.numpy()).all()


def test_entropies_are_computed_once_for_an_image(explorer, monkeypatch):
    def fail(*_):
        raise AssertionError("the members are asked, or their entropies computed, again")

    monkeypatch.setattr("diffseg_utils.explorer.entropy", fail)
    explorer.probs_of = fail
    before = explorer.pictures.value
    explorer.k.value = 16.0
    explorer.members.value = 3
    explorer.rule.value = "mean"
    assert explorer.pictures.value != before


def test_images_are_sorted_by_what_is_asked_for(explorer):
    assert [i for _, i in explorer.image.options] == [1, 2, 0] and explorer.image.value == 1
    explorer.order.value = "changed"
    assert [i for _, i in explorer.image.options] == [2, 1, 0] and explorer.image.value == 2
    assert (pictures(explorer)[0] == explorer.samples[2].image).all()


def test_every_control_changes_the_picture(explorer):
    for control, value in [
        (explorer.image, 0),
        (explorer.k, 64.0),
        (explorer.members, 2),
        (explorer.rule, "majority"),
    ]:
        before = pictures(explorer)[2]
        control.value = value
        now = pictures(explorer)[2]
        assert (before != now).any()
        said = vote(some_probs(explorer.image.value)[: explorer.members.value], explorer.rule.value)
        if explorer.rule.value == "majority":
            assert (now == colour_labels(said, PRESET)).all()


def test_what_changed_is_counted_against_the_majority(explorer):
    sample, probs = explorer.samples[1], some_probs(1)
    majority, weighted = vote(probs, "majority").numpy(), vote(probs, k=1).numpy()
    scored = sample.label != PRESET.ignore_label
    changed = (majority != weighted) & scored
    repaired = (changed & (weighted == sample.label)).sum()
    broken = (changed & (majority == sample.label)).sum()
    assert f"{repaired} repaired, {broken} broken" in explorer.pictures.value and repaired
    explorer.rule.value = "majority"
    assert "0 repaired, 0 broken" in explorer.pictures.value
    assert explorer.k.disabled, "k is for the entropy-weighted vote"


def test_a_pixel_shows_its_members_and_their_entropies(explorer):
    row, column = divmod(int(disagreement(some_probs(1)).argmax()), SIZE)
    assert (explorer.row.value, explorer.column.value) == (row, column), "the most disputed one"
    explorer.row.value, explorer.column.value = 3, 5
    probs = some_probs(1)[:, :, 3, 5]
    table = explorer.members_at_pixel.value
    assert "Row 3, column 5" in table and table.count("<tr>") == 1 + 4 + 1
    for value, winner in zip(entropy(probs), probs.argmax(1)):
        line = f'{PRESET.classes[winner]}</td><td style="">{value:.2f}</td>'
        assert line in table
    explorer.members.value = 2
    assert explorer.members_at_pixel.value.count("<tr>") == 1 + 2 + 1


def test_k_covers_all_from_the_mean_to_the_most_certain(explorer):
    values = [value for _, value in explorer.k.options]
    assert values == sorted({1.0, *SLIDER_KS}) and values[0] == 0 and values[-1] == float("inf")
    steps = np.diff(np.log2(values[1:-1]))
    assert np.allclose(steps, steps[0]), "a log scale"


def test_pictures_have_descriptions(explorer):
    found = re.findall(r'<img alt="([^"]+)"', explorer.pictures.value)
    assert len(found) == 4 and all(PRESET.title in alt for alt in found)
    assert "repaired" in found[3] and "entropy-weighted, k = 1, 4 members" in found[2]


def test_steps_are_timed_where_something_is_drawn(monkeypatch):
    """One drawing for each step that is counted, besides those that set the controls back."""
    drawn = []
    draw = Explorer._pictures

    def counted(explorer):
        drawn.append(explorer.rule.value)
        return draw(explorer)

    monkeypatch.setattr(Explorer, "_pictures", counted)
    table = step_times(PRESET, n_members=4)
    assert list(table.steps) == [3 * len(SLIDER_KS), 3 * 2, 3 * 5, 3 * len(RULES)]
    assert list(table.index) == ["k", "members", "row", "rule"]
    assert (table["median"] > 0).all() and (table["largest"] >= table["median"]).all()
    assert 0.05 < table.attrs["disputed"] < 0.5
    assert len(drawn) >= table.steps.sum()
