"""Scores from confusion matrices: the published mIoU, the masked one, and a paired bootstrap between two rules.

A confusion [C + 1, C] counts pixels; row = truth, column = prediction, the last row collects truths outside 0..C-1.
Confusions of images add up; functions that take one also take a stack of them [..., C + 1, C].
"""

import numpy as np

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
        raise ValueError(f"prediction holds class id {strange[0]}; a class is in 0..{n_classes - 1}")
    row = np.where((truth >= 0) & (truth < n_classes), truth, n_classes)
    counts = np.bincount(row * n_classes + prediction, minlength=(n_classes + 1) * n_classes)
    return counts.reshape(n_classes + 1, n_classes)


def iou(confusion, ignore_label=None, protocol="published"):
    """Intersection over union of every class, [..., C + 1, C] -> [..., C] in 0..1, nan where a class is not scored.

    Both leave out the class ignore_label. "published": pixels of ignored truth stay in the unions of what was predicted
    there, and a class absent from prediction and truth scores 0. "masked": those pixels are dropped, and then a class
    absent from both is not scored. ValueError for another protocol or shape.
    """
    counts = np.asarray(confusion)
    if counts.ndim < 2 or counts.shape[-2] != counts.shape[-1] + 1:
        raise ValueError(f"a confusion has the shape [..., classes + 1, classes], not {list(counts.shape)}")
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    n_classes = counts.shape[-1]
    scored = np.arange(n_classes) != ignore_label
    if protocol == "masked":
        counts = counts * np.append(scored, False)[:, None]
    intersection = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-2) + counts[..., :n_classes, :].sum(-1) - intersection
    scored = scored & ((union > 0) | (protocol == "published"))
    return np.where(scored, intersection / (union + 1e-8), np.nan)


def mean_iou(confusion, ignore_label=None, protocol="published"):
    """Mean of the scored classes' iou in percent: a float, or an array [...] for a stack; nan if no class is scored."""
    scores = iou(confusion, ignore_label, protocol)
    scored = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):  # 0 / 0
        percent = 100 * np.nansum(scores, -1) / scored.sum(-1)
    return percent if percent.ndim else float(percent)


def pixel_accuracy(confusion, ignore_label=None):
    """Percent right of the pixels with a truth (in 0..C-1 and not ignore_label); nan where no pixel has one."""
    counts = np.asarray(confusion)[..., :-1, :]
    counts = counts * (np.arange(counts.shape[-1]) != ignore_label)[:, None]
    with np.errstate(invalid="ignore"):
        percent = 100 * np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))
    return percent if percent.ndim else float(percent)


def paired_bootstrap(a, b, ignore_label=None, protocol="published", resamples=10_000, seed=0):
    """Is rule a better than rule b? dict(difference, low, high): mIoU(a) - mIoU(b) in points and its 95 % interval.

    a, b: confusions [B, C + 1, C] of the same B images. Images are drawn with replacement, the same for both, so what
    makes an image hard for both cancels. ValueError if the images are not the same.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 3 or a.shape != b.shape or not len(a):
        raise ValueError(f"a and b must be confusions [images, classes + 1, classes], not {a.shape} and {b.shape}")
    if (differs := (a.sum(-1) != b.sum(-1)).any(-1)).any():
        raise ValueError(f"image {differs.argmax()} has another truth in a than in b; the same images, in one order")

    a, b = a.astype(np.float64), b.astype(np.float64)  # a fast matrix product, exact up to 2^53 pixels

    def difference(counts):  # [R, B], how often each image was drawn -> [R]
        return np.subtract(*(mean_iou(np.tensordot(counts, x, 1), ignore_label, protocol) for x in (a, b)))

    rng, images, chunk = np.random.default_rng(seed), len(a), 1 + 2**22 // a[0].size  # 32 MB of confusions at a time
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    draws = [difference(rng.multinomial(images, [1 / images] * images, size)) for size in sizes]
    low, high = np.quantile(np.concatenate(draws), (0.025, 0.975))
    return {"difference": float(difference(np.ones((1, images)))[0]), "low": float(low), "high": float(high)}
