"""Scores from confusion matrices: the published mIoU, the masked one, and differences of two rules.

A confusion [C + 1, C] counts pixels: row = truth, column = prediction. The last row collects truths
outside 0..C-1. Confusions of several images add up. Functions that take a confusion also take a
stack of them, [..., C + 1, C]. Shapes: B images, C classes, S trainings, R resamples.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

PROTOCOLS = ("published", "masked")

# ---- counting -----------------------------------------------------------------------------------


def confusion(prediction, truth, n_classes):
    """Counts int64 [C + 1, C] of two integer tensors or arrays of one shape.

    ValueError for shapes that differ, floats, or a prediction outside 0..C-1.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    for name, array in (("prediction", prediction), ("truth", truth)):
        if array.dtype.kind not in "iub":
            raise ValueError(f"{name} must hold integer class ids, not {array.dtype}")
    prediction = prediction.astype(np.int64).ravel()
    truth = truth.astype(np.int64).ravel()
    outside = prediction[(prediction < 0) | (prediction >= n_classes)]
    if outside.size:
        raise ValueError(
            f"prediction holds class id {outside[0]}; a class is in 0..{n_classes - 1}"
        )
    row = np.where((truth >= 0) & (truth < n_classes), truth, n_classes)
    cell = row * n_classes + prediction
    counts = np.bincount(cell, minlength=(n_classes + 1) * n_classes)
    return counts.reshape(n_classes + 1, n_classes)


def changes(before, after, truth, n_classes):
    """What another vote changed: a frame of pixel counts, one row per true class (index "class").

    Columns: pixels, changed, repaired (wrong before, right after), broken (right before, wrong
    after), still_wrong (another wrong class). The last three add up to changed. Frames of several
    images add up. Pixels whose truth lies outside 0..C-1 are left out; drop the row of an ignored
    class yourself.
    """
    before, after, truth = (np.asarray(labels).ravel() for labels in (before, after, truth))
    known = (truth >= 0) & (truth < n_classes)
    changed = before != after
    right_before, right_after = before == truth, after == truth
    masks = {
        "pixels": known,
        "changed": changed,
        "repaired": changed & right_after,
        "broken": changed & right_before,
        "still_wrong": changed & ~right_before & ~right_after,
    }
    counts = {}
    for name, mask in masks.items():
        counts[name] = np.bincount(truth[mask & known], minlength=n_classes)
    return pd.DataFrame(counts).rename_axis("class")


def pairwise_disagreement(labels):
    """Mean share of pixels on which two members differ: a float in 0..1, nan for one member.

    labels: hard labels [N, *pixels] of N members.
    """
    members = np.asarray(labels)
    pairs = list(combinations(members, 2))
    if not pairs:
        return np.nan
    return float(np.mean([np.mean(a != b) for a, b in pairs]))


# ---- intersection over union --------------------------------------------------------------------


def iou(confusion, ignore_label=None, protocol="published"):
    """Intersection over union of every class: [..., C + 1, C] -> [..., C] in 0..1.

    nan for a class that is not scored. ignore_label: an id or several; both protocols leave these
    classes out. "published": pixels of ignored truth stay in the unions of the classes predicted
    there, and a class absent from prediction and truth scores 0. "masked": these pixels are
    dropped, and a class absent from both is not scored. ValueError for another protocol or shape.
    """
    areas, scored = _areas(confusion, ignore_label, protocol)
    return np.where(scored, _ratio(areas, protocol), np.nan)


def mean_iou(confusion, ignore_label=None, protocol="published"):
    """Mean of iou over the scored classes, in percent: a float, or [...] for a stack.

    nan if no class is scored.
    """
    percent = _mean_percent(iou(confusion, ignore_label, protocol))
    return percent if percent.ndim else float(percent)


def _areas(confusion, ignore_label, protocol):
    """(areas float64 [..., 2, C], scored bool [C]).

    areas: intersection and union of every class in pixels; they add up over images.
    """
    counts = np.asarray(confusion)
    if counts.ndim < 2 or counts.shape[-2] != counts.shape[-1] + 1:
        raise ValueError(
            f"a confusion has the shape [..., classes + 1, classes], not {list(counts.shape)}"
        )
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    classes = np.arange(counts.shape[-1])
    scored = ~np.isin(classes, [] if ignore_label is None else ignore_label)
    if protocol == "masked":
        kept_rows = np.append(scored, False)  # (C + 1,)
        counts = counts * kept_rows[:, None]
    intersection = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., C)
    predicted = counts.sum(-2)  # (..., C)
    true = counts[..., :-1, :].sum(-1)  # (..., C)
    union = predicted + true - intersection
    return np.stack([intersection, union], -2).astype(np.float64), scored


def _ratio(areas, protocol):
    """Intersection over union [..., C] of areas [..., 2, C]; nan where "masked" scores nothing."""
    intersection, union = areas[..., 0, :], areas[..., 1, :]
    scores = intersection / (union + 1e-8)
    if protocol == "published":
        return scores
    return np.where(union > 0, scores, np.nan)


def _mean_percent(scores):
    """100 times the mean over the last axis, without the classes that are nan."""
    n_scored = (~np.isnan(scores)).sum(-1)
    with np.errstate(invalid="ignore"):  # 0 / 0 if no class is scored
        return 100 * np.nansum(scores, -1) / n_scored


# ---- differences of two rules -------------------------------------------------------------------


