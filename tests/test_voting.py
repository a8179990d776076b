"""The vote: worked by hand, against plain loops over one pixel, at its limits, and under
symmetries.
"""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from diffseg_utils import voting
from diffseg_utils.voting import (
    RULES,
    disagreement,
    entropy,
    entropy_weighted,
    entropy_weights,
    geometric_mean,
    image_uncertainty,
    majority,
    mean,
    most_certain,
    pool,
    sweep,
    vote,
)

LOG2 = math.log(2)
KS = st.sampled_from([0, 0.3, 1, 4, 50, 1e6, 1e300, math.inf])
property_test = settings(derandomize=True, deadline=None, max_examples=60)


@st.composite
def distributions(draw, dtype=torch.float32, least=0, members=4, classes=4, pixels=3):
    """probs [N, C, P] from small whole numbers: full of zeros, ties and equal members."""
    n, c, p = (draw(st.integers(1, top)) for top in (members, classes, pixels))
    draws = torch.Generator().manual_seed(
        draw(st.integers(0, 999))
    )  # one number drawn a case: ten times faster
    counts = torch.randint(least, 1 + draw(st.integers(1, 6)), (n, c, p), generator=draws).to(dtype)
    counts[:, 0] += counts.sum(1) == 0
    return counts / counts.sum(1, keepdim=True)


def members(*rows):
    """One pixel: each row is the distribution of one member, [N, C, 1]."""
    return torch.tensor(rows)[..., None]


# --- plain loops over one pixel, from the paper's equations --------------------------------------


def plain_entropy(q):
    return -sum(x * math.log(x) for x in q if x > 0)


def plain_weights(pixel, k):
    excess = [plain_entropy(q) for q in pixel]
    excess = [h - min(excess) for h in excess]
    scores = [
        math.exp(-k * h) if h > 1e-12 else 1.0 for h in excess
    ]  # 1e-12: equal but for rounding
    return [s / sum(scores) for s in scores]


def plain_pool(pixel, k=0, r=1, temperature=1):
    sharp = [[x ** (1 / temperature) for x in q] for q in pixel]
    sharp = [[x / sum(q) for x in q] for q in sharp]
    weights, columns = plain_weights(sharp, k), list(zip(*sharp))
    if r == 0:
        raw = [math.prod(x**w for w, x in zip(weights, column)) for column in columns]
    else:
        raw = [sum(w * x**r for w, x in zip(weights, column)) ** (1 / r) for column in columns]
    return [x / sum(raw) for x in raw]


def plain_first(values):
    return next(c for c, x in enumerate(values) if x == max(values))


def plain_majority(pixel):
    choices = [plain_first(q) for q in pixel]
    return [choices.count(c) / len(pixel) for c in range(len(pixel[0]))]


def each_pixel(function, probs):
    """function of the nested list [N][C] of every pixel, results stacked along the last
    dimension, float64.
    """
    pixels = [function(probs[..., p].tolist()) for p in range(probs.shape[-1])]
    return torch.tensor(pixels, dtype=torch.float64).movedim(0, -1)


def close(got, wanted, tolerance=2e-6):
    assert_close(
        got.double(), torch.as_tensor(wanted, dtype=torch.float64), atol=tolerance, rtol=tolerance
    )


# --- by hand -------------------------------------------------------------------------------------


def test_entropy_by_hand():
    h = entropy(members([0.5, 0.25, 0.25, 0], [0, 1, 0, 0], [0.25, 0.25, 0.25, 0.25]))
    close(h[:, 0], [1.5 * LOG2, 0, 2 * LOG2])
    assert h[1] == 0 and not h[1].signbit()  # exactly zero, and not printed as -0
    assert entropy(members([1.0000001, 0])) == 0


