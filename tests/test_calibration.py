"""Calibration from histograms: by hand, against torchmetrics, against sums over sorted pixels."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torchmetrics.classification import MulticlassCalibrationError

from diffseg_utils.evaluation.calibration import (
    COLUMNS,
    area_under_risk_coverage,
    brier,
    expected_calibration_error,
    histogram,
    negative_log_likelihood,
    reliability,
    risk_coverage,
)

# three classes, four pixels in a 2 x 2 image, the last one of ignored truth
HAND = np.array([[0.5, 0.25, 0.0, 1.0], [0.25, 0.5, 0.0, 0.0], [0.25, 0.25, 1.0, 0.0]]).reshape(
    3, 2, 2
)
TRUTH = np.array([[0, 2], [2, 255]])


def overconfident(sharpness, n_pixels=40_000, n_classes=12, seed=0):
    """(distribution, truth): too certain where certain, too timid where not.

    Many probabilities are 1 to the last digit.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_classes, n_pixels)) * sharpness * rng.gamma(2, 0.5, size=n_pixels)
    truth = (
        softmax(np.sign(logits) * abs(logits) ** 0.7 * 1.6, 0).cumsum(0) > rng.random(n_pixels)
    ).argmax(0)
    return softmax(logits, 0).astype(np.float32), truth


def exact_calibration_error(q, truth, n_bins=15):
    confidence, right = q.max(0).astype(float), q.argmax(0) == truth
    groups = np.array_split(np.argsort(confidence, kind="stable"), n_bins)
    return sum(abs(confidence[g].sum() - right[g].sum()) for g in groups) / len(truth)


def exact_area(q, truth):
    entropy = -(q * np.log(np.maximum(q, 1e-30))).sum(0)
    wrong = (q.argmax(0) != truth)[np.argsort(entropy, kind="stable")]
    return (wrong.cumsum() / np.arange(1, len(truth) + 1)).mean()


def test_brier_and_likelihood_by_hand():
    found = histogram(HAND, TRUTH, 255)
    assert found.shape == (len(COLUMNS), 128) and found.dtype == np.float64
    assert found.sum(1)[[0, 2, 5, 6]].tolist() == [
        3,
        2,
        3,
        2,
    ]  # pixels and right ones, in both halves
    # (1/2)^2 + 2 (1/4)^2 = 3/8;  (3/4)^2 + (1/2)^2 + (1/4)^2 = 7/8;  0
    assert brier(found) == pytest.approx((3 / 8 + 7 / 8 + 0) / 3)
    assert negative_log_likelihood(found) == pytest.approx((math.log(2) + math.log(4) + 0) / 3)
    assert brier(np.stack([found, 2 * found])) == pytest.approx([10 / 24] * 2)


def test_a_certain_error_costs_a_finite_likelihood():
    assert negative_log_likelihood(
        histogram(np.array([[1.0], [0.0]]), np.array([1]))
    ) == pytest.approx(23 * math.log(2))


def test_ignored_and_strange_truths_are_left_out():
    for ignore, pixels in ((255, 3), (0, 2), (2, 1), (None, 3)):
        assert histogram(HAND, TRUTH, ignore)[0].sum() == pixels


def test_histograms_add_up_and_take_tensors():
    q, truth = overconfident(5, 600)
    whole = histogram(torch.tensor(q), torch.tensor(truth))
    parts = sum(histogram(q[:, i::3], truth[i::3]) for i in range(3))
    np.testing.assert_allclose(whole, parts, rtol=1e-12)
    np.testing.assert_allclose(
        histogram(q.reshape(12, 20, 30), truth.reshape(20, 30)), whole, rtol=1e-12
    )


def test_bins_run_from_certain_to_doubtful():
    q = np.array([1, 1 - 2.0**-24, 0.99999, 0.999, 0.9, 0.6, 0.5])
    found = [histogram(np.array([[x], [1 - x]]), np.array([0])) for x in q]
    for row in (0, 5):
        places = [int(h[row].argmax()) for h in found]
        assert (
            places == sorted(places)
            and places[0] == 0
            and len(set(places)) >= 6
            and places[-1] < 128
        )


