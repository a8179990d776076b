"""Scores: worked by hand, and against the published procedure written with plain loops over pixels."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffseg_utils.metrics import confusion, iou, mean_iou, paired_bootstrap, pixel_accuracy

property_test = settings(derandomize=True, deadline=None, max_examples=80)
IGNORE = st.sampled_from([None, 0, 1, 255, -1])


@st.composite
def images(draw, n_images=1):
    """(prediction, truth, n_classes): [B, P] each; some classes absent, some truths 255, -1 or another stray id."""
    n_classes, shape = draw(st.integers(1, 5)), (n_images, draw(st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    present = rng.choice(n_classes, draw(st.integers(1, n_classes)), replace=False)
    truths = [*present, *[255, -1, 77][: draw(st.integers(0, 3))]]
    return rng.choice(present, shape), rng.choice(truths, shape), n_classes


def plain_ious(prediction, truth, n_classes, ignore, protocol):
    """{class: IoU} of the scored classes, one pixel and one class at a time. "published" as that code goes about it."""
    pixels = [(int(p), int(t)) for p, t in zip(np.ravel(prediction), np.ravel(truth))]
    if protocol == "masked":
        pixels = [(p, t) for p, t in pixels if t in range(n_classes) and t != ignore]
    scores = {}
    for c in range(n_classes):
        union = sum(p == c or t == c for p, t in pixels)
        if c != ignore and (union or protocol == "published"):
            scores[c] = sum(p == c and t == c for p, t in pixels) / (union + 1e-8)
    return scores


#   prediction  0 0    truth  0   1      of three classes, the last one nowhere
#               1 1           1 255
HAND = confusion([[0, 0], [1, 1]], [[0, 1], [1, 255]], 3)


# --- confusion --------------------------------------------------------------------------------------------------------


def test_confusion_by_hand():
    assert HAND.dtype == np.int64
    assert HAND.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]]  # row = truth; the last row: 255


@pytest.mark.parametrize("convert", [np.uint8, np.int32, np.int64, torch.uint8, torch.int32, torch.int64])
def test_confusion_of_any_integer_type(convert):
    # 33 * 34 + 33 does not fit into uint8
    prediction, truth = [33, 33, 0, 33], [33, 0, 33, 255]
    if isinstance(convert, torch.dtype):
        counts = confusion(torch.tensor(prediction, dtype=convert), torch.tensor(truth, dtype=convert), 34)
    else:
        counts = confusion(np.array(prediction, convert), np.array(truth, convert), 34)
    assert counts.shape == (35, 34) and counts.sum() == 4
    assert counts[33, 33] == counts[0, 33] == counts[33, 0] == counts[34, 33] == 1


@property_test
@given(images(n_images=3))
def test_confusion_equals_a_loop_and_adds_up(case):
    prediction, truth, n = case
    wanted = np.zeros((n + 1, n), int)
    for p, t in zip(prediction.flat, truth.flat):
        wanted[t if 0 <= t < n else n, p] += 1
    assert np.array_equal(confusion(prediction, truth, n), wanted)
    assert np.array_equal(sum(confusion(p, t, n) for p, t in zip(prediction, truth)), wanted)


def test_errors_of_confusion():
    with pytest.raises(ValueError, match=r"prediction \(2,\) and truth \(2, 1\) differ in shape"):
        confusion([0, 1], [[0], [1]], 2)
    for strange in (2, -1, 255):
        with pytest.raises(ValueError, match=rf"prediction holds class id {strange}; a class is in 0\.\.1$"):
            confusion([0, strange], [0, 1], 2)
    with pytest.raises(ValueError, match="truth must hold integer class ids, not float64"):
        confusion([0, 1], [0.0, math.nan], 2)
    with pytest.raises(ValueError, match="prediction must hold integer class ids, not float32"):
        confusion(torch.zeros(2), torch.zeros(2, dtype=torch.int64), 2)


# --- intersection over union ------------------------------------------------------------------------------------------


def test_published_by_hand():
    # class 1: I = 1; its union has the two true pixels and the one predicted where the truth is ignored
    assert iou(HAND, 255) == pytest.approx([1 / 2, 1 / 3, 0])  # class 2 is nowhere and scores 0
    assert mean_iou(HAND, 255) == pytest.approx(100 * (1 / 2 + 1 / 3) / 3)
    assert type(mean_iou(HAND, 255)) is type(pixel_accuracy(HAND)) is float
    assert iou(HAND, 0)[1:] == pytest.approx([1 / 3, 0]) and math.isnan(iou(HAND, 0)[0])  # the divisor loses a class
    assert mean_iou(HAND, 0) == pytest.approx(100 / 6)


def test_masked_by_hand():
    assert iou(HAND, 255, "masked") == pytest.approx([1 / 2, 1 / 2, math.nan], nan_ok=True)
    assert mean_iou(HAND, 255, "masked") == pytest.approx(50)
    assert iou(HAND, 1, "masked") == pytest.approx([1, math.nan, math.nan], nan_ok=True)


def test_an_ignored_class_inside_the_ids_still_adds_to_unions_as_published():
    # as bedroom_28 ignores its background 0: truth 0 taken for 1, and truth 1 taken for 0
    counts = confusion([1, 1, 0], [0, 1, 1], 2)
    assert mean_iou(counts, 0) == pytest.approx(100 / 3)
    assert mean_iou(counts, 0, "masked") == pytest.approx(100 / 2)  # a true pixel that was missed counts under both


@pytest.mark.parametrize("protocol", ["published", "masked"])
@property_test
@given(images(), IGNORE)
def test_iou_equals_plain_loops(protocol, case, ignore):
    prediction, truth, n = case
    counts, wanted = confusion(prediction, truth, n), plain_ious(*case, ignore, protocol)
    assert iou(counts, ignore, protocol) == pytest.approx([wanted.get(c, math.nan) for c in range(n)], nan_ok=True)
    average = 100 * sum(wanted.values()) / len(wanted) if wanted else math.nan
    assert mean_iou(counts, ignore, protocol) == pytest.approx(average, nan_ok=True)


@property_test
@given(images(n_images=4), IGNORE, st.sampled_from(["published", "masked"]))
def test_a_stack_of_confusions_scores_as_one_by_one(case, ignore, protocol):
    stack = np.stack([confusion(p, t, case[2]) for p, t in zip(*case[:2])]).reshape(2, 2, case[2] + 1, case[2])
    before = stack.copy()
    for function in (lambda x: iou(x, ignore, protocol), lambda x: mean_iou(x, ignore, protocol),
                     lambda x: pixel_accuracy(x, ignore)):
        wanted = [[function(image) for image in row] for row in stack]
        np.testing.assert_allclose(function(stack), wanted, rtol=1e-12)
        np.testing.assert_allclose(function(torch.tensor(stack)), wanted, rtol=1e-12)
    assert np.array_equal(stack, before)


def test_perfect_predictions():
    counts = confusion(np.arange(5), np.arange(5), 5)
    assert [mean_iou(counts), mean_iou(counts, 3), mean_iou(counts, None, "masked")] == pytest.approx([100] * 3)
    assert pixel_accuracy(counts) == 100


def test_nothing_to_score_is_nan():
    assert math.isnan(mean_iou(confusion([0, 0], [0, 0], 1), 0))
    nothing = confusion([0, 1], [255, 255], 2)
    assert math.isnan(mean_iou(nothing, 255, "masked")) and math.isnan(pixel_accuracy(nothing))
    assert mean_iou(nothing, 255) == 0


def test_pixel_accuracy_by_hand():
    assert pixel_accuracy(HAND, 255) == pytest.approx(200 / 3)  # two of the three pixels with a truth
    assert pixel_accuracy(HAND, 0) == pytest.approx(50)


def test_errors_of_iou():
    for function in (iou, mean_iou):
        with pytest.raises(ValueError, match="unknown protocol 'strict'; choose from published, masked"):
            function(HAND, 255, "strict")
        with pytest.raises(ValueError, match=re.escape("shape [..., classes + 1, classes], not [3, 3]")):
            function(HAND[:3])
        with pytest.raises(ValueError, match=re.escape("not [3]")):
            function(HAND[0])


# --- bootstrap --------------------------------------------------------------------------------------------------------


def two_rules(n_images, n_classes=3, seed=0):
    """Confusions of two rules on the same images, the first one right more often; some truths are ignored."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(n_classes), 255], (n_images, 40))
    guess = [rng.integers(n_classes, size=truth.shape) for _ in range(2)]
    right = [(rng.random(truth.shape) < often) & (truth < 255) for often in (0.8, 0.6)]
    return [np.stack([confusion(p, t, n_classes) for p, t in zip(np.where(r, truth, g), truth)])
            for r, g in zip(right, guess)]