def test_entropy_weights_by_hand():
    certain_and_unsure = members(
        [1.0, 0], [0.5, 0.5]
    )  # H = 0 and log 2, so the weights are 1 : 2^-k
    close(entropy_weights(certain_and_unsure, 1)[:, 0], [2 / 3, 1 / 3])
    close(entropy_weights(certain_and_unsure, 2)[:, 0], [4 / 5, 1 / 5])
    close(entropy_weighted(certain_and_unsure)[:, 0], [5 / 6, 1 / 6])
    close(entropy_weighted(certain_and_unsure, 2)[:, 0], [9 / 10, 1 / 10])


def test_rules_by_hand():
    probs = members([0.9, 0.1], [0.5, 0.5])
    close(mean(probs)[:, 0], [0.7, 0.3])
    sixteenths = torch.arange(17) / 16
    assert mean(torch.stack([sixteenths, 1 - sixteenths])[None].repeat(2, 1, 1))[0].equal(
        sixteenths
    )  # no logarithms
    close(geometric_mean(probs)[:, 0], [3 / 4, 1 / 4])  # sqrt(.45) : sqrt(.05) = 3 : 1
    close(most_certain(probs)[:, 0], [0.9, 0.1])
    close(majority(members([0.9, 0.1], [0.4, 0.6], [0.3, 0.7]))[:, 0], [1 / 3, 2 / 3])


def test_pool_by_hand():
    close(pool(members([0.75, 0.25]), temperature=0.5)[:, 0], [9 / 10, 1 / 10])
    close(pool(members([0.9, 0.1]), temperature=2)[:, 0], [3 / 4, 1 / 4])
    root = math.sqrt(5)  # sqrt((.64 + .36) / 2) : sqrt((.04 + .16) / 2) = sqrt 5 : 1
    close(pool(members([0.8, 0.2], [0.6, 0.4]), r=2)[:, 0], [root / (1 + root), 1 / (1 + root)])
    # a zero under r = 1/2 does not veto: ((1 + sqrt .5) / 2)^2 : (sqrt .5 / 2)^2
    p = torch.tensor([(1 + math.sqrt(0.5)) ** 2, 0.5])
    close(pool(members([1.0, 0], [0.5, 0.5]), r=0.5)[:, 0], p / p.sum())
    # [.8 .2] sharpened to [16/17 1/17] before the weights: H = .2237 against log 2, so with k = 1
    # w = .6152 and .3848
    close(pool(members([0.8, 0.2], [0.5, 0.5]), k=1, temperature=0.5)[0], [0.77142], 1e-4)


def test_one_certain_member_outvotes_two_hesitant_ones_when_k_is_large():
    probs = members([0.35, 0.65], [0.35, 0.65], [0.75, 0.25])
    assert vote(probs, "majority") == 1
    assert vote(probs, "mean") == 1  # .483
    assert vote(probs, k=1) == vote(probs) == 1  # .491; k = 1 is the default
    assert vote(probs, k=5) == vote(probs, "most_certain") == 0  # .523
    assert sweep(probs, [0, 1, 5, math.inf]).tolist() == [[1], [1], [0], [0]]


def test_ties_go_to_the_lowest_id():
    assert majority(members([0.5, 0.5], [0, 1]))[:, 0].tolist() == [
        0.5,
        0.5,
    ]  # the first member's own tie
    for rule in RULES:
        assert vote(members([0.2, 0.4, 0.4], [0.2, 0.4, 0.4]), rule) == 1
        assert vote(members([0, 0, 1.0], [0, 1.0, 0]), rule) == 1  # one vote each
    # sizes at which a reduction is split over vector lanes; numpy promises the first index
    grid = torch.randint(1, 4, (3, 37, 129, 65), generator=torch.Generator().manual_seed(0)).float()
    firsts = np.argmax(grid.numpy(), 1)
    assert np.array_equal(np.stack([vote(q[None], "majority") for q in grid]), firsts)
    assert np.array_equal(np.stack([sweep(q[None], [0])[0] for q in grid]), firsts)
    assert torch.equal(
        vote(torch.full((3, 37, 129, 65), 1 / 37)), torch.zeros(129, 65, dtype=torch.int64)
    )


