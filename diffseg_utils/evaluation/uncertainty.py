"""Does an image's uncertainty find the images with many wrong pixels? A rank correlation."""

import numpy as np
from scipy.stats import rankdata


def image_error(label, truth, n_classes, ignore_label=None):
    """Share of the labelled pixels of an image that are wrong; label, truth: [H, W].

    A truth outside 0..n_classes-1, or equal to ignore_label, is not counted. nan for no pixels.
    """
    label, truth = np.asarray(label), np.asarray(truth)
    counted = (truth >= 0) & (truth < n_classes)
    if ignore_label is not None:
        counted &= truth != ignore_label
    if not counted.any():
        return float("nan")
    return float((label != truth)[counted].mean())


def rank_correlation(uncertainty, error):
    """Spearman's correlation of two numbers per image: 1 for equal order, nan if one is constant.

    uncertainty, error: [B]. Equal values share their mean rank.
    """
    a, b = rankdata(uncertainty), rankdata(error)
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / length) if length > 0 else float("nan")


def uncertainty_study(uncertainty, error, n_resamples=1000, seed=0):
    """{correlation, low, high, n_images}: Spearman's correlation and its 95 % bootstrap interval.

    uncertainty, error: [B], of the same images, which are drawn together, with replacement.
    Resamples in which one of the two is constant are left out. ValueError for lengths that differ
    or fewer than three images.
    """
    uncertainty, error = np.asarray(uncertainty, float), np.asarray(error, float)
    n_images = len(uncertainty)
    if len(error) != n_images or n_images < 3:
        raise ValueError(
            f"{n_images} uncertainties and {len(error)} errors; equal numbers, three or more, "
            "are needed"
        )
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_resamples):
        drawn = rng.integers(n_images, size=n_images)
        found.append(rank_correlation(uncertainty[drawn], error[drawn]))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return {
        "correlation": rank_correlation(uncertainty, error),
        "low": float(low),
        "high": float(high),
        "n_images": n_images,
    }


def study_predictions(predictions, preset, seed, rule="entropy_weighted"):
    """(uncertainty [B], error [B]) of images, from one pass over Predictions.

    predictions: as evaluation.predictions yields them; seed: whose members are asked. Images
    without a labelled pixel are left out.
    """
    from ..voting import image_uncertainty, vote

    uncertainty, error = [], []
    for one in predictions:
        probs = one.probs[seed]  # (N, C, H, W)
        label = vote(probs, rule).numpy()
        wrong = image_error(label, one.truth, preset.n_classes, preset.ignore_label)
        if np.isnan(wrong):
            continue
        uncertainty.append(image_uncertainty(probs))
        error.append(wrong)
    return np.array(uncertainty), np.array(error)
