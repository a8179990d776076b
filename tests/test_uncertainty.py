"""Uncertainty against error, on numbers worked out by hand and against scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from diffseg_utils.evaluation import Prediction
from diffseg_utils.evaluation.uncertainty import (
    image_error,
    rank_correlation,
    study_predictions,
    uncertainty_study,
)
from diffseg_utils.presets import DATASETS
from diffseg_utils.voting import uncertainty_of


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
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 400]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # ranks 1 2 3 4 and 2 1 4 3: four differences of 1, so 1 - 6 * 4 / (4 * 15)
    assert rank_correlation([1, 2, 3, 4], [0.2, 0.1, 0.4, 0.3]) == pytest.approx(0.6)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def test_the_correlation_is_that_of_scipy_also_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 40))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_the_interval_lies_around_the_correlation():
    rng = np.random.default_rng(1)
    uncertainty = rng.normal(size=300)
    related = uncertainty_study(uncertainty, uncertainty + rng.normal(size=300), 200)
    assert 0 < related["low"] < related["correlation"] < related["high"] < 1
    assert related["n_images"] == 300
    with pytest.raises(ValueError, match="3 uncertainties and 2 errors"):
        uncertainty_study([1, 2, 3], [1, 2])


def test_the_interval_covers_the_true_correlation_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(60):
        study = uncertainty_study(rng.normal(size=100), rng.normal(size=100), 200)
        covered.append(study["low"] < 0 < study["high"])
    assert np.mean(covered) >= 0.85, "0.95 is meant; 51 of 60 or more"


def test_a_pass_over_predictions():
    preset = DATASETS["mini_smoke"]
    certain = torch.eye(4)[[1, 1]].reshape(2, 4, 1, 1).expand(2, 4, 2, 2)  # both say class 1
    divided = torch.eye(4)[[1, 2]].reshape(2, 4, 1, 1).expand(2, 4, 2, 2)
    truth = np.ones((2, 2), int)
    images = [Prediction("a", {0: certain}, truth), Prediction("b", {0: divided}, truth + 1)]
    uncertainty, error = study_predictions(images, preset, 0)
    assert uncertainty == pytest.approx([0, np.log(2)], abs=1e-6)
    assert error.tolist() == [0, 1], "a tie goes to the lowest id, class 1"