def test_labels_and_shapes():
    probs = torch.softmax(torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)), 1)
    assert entropy(probs).shape == entropy_weights(probs, 1).shape == (3, 5, 6)
    assert (
        sweep(probs, np.linspace(0, 2, 7)).shape == (7, 5, 6)
        and sweep(probs, [1]).dtype == torch.int64
    )
    assert disagreement(probs).shape == (5, 6) and isinstance(image_uncertainty(probs), float)
    assert list(RULES) == ["majority", "mean", "geometric_mean", "entropy_weighted", "most_certain"]
    for name, rule in RULES.items():
        assert rule(probs).shape == (4, 5, 6) and rule(probs).dtype == torch.float32
        assert vote(probs, name).shape == (5, 6) and vote(probs, name).dtype == torch.int64
        close(rule(probs[..., 0, 0]), rule(probs)[..., 0, 0])  # no pixel dimension at all
        assert rule(probs.double()).dtype == torch.float64
    assert [rule.name for rule in RULES.values()] == list(RULES)
    assert RULES["entropy_weighted"](probs, k=2.0).equal(entropy_weighted(probs, 2.0))
    assert vote(probs, pool, k=1, r=0).equal(
        pool(probs, k=1, r=0).argmax(0)
    )  # a function of the caller's choice


# --- against plain loops -------------------------------------------------------------------------


@property_test
@given(distributions(), st.sampled_from([0, 0.3, 1, 4, 50]))
def test_entropy_and_weights_equal_plain_loops(probs, k):
    close(entropy(probs), each_pixel(lambda pixel: [plain_entropy(q) for q in pixel], probs))
    close(entropy_weights(probs, k), each_pixel(lambda pixel: plain_weights(pixel, k), probs), 1e-4)


@property_test
@given(distributions(), st.sampled_from([0, 0.3, 1, 4]))
def test_rules_equal_plain_loops(probs, k):
    close(majority(probs), each_pixel(plain_majority, probs))
    close(mean(probs), each_pixel(plain_pool, probs))
    close(entropy_weighted(probs, k), each_pixel(lambda pixel: plain_pool(pixel, k), probs), 1e-5)


@property_test
@given(
    distributions(torch.float64, least=1),
    st.sampled_from([0, 0.3, 1, 4]),
    st.sampled_from(
        [0, 1e-5, 0.004, 0.006, 0.5, 1, 2, 30]
    ),  # both sides of the point where the formula changes
    st.sampled_from([0.1, 0.5, 1, 3, 1e6]),
)
def test_pool_equals_plain_loops(probs, k, r, temperature):
    wanted = each_pixel(lambda pixel: plain_pool(pixel, k, r, temperature), probs)
    close(pool(probs, k, r, temperature), wanted, 1e-8)
    close(pool(probs.float(), k, r, temperature), wanted, 2e-4)


@property_test
@given(distributions(least=1), st.lists(KS, min_size=1, max_size=4))
def test_sweep_is_vote_for_every_k(probs, ks):
    assert sweep(probs, ks).equal(torch.stack([vote(probs, k=k) for k in ks]))


@property_test
@given(distributions(torch.float64))
def test_disagreement_equals_plain_loops(probs):
    def divergence(pixel):
        return plain_entropy(plain_pool(pixel)) - sum(map(plain_entropy, pixel)) / len(pixel)

    close(disagreement(probs), each_pixel(divergence, probs), 1e-9)
    assert (disagreement(probs) <= math.log(len(probs)) + 1e-9).all()


def test_equal_members_disagree_by_nothing():
    q = torch.softmax(torch.randn(1, 7, 500, generator=torch.Generator().manual_seed(0)), 1)
    assert (
        disagreement(q.repeat(10, 1, 1)) >= 0
    ).all()  # H(mean) - mean H rounds to either side of zero
    close(disagreement(q.repeat(10, 1, 1)), torch.zeros(500))