def test_against_torchmetrics_where_its_bins_are_of_equal_mass():
    # confidences in the middle of 15 equal-width bins, 80 pixels each: then both kinds of bins hold
    # the same pixels
    rng = np.random.default_rng(0)
    confidence = np.repeat((np.arange(15) + 0.5) / 15, 80)
    q = np.vstack([confidence, np.repeat((1 - confidence)[None] / 39, 39, 0)]).astype(np.float32)
    truth = np.where(rng.random(1200) < rng.permutation(15)[np.arange(1200) // 80] / 15, 0, 7)
    order = rng.permutation(1200)
    wanted = MulticlassCalibrationError(40, n_bins=15, norm="l1")(
        torch.tensor(q.T[order]), torch.tensor(truth[order])
    )
    assert float(wanted) > 0.2
    assert expected_calibration_error(histogram(q, truth)) == pytest.approx(float(wanted), abs=1e-6)


@pytest.mark.parametrize("sharpness", [1, 3, 8, 20])
def test_fine_bins_are_within_half_a_thousandth_of_the_exact_sums(sharpness):
    q, truth = overconfident(sharpness)
    found = histogram(q, truth)
    frame = reliability(found)
    if sharpness < 20:  # signs differ between bins, so that the bins matter
        assert (frame.accuracy > frame.confidence).any() and (
            frame.accuracy < frame.confidence
        ).any()
    assert expected_calibration_error(found) == pytest.approx(
        exact_calibration_error(q, truth), abs=5e-4
    )
    assert area_under_risk_coverage(found) == pytest.approx(exact_area(q, truth), abs=5e-4)


def test_reliability_by_hand():
    # 30 pixels at 0.6, 20 of them right; 30 at 0.9, all right: two bins hold one kind each, three
    # cut both kinds
    q = np.array([[0.6] * 30 + [0.9] * 30, [0.4] * 30 + [0.1] * 30])
    found = histogram(q, np.array([0] * 20 + [1] * 10 + [0] * 30))
    frame = reliability(found, n_bins=2)
    assert frame.columns.tolist() == ["bin", "share", "confidence", "accuracy"]
    assert frame.to_numpy() == pytest.approx(np.array([[0, 1 / 2, 0.6, 2 / 3], [1, 1 / 2, 0.9, 1]]))
    assert expected_calibration_error(found, n_bins=2) == pytest.approx((1 / 15 + 0.1) / 2)
    assert reliability(found, n_bins=3).confidence.tolist() == pytest.approx([0.6, 0.75, 0.9])


def test_risk_coverage_by_hand():
    # one quarter certain and right, then a quarter that is half right, then half that is wrong
    q = np.array([[0.99] * 2 + [0.8] * 2 + [0.6] * 4, [0.01] * 2 + [0.2] * 2 + [0.4] * 4])
    found = histogram(q, np.array([0, 0, 0, 1, 1, 1, 1, 1]))
    frame = risk_coverage(found, points=4)
    assert frame.columns.tolist() == ["coverage", "risk"]
    assert frame.to_numpy() == pytest.approx(
        np.array([[0.25, 0], [0.5, 0.25], [0.75, 0.5 / 0.75 * 0.75], [1, 0.625]])
    )


def test_area_of_a_vote_that_knows_nothing_and_of_one_that_knows_all():
    q = np.full((2, 1000), [[0.7], [0.3]])
    assert area_under_risk_coverage(histogram(q, np.arange(1000) % 4 // 3)) == pytest.approx(0.25)
    knows = np.where(np.arange(1000) < 800, 0.9, 0.6)
    area = area_under_risk_coverage(
        histogram(np.stack([knows, 1 - knows]), (np.arange(1000) >= 800).astype(int))
    )
    assert area == pytest.approx(
        0.2 + 0.8 * math.log(0.8), abs=1e-4
    )  # integral of (x - 0.8) / x from 0.8 to 1


def test_shapes_that_differ():
    with pytest.raises(
        ValueError, match=r"distribution \(3, 2, 2\) and truth \(4,\) differ in their pixels"
    ):
        histogram(HAND, TRUTH.ravel())
