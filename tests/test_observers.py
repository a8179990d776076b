"""The pass over the test images: every count against the plain functions it is made of.

On painted images and random members.
"""

from functools import partial

import numpy as np
import pytest
import torch

from diffseg_utils.backbone import load_backbone, shared_noise
from diffseg_utils.data import samples, to_input
from diffseg_utils.evaluation import Prediction, evaluate, observers
from diffseg_utils.evaluation.boundaries import boundary_confusion, trimap
from diffseg_utils.evaluation.calibration import brier, histogram
from diffseg_utils.evaluation.observers import CHANGES, DISPUTES, SHOWN, WIDTHS, growing
from diffseg_utils.evaluation.scores import Only
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
RULES_OF = {
    seed: {
        "majority": majority,
        "mean": mean,
        "entropy_weighted": entropy_weighted,
        "k chosen": partial(entropy_weighted, k=k),
        "most_certain": most_certain,
    }
    for seed, k in enumerate((0.0, 4.0))
}
ORDERS = [[0, 1, 2, 3, 4, 5], [5, 0, 4, 1, 2, 3]]
DETAILS = (
    observers.bands,
    observers.roughness,
    observers.changed_pixels,
    observers.member_entropies,
    observers.label_maps,
    observers.disputed_pixel,
)
LOOKS = [
    observers.calibration,
    observers.boundaries,
    observers.diversity,
    observers.agreement,
    *(Only(look) for look in DETAILS),
    Only(growing(ORDERS), seeds=2),
]


@pytest.fixture(scope="module")
def opinions():
    """Two images, the members of two seeds: noise on the truth, so that some votes are wrong."""
    generator, found = torch.Generator().manual_seed(0), []
    for sample in samples(PRESET, "test"):
        hint = 1.5 * torch.nn.functional.one_hot(torch.from_numpy(sample.label), C).permute(2, 0, 1)
        probs = {
            seed: (hint + 1.5 * torch.randn(N, C, 64, 64, generator=generator)).softmax(1)
            for seed in range(2)
        }
        found.append(Prediction(sample.name, probs, sample.label))
    return found


@pytest.fixture(scope="module")
def scores(opinions):
    return evaluate(opinions, PRESET, RULES_OF, LOOKS)


@pytest.fixture(scope="module")
def found(scores):
    return scores.observed


def test_every_vote_is_counted_where_it_belongs(opinions, scores, found):
    assert scores.counts.shape == (2, 5, 2, C + 1, C)
    penalty = found["calibration"]["penalty"]
    for name, probs, truth in opinions:
        for s, rules in RULES_OF.items():
            for rule_name, rule in rules.items():
                here = {"image": name, "seed": s, "rule": rule_name}
                label = vote(probs[s], rule)
                assert (scores.counts.sel(here) == confusion(label, truth, C)).all()
                edges = found["boundaries"]["counts"].sel(here)
                assert (edges == boundary_confusion(label, truth, C)).all()
                h = histogram(rule(probs[s]), truth)
                expected = penalty.sel(here | {"score": "brier"}) / h[0].sum()
                assert brier(h) == pytest.approx(expected.item())
    histograms = found["calibration"]["histogram"].sel(split="test", seed=1, rule="k chosen")
    own = [histogram(entropy_weighted(probs[1], 4.0), truth) for _, probs, truth in opinions]
    assert histograms.values == pytest.approx(sum(own))