def test_uncertainty_of_an_image_is_the_mean_of_its_most_disputed_tenth():
    # two certain members; in pixel j the second gives p_j to the other class: disagreement grows
    # with p_j
    p = torch.linspace(0, 1, 29)[torch.randperm(29, generator=torch.Generator().manual_seed(1))]
    probs = torch.stack([torch.stack([torch.ones(29), torch.zeros(29)]), torch.stack([1 - p, p])])
    top_two = [
        plain_entropy([1 - x / 2, x / 2]) - plain_entropy([1 - x, x]) / 2 for x in (1, 27 / 28)
    ]
    assert image_uncertainty(probs) == pytest.approx(sum(top_two) / 2, abs=1e-6)  # int(29 / 10) = 2
    assert image_uncertainty(probs[..., p > 0.8]) == pytest.approx(
        LOG2, abs=1e-6
    )  # of six pixels: one at least
    assert image_uncertainty(probs, top=1) == pytest.approx(
        disagreement(probs).mean().item(), abs=1e-6
    )


# --- limits --------------------------------------------------------------------------------------


@property_test
@given(distributions(members=12))
def test_k_zero_is_the_mean_to_the_last_bit(probs):
    # bits, so that labels at exact ties agree too; 12 members: 1/N is not a sum of powers of two
    assert entropy_weighted(probs, 0).equal(mean(probs)) and pool(probs).equal(mean(probs))
    assert sweep(probs, [0])[0].equal(vote(probs, "mean"))
    close(entropy_weights(probs, 0), torch.full_like(probs[:, 0], 1 / len(probs)))


@property_test
@given(distributions(), st.integers(0, 3))
def test_infinite_k_shares_equally_among_the_most_certain(probs, copied):
    probs = torch.cat(
        [probs, probs[copied % len(probs)][None]]
    )  # a member twice: a tie of entropies
    uncertainty = entropy(probs)
    best = (uncertainty == uncertainty.amin(0)).float()  # (N, P)
    close(most_certain(probs), ((best / best.sum(0))[:, None] * probs).sum(0))
    assert entropy_weighted(probs, math.inf).equal(most_certain(probs))


@pytest.mark.parametrize("k", [1e6, 1e38, 1e300, math.inf])
def test_large_k_is_the_most_certain(k):
    probs = members([0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1])
    close(entropy_weights(probs, k)[:, 0], [0, 1 / 3, 1 / 3, 1 / 3])
    close(entropy_weighted(probs, k)[:, 0], most_certain(probs)[:, 0])
    close(most_certain(probs)[:, 0], [0.1, 1.7 / 3, 1 / 3])
    close(most_certain(members([1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0]))[:, 0], [0.5, 0.5, 0])


def test_weights_keep_their_digits_for_large_k():
    h = entropy(members([0.30, 0.70], [0.3001, 0.6999], [0.5, 0.5]).double())[:, 0]
    wanted = torch.softmax(-1e4 * h, 0)
    close(
        entropy_weights(members([0.30, 0.70], [0.3001, 0.6999], [0.5, 0.5]), 1e4)[:, 0],
        wanted,
        1e-2,
    )


@property_test
@given(distributions(), KS)
def test_names_in_the_family(probs, k):
    assert pool(probs, k=k).equal(entropy_weighted(probs, k))
    assert pool(probs, r=0).equal(geometric_mean(probs))
    close(pool(probs, r=1 + 1e-6), mean(probs), 1e-4)  # from the other formula


@pytest.mark.parametrize("r", [1e-320, 1e-40, 1e-20, 1e-6, 1e-3])
def test_small_order_is_the_geometric_mean(r):
    probs = torch.softmax(3 * torch.randn(5, 6, 50, generator=torch.Generator().manual_seed(0)), 1)
    gap = (pool(probs, k=1, r=r) - pool(probs, k=1, r=0)).abs().max()
    assert gap < 1e-6 + 2 * r


