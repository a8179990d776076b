"""Scores from confusion matrices: the published mIoU and the masked one.

A confusion [C + 1, C] counts pixels: row = truth, column = prediction. The last row collects truths
outside 0..C-1. Confusions of several images add up. Functions that take a confusion also take a
stack of them, [..., C + 1, C], also as labelled arrays. Shapes: C classes, N members.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from .presets import PADDING

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
    areas, scored = areas_of(confusion, ignore_label, protocol)
    return np.where(scored, ratio(areas, protocol), np.nan)


def mean_iou(confusion, ignore_label=None, protocol="published"):
    """Mean of iou over the scored classes, in 0..1: a float, or [...] for a stack.

    nan if no class is scored.
    """
    mean = mean_of_scored(iou(confusion, ignore_label, protocol))
    return mean if mean.ndim else float(mean)


def areas_of(confusion, ignore_label, protocol):
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


def ratio(areas, protocol):
    """Intersection over union [..., C] of areas [..., 2, C]; nan where "masked" scores nothing."""
    intersection, union = areas[..., 0, :], areas[..., 1, :]
    scores = intersection / (union + 1e-8)
    if protocol == "published":
        return scores
    return np.where(union > 0, scores, np.nan)


def mean_of_scored(scores):
    """The mean over the last axis, without the classes that are nan."""
    n_scored = (~np.isnan(scores)).sum(-1)
    with np.errstate(invalid="ignore"):  # 0 / 0 if no class is scored
        return np.nansum(scores, -1) / n_scored
