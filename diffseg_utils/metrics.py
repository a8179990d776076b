"""Scores from confusion matrices: the published mIoU, the masked one, and whether two rules differ by more than chance.

A confusion [C + 1, C] counts pixels; row = truth, column = prediction, the last row collects truths outside 0..C-1.
Confusions of images add up; functions that take one also take a stack of them [..., C + 1, C].
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

PROTOCOLS = ("published", "masked")


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
    prediction, truth = prediction.astype(np.int64).ravel(), truth.astype(np.int64).ravel()
    strange = prediction[(prediction < 0) | (prediction >= n_classes)]
    if strange.size:
        raise ValueError(
            f"prediction holds class id {strange[0]}; a class is in 0..{n_classes - 1}"
        )
    row = np.where((truth >= 0) & (truth < n_classes), truth, n_classes)
    counts = np.bincount(row * n_classes + prediction, minlength=(n_classes + 1) * n_classes)
    return counts.reshape(n_classes + 1, n_classes)


def iou(confusion, ignore_label=None, protocol="published"):
    """Intersection over union of every class, [..., C + 1, C] -> [..., C] in 0..1, nan where a class is not scored.

    Both leave out the class ignore_label (an id, or several). "published": pixels of ignored truth stay in the unions of
    what was predicted there, and a class absent from prediction and truth scores 0. "masked": those pixels are dropped,
    and then a class absent from both is not scored. ValueError for another protocol or shape.
    """
    areas, scored = _areas(confusion, ignore_label, protocol)
    return np.where(scored, _ratio(areas, protocol), np.nan)


def mean_iou(confusion, ignore_label=None, protocol="published"):
    """Mean of the scored classes' iou in percent: a float, or an array [...] for a stack; nan if no class is scored."""
    percent = _percent(iou(confusion, ignore_label, protocol))
    return percent if percent.ndim else float(percent)


def _areas(confusion, ignore_label, protocol):
    """Intersection and union of every class, float64 [..., 2, C], which add up over images, and which are scored, [C]."""
    counts = np.asarray(confusion)
    if counts.ndim < 2 or counts.shape[-2] != counts.shape[-1] + 1:
        raise ValueError(
            f"a confusion has the shape [..., classes + 1, classes], not {list(counts.shape)}"
        )
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    scored = ~np.isin(np.arange(counts.shape[-1]), [] if ignore_label is None else ignore_label)
    if protocol == "masked":
        counts = counts * np.append(scored, False)[:, None]
    intersection = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-2) + counts[..., :-1, :].sum(-1) - intersection
    return np.stack([intersection, union], -2).astype(np.float64), scored


def _ratio(areas, protocol):
    intersection, union = np.moveaxis(areas, -2, 0)
    return np.where((union > 0) | (protocol == "published"), intersection / (union + 1e-8), np.nan)


def _percent(scores):
    with np.errstate(invalid="ignore"):  # 0 / 0
        return 100 * np.nansum(scores, -1) / (~np.isnan(scores)).sum(-1)


def paired_bootstrap(a, b, ignore_label=None, protocol="published", resamples=10_000, seed=0):
    """Is rule a better than rule b? dict(difference, low, high): mIoU(a) - mIoU(b) in points and its 95 % interval.

    a, b: confusions [B, C + 1, C] of the same B images, or [S, B, C + 1, C] of S trainings: the mean of their differences.
    Images, and trainings, are drawn with replacement, the same for both, so what makes an image hard for both cancels.
    Percentiles are too narrow for few images or trainings: they are stretched as Student's t and sqrt(n / (n - 1)) stretch
    a normal interval (Hesterberg 2015), n by Satterthwaite. One image has no interval: nan. ValueError for other images.
    """
    a, b = _paired(a, b, ignore_label, protocol)
    rng, (seeds, images) = np.random.default_rng(seed), a.shape[:2]

    def difference(drawn):  # [R, B], how often each image was drawn -> [R, S]
        return np.subtract(
            *(
                _percent(_ratio(np.tensordot(drawn.astype(float), x, (1, 1)), protocol))
                for x in (a, b)
            )
        )

    whole = difference(np.ones((1, images)))[0]
    if images == 1:
        return {"difference": float(whole.mean()), "low": np.nan, "high": np.nan}
    each = difference(rng.multinomial(images, [1 / images] * images, resamples))
    draws = (each * rng.multinomial(seeds, [1 / seeds] * seeds, resamples) / seeds).sum(1)
    stretch = _stretch(each.mean(1).var(), images, whole.var() / seeds, seeds)
    low, high = whole.mean() + stretch * (np.quantile(draws, (0.025, 0.975)) - whole.mean())
    return {"difference": float(whole.mean()), "low": float(low), "high": float(high)}


