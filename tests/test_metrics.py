"""Scores: worked by hand, and against plain loops over pixels, as in the published procedure."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffseg_utils.evaluation.significance import (
    images_needed,
    paired_bootstrap,
    paired_permutation,
    verdict,
)
from diffseg_utils.metrics import (
    MEASURES,
    changes,
    confusion,
    iou,
    is_scored,
    mean_iou,
    pairwise_disagreement,
)
from diffseg_utils.presets import PADDING

property_test = settings(derandomize=True, deadline=None, max_examples=80)
IGNORE = st.sampled_from([None, 0, 1, 255, -1])


@st.composite
def images(draw, n_images=1):
    """(prediction, truth, n_classes): [B, P] each; some classes absent, some truths 255, -1 or
    another stray id.
    """
    n_classes, shape = draw(st.integers(1, 5)), (n_images, draw(st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    present = rng.choice(n_classes, draw(st.integers(1, n_classes)), replace=False)
    truths = [*present, *[255, -1, 77][: draw(st.integers(0, 3))]]
    return rng.choice(present, shape), rng.choice(truths, shape), n_classes


def plain_ious(prediction, truth, n_classes, ignore, protocol):
    """{class: IoU} of the scored classes, one pixel and one class at a time. "published" as that
    code goes about it.
    """
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


# --- confusion -----------------------------------------------------------------------------------


def test_confusion_by_hand():
    assert HAND.dtype == np.int64
    assert HAND.tolist() == [
        [1, 0, 0],
        [1, 1, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]  # row = truth; the last row: 255


@pytest.mark.parametrize(
    "convert", [np.uint8, np.int32, np.int64, torch.uint8, torch.int32, torch.int64]
)
def test_confusion_of_any_integer_type(convert):
    # 33 * 34 + 33 does not fit into uint8
    prediction, truth = [33, 33, 0, 33], [33, 0, 33, 255]
    if isinstance(convert, torch.dtype):
        counts = confusion(
            torch.tensor(prediction, dtype=convert), torch.tensor(truth, dtype=convert), 34
        )
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
        with pytest.raises(
            ValueError, match=rf"prediction holds class id {strange}; a class is in 0\.\.1$"
        ):
            confusion([0, strange], [0, 1], 2)
    with pytest.raises(ValueError, match="truth must hold integer class ids, not float64"):
        confusion([0, 1], [0.0, math.nan], 2)
    with pytest.raises(ValueError, match="prediction must hold integer class ids, not float32"):
        confusion(torch.zeros(2), torch.zeros(2, dtype=torch.int64), 2)


# --- intersection over union ---------------------------------------------------------------------


def test_published_by_hand():
    # class 1: I = 1; its union has the two true pixels and the one predicted where the truth is
    # ignored
    assert iou(HAND, 255) == pytest.approx([1 / 2, 1 / 3, 0])  # class 2 is nowhere and scores 0
    assert mean_iou(HAND, 255) == pytest.approx((1 / 2 + 1 / 3) / 3)
    assert type(mean_iou(HAND, 255)) is float
    assert iou(HAND, 0)[1:] == pytest.approx([1 / 3, 0]) and math.isnan(
        iou(HAND, 0)[0]
    )  # the divisor loses a class
    assert mean_iou(HAND, 0) == pytest.approx(1 / 6)


def test_several_classes_can_be_ignored():
    assert iou(HAND, (0, 2)) == pytest.approx([math.nan, 1 / 3, math.nan], nan_ok=True)
    assert iou(HAND, (None, 2)) == pytest.approx([1 / 2, 1 / 3, math.nan], nan_ok=True)


def test_masked_by_hand():
    assert iou(HAND, 255, "masked") == pytest.approx([1 / 2, 1 / 2, math.nan], nan_ok=True)
    assert mean_iou(HAND, 255, "masked") == pytest.approx(1 / 2)
    assert iou(HAND, 1, "masked") == pytest.approx([1, math.nan, math.nan], nan_ok=True)


def test_an_ignored_class_inside_the_ids_still_adds_to_unions_as_published():
    # as bedroom_28 ignores its background 0: truth 0 taken for 1, and truth 1 taken for 0
    counts = confusion([1, 1, 0], [0, 1, 1], 2)
    assert mean_iou(counts, 0) == pytest.approx(1 / 3)
    assert mean_iou(counts, 0, "masked") == pytest.approx(
        1 / 2
    )  # a true pixel that was missed counts under both


@pytest.mark.parametrize("protocol", ["published", "masked"])
@property_test
@given(images(), IGNORE)
def test_iou_equals_plain_loops(protocol, case, ignore):
    prediction, truth, n = case
    counts, wanted = confusion(prediction, truth, n), plain_ious(*case, ignore, protocol)
    assert iou(counts, ignore, protocol) == pytest.approx(
        [wanted.get(c, math.nan) for c in range(n)], nan_ok=True
    )
    average = sum(wanted.values()) / len(wanted) if wanted else math.nan
    assert mean_iou(counts, ignore, protocol) == pytest.approx(average, nan_ok=True)


@property_test
@given(images(n_images=4), IGNORE, st.sampled_from(["published", "masked"]))
def test_a_stack_of_confusions_scores_as_one_by_one(case, ignore, protocol):
    stack = np.stack([confusion(p, t, case[2]) for p, t in zip(*case[:2])]).reshape(
        2, 2, case[2] + 1, case[2]
    )
    before = stack.copy()
    for function in (iou, mean_iou, *MEASURES.values()):
        wanted = [[function(image, ignore, protocol) for image in row] for row in stack]
        found = function(stack, ignore, protocol)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        np.testing.assert_array_equal(function(torch.tensor(stack), ignore, protocol), found)
    assert np.array_equal(stack, before)


def test_pixel_accuracy_by_hand():
    accuracy = MEASURES["accuracy"]
    assert accuracy(HAND, 255) == pytest.approx(2 / 3), "the fourth pixel is ignored"
    assert accuracy(HAND, 0) == pytest.approx(1 / 2), "the first one, too"
    assert type(accuracy(HAND)) is float
    assert math.isnan(accuracy(confusion([0, 1], [255, 255], 2))), "no pixel is counted"


@pytest.mark.parametrize("protocol", ["published", "masked"])
@property_test
@given(images(), IGNORE)
def test_pixel_accuracy_is_the_share_of_counted_pixels(protocol, case, ignore):
    prediction, truth, n = case
    counted = (truth >= 0) & (truth < n) & ~np.isin(truth, [] if ignore is None else ignore)
    wanted = (prediction == truth)[counted].mean() if counted.any() else math.nan
    found = MEASURES["accuracy"](confusion(prediction, truth, n), ignore, protocol)
    assert found == pytest.approx(wanted, nan_ok=True)


def test_perfect_predictions():
    counts = confusion(np.arange(5), np.arange(5), 5)
    assert [
        mean_iou(counts),
        mean_iou(counts, 3),
        mean_iou(counts, None, "masked"),
    ] == pytest.approx([1] * 3)


def test_nothing_to_score_is_nan():
    assert math.isnan(mean_iou(confusion([0, 0], [0, 0], 1), 0))
    nothing = confusion([0, 1], [255, 255], 2)
    assert math.isnan(mean_iou(nothing, 255, "masked"))
    assert mean_iou(nothing, 255) == 0


def test_errors_of_iou():
    for function in (iou, mean_iou):
        with pytest.raises(
            ValueError, match="unknown protocol 'strict'; choose from published, masked"
        ):
            function(HAND, 255, "strict")
        with pytest.raises(
            ValueError, match=re.escape("shape [..., classes + 1, classes], not [3, 3]")
        ):
            function(HAND[:3])
        with pytest.raises(ValueError, match=re.escape("not [3]")):
            function(HAND[0])


# --- bootstrap -----------------------------------------------------------------------------------


def two_rules(n_images, n_classes=3, seed=0):
    """Confusions of two rules on the same images, the first one right more often; some truths are
    ignored.
    """
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(n_classes), 255], (n_images, 40))
    guess = [rng.integers(n_classes, size=truth.shape) for _ in range(2)]
    right = [(rng.random(truth.shape) < often) & (truth < 255) for often in (0.8, 0.6)]
    return [
        np.stack([confusion(p, t, n_classes) for p, t in zip(np.where(r, truth, g), truth)])
        for r, g in zip(right, guess)
    ]


def percent(*args):
    return 100 * mean_iou(*args)


@pytest.mark.parametrize("protocol, ignore", [("published", 255), ("masked", 0)])
def test_bootstrap_of_two_images_by_hand(protocol, ignore):
    a, b = two_rules(2)
    gap = lambda i, j: (
        percent(a[i] + a[j], ignore, protocol) - percent(b[i] + b[j], ignore, protocol)
    )
    # the resamples are 00, 01, 10, 11: a quarter of them on either side, so the 95 % percentiles
    # are the two extremes. Two images: Student's t with one degree of freedom, 12.706 in place of
    # 1.960, and sqrt(2 / 1)
    whole, stretch = gap(0, 1), 12.7062 / 1.95996 * math.sqrt(2)
    found = paired_bootstrap(a, b, ignore, protocol)
    assert found["difference"] == pytest.approx(whole)
    assert found["low"] == pytest.approx(
        whole + stretch * (min(gap(0, 0), gap(1, 1), whole) - whole), rel=1e-4
    )
    assert found["high"] == pytest.approx(
        whole + stretch * (max(gap(0, 0), gap(1, 1), whole) - whole), rel=1e-4
    )


def test_bootstrap_of_three_images_equals_all_27_resamples():
    a, b = two_rules(3)
    every = [
        percent(a[list(i)].sum(0), 255) - percent(b[list(i)].sum(0), 255)
        for i in itertools.product(range(3), repeat=3)
    ]
    found, whole = paired_bootstrap(a, b, 255), percent(a.sum(0), 255) - percent(b.sum(0), 255)
    # the extremes come up in at least 1 of 27 resamples, more than the 2.5 % outside; t of two
    # degrees of freedom: 4.303
    wanted = [
        whole + 4.30265 / 1.95996 * math.sqrt(3 / 2) * (edge(every) - whole) for edge in (min, max)
    ]
    assert [found["low"], found["high"]] == pytest.approx(wanted, rel=1e-4)


def test_one_image_has_no_interval():
    found = paired_bootstrap(*two_rules(1), 255)
    assert found["difference"] > 0 and math.isnan(found["low"]) and math.isnan(found["high"])
    assert verdict(found["low"], found["high"]) == "not resolved" and math.isnan(
        images_needed(found["low"], found["high"], 1)
    )


def test_bootstrap_of_many_images_is_near_the_normal_interval():
    a, b = two_rules(100)
    found = paired_bootstrap(a, b, 255)
    # all classes are common here, so a mean over images is nearly normal: the jackknife gives its
    # standard error
    left = [percent(a.sum(0) - x, 255) - percent(b.sum(0) - y, 255) for x, y in zip(a, b)]
    error = math.sqrt(99 / 100 * sum((d - sum(left) / 100) ** 2 for d in left))
    assert found["low"] == pytest.approx(found["difference"] - 1.984 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(found["difference"] + 1.984 * error, abs=0.1 * error)


def test_bootstrap_is_paired():
    a, _ = two_rules(10)
    assert paired_bootstrap(a, a) == {"difference": 0, "low": 0, "high": 0}
    # images of unlike difficulty, and b misses one pixel more in each: unpaired draws would swing
    # by many points
    easy_to_hard = np.array([[[90 - 5 * i, 10 + 5 * i], [0, 100], [0, 0]] for i in range(10)])
    worse = easy_to_hard + np.array([[-1, 1], [0, 0], [0, 0]])
    found = paired_bootstrap(easy_to_hard, worse)
    assert 0 < found["low"] < found["difference"] < found["high"] < 2
    assert paired_bootstrap(worse, easy_to_hard)["high"] == pytest.approx(-found["low"])


def test_the_random_seed_decides():
    few = [paired_bootstrap(*two_rules(12), 255, resamples=5, seed=seed) for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


def test_trainings_are_resampled_too():
    alone = two_rules(20)
    same = [np.stack([x] * 4) for x in alone]
    # four copies of one training: no spread between trainings, so the interval is that of the
    # images
    assert paired_bootstrap(*same, 255) == pytest.approx(paired_bootstrap(*alone, 255), abs=1e-9)

    def level(points):  # every image the same, [S, B, 3, 2]: IoU of class 0 is 50 % + points
        counts = np.zeros((len(points), 20, 3, 2), int)
        counts[..., 0, 0] = 50 + np.array(points)[:, None]
        counts[..., 0, 1] = 50 - np.array(points)[:, None]
        return counts

    found = paired_bootstrap(level([1, 3]), level([0, 0]))
    # class 1 is only predicted, IoU 0: half a point of mIoU a pixel. Two trainings differ, images
    # do not: their four resamples have the extremes 0.5 and 1.5, stretched as two images are
    assert found["difference"] == pytest.approx(1)
    assert [found["low"], found["high"]] == pytest.approx(
        [1 - 0.5 * 9.1682, 1 + 0.5 * 9.1682], rel=1e-4
    )


def test_permutation_of_four_images_equals_all_16():
    a, b = two_rules(4, seed=5)
    swap = np.array(list(itertools.product([0, 1], repeat=4)))[:, :, None, None]
    gaps = percent(np.where(swap, b, a).sum(1), 255) - percent(np.where(swap, a, b).sum(1), 255)
    exact = np.mean(abs(gaps) >= abs(gaps[0]) - 1e-9)
    assert 2 / 16 <= exact < 1
    assert paired_permutation(a, b, 255) == pytest.approx(
        exact, abs=0.015
    )  # 3 standard errors of 10,000 draws
    assert paired_permutation(b, a, 255) == paired_permutation(a, b, 255)
    assert paired_permutation(np.stack([a, a]), np.stack([b, b]), 255) == paired_permutation(
        a, b, 255
    )


def test_permutation_never_reaches_zero():
    a, b = two_rules(40)
    assert paired_permutation(a, b, 255, permutations=999) == 1 / 1000
    assert paired_permutation(a, a, 255) == 1


def test_verdict_and_images_needed():
    assert [verdict(*x) for x in ((0.1, 0.3), (-0.3, -0.1), (-0.1, 0.1), (0, 0.2), (-0.2, 0))] == [
        "gain",
        "loss",
        "not resolved",
        "not resolved",
        "not resolved",
    ]
    assert images_needed(-0.4, 0.4, 20) == 80  # half the width, four times the images
    assert images_needed(0.1, 0.3, 100) == 25
    assert images_needed(-1, 1, 20, effect=0.5) == 80


def test_errors_of_the_paired_tests():
    a, b = two_rules(3)
    shape = re.escape("a and b must be confusions [(seeds,) images, classes + 1, classes], not ")
    for compare in (paired_bootstrap, paired_permutation):
        for x, y in ((a[0], b[0]), (a, b[:2]), (a[:0], b[:0])):
            with pytest.raises(ValueError, match=shape):
                compare(x, y)
        with pytest.raises(ValueError, match="image 1 has another truth in a than in b"):
            compare(a, b[[0, 2, 1]])
        with pytest.raises(ValueError, match="unknown protocol 'strict'"):
            compare(a, b, protocol="strict")


# --- diversity and change ------------------------------------------------------------------------


def test_pairwise_disagreement_by_hand():
    members = [
        [[0, 0], [1, 1]],
        [[0, 0], [1, 2]],
        [[0, 3], [1, 2]],
    ]  # pairs differ on 1, 2 and 1 of 4 pixels
    assert pairwise_disagreement(members) == pytest.approx((1 + 2 + 1) / 3 / 4)
    assert pairwise_disagreement(torch.tensor(members)[:2]) == 1 / 4
    assert math.isnan(pairwise_disagreement(members[:1]))


def test_changes_by_hand():
    truth = [[0, 0, 0, 1, 1, 2, 255]]
    before = [[0, 1, 1, 1, 1, 0, 0]]
    after = [[0, 0, 2, 1, 0, 0, 1]]
    found = changes(before, after, torch.tensor(truth), 3)
    assert found.columns.tolist() == ["pixels", "changed", "repaired", "broken", "still_wrong"]
    assert found.index.name == "class"
    assert found.to_numpy().tolist() == [[3, 2, 1, 0, 1], [2, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    back = changes(after, before, truth, 3)
    assert (back["repaired"] == found["broken"]).all() and (
        back["still_wrong"] == found["still_wrong"]
    ).all()


@property_test
@given(images(n_images=3))
def test_repaired_less_broken_is_the_gain_in_right_pixels(case):
    prediction, truth, n = case
    found = changes(prediction[0], prediction[1], truth[2], n)
    assert (found["changed"] == found[["repaired", "broken", "still_wrong"]].sum(axis=1)).all()
    right = [np.diagonal(confusion(p, truth[2], n)) for p in prediction[:2]]
    assert ((found["repaired"] - found["broken"]).to_numpy() == right[1] - right[0]).all()


def test_only_a_class_that_is_not_ignored_is_scored():
    truth = np.array([-1, 0, 1, 2, 3, PADDING, 255])
    assert is_scored(truth, 3).tolist() == [False, True, True, True, False, False, False]
    assert is_scored(truth, 3, 1).tolist() == [False, True, False, True, False, False, False]
