"""Is one rule better than another? Intervals, p-values and a verdict for differences of mIoU.

Shapes: B images, C classes, S trainings (seeds), R resamples.
"""

import numpy as np
from scipy.special import ndtri, stdtrit

from ..metrics import MEASURES, areas_of, mean_iou_of_areas
from ..presets import choose


def paired_bootstrap(
    a,
    b,
    ignore_label=None,
    protocol="published",
    resamples=10_000,
    seed=0,
    measure="miou",
):
    """Is rule a better than rule b? dict(difference, low, high) in points of a measure.

    difference: mIoU(a) - mIoU(b), or that of another name in metrics.MEASURES; low, high: its 95 %
    interval. a, b: confusions [B, C + 1, C] of the same B images, or [S, B, C + 1, C] of S
    trainings, whose differences are averaged. ignore_label: a class id, several in a list, or None.

    Images, and trainings, are drawn with replacement, the same ones for a and b, so what makes an
    image hard for both cancels. Percentiles are too narrow for few images or trainings. They are
    stretched as Student's t and sqrt(n / (n - 1)) stretch a normal interval (Hesterberg 2015), with
    degrees of freedom by Satterthwaite. One image has no interval: nan. ValueError for confusions
    of different images.
    """
    measure = choose("measure", measure, MEASURES)
    a, b = _paired_areas(a, b, ignore_label, protocol)  # (3, S, B, C) each
    n_seeds, n_images = a.shape[1:3]
    rng = np.random.default_rng(seed)

    def percent(draws, areas):
        """The measure in percent [R, S] of images drawn `draws` [R, B] times."""
        drawn = np.tensordot(draws, areas, (1, 2))  # (R, 3, S, C)
        return 100 * measure.of_areas(np.moveaxis(drawn, 1, 0), protocol)

    def difference_of(draws):
        """The measure of a minus that of b, [R, S]."""
        draws = draws.astype(float)
        return percent(draws, a) - percent(draws, b)

    every_image_once = np.ones((1, n_images))
    by_seed = difference_of(every_image_once)[0]  # (S,)
    difference = by_seed.mean()
    if n_images == 1:
        return {"difference": float(difference), "low": np.nan, "high": np.nan}

    image_draws = rng.multinomial(n_images, [1 / n_images] * n_images, resamples)  # (R, B)
    resampled = difference_of(image_draws)  # (R, S)
    seed_draws = rng.multinomial(n_seeds, [1 / n_seeds] * n_seeds, resamples)  # (R, S)
    differences = (resampled * seed_draws / n_seeds).sum(1)  # (R,)

    image_variance = resampled.mean(1).var()
    seed_variance = by_seed.var() / n_seeds
    stretch = _stretch(image_variance, n_images, seed_variance, n_seeds)
    percentiles = np.quantile(differences, (0.025, 0.975))
    low, high = difference + stretch * (percentiles - difference)
    return {"difference": float(difference), "low": float(low), "high": float(high)}


def _stretch(image_variance, n_images, seed_variance, n_seeds):
    """The factor by which a percentile interval is too narrow.

    Its variance is the sum of two: one over n_images images, one over n_seeds trainings.
    """
    shrunk = np.array([image_variance, seed_variance])
    units = np.array([n_images, max(n_seeds, 2)])  # the variance of a single training is 0
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
    a, b = _paired_areas(a, b, ignore_label, protocol)  # (3, S, B, C) each
    rng = np.random.default_rng(seed)
    swaps = rng.integers(2, size=(1 + permutations, a.shape[2])).astype(float)  # (R, B)
    swaps[0] = 0  # the observed difference
    moved = np.tensordot(swaps, b - a, (1, 2))  # (R, 3, S, C)
    moved = np.moveaxis(moved, 1, 0)  # (3, R, S, C)
    miou_a = 100 * mean_iou_of_areas(a.sum(2)[:, None] + moved, protocol)  # (R, S)
    miou_b = 100 * mean_iou_of_areas(b.sum(2)[:, None] - moved, protocol)
    size = np.abs((miou_a - miou_b).mean(1))  # (R,)
    as_large = size >= size[0] - 1e-9  # differences that are equal up to rounding count
    return float(as_large.mean())


def _paired_areas(a, b, ignore_label, protocol):
    """[areas of a, areas of b], each [3, S, B, scored classes]; ValueError for other images."""
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
        areas = areas_of(counts, ignore_label, protocol)  # (3, S, B, C)
        scored = ~np.isnan(areas).any((0, 1, 2))  # (C,)
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


# ---- comparisons of scores ----------------------------------------------------------------------


def compare(scores, new, old, split="test", protocol="published", measure="miou"):
    """Is rule `new` better than rule `old`? A dict of points of mIoU, over all images and seeds.

    difference, low, high: as in paired_bootstrap; verdict: gain, loss or not resolved; n_images,
    n_seeds. scores: Scores; `scores.first(images, seeds)` holds fewer of them. measure: a name in
    metrics.MEASURES. ValueError for a rule without counts.
    """
    of_rule = [scores.confusions(rule, split) for rule in (new, old)]  # (S, B, C + 1, C) each
    return compare_confusions(*of_rule, scores.ignore_label, protocol, measure)


def compare_confusions(new, old, ignore_label=None, protocol="published", measure="miou"):
    """The same of confusions [B, C + 1, C] or [S, B, C + 1, C] of the same images."""
    gain = paired_bootstrap(new, old, ignore_label, protocol, measure=measure)
    *trainings, n_images, _, _ = np.shape(new)
    return {
        **gain,
        "verdict": verdict(gain["low"], gain["high"]),
        "n_images": n_images,
        "n_seeds": int(np.prod(trainings)),
    }