def paired_permutation(a, b, ignore_label=None, protocol="published", permutations=10_000, seed=0):
    """Two-sided p-value, a float, of "it does not matter which rule is called a": a and b swap at random in every image.

    a, b as in paired_bootstrap; the trainings of an image swap together, so p speaks of other images, not of other
    trainings. p = (1 + permutations as far from zero as what was found) / (1 + permutations).
    """
    a, b = _paired(a, b, ignore_label, protocol)
    swap = (
        np.random.default_rng(seed).integers(2, size=(1 + permutations, a.shape[1])).astype(float)
    )
    swap[0] = 0  # what was found
    moved = np.tensordot(swap, b - a, (1, 1))  # (R, S, 2, C)
    first, second = (
        _percent(_ratio(areas, protocol)) for areas in (a.sum(1) + moved, b.sum(1) - moved)
    )
    size = np.abs((first - second).mean(1))
    return float((size >= size[0] - 1e-9).mean())  # 1e-9: equal but for rounding


def verdict(low, high):
    """Of the interval of a difference: "gain" if it lies above zero, "loss" if below, else "not resolved"."""
    return "gain" if low > 0 else "loss" if high < 0 else "not resolved"


def images_needed(low, high, n_images, effect=0.2):
    """How many images would shrink the interval (low, high) of n_images to +- effect points; a whole float, or nan.

    Widths go with 1 / sqrt(n). A true effect of just that size is then found half of the time; twice as many images
    find it in four of five.
    """
    return float(np.ceil(n_images * ((high - low) / 2 / effect) ** 2))


def _paired(a, b, ignore_label, protocol):
    """Areas [S, B, 2, scored classes] of the confusions of two rules on the same images."""
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim not in (3, 4) or a.shape != b.shape or 0 in a.shape:
        raise ValueError(
            f"a and b must be confusions [(seeds,) images, classes + 1, classes], not {a.shape} and {b.shape}"
        )
    a, b = a.reshape(-1, *a.shape[-3:]), b.reshape(-1, *b.shape[-3:])
    if (differs := (a.sum(-1) != b.sum(-1)).any((0, 2))).any():
        raise ValueError(
            f"image {differs.argmax()} has another truth in a than in b; the same images, in one order"
        )
    return [
        areas[..., scored] for areas, scored in (_areas(x, ignore_label, protocol) for x in (a, b))
    ]


def _stretch(image_variance, images, seed_variance, seeds):
    """By how much to stretch a percentile interval whose variance is the sum of these two, each of so many units."""
    shrunk, units = np.array([image_variance, seed_variance]), np.array([images, max(seeds, 2)])
    if not shrunk.any():
        return 1.0
    variance = shrunk * units / (units - 1)
    freedom = variance.sum() ** 2 / (variance**2 / (units - 1)).sum()
    return stdtrit(freedom, 0.975) / ndtri(0.975) * np.sqrt(variance.sum() / shrunk.sum())


def pairwise_disagreement(labels):
    """Share of the pixels on which two members differ, labels [N, *pixels], mean over the pairs; nan for one member."""
    pairs = [np.mean(x != y) for x, y in combinations(np.asarray(labels), 2)]
    return float(np.mean(pairs)) if pairs else np.nan


def changes(before, after, truth, n_classes):
    """What another vote changed: a frame of pixel counts, one row a true class (index "class"); frames of images add up.

    Columns: pixels; changed = repaired (wrong, now right) + broken (right, now wrong) + still_wrong (another wrong class).
    Pixels whose truth lies outside 0..C-1 are left out; drop the row of an ignored class.
    """
    before, after, truth = (np.asarray(x).ravel() for x in (before, after, truth))
    known, changed = (truth >= 0) & (truth < n_classes), before != after
    masks = {
        "pixels": known,
        "changed": changed,
        "repaired": changed & (after == truth),
        "broken": changed & (before == truth),
        "still_wrong": changed & (before != truth) & (after != truth),
    }
    counts = {
        name: np.bincount(truth[mask & known], minlength=n_classes) for name, mask in masks.items()
    }
    return pd.DataFrame(counts).rename_axis("class")
