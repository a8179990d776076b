"""How N classifiers agree on one label: the entropy-weighted vote, equations (1)-(4), and the rules beside it.

probs [N, C, *pixels] holds one class distribution per member and pixel; every rule returns a distribution [C, *pixels]
that sums to one over C. Pure functions; pixels are independent, so a band of rows gives that band of the result.
"""

from inspect import signature

import torch


def entropy(probs):
    """(1) H(i) = -sum_c q_ic log q_ic of each member, [N, *pixels], nats; 0 log 0 = 0. ValueError: under 2 dims."""
    _check(probs)
    minus = torch.stack(
        [(q * _log(q)).sum(0) for q in probs]
    )  # one member at a time: no temporary as large as probs
    return minus.clamp_(
        max=0
    ).abs_()  # a probability rounded up to 1.0000001 must not make H negative


def entropy_weights(probs, k):
    """(3) w_i = exp(-k H(i)) / sum_j exp(-k H(j)) [N, *pixels]; sums to one over members. ValueError unless k >= 0."""
    return _weights(entropy(probs), k)


def majority(probs):
    """Share of the members that put each class first (a member's tie: its lowest class id); the published vote."""
    _check(probs)
    choices = torch.stack([_first(q) for q in probs])  # (N, *pixels)
    counts = torch.zeros_like(probs[0]).scatter_add_(
        0, choices, torch.ones_like(choices, dtype=probs.dtype)
    )
    return counts / len(probs)


def mean(probs):
    """Arithmetic mean of the members, the soft vote: (2) with k = 0."""
    return pool(probs)


def geometric_mean(probs):
    """Renormalised geometric mean, the mean of log q. A zero is a veto; if every class has one, the fewest win."""
    return pool(probs, r=0.0)


def most_certain(probs):
    """The member of least entropy: (2) with k = infinity. Equally certain members share equally."""
    return pool(probs, k=torch.inf)


def entropy_weighted(probs, k=1.0):
    """(2) p = sum_i w_i q_i, the paper's rule: k = 0 is the mean, k = inf most_certain. ValueError unless k >= 0."""
    return pool(probs, k=k)


def pool(probs, k=0.0, r=1.0, temperature=1.0):
    """The family that holds every rule but the majority: [N, C, *pixels] -> [C, *pixels].

    Members are sharpened (q^(1/temperature), renormalised), weighted by the entropy of the sharpened q (k, as in 3),
    joined by the weighted power mean (sum_i w_i q_i^r)^(1/r) and renormalised over C: r = 1 is arithmetic, r = 0 the
    geometric limit, r = inf the maximum. ValueError unless k >= 0, r >= 0 and temperature > 0.
    """
    _check(probs)
    _check_number("r", r, r >= 0)
    _check_number("temperature", temperature, temperature > 0, "> 0")
    if temperature != 1:
        probs = (probs / probs.amax(1, keepdim=True)) ** (
            1 / temperature
        )  # the top class is 1: no underflow
        probs = probs / probs.sum(1, keepdim=True)
    weights = entropy_weights(probs, k) if k else probs.new_full(probs.shape[:1], 1 / len(probs))
    if r == 1:
        return _mix(weights, probs)  # already sums to one
    return torch.softmax(_log_power_mean(weights, probs, r), 0)


RULES = {f.__name__: f for f in (majority, mean, geometric_mean, entropy_weighted, most_certain)}


def vote(probs, rule="entropy_weighted", **kw):
    """(4) argmax_c p_c as int64 labels [*pixels]; ties go to the lowest id.

    rule is a name in RULES or a function like them (`pool`); kw go to it. ValueError for an unknown rule or keyword.
    """
    if not callable(rule := RULES.get(rule, rule)):
        raise ValueError(f"unknown rule {rule!r}; choose from {', '.join(RULES)}")
    if strange := sorted(kw.keys() - (takes := signature(rule).parameters).keys()):
        raise ValueError(
            f"rule {rule.__name__} takes no {', '.join(strange)}; it takes {', '.join(takes)}"
        )
    return _first(rule(probs, **kw))


def sweep(probs, ks):
    """vote(probs, k=k) for each of ks: int64 labels [K, *pixels]. ValueError unless k >= 0."""
    share, first = majority(probs).max(0)
    disputed, labels = (
        share < 1,
        first.repeat(len(ks), *[1] * first.ndim),
    )  # weights overrule no unanimous members
    uncertainty = entropy(probs := probs[:, :, disputed])
    for row, k in zip(labels, ks):
        row[disputed] = _first(_mix(_weights(uncertainty, float(k)), probs))
    return labels


def disagreement(probs):
    """Jensen-Shannon divergence of the members, H(mean) - mean H, in nats: [*pixels], at least 0."""
    return (entropy(mean(probs)[None])[0] - entropy(probs).mean(0)).clamp_(min=0)


def image_uncertainty(probs, top=0.1):
    """Mean disagreement (float, nats) of the int(n * top) most disputed of n pixels, at least one, as published."""
    _check_number("top", top, 0 < top <= 1, "> 0 and <= 1")
    disputes = disagreement(probs).flatten()
    return disputes.topk(max(1, int(len(disputes) * top))).values.mean().item()


def _check(probs):
    if probs.ndim < 2 or 0 in probs.shape[:2] or not probs.is_floating_point():
        raise ValueError(
            f"probs must be floats [members, classes, *pixels], not {probs.dtype} {list(probs.shape)}"
        )


def _check_number(name, value, ok, bounds=">= 0"):
    if not ok:  # nan compares false
        raise ValueError(f"{name} must be a number {bounds}, not {value}")


def _log(q):
    """log q with a finite floor, e^-10000 for a zero: 0 * log 0 is 0, and two vetoes weigh more than one."""
    return q.log().clamp_(min=-1e4)


def _weights(uncertainty, k):
    _check_number("k", k, k >= 0)
    excess = uncertainty - uncertainty.amin(
        0
    )  # softmax is blind to the shift; for large k the digits are not
    return torch.softmax(torch.where(excess > 0, -k * excess, 0.0), 0)  # where: inf * 0 is 0


def _mix(weights, terms):
    """sum_i weights_i terms_i, one member at a time: weights [N, *pixels] or [N], terms N times [C, *pixels]."""
    terms = iter(terms)
    total = weights[0] * next(terms)
    for weight, term in zip(weights[1:], terms):
        total.addcmul_(weight, term)
    return total


def _log_power_mean(weights, probs, r):
    if r >= 5e-3:
        r = min(r, 1e30)  # beyond: the maximum, to the last digit
        return (
            torch.logsumexp(torch.stack([w.log() + r * _log(q) for w, q in zip(weights, probs)]), 0)
            / r
        )
    center = _mix(weights, map(_log, probs))  # the limit r = 0
    beside = (
        torch.expm1(r * (_log(q) - center)) for q in probs
    )  # q^r is nearly 1: its difference keeps the digits
    return center if r < 1e-30 else center + torch.log1p(_mix(weights, beside)) / r


def _first(scores):
    """argmax over the first dimension; of equal values the lowest index, which `max` promises and is also faster."""
    return scores.max(0).indices
