"""Are the edges better? Boundary IoU, bands around true boundaries, how ragged a label map is.

Label maps are [H, W].
"""

import numpy as np
from scipy import ndimage

from ..metrics import confusion, is_scored


def boundary_confusion(prediction, truth, n_classes, ignore_label=None, distance=0.02):
    """Confusion [C + 2, C + 1] of boundary regions: boundary IoU, Cheng et al. 2021, eq. (1).

    A class's boundary region: its pixels within distance (a share of the diagonal, rounded, at
    least one pixel; in steps to eight neighbours) of another class or of the outside. Pixels in no
    region get the new id C, and those whose truth is ignored are left out. The score of summed
    confusions is mean_iou(sum, (ignore_label, C)), protocol "published" (a class without any region
    scores 0); paired_bootstrap takes them too.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    width = max(1, round(distance * np.hypot(*truth.shape)))
    known = is_scored(truth, n_classes, ignore_label)
    regions = [np.where(_near_edge(x, width), x, n_classes)[known] for x in (prediction, truth)]
    return confusion(*regions, n_classes + 1)


def _near_edge(label, width):
    """What `width` erosions take away.

    Not all (2 width + 1)^2 pixels around are of one class and inside the image.
    """
    window = {"size": 2 * width + 1, "mode": "constant", "cval": -1}
    label = label.astype(np.int64)
    return ndimage.minimum_filter(label, **window) != ndimage.maximum_filter(label, **window)


def trimap(truth, widths):
    """Bands around true boundaries, bool [len(widths), H, W].

    The nearest pixel beside an edge is less than width away. So width 1 holds the pixels on both
    sides of an edge, inf all; none if truth has no edge.
    """
    truth = np.asarray(truth)
    beside = np.zeros(truth.shape, bool)
    for side in (np.s_[1:], np.s_[:-1]):
        beside[side] |= truth[1:] != truth[:-1]
        beside[:, side] |= truth[:, 1:] != truth[:, :-1]
    away = ndimage.distance_transform_edt(~beside) if beside.any() else np.full(truth.shape, np.inf)
    return np.stack([away < width for width in widths])


def boundary_length(label):
    """Number of pairs of 4-neighbours with different labels."""
    return sum(
        int(np.count_nonzero(np.diff(np.asarray(label).astype(np.int64), axis=axis)))
        for axis in (0, 1)
    )


def fragments(label):
    """Number of 4-connected components, over all classes."""
    label = np.asarray(label)
    return sum(ndimage.label(label == c)[1] for c in np.unique(label))