@pytest.mark.parametrize("protocol, ignore", [("published", 255), ("masked", 0)])
def test_bootstrap_of_three_images_equals_all_27_resamples(protocol, ignore):
    a, b = two_rules(3)
    every = [mean_iou(a[list(i)].sum(0), ignore, protocol) - mean_iou(b[list(i)].sum(0), ignore, protocol)
             for i in itertools.product(range(3), repeat=3)]
    found = paired_bootstrap(a, b, ignore, protocol)
    # the extremes come up in at least 1 of 27 resamples, more than the 2.5 % outside the interval
    assert found == pytest.approx({
        "difference": mean_iou(a.sum(0), ignore, protocol) - mean_iou(b.sum(0), ignore, protocol),
        "low": min(every), "high": max(every),
    })


def test_bootstrap_of_many_images_is_near_the_normal_interval():
    a, b = two_rules(100)
    found = paired_bootstrap(a, b, 255)
    # all classes are common here, so a mean over images is nearly normal: the jackknife gives its standard error
    left = [mean_iou(a.sum(0) - x, 255) - mean_iou(b.sum(0) - y, 255) for x, y in zip(a, b)]
    error = math.sqrt(99 / 100 * sum((d - sum(left) / 100) ** 2 for d in left))
    assert found["low"] == pytest.approx(found["difference"] - 1.96 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(found["difference"] + 1.96 * error, abs=0.1 * error)


def test_bootstrap_is_paired():
    a, _ = two_rules(10)
    assert paired_bootstrap(a, a) == {"difference": 0, "low": 0, "high": 0}
    # images of unlike difficulty, and b misses one pixel more in each: unpaired draws would swing by many points
    easy_to_hard = np.array([[[90 - 5 * i, 10 + 5 * i], [0, 100], [0, 0]] for i in range(10)])
    worse = easy_to_hard + np.array([[-1, 1], [0, 0], [0, 0]])
    found = paired_bootstrap(easy_to_hard, worse)
    assert 0 < found["low"] < found["difference"] < found["high"] < 2
    assert paired_bootstrap(worse, easy_to_hard)["high"] == pytest.approx(-found["low"])


def test_bootstrap_in_chunks_and_seeds():
    a, b = two_rules(12, n_classes=34)  # 4,000 resamples of 35 x 34 numbers: two chunks
    counts = np.random.default_rng(3).multinomial(12, [1 / 12] * 12, 4000)
    points = [mean_iou(np.einsum("rb,bij->rij", counts, x), 255) for x in (a, b)]
    found = paired_bootstrap(a, b, 255, resamples=4000, seed=3)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(points[0] - points[1], [0.025, 0.975]).tolist())
    few = [paired_bootstrap(a, b, 255, resamples=5, seed=seed) for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


def test_errors_of_bootstrap():
    a, b = two_rules(3)
    for x, y in ((a[0], b[0]), (a, b[:2]), (a[:0], b[:0])):
        with pytest.raises(ValueError, match=r"a and b must be confusions \[images, classes \+ 1, classes\], not "):
            paired_bootstrap(x, y)
    with pytest.raises(ValueError, match="image 1 has another truth in a than in b"):
        paired_bootstrap(a, b[[0, 2, 1]])
    with pytest.raises(ValueError, match="unknown protocol 'strict'"):
        paired_bootstrap(a, b, protocol="strict")
