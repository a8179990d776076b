"""The pass over the test images: every count against the plain functions it is made of, on painted images and random members."""

from functools import partial

import numpy as np
import pytest
import torch

from diffseg_utils import evidence
from diffseg_utils.backbone import load_backbone, shared_noise
from diffseg_utils.boundaries import boundary_confusion, trimap
from diffseg_utils.calibration import brier, histogram
from diffseg_utils.data import samples, to_input
from diffseg_utils.evidence import (
    CHANGES,
    DISPUTES,
    K1,
    SHOWN,
    WIDTHS,
    collect,
    grow,
    maps_of_test_images,
)
from diffseg_utils.features import FeatureMaps, extract
from diffseg_utils.metrics import confusion
from diffseg_utils.presets import DATASETS
from diffseg_utils.runs import Run
from diffseg_utils.voting import (
    RULES,
    disagreement,
    entropy,
    entropy_weighted,
    majority,
    mean,
    most_certain,
    vote,
)

PRESET = DATASETS["mini_smoke"].resized(test=2)
C, N = PRESET.n_classes, 3
RULES_OF = [
    {
        "majority": majority,
        "mean": mean,
        K1: entropy_weighted,
        "k chosen": partial(entropy_weighted, k=k),
        "most_certain": most_certain,
    }
    for k in (0.0, 4.0)
]


@pytest.fixture(scope="module")
def opinions():
    """Two images, the members of two seeds: noise on the truth, so that votes are right and wrong."""
    generator, found = torch.Generator().manual_seed(0), []
    for sample in samples(PRESET, "test"):
        hint = 1.5 * torch.nn.functional.one_hot(torch.from_numpy(sample.label), C).permute(2, 0, 1)
        found.append(
            (
                sample,
                [
                    (hint + 1.5 * torch.randn(N, C, 64, 64, generator=generator)).softmax(1)
                    for _ in range(2)
                ],
            )
        )
    return found


@pytest.fixture(scope="module")
def found(opinions):
    return collect(opinions, RULES_OF, PRESET, [[0, 1, 2, 3, 4, 5], [5, 0, 4, 1, 2, 3]])


def test_every_vote_is_counted_where_it_belongs(opinions, found):
    assert found["confusions"].shape == (2, 2, 5, C + 1, C)
    for b, (sample, probs) in enumerate(opinions):
        for s, rules in enumerate(RULES_OF):
            for r, rule in enumerate(rules.values()):
                label = vote(probs[s], rule)
                assert (found["confusions"][b, s, r] == confusion(label, sample.label, C)).all()
                assert (
                    found["boundaries"][b, s, r] == boundary_confusion(label, sample.label, C)
                ).all()
                h = histogram(rule(probs[s]), sample.label)
                assert brier(h) == pytest.approx(found["scores"][b, s, r, 0] / h[0].sum())
    assert found["histograms"][1, 3] == pytest.approx(
        sum(histogram(entropy_weighted(probs[1], 4.0), sample.label) for sample, probs in opinions)
    )


