"""Does a vote know when it is wrong? Calibration and risk-coverage from one small histogram.

Histograms of several images add up. Softmax distributions crowd near certainty, so bins are uniform
in the log-odds of the doubt (1 - confidence, or the entropy as a share of log C), from 2^-24, a
last digit of float32. Sums are kept for each bin, and a bin that is cut by a quantile gives both
sides its mean; equal values, as in a majority of ten, are shared out so too. With 128 bins the
calibration error and the area under risk-coverage are within 0.0005 of their exact values
(tests/test_calibration.py).
"""

import numpy as np
import pandas as pd

from ..metrics import is_scored

COLUMNS = ("count", "confidence", "right", "brier", "nll", "entropy_count", "entropy_right")


def histogram(distribution, truth, ignore_label=None, n_bins=128):
    """Sums float64 [7, n_bins] over the pixels with a truth, the most certain bin first.

    The rows are named in COLUMNS. distribution [C, *pixels] sums to one over C, truth [*pixels]
    holds class ids. The first five rows are binned by confidence (the largest probability), the
    last two by entropy. A true class of probability below 2^-23 costs the negative log-likelihood
    of 2^-23, as in scikit-learn. ValueError for shapes that differ.
    """
    q, truth = np.asarray(distribution), np.asarray(truth)
    if q.shape[1:] != truth.shape:
        raise ValueError(f"distribution {q.shape} and truth {truth.shape} differ in their pixels")
    known = is_scored(truth, len(q), ignore_label)
    q, truth = q[:, known], truth[known].astype(np.int64)  # (C, P), (P,)
    confidence, of_truth = q.max(0), np.take_along_axis(q, truth[None], 0)[0]
    right = q.argmax(0) == truth
    brier = (q**2).sum(0) - 2 * of_truth + 1
    nll = -np.log(np.maximum(of_truth, 2.0**-23))
    entropy = -(q * np.log(np.maximum(q, 1e-30))).sum(0) / np.log(len(q))
    by_confidence, by_entropy = _fine_bin(1 - confidence, n_bins), _fine_bin(entropy, n_bins)
    sums = [
        np.bincount(by_confidence, x, n_bins)
        for x in (np.ones_like(confidence), confidence, right, brier, nll)
    ]
    return np.stack(
        sums + [np.bincount(by_entropy, x, n_bins) for x in (np.ones_like(confidence), right)]
    )


def _fine_bin(doubt, n_bins):
    doubt = np.clip(doubt, 2.0**-24, 1 - 2.0**-8)
    return (n_bins * (24 + np.log2(doubt / (1 - doubt))) / 32).astype(
        np.int64
    )  # the log2 is in -24..7.995


def brier(histogram):
    """Brier score, mean over pixels of sum_c (p_c - [c is true])^2, 0..2.

    Of a histogram or a stack [..., 7, bins].
    """
    return _mean_of(histogram, "brier")


def negative_log_likelihood(histogram):
    """Mean over pixels of -log p(true class), nats, of a histogram or a stack [..., 7, bins]."""
    return _mean_of(histogram, "nll")


def reliability(histogram, n_bins=15):
    """The reliability diagram: a frame (bin, share, confidence, accuracy), all but bin in 0..1.

    Bins have equal mass, the least confident comes first.
    """
    count, confidence, right = np.asarray(histogram)[:3, ::-1]
    share, confidence, right = (
        _cut(count, x, n_bins) / count.sum() for x in (count, confidence, right)
    )
    return pd.DataFrame(
        {
            "bin": range(n_bins),
            "share": share,
            "confidence": confidence / share,
            "accuracy": right / share,
        }
    )


def expected_calibration_error(histogram, n_bins=15):
    """Mean over bins of equal mass of |accuracy - confidence|, 0..1."""
    frame = reliability(histogram, n_bins)
    return float((frame.share * (frame.accuracy - frame.confidence).abs()).sum())


def risk_coverage(histogram, points=500):
    """The risk-coverage curve: a frame (coverage, risk), 0..1.

    Risk is the error among the least uncertain pixels, by entropy.
    """
    count, right = np.asarray(histogram)[5:]
    coverage = np.arange(1, points + 1) / points
    errors = _cut(count, count - right, points).cumsum() / count.sum()
    return pd.DataFrame({"coverage": coverage, "risk": errors / coverage})


def area_under_risk_coverage(histogram, points=500):
    """Mean risk over all coverages, 0..1, smaller is better.

    An order by chance has the error rate itself.
    """
    coverage, risk = risk_coverage(histogram, points).to_numpy().T
    return float(np.trapezoid([risk[0], *risk], [0, *coverage]))


def _cut(count, sums, n_parts):
    """sums of bins holding count pixels -> sums of n_parts of equal mass, in the same order."""
    edges = np.linspace(0, count.sum(), n_parts + 1)
    held = count > 0
    return np.diff(
        np.interp(edges, np.append(0, count[held].cumsum()), np.append(0, sums[held].cumsum()))
    )


def _mean_of(histogram, column):
    histogram = np.asarray(histogram)
    mean = histogram[..., COLUMNS.index(column), :].sum(-1) / histogram[..., 0, :].sum(-1)
    return mean if mean.ndim else float(mean)
