"""Which k, and which pool? The best on held-out images; never the test images decide."""

from functools import partial
from itertools import product

from ..voting import Rule, entropy_weighted, pool

# The family of rules on whose points a validation split chooses, besides k.
POOLS = [
    {"k": k, "r": r, "temperature": temperature}
    for temperature, r, k in product((1.0, 0.5, 2.0), (1.0, 0.0), (0.0, 1.0, 4.0))
]


def best_settings(scores):
    """{"k": the best k, "pool": {"k", "r", "temperature"}} by the mIoU of held-out images.

    scores: of one seed and split, with the observers over_k and over_pools. Of equally good values
    the first, which for k is the smallest.
    """
    curve, pools = (scores.curve(name).squeeze(("split", "seed")) for name in ("sweep", "pools"))
    point = pools[int(pools.argmax("point"))]
    return {
        "k": float(curve.k[int(curve.argmax("k"))]),
        "pool": {name: float(point[name]) for name in ("k", "r", "temperature")},
    }


def chosen_rules(chosen):
    """{name: Rule} of what `best_settings` found."""
    k, point = chosen["k"], chosen["pool"]
    words = "k = {k:g}, r = {r:g}, T = {temperature:g}".format(**point)
    found = (
        Rule(
            "k chosen",
            f"entropy-weighted, k = {k:.3g} (validation)",
            partial(entropy_weighted, k=k),
        ),
        Rule("pool chosen", f"pool, {words} (validation)", partial(pool, **point)),
    )
    return {rule.name: rule for rule in found}