@pytest.mark.parametrize("r", [1e7, 1e300, math.inf])
def test_large_order_is_the_maximum_over_members_that_count(r):
    probs = members([0.6, 0.3, 0.1], [0.2, 0.3, 0.5])
    close(pool(probs, r=r)[:, 0], [0.6 / 1.4, 0.3 / 1.4, 0.5 / 1.4])
    close(pool(probs, k=math.inf, r=r)[:, 0], [0.6, 0.3, 0.1])  # weight zero: no say


@pytest.mark.parametrize(
    "temperature, wanted", [(1e-320, [1, 0, 0]), (1e-3, [1, 0, 0]), (1e9, [0.5, 0.5, 0])]
)
def test_extreme_temperatures(temperature, wanted):
    close(pool(members([0.6, 0.4, 0]), temperature=temperature)[:, 0], wanted)


def test_a_zero_is_a_veto_in_the_geometric_mean():
    assert geometric_mean(members([0, 0.9, 0.1], [0.98, 0.01, 0.01]))[0] == 0
    one_of_many = torch.tensor([[0.98, 0.02]] * 63 + [[0.0, 1.0]])
    assert geometric_mean(one_of_many).tolist() == [0, 1]
    # nobody survives: the class with the fewest vetoes, and equally many share as their other
    # members say
    close(geometric_mean(members([1.0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]))[:, 0], [0, 1, 0])
    close(geometric_mean(members([1.0, 0, 0], [0, 1, 0]))[:, 0], [0.5, 0.5, 0])
    close(
        geometric_mean(members([0.8, 0.2, 0, 0], [0, 0, 0.5, 0.5]))[:, 0],
        torch.tensor([4, 1, 2.5, 2.5]).sqrt() / torch.tensor([4, 1, 2.5, 2.5]).sqrt().sum(),
        1e-3,
    )


@property_test
@given(distributions(members=1, least=1), KS)
def test_a_single_member_is_itself(probs, k):
    for got in (
        mean(probs),
        geometric_mean(probs),
        most_certain(probs),
        entropy_weighted(probs, k),
        pool(probs, k, 3),
    ):
        close(got, probs[0])
    assert (entropy_weights(probs, k) == 1).all() and (disagreement(probs) < 1e-6).all()


def test_a_single_class_is_certain():
    probs = torch.ones(3, 1, 4)
    for rule in RULES.values():
        assert rule(probs).tolist() == [[1.0] * 4] or torch.allclose(rule(probs), probs[0])
    assert (
        (entropy(probs) == 0).all() and (vote(probs) == 0).all() and image_uncertainty(probs) == 0
    )


# --- symmetries ----------------------------------------------------------------------------------

ANY = {
    **RULES,
    "sharp, k = 2": lambda probs: pool(probs, k=2, temperature=0.5),
    "flat, r = 3": lambda probs: pool(probs, r=3, temperature=2),
    "r = 1e-4": lambda probs: pool(probs, k=1, r=1e-4),
    "k = inf, r = 0": lambda probs: pool(probs, k=math.inf, r=0),
}


@pytest.mark.parametrize("rule", ANY.values(), ids=ANY)
@settings(property_test, max_examples=25)
@given(distributions(), st.randoms(use_true_random=False))
def test_every_rule_is_a_distribution_and_knows_no_order(rule, probs, random):
    before = probs.clone()
    p = rule(probs)
    close(p.sum(0), torch.ones(probs.shape[-1]))
    assert (p >= 0).all()
    close(rule(probs[:, :, :1]), p[:, :1])  # a band gives the band
    assert probs.equal(before)  # nothing is changed in place

    members = random.sample(range(len(probs)), len(probs))
    close(rule(probs[members]), p, 2e-4)

    # renaming classes renames the result; without ties inside a member or between entropies,
    # which order breaks
    classes = random.sample(range(probs.shape[1]), probs.shape[1])
    untied = torch.softmax(
        probs.double() + torch.arange(probs[:, :, 0].numel()).reshape(*probs.shape[:2], 1) / 97, 1
    )
    close(rule(untied[:, classes]), rule(untied)[classes], 1e-9)