def paired_bootstrap(a, b, ignore_label=None, protocol="published", resamples=10_000, seed=0):
    """Is rule a better than rule b? dict(difference, low, high) in points of mIoU.

    difference: mIoU(a) - mIoU(b); low, high: its 95 % interval. a, b: confusions [B, C + 1, C] of
    the same B images, or [S, B, C + 1, C] of S trainings, whose differences are averaged.

    Images, and trainings, are drawn with replacement, the same ones for a and b, so what makes an
    image hard for both cancels. Percentiles are too narrow for few images or trainings. They are
    stretched as Student's t and sqrt(n / (n - 1)) stretch a normal interval (Hesterberg 2015), with
    degrees of freedom by Satterthwaite. One image has no interval: nan. ValueError for confusions
    of different images.
    """
    a, b = _paired_areas(a, b, ignore_label, protocol)  # (S, B, 2, C) each
    n_seeds, n_images = a.shape[:2]
    rng = np.random.default_rng(seed)

    def miou_of(draws, areas):
        """mIoU in percent [R, S] of images drawn `draws` [R, B] times."""
        return _mean_percent(_ratio(np.tensordot(draws, areas, (1, 1)), protocol))

    def difference_of(draws):
        """mIoU(a) - mIoU(b), [R, S]."""
        draws = draws.astype(float)
        return miou_of(draws, a) - miou_of(draws, b)

    every_image_once = np.ones((1, n_images))
    by_seed = difference_of(every_image_once)[0]  # (S,)
    difference = by_seed.mean()
    if n_images == 1:
        return {"difference": float(difference), "low": np.nan, "high": np.nan}

    image_draws = rng.multinomial(n_images, [1 / n_images] * n_images, resamples)  # (R, B)
    resampled = difference_of(image_draws)  # (R, S)
    seed_draws = rng.multinomial(n_seeds, [1 / n_seeds] * n_seeds, resamples)  # (R, S)
    draws = (resampled * seed_draws / n_seeds).sum(1)  # (R,)

    image_variance = resampled.mean(1).var()
    seed_variance = by_seed.var() / n_seeds
    stretch = _stretch(image_variance, n_images, seed_variance, n_seeds)
    percentiles = np.quantile(draws, (0.025, 0.975))
    low, high = difference + stretch * (percentiles - difference)
    return {"difference": float(difference), "low": float(low), "high": float(high)}


def _stretch(image_variance, n_images, seed_variance, n_seeds):
    """The factor by which a percentile interval is too narrow.

    Its variance is the sum of two: one over n_images images, one over n_seeds trainings.
    """
    shrunk = np.array([image_variance, seed_variance])
    units = np.array([n_images, max(n_seeds, 2)])
    if not shrunk.any():
        return 1.0
    variance = shrunk * units / (units - 1)
    freedom = variance.sum() ** 2 / (variance**2 / (units - 1)).sum()
    student, normal = stdtrit(freedom, 0.975), ndtri(0.975)
    return student / normal * np.sqrt(variance.sum() / shrunk.sum())


def paired_permutation(a, b, ignore_label=None, protocol="published", permutations=10_000, seed=0):
    """Two-sided p-value of the hypothesis that it does not matter which rule is called a.

    a, b: as in paired_bootstrap. In each permutation a and b are swapped at random in every image.
    All trainings of an image are swapped together, so the p-value is about other images, not about
    other trainings. p = (1 + n) / (1 + permutations), where n permutations give a difference at
    least as large as the observed one.
    """
    a, b = _paired_areas(a, b, ignore_label, protocol)  # (S, B, 2, C) each
    rng = np.random.default_rng(seed)
    swaps = rng.integers(2, size=(1 + permutations, a.shape[1])).astype(float)  # (R, B)
    swaps[0] = 0  # the observed difference
    moved = np.tensordot(swaps, b - a, (1, 1))  # (R, S, 2, C)
    miou_a = _mean_percent(_ratio(a.sum(1) + moved, protocol))  # (R, S)
    miou_b = _mean_percent(_ratio(b.sum(1) - moved, protocol))
    size = np.abs((miou_a - miou_b).mean(1))  # (R,)
    as_large = size >= size[0] - 1e-9  # differences that are equal up to rounding count
    return float(as_large.mean())


def _paired_areas(a, b, ignore_label, protocol):
    """[areas of a, areas of b], each [S, B, 2, scored classes]; ValueError for other images."""
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim not in (3, 4) or a.shape != b.shape or 0 in a.shape:
        raise ValueError(
            "a and b must be confusions [(seeds,) images, classes + 1, classes], "
            f"not {a.shape} and {b.shape}"
        )
    a = a.reshape(-1, *a.shape[-3:])  # (S, B, C + 1, C)
    b = b.reshape(-1, *b.shape[-3:])
    differs = (a.sum(-1) != b.sum(-1)).any((0, 2))  # (B,)
    if differs.any():
        raise ValueError(
            f"image {differs.argmax()} has another truth in a than in b; "
            "the same images, in one order"
        )
    paired = []
    for counts in (a, b):
        areas, scored = _areas(counts, ignore_label, protocol)
        paired.append(areas[..., scored])
    return paired


def verdict(low, high):
    """What the interval of a difference says: "gain", "loss", or "not resolved" around zero."""
    if low > 0:
        return "gain"
    if high < 0:
        return "loss"
    return "not resolved"


def images_needed(low, high, n_images, effect=0.2):
    """How many images would shrink the interval (low, high) of n_images to +- effect points.

    A whole number as a float, or nan. Widths go with 1 / sqrt(n). A true effect of just that size
    is then found half of the time; with twice as many images, in four of five cases.
    """
    return float(np.ceil(n_images * ((high - low) / 2 / effect) ** 2))
