"""How N classifiers agree on one label: the entropy-weighted vote and the rules beside it.

Equations (1) to (4) are those of the paper. probs [N, C, *pixels] holds one class distribution per
member and pixel. Every rule returns one distribution [C, *pixels], which sums to one over C. All
functions are pure. Pixels are independent, so a band of rows gives that band of the result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

import torch

# ---- equations (1) and (3) ----------------------------------------------------------------------


def entropy(probs):
    """(1) H_i = -sum_c q_ic log q_ic, the uncertainty of each member: [N, *pixels] in nats.

    0 log 0 counts as 0. ValueError if probs is not [N, C, *pixels].
    """
    _check(probs)
    # One member at a time, so that no temporary is as large as probs.
    negative = torch.stack([(q * _log(q)).sum(0) for q in probs])  # (N, *pixels)
    # A probability that was rounded up to 1.0000001 must not give a negative entropy.
    return negative.clamp_(max=0).abs_()


def entropy_weights(probs, k):
    """(3) w_i = exp(-k H_i) / sum_j exp(-k H_j), [N, *pixels]: how much each member counts.

    The weights sum to one over the members. ValueError unless k >= 0.
    """
    return weights_from(entropy(probs), k)


# ---- equation (2): the rules --------------------------------------------------------------------


def majority(probs):
    """The share of members that choose each class: the published vote.

    A member whose best classes are tied chooses the one with the lowest id.
    """
    _check(probs)
    choices = torch.stack([_first(q) for q in probs])  # (N, *pixels)
    return shares(choices, probs.shape[1], probs.dtype)


def shares(choices, n_classes, dtype=torch.float32):
    """The share of members that choose each class [C, *pixels], of their choices [N, *pixels]."""
    votes = torch.ones_like(choices, dtype=dtype)  # (N, *pixels)
    counts = votes.new_zeros(n_classes, *choices.shape[1:])  # (C, *pixels)
    return counts.scatter_add_(0, choices, votes) / len(choices)


def mean(probs):
    """The arithmetic mean of the members, also called the soft vote: (2) with k = 0."""
    return pool(probs)


def geometric_mean(probs):
    """The geometric mean of the members, renormalised; it is the mean of log q.

    A class to which any member gives probability 0 cannot win, unless every class is in that
    position. Then the class with the fewest zeros wins.
    """
    return pool(probs, r=0.0)


def most_certain(probs):
    """The member with the lowest entropy: (2) with k = infinity.

    Members that are equally certain are averaged.
    """
    return pool(probs, k=torch.inf)


def entropy_weighted(probs, k=1.0):
    """(2) p_c = sum_i w_i q_ic with the weights of (3): the rule of the paper.

    k = 0 is the mean, k = infinity is most_certain. ValueError unless k >= 0.
    """
    return pool(probs, k=k)


def pool(probs, k=0.0, r=1.0, temperature=1.0):
    """The family that contains every rule except the majority: [N, C, *pixels] -> [C, *pixels].

    1. Every member is sharpened: q^(1 / temperature), renormalised over C.
    2. Every member is weighted by the entropy of its sharpened q, as in (3).
    3. The members are joined by the weighted power mean (sum_i w_i q_i^r)^(1 / r), renormalised
       over C. r = 1 is the arithmetic mean, r = 0 the geometric mean, r = infinity the maximum.

    ValueError unless k >= 0, r >= 0 and temperature > 0.
    """
    _check(probs)
    _check_number("r", r, r >= 0)
    _check_number("temperature", temperature, temperature > 0, "> 0")
    if temperature != 1:
        probs = _sharpen(probs, temperature)
    if k == 0:
        weights = probs.new_full(probs.shape[:1], 1 / len(probs))  # (N,)
    else:
        weights = entropy_weights(probs, k)  # (N, *pixels)
    if r == 1:
        return weighted_sum(weights, probs)  # already sums to one
    return torch.softmax(_log_power_mean(weights, probs, r), 0)


@dataclass(frozen=True)
class Rule:
    """A rule with its name in files and its label in tables and figures.

    Calling it returns its distribution; `vote` returns the labels.
    """

    name: str
    label: str
    function: Callable

    def __call__(self, probs, **kw):
        """The distribution [C, *pixels] of `function`."""
        return self.function(probs, **kw)


# The one table of rules: a new rule is a function above and a row here.
RULES = {
    rule.name: rule
    for rule in (
        Rule("majority", "majority", majority),
        Rule("mean", "mean", mean),
        Rule("geometric_mean", "geometric mean", geometric_mean),
        Rule("entropy_weighted", "entropy-weighted", entropy_weighted),
        Rule("most_certain", "most certain", most_certain),
    )
}


# ---- equation (4): the label --------------------------------------------------------------------


def vote(probs, rule="entropy_weighted", **kw):
    """(4) argmax_c p_c: int64 labels [*pixels]; ties go to the lowest class id.

    rule: a name in RULES, or any function like them, such as `pool`. The other keywords go to the
    rule. ValueError for an unknown rule or keyword.
    """
    if not callable(rule):
        if rule not in RULES:
            raise ValueError(f"unknown rule {rule!r}; choose from {', '.join(RULES)}")
        rule = RULES[rule]
    _check_keywords(rule, kw)
    return _first(rule(probs, **kw))


def sweep(probs, ks):
    """vote(probs, k=k) for each of `ks`: int64 labels [K, *pixels]. ValueError unless k >= 0."""
    share, winner = majority(probs).max(0)  # (*pixels), (*pixels)
    labels = winner.expand(len(ks), *winner.shape).clone()  # (K, *pixels)
    # Where all members choose the same class, no weights can change the winner.
    disputed = share < 1  # (*pixels)
    probs = probs[:, :, disputed]  # (N, C, P)
    uncertainty = entropy(probs)  # (N, P)
    for row, k in zip(labels, ks):
        weights = weights_from(uncertainty, float(k))  # (N, P)
        row[disputed] = _first(weighted_sum(weights, probs))
    return labels


# ---- how far the members differ -----------------------------------------------------------------


def disagreement(probs):
    """The Jensen-Shannon divergence of the members, H(mean) - mean H: [*pixels] in nats, >= 0."""
    of_mean = entropy(mean(probs)[None])[0]  # (*pixels)
    mean_of = entropy(probs).mean(0)  # (*pixels)
    return (of_mean - mean_of).clamp_(min=0)


def image_uncertainty(probs, top=0.1):
    """Mean disagreement of the most disputed pixels of an image, as published: a float in nats.

    top: the share of the pixels that counts, in (0, 1]; int(n * top) of n pixels, at least one.
    """
    return uncertainty_of(disagreement(probs), top)


def uncertainty_of(disputes, top=0.1):
    """`image_uncertainty` of an image whose disagreement [*pixels] is known already."""
    _check_number("top", top, 0 < top <= 1, "> 0 and <= 1")
    disputes = disputes.flatten()
    count = max(1, int(len(disputes) * top))
    return disputes.topk(count).values.mean().item()


# ---- numerics -----------------------------------------------------------------------------------


def _log(q):
    """log q, at least -10000: so 0 * log 0 is 0, and two zeros count more than one."""
    return q.log().clamp_(min=-1e4)


def _sharpen(probs, temperature):
    """q^(1 / temperature) of every member, renormalised over C."""
    relative = probs / probs.amax(1, keepdim=True)  # the top class is 1: no underflow
    powers = relative ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def weights_from(uncertainty, k):
    """(3) from entropies [N, *pixels] that are known already: weights [N, *pixels]."""
    _check_number("k", k, k >= 0)
    # The softmax does not change when all its inputs are shifted, but for large k digits are lost.
    excess = uncertainty - uncertainty.amin(0)  # (N, *pixels)
    scores = torch.where(excess > 0, -k * excess, 0.0)  # where: infinity * 0 counts as 0
    return torch.softmax(scores, 0)


def weighted_sum(weights, terms):
    """sum_i weights_i terms_i, one member at a time: [C, *pixels].

    weights: [N, *pixels] or [N]. terms: an iterable of N tensors [C, *pixels].
    """
    terms = iter(terms)
    total = weights[0] * next(terms)
    for weight, term in zip(weights[1:], terms):
        total.addcmul_(weight, term)
    return total


def _log_power_mean(weights, probs, r):
    """log of (sum_i w_i q_i^r)^(1 / r), [C, *pixels], also for r near 0 and for r = infinity."""
    if r >= 5e-3:  # below, log(q^r) loses digits: q^r is nearly 1
        r = min(r, 1e30)  # beyond, the result is the maximum in every digit
        terms = [w.log() + r * _log(q) for w, q in zip(weights, probs)]  # N times (C, *pixels)
        return torch.logsumexp(torch.stack(terms), 0) / r
    geometric = weighted_sum(weights, map(_log, probs))  # (C, *pixels), the limit r = 0
    if r < 1e-30:
        return geometric
    # Differences from the limit r = 0 keep the digits.
    differences = (torch.expm1(r * (_log(q) - geometric)) for q in probs)
    return geometric + torch.log1p(weighted_sum(weights, differences)) / r


def _first(scores):
    """argmax over the first dimension; of equal values the lowest index.

    On a CPU `max` is faster than `argmax`, and both return the first of equal values.
    """
    return scores.max(0).indices


# ---- checks -------------------------------------------------------------------------------------


def _check(probs):
    """ValueError unless probs are floats [N, C, *pixels] with at least one member and class."""
    if probs.ndim < 2 or 0 in probs.shape[:2] or not probs.is_floating_point():
        raise ValueError(
            "probs must be floats [members, classes, *pixels], "
            f"not {probs.dtype} {list(probs.shape)}"
        )


def _check_number(name, value, ok, bounds=">= 0"):
    """ValueError unless `ok`, a comparison that is false for nan."""
    if not ok:
        raise ValueError(f"{name} must be a number {bounds}, not {value}")


def _check_keywords(rule, kw):
    """ValueError if `rule` does not take one of the keywords `kw`."""
    function = rule.function if isinstance(rule, Rule) else rule
    known = signature(function).parameters
    unknown = sorted(kw.keys() - known.keys())
    if unknown:
        name = getattr(function, "__name__", function)
        raise ValueError(f"rule {name} takes no {', '.join(unknown)}; it takes {', '.join(known)}")
