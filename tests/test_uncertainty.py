"""Uncertainty against error on numbers worked out by hand; rounds of labelling on tiny ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from diffseg_utils.backbone import load_backbone
from diffseg_utils.evaluation import Prediction, held_out, uncertainty
from diffseg_utils.evaluation.held_out import Fold
from diffseg_utils.evaluation.uncertainty import (
    image_error,
    labelling_rounds,
    load_studies,
    measure_rounds,
    measure_uncertainty,
    most_uncertain,
    rounds_table,
    study_predictions,
    uncertainty_study,
)
from diffseg_utils.features import FeatureMaps
from diffseg_utils.presets import DATASETS
from diffseg_utils.runs import Run
from diffseg_utils.voting import image_uncertainty, uncertainty_of

SMOKE = DATASETS["mini_smoke"]


def test_the_uncertainty_of_an_image_is_that_of_its_most_disputed_tenth():
    values = torch.arange(20.0).view(4, 5)
    assert uncertainty_of(values) == 18.5  # of 20 pixels the two largest: 18 and 19


def test_the_error_counts_labelled_pixels_only():
    truth = np.array([[0, 1], [2, 255]])
    label = np.array([[0, 2], [1, 0]])
    assert image_error(label, truth, 3) == pytest.approx(2 / 3)  # 255 is no class
    assert image_error(label, truth, 3, ignore_label=0) == 1.0
    assert np.isnan(image_error(label, np.full((2, 2), 255), 3))


def test_the_correlation_by_hand():
    def correlation(a, b):
        return uncertainty_study(a, b, 10)["correlation"]

    assert correlation([1, 2, 3, 4], [10, 20, 30, 400]) == pytest.approx(1)
    assert correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # ranks 1 2 3 4 and 2 1 4 3: four differences of 1, so 1 - 6 * 4 / (4 * 15)
    assert correlation([1, 2, 3, 4], [0.2, 0.1, 0.4, 0.3]) == pytest.approx(0.6)
    # ranks 1.5 1.5 3 and 1 2 3: sums of products 1.5, of squares 1.5 and 2
    assert correlation([5, 5, 7], [0.1, 0.2, 0.3]) == pytest.approx(1.5 / np.sqrt(1.5 * 2))


def test_without_an_order_there_is_no_correlation():
    found = uncertainty_study([1, 1, 1], [1, 2, 3], 10)
    assert np.isnan([found["correlation"], found["low"], found["high"]]).all()


def test_the_interval_lies_around_the_correlation():
    rng = np.random.default_rng(1)
    values = rng.normal(size=300)
    related = uncertainty_study(values, values + rng.normal(size=300), 200)
    assert 0 < related["low"] < related["correlation"] < related["high"] < 1
    assert related["images"] == 300
    with pytest.raises(ValueError, match="3 uncertainties and 2 errors"):
        uncertainty_study([1, 2, 3], [1, 2])


def test_the_interval_covers_the_true_correlation_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(40):
        study = uncertainty_study(rng.normal(size=100), rng.normal(size=100), 100)
        covered.append(study["low"] < 0 < study["high"])
    assert np.mean(covered) >= 0.85, "0.95 is meant; 34 of 40 or more"


class Members:
    """In place of an ensemble: two members, which differ the more the larger the feature is."""

    def probabilities(self, maps, image, size, rows=None):
        share = maps.maps[0][image].float().mean().sigmoid()
        certain, divided = torch.zeros(2, 4, size, size), torch.zeros(2, 4, size, size)
        certain[:, 1] = 1  # both say class 1
        divided[0, 1], divided[1, 2] = 1, 1
        return (1 - share) * certain + share * divided


def test_a_pass_over_predictions():
    certain = torch.eye(4)[[1, 1]].reshape(2, 4, 1, 1).expand(2, 4, 2, 2)  # both say class 1
    divided = torch.eye(4)[[1, 2]].reshape(2, 4, 1, 1).expand(2, 4, 2, 2)
    truth = np.ones((2, 2), int)
    images = [Prediction("a", {0: certain}, truth), Prediction("b", {0: divided}, truth + 1)]
    found, error = study_predictions(images, SMOKE, 0)
    assert found == pytest.approx([0, np.log(2)], abs=1e-6)
    assert error.tolist() == [0, 1], "a tie goes to the lowest id, class 1"


def test_only_the_missing_row_of_a_run_is_measured(monkeypatch, tmp_path):
    file = tmp_path / "uncertainty.csv"
    run = Run("mini_smoke", recipe="tuned", device="cpu")
    done = []
    found = measure_uncertainty(run, Members(), 4, file, lambda *a: done.append(a))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.images.item() == 4 and 0 < found.error.item() < 100
    assert found.dataset.item() == "mini_smoke"

    before = file.read_bytes()
    monkeypatch.setattr(uncertainty, "predictions", None)  # a second measurement would fail
    again = measure_uncertainty(run, Members(), 4, file)
    pd.testing.assert_frame_equal(again, found, rtol=1e-4, check_dtype=False)
    assert file.read_bytes() == before


# ---- rounds of labelling -------------------------------------------------------------------------


SHARES = torch.tensor([0.1, 0.5, 0.3, 0.4, 0.2, 0.8, 0.6, 0.7])  # of features; image 0 is clear


@pytest.fixture
def pool():
    """A Fold of eight images to choose from, whose label is their number, and two to score."""
    maps = FeatureMaps([SHARES.view(8, 1, 1, 1)])
    labels = torch.arange(8).view(8, 1, 1).expand(8, 2, 2)
    return Fold(maps, labels, maps[:2], labels[:2])


@pytest.fixture
def learned(monkeypatch):
    """The numbers of the images of every training, in order; nothing is trained."""
    seen = []

    def learn(maps, labels, *args, **kwargs):
        seen.append(labels[:, 0, 0].tolist())
        return Members(), None

    monkeypatch.setattr(held_out, "train", learn)
    return seen


PRESET = replace(SMOKE, label_size=2)


def test_the_most_uncertain_images_that_have_no_label_are_chosen(pool):
    members = Members()
    found = [image_uncertainty(members.probabilities(pool.maps, i, 2)) for i in range(8)]
    assert np.argsort(found).tolist() == SHARES.argsort().tolist()
    assert most_uncertain(members, pool.maps, [5, 3], 3, PRESET) == [7, 6, 1]


def test_both_choices_begin_alike_and_have_equally_many_labels(learned, pool):
    done = []
    counts = labelling_rounds(pool, PRESET, 3, 2, 2, 2, report=lambda *a: done.append(a))
    first, random, more_random, uncertain, more_uncertain = learned
    assert [len(images) for images in learned] == [2, 4, 6, 4, 6]
    assert more_random[:4] == random and random[:2] == uncertain[:2] == first
    assert len(set(more_random)) == len(set(more_uncertain)) == 6, "no image is labelled twice"
    ranked = [i for i in (-SHARES).argsort().tolist() if i not in first]
    assert more_uncertain == first + ranked[:4]
    assert done == [(n, 5) for n in range(1, 6)]
    assert counts["random"].shape == counts["uncertain"].shape == (3, 2, 5, 4)
    np.testing.assert_array_equal(counts["random"][0], counts["uncertain"][0])
    labelling_rounds(pool, PRESET, 4, 2, 2, 2)
    assert learned[5] != first, "another seed begins with other images"


def test_a_pool_that_is_too_small(pool):
    with pytest.raises(ValueError, match="3 rounds of 2 images after 3 need more than the 8"):
        labelling_rounds(pool, PRESET, 0, 3, 2, 3)


def test_rounds_are_compared_by_hand():
    right, wrong = np.diag([4, 4, 4, 4]), np.full((4, 4), 1)
    counts = np.zeros((2, 2, 3, 5, 4), int)  # seeds, scores, images
    counts[..., :4, :] = wrong
    better = counts.copy()
    better[:, 1, :, :4] = right
    rows = rounds_table({"random": counts, "uncertain": better}, SMOKE, 5, 2)
    table = pd.DataFrame(rows)
    assert table.images.tolist() == [5, 5, 7, 7] and table.seeds.eq(2).all()
    last = table[table.choice == "uncertain"].iloc[1]
    # four of 16 pixels right, in each class one of a union of 4 + 4 - 1
    assert table.miou[0] == pytest.approx(100 / 7) and last.miou == pytest.approx(100)
    assert last.difference == pytest.approx(100 - 100 / 7)
    assert last.lowest == last.highest == pytest.approx(100)
    assert table.difference[table.choice == "random"].eq(0).all()


def test_only_missing_rounds_are_measured(monkeypatch, tmp_path):
    asked = []

    def rounds(fold, preset, seed, device, report):
        asked.append((fold, preset.counts["train"], seed))
        report(1, 1)
        found = np.zeros((2, 3, 5, 4), int)
        found[..., :4, :] = np.diag([4, 4, 4, 4])
        return {"random": found, "uncertain": found}

    monkeypatch.setattr(uncertainty, "labelling_rounds", rounds)
    monkeypatch.setattr(uncertainty, "folds", lambda *a: [Fold(None, None, None, None)])
    run, file, done = Run("mini_smoke", device="cpu"), tmp_path / "rounds.csv", []
    denoiser = load_backbone("mini")
    found = measure_rounds(run, denoiser, file, lambda *a: done.append(a))
    assert [(n, seed) for _, n, seed in asked] == [(100, 0), (100, 1), (100, 2)]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert len(found) == 4 and found.seeds.eq(3).all() and np.allclose(found.miou, 100)
    assert len(measure_rounds(run, denoiser, file)) == 4 and len(asked) == 3
    with pytest.raises(ValueError, match="cat_15: rounds of labelling need a painted dataset"):
        measure_rounds(Run("cat_15", device="cpu"), denoiser, tmp_path / "no.csv")


def test_what_was_measured_is_read_from_all_datasets(tmp_path):
    study, rounds = load_studies(tmp_path)
    assert study.empty and rounds.empty
    for name in ("mini_b", "mini_a"):
        (tmp_path / name).mkdir()
        frame = pd.DataFrame({"dataset": [name], "correlation": [0.5]})
        frame.to_csv(tmp_path / name / "uncertainty.csv", index=False)
    study, rounds = load_studies(tmp_path)
    assert study.dataset.tolist() == ["mini_a", "mini_b"] and rounds.empty
