"""Boundaries: masks drawn and counted by hand, and regions by plain erosion of every class."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from diffseg_utils.evaluation.boundaries import (
    boundary_confusion,
    boundary_length,
    fragments,
    trimap,
)
from diffseg_utils.evaluation.significance import paired_bootstrap
from diffseg_utils.metrics import iou, mean_iou


def drawn(*rows):
    return np.array([[int(c) if c.isdigit() else 255 for c in row] for row in rows])


SQUARE = drawn(
    "000000000", "011111110", "011111110", "011111110", "011111110", "011111110", "000000000"
)


@st.composite
def label_maps(draw):
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    rows, columns, zoom = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    return [
        np.kron(rng.choice(ids, (rows, columns)), np.ones((zoom, zoom), int))
        for ids in ([0, 1, 2], [0, 1, 2, 255])
    ]


def region(label, c, width):
    """Pixels of class c that `width` erosions by a 3 x 3 square take away.

    So the published code of boundary IoU does it.
    """
    mask = label == c
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)


def test_boundary_iou_by_hand():
    # diagonal 11.4, 2 % of it is 0.2: one pixel. The square's region is its rim, 2 * 7 + 2 * 3 = 20
    # pixels; one column to the right, 7 x 5 again: both rims have the two long rows, 6 + 6, in
    # common, and no column: columns 1, 7 and 2, 8
    moved = np.roll(SQUARE, 1, axis=1)
    counts = boundary_confusion(moved, SQUARE, 2)
    assert counts.shape == (4, 3)
    assert iou(counts, 2)[1] == pytest.approx(12 / 28)
    assert mean_iou(boundary_confusion(SQUARE, SQUARE, 2), 2) == pytest.approx(1)


def test_interiors_do_not_count():
    # a hole of one pixel in the middle changes the region of class 1 by its eight neighbours, and
    # class 0 by itself
    holed = SQUARE.copy()
    holed[3, 4] = 0
    counts = boundary_confusion(holed, SQUARE, 2)
    assert iou(counts, 2) == pytest.approx([28 / 29, 20 / 28, np.nan], nan_ok=True)


def test_ignored_truth_is_left_out():
    # the whole left half is ignored: 255, and class 0 where it is the ignored id
    truth = SQUARE.copy()
    truth[:, :4] = 255
    assert boundary_confusion(SQUARE, truth, 2).sum() == 7 * 5
    assert boundary_confusion(SQUARE, SQUARE, 2, ignore_label=0).sum() == 7 * 5
    assert mean_iou(boundary_confusion(SQUARE, SQUARE, 2, ignore_label=0), (0, 2)) == pytest.approx(
        1
    )


@settings(derandomize=True, deadline=None, max_examples=60)
@given(label_maps(), st.sampled_from([0.02, 0.1, 0.3]))
def test_boundary_iou_equals_plain_erosion(maps, distance):
    prediction, truth = maps
    width, known = max(1, round(distance * np.hypot(*truth.shape))), truth < 255
    regions = [
        (region(prediction, c, width) & known, region(truth, c, width) & known) for c in range(3)
    ]
    wanted = [(p & t).sum() / max((p | t).sum(), 1) for p, t in regions]
    counts = boundary_confusion(torch.tensor(prediction), truth.astype(np.uint8), 3, 255, distance)
    assert iou(counts, (255, 3))[:3] == pytest.approx(wanted)


def test_boundary_confusions_bootstrap():
    truth = [np.roll(SQUARE, i, axis=0) for i in range(12)]
    shifted = [boundary_confusion(np.roll(x, 1, axis=1), x, 2) for x in truth]
    exact = [boundary_confusion(x, x, 2) for x in truth]
    assert paired_bootstrap(exact, shifted, (None, 2))["low"] > 30


def test_trimap_by_hand():
    label = drawn("00001111") * np.ones((3, 1), int)
    masks = trimap(torch.tensor(label), [1, 2, np.inf])
    assert masks.dtype == bool and masks.shape == (3, 3, 8)
    assert masks[:, 1].astype(int).tolist() == [
        [0, 0, 0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [1] * 8,
    ]
    assert (trimap(label.T, [2])[0] == masks[1].T).all()
    # beside the edge: (0, 0), (0, 1), (1, 0); one step away three more; diagonally two more; (2, 2)
    # is sqrt 5 away
    assert trimap(drawn("100", "000", "000"), [1, 1.2, 1.5]).sum((1, 2)).tolist() == [3, 6, 8]


def test_no_edge_no_band():
    assert not trimap(np.zeros((3, 4), int), [1, 5, 1e9]).any()


def test_boundary_length_and_fragments_by_hand():
    assert boundary_length(SQUARE) == 2 * (7 + 5)
    assert fragments(SQUARE) == 2
    ragged = drawn(
        "0110",
        "1001",  # ones touch only at corners, zeros only in the middle row
        "2222",
    )
    # 2 + 2 pairs across columns; all four columns change from the first row to the second, and to
    # the third
    assert boundary_length(ragged.astype(np.uint8)) == 4 + 4 + 4
    assert fragments(torch.tensor(ragged)) == 7
    assert (
        boundary_length(drawn("07")) == 1
        and fragments(drawn("7")) == 1
        and boundary_length(drawn("7")) == 0
    )


def test_steps_of_unsigned_ids_are_counted():
    assert boundary_length(np.array([[0, 255, 0]], np.uint8)) == 2
    assert boundary_length(np.array([[False, True]])) == 1
