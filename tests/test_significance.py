"""The verdict must not lie: simulated pairs of rules with a known difference.

Few images, rare classes.
"""

from itertools import product

import numpy as np
import pytest

from diffseg_utils.evaluation.significance import paired_bootstrap, paired_permutation, verdict
from diffseg_utils.metrics import mean_iou

C = 6
OFTEN = np.array(
    [1, 1, 1, 0.8, 0.4, 0.15]
)  # share of the images that hold a class: the last one is in 3 of 20


def rules(rng, n_images, gain=0.0, n_seeds=1, seed_spread=0.0):
    """Confusions [S, B, C + 1, C] of a and b.

    Of each class's pixels in an image, a and b get the same share right but for noise of the image
    and of the training; gain moves a for good.
    """
    shape = (n_seeds, n_images, C)
    size = (rng.random(shape[1:]) < OFTEN) * rng.integers(20, 400, shape[1:])
    ability = rng.uniform(0.4, 0.9, shape[1:])
    effect = 0.03 * rng.normal(size=(1, n_images, 1)) + 0.03 * rng.normal(size=shape)
    effect += seed_spread * rng.normal(size=(n_seeds, 1, 1))
    return [
        _confusions(rng.binomial(size, np.clip(ability + sign * (effect + gain) / 2, 0, 1)), size)
        for sign in (1, -1)
    ]


def _confusions(right, size):
    counts = np.zeros((*right.shape[:2], C + 1, C), int)
    here, after = np.arange(C), (np.arange(C) + 1) % C
    counts[..., here, here] = right
    counts[..., here, after] = size - right
    return counts


def resolved(test, n_images, n_sets=200, **kw):
    rng = np.random.default_rng(0)
    return sum(test(*rules(rng, n_images, **kw)) for _ in range(n_sets)) / n_sets


def by_bootstrap(a, b):
    found = paired_bootstrap(a, b, resamples=800)
    return verdict(found["low"], found["high"]) != "not resolved"


def by_permutation(a, b):
    return paired_permutation(a, b, permutations=799) < 0.05


@pytest.mark.parametrize("n_images", [10, 20, 40])
@pytest.mark.parametrize("test", [by_bootstrap, by_permutation])
def test_equal_rules_are_seldom_resolved(test, n_images):
    # 5 % by construction; 200 sets show more than 8 % in 2 of 100 cases
    # plain percentiles, not stretched: 10.5 % at 10 images, 8.5 % at 20
    assert resolved(test, n_images) <= 0.08


def test_equal_rules_are_seldom_resolved_across_trainings():
    # one rule may win in every image of one training; five trainings, and a verdict about others
    assert resolved(by_bootstrap, 20, n_seeds=5, seed_spread=0.03) <= 0.08
    # the test against false alarms works: the images of a single such training alone do not speak
    # of other trainings
    assert resolved(by_bootstrap, 20, seed_spread=0.03) > 0.2


@pytest.mark.parametrize("test", [by_bootstrap, by_permutation])
def test_a_planted_gain_is_found(test):
    assert resolved(test, 40, gain=0.03, n_sets=50) > 0.9


def test_a_planted_gain_has_the_right_sign_and_is_covered():
    rng = np.random.default_rng(1)
    wide = paired_bootstrap(*rules(rng, 20_000, gain=0.02), resamples=10)[
        "difference"
    ]  # as good as the truth
    found = [paired_bootstrap(*rules(rng, 20, gain=0.02), resamples=800) for _ in range(200)]
    assert 0.9 <= np.mean([x["low"] <= wide <= x["high"] for x in found]) <= 0.99
    assert np.mean([x["difference"] for x in found]) == pytest.approx(wide, abs=0.15)
    assert not any(verdict(x["low"], x["high"]) == "loss" for x in found)


def test_the_p_value_is_that_of_all_swaps():
    a, b = rules(np.random.default_rng(3), 6, gain=0.03)
    a, b = a[0], b[0]  # (B, C + 1, C)
    sizes = []
    for swapped in product((False, True), repeat=len(a)):
        swapped = np.array(swapped)[:, None, None]
        first, second = np.where(swapped, b, a), np.where(swapped, a, b)
        sizes.append(abs(mean_iou(first.sum(0)) - mean_iou(second.sum(0))))
    exact = np.mean(np.array(sizes) >= sizes[0] - 1e-11)  # sizes[0]: nothing is swapped
    assert 0.05 < exact < 0.95
    assert paired_permutation(a, b) == pytest.approx(exact, abs=0.02)