def test_diversity_is_the_mean_of_the_pixels(opinions, found):
    probs = opinions[1][1][0]
    votes = probs.argmax(1)
    pairs = [(votes[i] != votes[j]).double().mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found["diversity"][1, 0] == pytest.approx(
        [float(disagreement(probs).mean()), float(np.mean(pairs))]
    )


def test_details_of_the_first_seed(opinions, found):
    sample, (probs, _) = opinions[0]
    assert (found["members"][0, 0, 2] == confusion(probs[2].argmax(0), sample.label, C)).all()
    near = trimap(sample.label, [4])[0]
    w, r = WIDTHS.index(4), SHOWN.index("mean")
    assert (
        found["bands"][0, w, r]
        == confusion(vote(probs, "mean").numpy()[near], sample.label[near], C)
    ).all()
    assert (
        found["bands"][:, -1] == found["confusions"][:, 0, :3]
    ).all()  # infinitely wide: the whole image
    dispute, moved = disagreement(probs), vote(probs, "mean") != vote(probs)
    pixel = probs[:, :, moved][:, :, dispute[moved].argmax()]
    assert moved.any() and (found["pixels"][0] == pixel.numpy()).all()
    assert (found["votes"][0, r] == vote(probs, "mean").numpy()).all()


def test_a_change_is_found_in_every_grouping(opinions, found):
    acted, n = found["acted"], C + len(WIDTHS)
    for i, (a, b) in enumerate(CHANGES):
        before, after = (found["votes"][:, SHOWN.index(x)] for x in (a, b))
        truth = np.stack([sample.label for sample, _ in opinions])
        whole = [
            truth.size,
            (before != after).sum(),
            ((before != after) & (after == truth)).sum(),
            ((before != after) & (before == truth)).sum(),
        ]
        for rows in (slice(C), slice(C, n), slice(n, None)):
            assert acted[i, rows].sum(0)[:4].tolist() == whole, (a, b, rows)
    assert acted.shape == (len(CHANGES), n + len(DISPUTES) + 1, 5) and acted[1, :, 1].sum() > 0
    calm = sum(int((disagreement(probs[0]) < DISPUTES[-1]).sum()) for _, probs in opinions)
    assert acted[0, n:-1, 0].sum() == calm


def test_entropies_of_right_and_wrong_members(opinions, found):
    right = sum(
        (probs[0].argmax(1) == torch.from_numpy(sample.label)).sum().item()
        for sample, probs in opinions
    )
    everything = found["entropies"][0].sum(1)
    assert everything.tolist() == [right, 2 * N * 64 * 64 - right]
    certain = sum(int((entropy(probs[0]) < np.log(C) / 2).sum()) for _, probs in opinions)
    assert found["entropies"][0, :, :15].sum() == certain
    split = sum(
        N * int((probs[0].argmax(1) != probs[0].argmax(1)[0]).any(0).sum()) for _, probs in opinions
    )
    assert found["entropies"][1].sum() == split


def test_ignored_truth_counts_only_where_the_published_protocol_wants_it(opinions):
    sample, probs = opinions[0]
    label = sample.label.copy()
    label[:10] = 255
    found = collect([(sample._replace(label=label), probs)], RULES_OF, PRESET, [range(6)])
    scored = 54 * 64
    assert (found["confusions"][0, :, :, C].sum(-1) == 10 * 64).all()
    assert (found["histograms"][..., 0, :].sum(-1) == scored).all() and found["acted"][
        0, :C, 0
    ].sum() == scored
    assert found["entropies"][0].sum() == N * scored


def test_a_growing_crowd_ends_in_the_votes_of_all(opinions):
    sample, (probs, _) = opinions[0]
    counts = grow(probs, sample.label, [[0, 1, 2], [2, 0, 1]])
    for r, rule in enumerate(("majority", "mean", "entropy_weighted")):
        assert (counts[r, :, -1] == confusion(vote(probs, rule), sample.label, C)).all()
        assert (counts[r, 1, 0] == confusion(probs[2].argmax(0), sample.label, C)).all()
        assert (
            counts[r, 1, 1] == confusion(vote(probs[[2, 0]], RULES[rule]), sample.label, C)
        ).all()


def test_the_crowd_is_that_of_two_seeds_on_all_images(opinions, found):
    both = [(torch.cat(probs), sample.label) for sample, probs in opinions]
    for r, rule in enumerate(("majority", "mean", "entropy_weighted")):
        assert (
            found["curve"][r, 1, -1]
            == sum(confusion(vote(probs, rule), label, C) for probs, label in both)
        ).all()
        assert (
            found["curve"][r, 1, 0]
            == sum(confusion(probs[5].argmax(0), label, C) for probs, label in both)
        ).all()


def test_what_is_saved_is_loaded(found, tmp_path):
    evidence.save(tmp_path / "evidence.npz", names=np.array(["a", "b"]), **found)
    again = evidence.load(tmp_path / "evidence.npz")
    assert again.keys() == found.keys() | {"names"} and list(again["names"]) == ["a", "b"]
    for name, array in found.items():
        assert (again[name] == array).all(), name
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.npz"]


def test_maps_are_those_of_the_run_or_fresh(tmp_path):
    run = Run("mini_smoke", results=str(tmp_path / "results"))
    fresh = list(maps_of_test_images(run, 5))
    assert [(sample.name, i) for sample, _, i in fresh] == [
        (f"test_{i:03d}", i % 4) for i in range(5)
    ]
    stored = FeatureMaps([m[:3] + 1 for m in fresh[0][1].maps])  # + 1: known again
    stored.save(run.big / "features" / "test")
    assert torch.equal(next(maps_of_test_images(run, 3))[1].maps[0], stored.maps[0])


@pytest.mark.parametrize("noise_seed, flip", [(1, False), (0, True), (0, False)])
def test_maps_of_other_noise_and_of_mirror_images(tmp_path, noise_seed, flip):
    run = Run("mini_smoke", results=str(tmp_path / "results"))
    image = next(iter(samples(PRESET, "test"))).image
    image = np.ascontiguousarray(image[:, ::-1]) if flip else image
    expected = extract(
        load_backbone("mini"), to_input(image, 64)[None], shared_noise(64, noise_seed)
    )
    _, maps, i = next(maps_of_test_images(run, 1, noise_seed, flip))
    for m, e in zip(maps.maps, expected.maps):
        torch.testing.assert_close(m[i].float(), e[0], rtol=1e-3, atol=1e-3)
