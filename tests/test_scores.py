"""Predict, vote, count: two seeds, two images of four pixels, counted by hand; what is saved."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from diffseg_utils.data import Sample
from diffseg_utils.evaluation import (
    Prediction,
    compare,
    evaluate,
    load_results,
    load_scores,
    predictions,
)
from diffseg_utils.evaluation.observers import label_maps, labelled, over_k, over_pools
from diffseg_utils.evaluation.scores import Only
from diffseg_utils.evaluation.significance import paired_bootstrap
from diffseg_utils.voting import RULES, Rule, entropy_weighted

PRESET = SimpleNamespace(classes=("sky", "sea"), ignore_label=255, n_classes=2)
TRUTH = np.array([[0, 0], [1, 255]])


def two(*sea):
    """probs [N, 2, 2, 2] of members that give class 1 these probabilities, [2, 2] each."""
    sea = torch.tensor(sea, dtype=torch.float32)
    return torch.stack([1 - sea, sea], 1)


# One member is certain of class 1 in the first row, two lean to class 0; in the second all say 1.
FIRST = two(*[[[0.99, 0.99], [0.9, 0.9]]], *[[[0.4, 0.4], [0.6, 0.6]]] * 2)
SECOND = two(*[[[0.1, 0.1], [0.2, 0.2]]] * 3)  # all say 0 everywhere


@pytest.fixture
def predicted():
    """Seed 7 is the first ensemble, seed 8 the second; the images are alike."""
    return [Prediction(name, {7: FIRST, 8: SECOND}, TRUTH) for name in ("a", "b")]


@pytest.fixture
def scores(predicted):
    return evaluate(predicted, PRESET, observers=[over_k([0.0, 1.0])])


def test_counts_by_hand(scores):
    assert scores.counts.dims == ("seed", "rule", "image", "truth", "predicted")
    assert scores.seeds == [7, 8] and scores.rules == list(RULES) and scores.images() == ["a", "b"]
    majority = scores.counts.sel(seed=7, rule="majority", image="a")
    # sky, sky -> sky twice; sea -> sea; the ignored pixel -> sea, in the row of the outside
    assert majority.sel(truth="sky", predicted="sky") == 2
    assert majority.sel(truth="sea", predicted="sea") == 1
    assert majority.sel(truth="outside", predicted="sea") == 1
    assert majority.sum() == 4
    # the mean of .99, .4, .4 is .597: sea wins where two of three members say sky
    assert scores.counts.sel(seed=7, rule="mean", image="a", truth="sky").values.tolist() == [0, 2]
    assert scores.counts.sel(seed=8, rule="mean", image="b", truth="sea").values.tolist() == [1, 0]
    first = scores.members.sel(seed=7, member=0, image="a", truth="sky")
    assert first.values.tolist() == [0, 2], "the certain member alone"


def test_miou_by_hand(scores):
    # majority of seed 7: sky 2 of 2; sea 1 of 2, since the ignored pixel counts as published
    assert scores.miou().sel(seed=7, rule="majority") == pytest.approx(100 * (1 + 1 / 2) / 2)
    masked = scores.miou(protocol="masked").sel(seed=7, rule="majority")
    assert masked == pytest.approx(100)
    # all four pixels are called sky: 2 of 4, and no pixel of sea is found
    assert scores.miou().sel(seed=8, rule="mean") == pytest.approx(100 * (2 / 4 + 0) / 2)
    assert scores.member_miou().sel(seed=7).values == pytest.approx([12.5, 75, 75])


def test_other_measures_by_hand(scores):
    # majority of seed 7: all three known pixels are right; seed 8 calls all sky: two of three
    accuracy = scores.score("accuracy").sel(rule="majority")
    assert accuracy.values == pytest.approx([100, 100 * 2 / 3])
    xr.testing.assert_equal(scores.score("miou", protocol="masked"), scores.miou("test", "masked"))
    # the mean of seed 7 calls all sea: one of three; nothing changes in seed 8
    found = compare(scores, "mean", "majority", measure="accuracy")
    assert found["difference"] == pytest.approx(100 * (1 / 3 - 1) / 2)
    with pytest.raises(ValueError, match="unknown measure 'dice'; choose from miou, accuracy"):
        scores.score("dice")
    with pytest.raises(ValueError, match="unknown measure 'dice'; choose from miou, accuracy"):
        compare(scores, "mean", "majority", measure="dice")


def test_compare_is_the_paired_bootstrap(scores):
    found = compare(scores, "mean", "majority")
    gain = paired_bootstrap(scores.confusions("mean"), scores.confusions("majority"), 255)
    assert {name: found[name] for name in gain} == gain
    # seed 7: the mean calls all four pixels sea; seed 8: no change
    assert found["difference"] == pytest.approx(((0 + 1 / 4) / 2 - (1 + 1 / 2) / 2) * 100 / 2)
    assert (found["n_images"], found["n_seeds"]) == (2, 2)
    one = compare(scores.first(1, 1), "mean", "majority")
    assert (one["n_images"], one["n_seeds"]) == (1, 1)


def test_an_ensemble_predicts_one_image_at_a_time():
    seen = []

    class Ensemble:
        def probabilities(self, maps, place, size):
            seen.append((maps, place, size))
            return FIRST

    images = ((Sample(name, None, TRUTH), f"maps of {name}", 3) for name in ("a", "b"))
    stream = predictions({0: Ensemble()}, images)
    first = next(stream)
    assert first.name == "a" and first.truth is TRUTH and torch.equal(first.probs[0], FIRST)
    assert seen == [("maps of a", 3, 2)], "the second image waits"


def test_rules_may_differ_by_seed(predicted):
    def same(k):
        return {"chosen": lambda probs: entropy_weighted(probs, k)}

    only = {"majority": RULES["majority"]}
    scores = evaluate(predicted, PRESET, {7: same(0.0), 8: same(4.0) | only})
    plain = evaluate(predicted, PRESET)
    chosen = scores.counts.sel(rule="chosen")
    assert (chosen.sel(seed=7) == plain.counts.sel(seed=7, rule="mean")).all()
    assert np.isnan(scores.miou().sel(seed=7, rule="majority")), "no votes, not a score of 0"
    assert not scores.has("majority") and scores.has("chosen")
    with pytest.raises(ValueError, match=r"no votes of rule 'majority' on the test split.*chosen"):
        scores.confusions("majority")


def test_a_rule_of_any_kind_has_a_label(predicted):
    rules = {"a_b": RULES["mean"].function, "c": Rule("c", "the third", RULES["mean"].function)}
    scores = evaluate(predicted, PRESET, rules)
    assert [scores.label(rule) for rule in ("a_b", "c", "unknown_rule")] == [
        "a b",
        "the third",
        "unknown rule",
    ]


def test_ensembles_of_different_sizes(predicted):
    small = [Prediction(p.name, {7: FIRST, 8: SECOND[:1]}, p.truth) for p in predicted]
    scores = evaluate(small, PRESET)
    assert scores.members.sel(seed=8, member=0).sum() == 8
    assert scores.members.sel(seed=8, member=[1, 2]).sum() == 0
    assert np.isnan(scores.member_miou().sel(seed=8, member=2))


def test_nothing_to_evaluate():
    with pytest.raises(ValueError, match="no predictions of the test split"):
        evaluate([], PRESET)


# ---- observers ----------------------------------------------------------------------------------


def test_sums_and_single_images_are_told_apart(predicted):
    def looks(name, probs, votes, truth, preset):
        """Its own sum, and its own image."""
        right = (votes["majority"].labels == truth).sum()
        return {
            "sum": labelled([right, len(probs)], what=["right", "members"]),
            "each": labelled([ord(name)], image=None),
        }

    found = evaluate(predicted, PRESET, observers=[looks]).observed["looks"]
    assert found["sum"].dims == ("split", "seed", "what")
    assert found["sum"].sel(split="test", seed=7).values.tolist() == [6, 6]
    assert found["sum"].sel(split="test", seed=8, what="right") == 4
    assert found["each"].sel(seed=8, image="b") == ord("b")


def test_only_the_first_seeds_and_images(predicted):
    seen = []

    def looks(name, probs, votes, truth, preset):
        seen.append((name, len(probs), list(votes)))
        return {"n": labelled(1)}

    both = evaluate(predicted, PRESET, observers=[Only(looks, seeds=2, images=1)])
    one = evaluate(predicted, PRESET, observers=[Only(looks)])
    assert seen == [("a", 6, []), ("a", 3, list(RULES)), ("b", 3, list(RULES))]
    assert both.observed["looks"]["n"].item() == 1 and one.observed["looks"]["n"].item() == 2


def test_curves_over_k_and_pools(predicted, scores):
    found = scores.curve("sweep").sel(split="test")
    expected = scores.miou().sel(rule=["mean", "entropy_weighted"])
    assert found.dims == ("seed", "k") and (found.values == expected.values).all()
    points = [{"k": k, "r": 1.0, "temperature": 1.0} for k in (0.0, 1.0)]
    pools = evaluate(predicted, PRESET, observers=[over_pools(points)]).curve("pools")
    assert (pools.sel(split="test").values == found.values).all()
    assert pools.k.values.tolist() == [0, 1] and pools.temperature.values.tolist() == [1, 1]


# ---- parts and files ----------------------------------------------------------------------------


def test_two_splits_are_joined_and_told_apart(predicted, scores):
    less = {name: rule for name, rule in RULES.items() if name != "mean"}
    other = [p._replace(name=f"v{p.name}") for p in predicted[:1]]
    held_out = evaluate(other, PRESET, less, [over_k([0.0, 1.0])], split="validation")
    both = held_out.join(scores)
    assert both.images("validation") == ["va"] and both.images() == ["a", "b"]
    for rule in RULES:
        assert (both.confusions(rule) == scores.confusions(rule)).all()
    assert both.has("mean") and not both.has("mean", "validation")
    assert both.curve("sweep").split.values.tolist() == ["validation", "test"]
    with pytest.raises(
        ValueError, match="no images of split 'train'; choose from validation, test"
    ):
        both.of("train")


def test_what_is_saved_is_loaded(predicted, tmp_path):
    looks = [over_k([0.0, np.inf]), label_maps, Only(over_pools([{"k": 0.5}]))]
    saved = evaluate(predicted, PRESET, observers=looks)
    saved = saved.assign_attrs(chosen={7: {"k": 0.5}, 8: {"k": 2.0}})
    saved.save(tmp_path / "scores.npz")
    again = load_scores(tmp_path / "scores.npz")
    xr.testing.assert_identical(again.counts, saved.counts)
    xr.testing.assert_identical(again.members, saved.members)
    assert again.attrs == saved.attrs and again.observed.keys() == saved.observed.keys()
    for observer, found in saved.observed.items():
        for name, array in found.items():
            xr.testing.assert_equal(again.observed[observer][name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]
    with np.load(tmp_path / "scores.npz") as file:
        assert file["counts"].dtype == np.int8, "few bytes"


def test_large_counts_survive_the_small_types(tmp_path):
    truth = np.zeros((300, 300), int)
    sea = torch.full((3, 300, 300), 0.1)
    many = [Prediction("a", {0: torch.stack([1 - sea, sea], 1)}, truth)]
    many[0].probs[0][:, :, :200] = many[0].probs[0][:, :, :200].flip(1)
    saved = evaluate(many, PRESET, {"majority": RULES["majority"]})
    saved.save(tmp_path / "scores.npz")
    found = load_scores(tmp_path / "scores.npz").counts
    assert found.values[0, 0, 0, 0].tolist() == [30_000, 60_000] and found.dtype == np.int64


def test_files_that_are_no_scores(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz: no scores here; run 03_voting"):
        load_scores(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match=r"other\.npz: not a file of scores"):
        load_scores(tmp_path / "other.npz")


def test_an_older_run_without_validation_images_is_pooled(predicted, results_of, tmp_path):
    seven = [Prediction(p.name, {7: p.probs[7]}, p.truth) for p in predicted]
    eight = [Prediction(p.name, {8: p.probs[8]}, p.truth) for p in predicted]
    newer = evaluate(seven, PRESET).join(evaluate(seven, PRESET, split="validation"))
    results_of(newer, "mini_horse", 7)
    results_of(evaluate(eight, PRESET), "mini_horse", 8)
    pooled = load_results(tmp_path)["mini_horse", "published"].scores
    xr.testing.assert_equal(pooled.miou(), evaluate(predicted, PRESET).miou())


def test_seeds_are_pooled_unless_their_weights_differ(predicted, results_of, tmp_path):
    seven = [Prediction(p.name, {7: p.probs[7]}, p.truth) for p in predicted]
    eight = [Prediction(p.name, {8: p.probs[8]}, p.truth) for p in predicted]
    new_rule = RULES | {"median": RULES["mean"]}
    results_of(evaluate(seven, PRESET), "mini_horse", 7)
    results_of(evaluate(eight, PRESET, new_rule), "mini_horse", 8)
    (tmp_path / "mini_cat" / "seed0").mkdir(parents=True)  # a run that has not ended
    found = load_results(tmp_path)
    assert list(found) == [("mini_horse", "published")]
    result = found["mini_horse", "published"]
    whole = evaluate(predicted, PRESET)
    xr.testing.assert_equal(result.scores.counts.sel(rule=whole.rules), whole.counts)
    median = result.scores.miou().sel(rule="median").values
    assert np.isnan(median[0]) and median[1] == whole.miou().sel(seed=8, rule="mean")
    assert result.title == "mini_horse" and result.preset.title == "Mini-Horse"

    results_of(evaluate(eight, PRESET), "mini_horse", 8, checkpoint_sha256="other")
    with pytest.raises(ValueError, match="seed7 and seed8 were made with different weights"):
        load_results(tmp_path)


def test_seeds_that_scored_other_images_are_not_pooled(predicted, results_of, tmp_path):
    for seed, name in ((7, "a"), (8, "c")):
        own = [Prediction(name, {seed: predicted[0].probs[seed]}, TRUTH)]
        results_of(evaluate(own, PRESET), "mini_horse", seed)
    with pytest.raises(ValueError, match="mini_horse, recipe published: the image labels differ"):
        load_results(tmp_path)