def test_diversity_is_the_mean_of_the_pixels(opinions, found):
    probs = opinions[1].probs[0]
    votes = probs.argmax(1)
    pairs = [(votes[i] != votes[j]).double().mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    here = {"seed": 0, "image": opinions[1].name}
    measured = [array.sel(here).item() for array in found["diversity"].values()]
    assert measured == pytest.approx([float(disagreement(probs).mean()), float(np.mean(pairs))])


def test_agreement_of_members_and_truth(opinions, found):
    facts = found["agreement"]["pixels"].sel(split="test", seed=1).sum("class")
    votes = [(probs[1].argmax(1).numpy(), truth) for _, probs, truth in opinions]
    expected = {
        "scored": 2 * 64 * 64,
        "disputed": sum((x != x[0]).any(0).sum() for x, _ in votes),
        "majority right": sum(
            (vote(q[1], "majority").numpy() == truth).sum() for _, q, truth in opinions
        ),
        "any member right": sum((x == truth).any(0).sum() for x, truth in votes),
    }
    assert facts.to_series().to_dict() == expected


def test_details_of_the_first_seed(opinions, scores, found):
    name, probs, truth = opinions[0]
    probs = probs[0]
    third = scores.members.sel(image=name, seed=0, member=2)
    assert (third == confusion(probs[2].argmax(0), truth, C)).all()
    near = trimap(truth, [4])[0]
    soft = vote(probs, "mean").numpy()
    bands = found["bands"]["counts"]
    here = bands.sel(image=name, width=4, rule="mean")
    assert (here == confusion(soft[near], truth[near], C)).all()
    whole = scores.counts.sel(seed=0, rule=list(SHOWN))
    assert (bands.sel(width=np.inf).values == whole.values).all(), "infinitely wide"
    dispute, moved = disagreement(probs), vote(probs, "mean") != vote(probs)
    pixel = probs[:, :, moved][:, :, dispute[moved].argmax()]
    chosen = found["disputed_pixel"]["probs"].sel(image=name)
    assert moved.any() and (chosen.values == pixel.numpy()).all()
    assert (found["label_maps"]["labels"].sel(image=name, rule="mean").values == soft).all()


def test_a_change_is_found_in_every_grouping(opinions, found):
    acted = {what: array.sel(split="test") for what, array in found["changed_pixels"].items()}
    truth = np.stack([prediction.truth for prediction in opinions])
    labels = found["label_maps"]["labels"]
    for rules in CHANGES:
        before, after = (labels.sel(rule=rule).values for rule in rules)
        changed = before != after
        whole = {
            "pixels": truth.size,
            "changed": changed.sum(),
            "repaired": (changed & (after == truth)).sum(),
            "broken": (changed & (before == truth)).sum(),
        }
        for array in acted.values():
            counts = array.sel(change=" to ".join(rules))
            assert counts.sum(counts.dims[0]).to_series()[list(whole)].to_dict() == whole
    assert found["changed_pixels"]["by_distance"].under.values.tolist() == list(WIDTHS)
    calm = sum(int((disagreement(q[0]) < DISPUTES[-1]).sum()) for _, q, _ in opinions)
    first = acted["by_disagreement"].sel(change="majority to mean", quantity="pixels")
    assert first[:-1].sum() == calm


def test_entropies_of_right_and_wrong_members(opinions, found):
    counts = found["member_entropies"]["counts"].sel(split="test")
    everything, disputed = (counts.sel(pixels=p) for p in ("all pixels", "disputed pixels"))
    right = sum(
        (q[0].argmax(1) == torch.from_numpy(truth)).sum().item() for _, q, truth in opinions
    )
    assert everything.sum("bin").values.tolist() == [right, 2 * N * 64 * 64 - right]
    certain = sum(int((entropy(q[0]) < np.log(C) / 2).sum()) for _, q, _ in opinions)
    assert everything.isel(bin=slice(15)).sum() == certain
    members = [q[0].argmax(1) for _, q, _ in opinions]
    split = sum(N * int((x != x[0]).any(0).sum()) for x in members)
    assert disputed.sum() == split


def test_ignored_truth_counts_only_where_the_published_protocol_wants_it(opinions):
    truth = opinions[0].truth.copy()
    truth[:10] = 255
    scores = evaluate([opinions[0]._replace(truth=truth)], PRESET, RULES_OF, LOOKS)
    found, scored = scores.observed, 54 * 64
    assert (scores.counts.sel(truth="outside").sum("predicted") == 10 * 64).all()
    histograms = found["calibration"]["histogram"].sel(quantity="count")
    assert (histograms.sum("bin") == scored).all()
    by_class = found["changed_pixels"]["by_class"].sel(quantity="pixels")
    assert (by_class.sum("class") == scored).all()
    entropies = found["member_entropies"]["counts"].sel(pixels="all pixels")
    assert entropies.sum() == N * scored


def test_a_growing_ensemble_ends_in_the_votes_of_all(opinions):
    name, probs, truth = opinions[0]
    probs = probs[0]
    counts = growing([[0, 1, 2], [2, 0, 1]])(name, probs, {}, truth, PRESET)["counts"]
    for rule in SHOWN:
        own = counts.sel(rule=rule)
        assert (own.sel(n_members=N) == confusion(vote(probs, rule), truth, C)).all()
        first = own.sel(order=1, n_members=1)
        assert (first == confusion(probs[2].argmax(0), truth, C)).all()
        two = vote(probs[[2, 0]], RULES[rule])
        assert (own.sel(order=1, n_members=2) == confusion(two, truth, C)).all()


def test_the_growing_ensemble_is_that_of_two_seeds_on_all_images(opinions, found):
    both = [(torch.cat([*q.values()]), truth) for _, q, truth in opinions]
    counts = found["members_added"]["counts"].sel(split="test", order=1)
    for rule in SHOWN:
        whole = sum(confusion(vote(probs, rule), truth, C) for probs, truth in both)
        assert (counts.sel(rule=rule, n_members=6) == whole).all()
        first = sum(confusion(probs[5].argmax(0), truth, C) for probs, truth in both)
        assert (counts.sel(rule=rule, n_members=1) == first).all()


# ---- images of a run ----------------------------------------------------------------------------


def test_maps_are_those_of_the_run_or_fresh(tmp_path):
    run = Run("mini_smoke", results=str(tmp_path / "results"))
    told = []
    fresh = list(run.stream("test", 5, report=lambda *done: told.append(done)))
    assert [(sample.name, i) for sample, _, i in fresh] == [
        (f"test_{i:03d}", i % 4) for i in range(5)
    ]
    assert told == [(i, 5) for i in range(1, 6)]
    stored = FeatureMaps([m[:3] + 1 for m in fresh[0][1].maps])  # + 1: known again
    stored.save(run.path("features") / "test")
    assert torch.equal(next(run.stream("test"))[1].maps[0], stored.maps[0])
    assert torch.equal(next(run.stream("test", 3))[1].maps[0], stored.maps[0])
    again = next(run.stream("test", 3, stored=False))[1].maps[0]
    torch.testing.assert_close(again[:3], fresh[0][1].maps[0][:3], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("noise_seed, mirrored", [(1, False), (0, True), (0, False)])
def test_maps_of_other_noise_and_of_mirror_images(tmp_path, noise_seed, mirrored):
    run = Run("mini_smoke", results=str(tmp_path / "results"))
    image = next(iter(samples(PRESET, "test"))).image
    image = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
    expected = extract(
        load_backbone("mini"), to_input(image, 64)[None], shared_noise(64, noise_seed)
    )
    _, maps, i = next(run.stream("test", 1, noise_seed=noise_seed, mirrored=mirrored))
    for m, e in zip(maps.maps, expected.maps):
        torch.testing.assert_close(m[i].float(), e[0], rtol=1e-3, atol=1e-3)


def test_classes_that_have_a_side_change_in_the_mirror():
    celeba = DATASETS["celeba_19"]
    swap = celeba.mirrored_classes()
    moved = {celeba.classes[a]: celeba.classes[b] for a, b in enumerate(swap) if a != b}
    assert moved["l_eye"] == "r_eye" and moved["r_eye"] == "l_eye" and len(moved) == 6
    assert DATASETS["mini_cat"].mirrored_classes() == list(range(10))