@property_test
@given(distributions())
def test_weights_fall_with_entropy_and_sum_to_one(probs):
    uncertainty, weights = entropy(probs), entropy_weights(probs, 3)
    close(weights.sum(0), torch.ones(probs.shape[-1]))
    order = uncertainty.sort(0).indices
    assert (weights.gather(0, order).diff(dim=0) <= 1e-6).all()
    before = probs.clone()
    disagreement(probs), sweep(probs, [0, 1]), image_uncertainty(probs)
    assert probs.equal(before)


# --- errors --------------------------------------------------------------------------------------

PROBS = torch.full((2, 3, 4), 1 / 3)


@pytest.mark.parametrize("k", [-1, -1e-9, math.nan, -math.inf])
@pytest.mark.parametrize(
    "call",
    [
        entropy_weights,
        entropy_weighted,
        lambda p, k: vote(p, k=k),
        lambda p, k: sweep(p, [0, k]),
        lambda p, k: pool(p, k=k, r=0),
    ],
)
def test_bad_k(call, k):
    with pytest.raises(ValueError, match=re.escape(f"k must be a number >= 0, not {k}")):
        call(PROBS, k)


@pytest.mark.parametrize(
    "name, value, bounds",
    [
        ("r", -0.5, ">= 0"),
        ("r", math.nan, ">= 0"),
        ("temperature", 0, "> 0"),
        ("temperature", -1.0, "> 0"),
        ("temperature", math.nan, "> 0"),
    ],
)
def test_bad_numbers_of_the_pool(name, value, bounds):
    with pytest.raises(
        ValueError, match=re.escape(f"{name} must be a number {bounds}, not {value}")
    ):
        pool(PROBS, **{name: value})


@pytest.mark.parametrize("top", [0, -0.1, 1.5, math.nan])
def test_bad_top(top):
    with pytest.raises(
        ValueError, match=re.escape(f"top must be a number > 0 and <= 1, not {top}")
    ):
        image_uncertainty(PROBS, top)


@pytest.mark.parametrize(
    "probs",
    [
        torch.tensor(1.0),
        torch.ones(3),
        torch.ones(0, 3, 2),
        torch.ones(3, 0, 2),
        torch.ones(2, 1, 4, dtype=torch.int64),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        entropy,
        disagreement,
        image_uncertainty,
        *RULES.values(),
        pool,
        vote,
        lambda p: entropy_weights(p, 1),
        lambda p: sweep(p, [1]),
    ],
)
def test_bad_probs(call, probs):
    with pytest.raises(ValueError, match=re.escape(f"not {probs.dtype} {list(probs.shape)}")):
        call(probs)


def test_a_new_rule_is_a_function_with_a_name_and_a_label(monkeypatch):
    median = voting.Rule("median", "median of members", lambda probs, q=0.5: probs.quantile(q, 0))
    assert vote(PROBS, median).equal(PROBS.quantile(0.5, 0).argmax(0))
    monkeypatch.setitem(RULES, "median", median)
    assert vote(PROBS, "median", q=0.2).equal(PROBS.quantile(0.2, 0).argmax(0))
    with pytest.raises(ValueError, match="takes no k; it takes probs, q"):
        vote(PROBS, "median", k=1)


def test_bad_rules_and_keywords():
    with pytest.raises(
        ValueError, match=r"unknown rule 'mode'; choose from majority, mean, .*, most_certain$"
    ):
        vote(PROBS, "mode")
    with pytest.raises(ValueError, match=r"^rule majority takes no k; it takes probs$"):
        vote(PROBS, "majority", k=1)
    with pytest.raises(
        ValueError, match=r"^rule entropy_weighted takes no K, r; it takes probs, k$"
    ):
        vote(PROBS, r=0, K=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'k'"):
        voting.mean(PROBS, k=1)
