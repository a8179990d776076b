"""Scores from confusion matrices: the published mIoU, the masked one, and other measures.

A confusion [C + 1, C] counts pixels: row = truth, column = prediction. The last row collects truths
outside 0..C-1. Confusions of several images add up. Functions that take a confusion also take a
stack of them, [..., C + 1, C], also as labelled arrays. Shapes: C classes, N members.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from .presets import PADDING, choose

PROTOCOLS = ("published", "masked")

# ---- counting -----------------------------------------------------------------------------------


def confusion(prediction, truth, n_classes):
    """Counts int64 [C + 1, C] of two integer tensors or arrays of one shape.

    Pixels whose truth is PADDING lie beside the image and are not counted.
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
    if n_classes <= PADDING:
        inside = truth != PADDING
        prediction, truth = prediction[inside], truth[inside]
    outside = prediction[(prediction < 0) | (prediction >= n_classes)]
    if outside.size:
        raise ValueError(
            f"prediction holds class id {outside[0]}; a class is in 0..{n_classes - 1}"
        )
    row = np.where((truth >= 0) & (truth < n_classes), truth, n_classes)
    cell = row * n_classes + prediction
    counts = np.bincount(cell, minlength=(n_classes + 1) * n_classes)
    return counts.reshape(n_classes + 1, n_classes)


def is_scored(truth, n_classes, ignore_label=None):
    """Where a truth, an integer array of any shape, is a class that is scored: bool, same shape."""
    inside = (truth >= 0) & (truth < n_classes)
    return inside if ignore_label is None else inside & (truth != ignore_label)


def changes(before, after, truth, n_classes):
    """What another vote changed: a frame of pixel counts, one row per true class (index "class").

    Columns: pixels, changed, repaired (wrong before, right after), broken (right before, wrong
    after), still_wrong (another wrong class). The last three add up to changed. Frames of several
    images add up. Pixels whose truth lies outside 0..C-1 are left out; drop the row of an ignored
    class yourself.
    """
    before, after, truth = (np.asarray(labels).ravel() for labels in (before, after, truth))
    known = is_scored(truth, n_classes)
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


# ---- measures -----------------------------------------------------------------------------------

# Every measure is made of the areas of all classes: float64 [3, ..., C] with the pixels that are
# right, predicted and true. Areas add up over images. They are nan for a class that is not scored.
# What a class without a pixel is worth, the measure decides: in mIoU it is 0 under "published", and
# left out under "masked".


def areas_of(confusion, ignore_label=None, protocol="published"):
    """The areas [3, ..., C] of a confusion [..., C + 1, C]: right, predicted, true.

    ignore_label: an id or several, which are not scored. "masked": pixels whose truth is ignored or
    no class are dropped. ValueError for another protocol or shape.
    """
    counts = np.asarray(confusion)
    if counts.ndim < 2 or counts.shape[-2] != counts.shape[-1] + 1:
        raise ValueError(
            f"a confusion has the shape [..., classes + 1, classes], not {list(counts.shape)}"
        )
    choose("protocol", protocol, dict.fromkeys(PROTOCOLS))
    classes = np.arange(counts.shape[-1])
    scored = ~np.isin(classes, [] if ignore_label is None else ignore_label)  # (C,)
    if protocol == "masked":
        kept_rows = np.append(scored, False)  # (C + 1,)
        counts = counts * kept_rows[:, None]
    right = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., C)
    predicted = counts.sum(-2)  # (..., C)
    true = counts[..., :-1, :].sum(-1)  # (..., C)
    return np.where(scored, np.stack([right, predicted, true]), np.nan)


def iou_of_areas(areas, protocol):
    """Intersection over union [..., C]; nan where "masked" finds no pixel of a class."""
    right, predicted, true = areas
    union = predicted + true - right
    scores = right / (union + 1e-8)
    if protocol == "published":
        return scores
    return np.where(union > 0, scores, np.nan)


def mean_iou_of_areas(areas, protocol):
    """The mean of the intersection over union of all scored classes: [...]."""
    return mean_of_scored(iou_of_areas(areas, protocol))


def accuracy_of_areas(areas, protocol):
    """The share of pixels that are right, [...]; those of ignored truth are left out.

    The same in both protocols.
    """
    right, _, true = np.nansum(areas, -1)
    with np.errstate(invalid="ignore"):  # 0 / 0 if no pixel is counted
        return right / true


def mean_of_scored(scores):
    """The mean over the last axis, without the classes that are nan."""
    n_scored = (~np.isnan(scores)).sum(-1)
    with np.errstate(invalid="ignore"):  # 0 / 0 if no class is scored
        return np.nansum(scores, -1) / n_scored


@dataclass(frozen=True)
class Measure:
    """A measure with its name in files and its label in tables.

    Calling it returns the measure of confusions; `of_areas` takes areas [3, ..., C] and a protocol.
    """

    name: str
    label: str
    of_areas: Callable

    def __call__(self, confusion, ignore_label=None, protocol="published"):
        """In 0..1: a float, or [...] for a stack of confusions; nan if nothing is scored."""
        found = self.of_areas(areas_of(confusion, ignore_label, protocol), protocol)
        return found if found.ndim else float(found)


# The one table of measures: a new measure is a function above and a row here.
MEASURES = {
    measure.name: measure
    for measure in (
        Measure("miou", "mIoU", mean_iou_of_areas),
        Measure("accuracy", "pixel accuracy", accuracy_of_areas),
    )
}


def iou(confusion, ignore_label=None, protocol="published"):
    """Intersection over union of every class: [..., C + 1, C] -> [..., C] in 0..1.

    nan for a class that is not scored. ignore_label: an id or several; both protocols leave these
    classes out. "published": pixels of ignored truth stay in the unions of the classes predicted
    there, and a class absent from prediction and truth scores 0. "masked": these pixels are
    dropped, and a class absent from both is not scored. ValueError for another protocol or shape.
    """
    return iou_of_areas(areas_of(confusion, ignore_label, protocol), protocol)


def mean_iou(confusion, ignore_label=None, protocol="published"):
    """Mean of iou over the scored classes, in 0..1: a float, or [...] for a stack.

    nan if no class is scored.
    """
    return MEASURES["miou"](confusion, ignore_label, protocol)
