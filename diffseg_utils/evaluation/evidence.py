"""What 09 reads off its scores: is the gain real, and where does it come from?

Tidy frames for tables and figures. mIoU is in percent, differences are in points.
"""

import numpy as np
import pandas as pd
import torch

from ..metrics import PROTOCOLS, iou, mean_iou
from ..voting import Rule, entropy_weighted, majority, mean
from . import calibration
from .observers import ENTROPY_BINS, SHOWN, WIDTHS, labelled
from .significance import (
    compare_confusions,
    images_needed,
    paired_bootstrap,
    paired_permutation,
)

# The published vote gives ties to the lowest class id. Here the mean of the members breaks them.
TIES = Rule(
    "majority, ties by mean",
    "majority, ties by mean",
    lambda probs: torch.lerp(majority(probs), mean(probs), 1e-3),
)
PAIRS = {
    "k = 1 minus majority": ("entropy_weighted", "majority"),
    "mean minus majority": ("mean", "majority"),
    "k = 1 minus mean": ("entropy_weighted", "mean"),
    "ties by mean minus majority": (TIES.name, "majority"),
    "mean minus ties by mean": ("mean", TIES.name),
    "k chosen minus mean": ("k chosen", "mean"),
    "pool chosen minus mean": ("pool chosen", "mean"),
    "pool chosen minus majority": ("pool chosen", "majority"),
}
LADDER = ("majority", TIES.name, "mean", "entropy_weighted", "k chosen", "pool chosen")

# ---- is it real? --------------------------------------------------------------------------------


def steps_to_the_best_vote(scores):
    """Frame (step, miou, spread, difference, low, high): from one member to the pool.

    Each difference is to the step before; spread is that of single members.
    """
    single = scores.members.values  # (S, N, B, C + 1, C)
    ignored = scores.ignore_label
    miou = scores.member_miou().values  # (S, N)
    spread = miou.std(ddof=1) if miou.size > 1 else np.nan
    steps = [{"step": "member", "miou": miou.mean(), "spread": spread, "difference": np.nan}]
    # The majority once beside each member: (S * N, B, C + 1, C).
    majority = np.broadcast_to(scores.confusions("majority")[:, None], single.shape)
    pairs = [x.reshape(-1, *single.shape[2:]) for x in (majority, single)]
    gain = paired_bootstrap(*pairs, ignored, resamples=2000)
    steps.append({"step": "majority", "miou": _miou_of(scores, "majority"), **gain})
    for old, new in zip(LADDER, LADDER[1:]):
        gain = paired_bootstrap(scores.confusions(new), scores.confusions(old), ignored)
        steps.append({"step": scores.label(new), "miou": _miou_of(scores, new), **gain})
    return pd.DataFrame(steps)


def _miou_of(scores, rule):
    return float(scores.miou().sel(rule=rule).mean())


def comparison_table(scores, paper_images):
    """Frame, evidence.csv: every pair of PAIRS in three situations and both protocols.

    The situations: as in the paper (its number of images, one seed), all seeds on those images,
    all seeds on all images. The measures: mIoU, and for all seeds and images boundary IoU.
    """
    n_images, n_seeds = len(scores.images()), len(scores.seeds)
    situations = [(paper_images, 1), (paper_images, n_seeds), (n_images, n_seeds)]
    rows = []
    for name, (new, old) in PAIRS.items():
        for images, seeds in dict.fromkeys(situations):
            part = scores.first(images, seeds)
            confusions = part.confusions(new), part.confusions(old)
            for protocol in PROTOCOLS:
                row = {"measure": "mIoU", "comparison": name, "protocol": protocol}
                rows.append(row | _comparison(*confusions, scores.ignore_label, protocol))
    for name, (new, old) in PAIRS.items():
        row = {"measure": "boundary IoU", "comparison": name, "protocol": "published"}
        rows.append(row | boundary_comparison(scores, new, old))
    return pd.DataFrame(rows)


def _comparison(new, old, ignore_label, protocol="published"):
    """{column: value} of one comparison of confusions [S, B, C + 1, C].

    The images that would shrink the interval to +-0.2 points are given for a single training;
    between several, part of the interval is the trainings' own.
    """
    found = compare_confusions(new, old, ignore_label, protocol)
    low, high, n_images = found["low"], found["high"], found["n_images"]
    return {
        "images": n_images,
        "seeds": found["n_seeds"],
        "new": 100 * mean_iou(new.sum(1), ignore_label, protocol).mean(),
        "old": 100 * mean_iou(old.sum(1), ignore_label, protocol).mean(),
        "difference": found["difference"],
        "low": low,
        "high": high,
        "verdict": found["verdict"],
        "p": paired_permutation(new, old, ignore_label, protocol),
        "images_needed": images_needed(low, high, n_images) if found["n_seeds"] == 1 else np.nan,
    }


def comparisons_by_images(scores, new, old, sizes):
    """Frame (images, difference, low, high, ...): one comparison on the first so many images."""
    rows = []
    for size in sizes:
        part = scores.first(size)
        confusions = part.confusions(new), part.confusions(old)
        rows.append(_comparison(*confusions, scores.ignore_label))
    return pd.DataFrame(rows)


def class_table(scores, new="entropy_weighted", old="majority"):
    """Frame, a row per scored class, easiest first: share of the pixels, IoU of both votes, gain.

    All in percent or points, means over seeds; columns: share, <old>, <new>, difference.
    """
    counts = {rule: scores.confusions(rule).sum(1) for rule in (old, new)}  # (S, C + 1, C) each
    scored = {rule: 100 * iou(c, scores.ignore_label).mean(0) for rule, c in counts.items()}  # (C,)
    pixels = counts[old][0, :-1].sum(1)  # (C,) of each true class
    frame = pd.DataFrame(
        {"share": 100 * pixels / pixels.sum(), old: scored[old], new: scored[new]},
        index=pd.Index(scores.attrs["classes"], name="class"),
    )
    frame["difference"] = frame[new] - frame[old]
    return frame.dropna().sort_values(old, ascending=False)


# ---- probabilities ------------------------------------------------------------------------------


def histograms(scores):
    """{rule: the calibration histogram [7, bins] of all seeds}."""
    total = scores.of("test").observed["calibration"]["histogram"].sum(("split", "seed"))
    return {rule: total.sel(rule=rule).values for rule in total.rule.values.tolist()}


def calibration_table(scores):
    """Frame, a row per rule: calibration error, Brier score, likelihood, risk-coverage.

    The last column is the difference of the Brier score from the majority's, with an interval over
    images.
    """
    found = histograms(scores)
    measures = {
        "calibration error": calibration.expected_calibration_error,
        "Brier score": calibration.brier,
        "log-likelihood, negative": calibration.negative_log_likelihood,
        "area under risk-coverage": calibration.area_under_risk_coverage,
    }
    table = pd.DataFrame({m: {r: f(h) for r, h in found.items()} for m, f in measures.items()})
    known = np.arange(len(scores.attrs["classes"])) != scores.ignore_label
    counts = scores.confusions("majority")[0, :, :-1]  # (B, C, C)
    pixels = counts[:, known].sum((1, 2))  # (B,), those with a scored truth
    n = len(pixels)
    draws = np.random.default_rng(0).multinomial(n, [1 / n] * n, 10_000)  # (R, B)
    penalty = scores.observed["calibration"]["penalty"].sel(score="brier")
    brier = penalty.transpose("image", "seed", "rule").values.mean(1).T  # (rules, B)
    base = brier[scores.rules.index("majority")]
    table["Brier minus majority"] = ""
    for rule, sums in zip(scores.rules, brier):
        if rule == "majority":
            continue
        low, high = np.quantile(draws @ (sums - base) / (draws @ pixels), (0.025, 0.975))
        difference = (sums - base).sum() / pixels.sum()
        said = f"{difference:+z.4f} [{low:+z.4f}, {high:+z.4f}]"
        table.loc[rule, "Brier minus majority"] = said
    return table


def reliability_frame(scores, rules):
    """Frame (rule, bin, share, confidence, accuracy) for fig_reliability."""
    found = histograms(scores)
    frames = [calibration.reliability(found[r]).assign(rule=scores.label(r)) for r in rules]
    return pd.concat(frames)


def risk_frame(scores, rules):
    """Frame (rule, coverage, risk) for fig_risk_coverage."""
    found = histograms(scores)
    frames = [calibration.risk_coverage(found[r], 100).assign(rule=scores.label(r)) for r in rules]
    return pd.concat(frames)


# ---- boundaries ---------------------------------------------------------------------------------


def boundary_comparison(scores, new, old):
    """{column: value} of evidence.csv: a difference of boundary IoU over all images and seeds."""
    counts = scores.observed["boundaries"]["counts"]  # (S, rule, B, C + 2, C + 1)
    confusions = (counts.sel(rule=rule).values for rule in (new, old))
    inside = len(scores.attrs["classes"])  # the id of pixels in no boundary region
    return _comparison(*confusions, (scores.ignore_label, inside))


def boundary_table(scores):
    """Frame of text, a row per rule of SHOWN: boundary IoU, length and fragments of boundaries.

    Lengths and fragments are those of the first seed, in percent of the truth's.
    """
    edges = scores.observed["roughness"]["edges"].sum("split")
    rows = {}
    for rule in SHOWN:
        found = boundary_comparison(scores, rule, "majority")
        ragged = 100 * edges.sel(map=rule) / edges.sel(map="truth")
        gain = "{difference:+z.2f} [{low:+z.2f}, {high:+z.2f}]".format(**found)
        rows[scores.label(rule)] = {
            "boundary IoU": f"{found['new']:.2f} %",
            "minus majority": gain if rule != "majority" else "",
            "verdict": found["verdict"] if rule != "majority" else "",
            "boundary length": f"{ragged.sel(measure='length'):.1f} %",
            "fragments": f"{ragged.sel(measure='fragments'):.0f} %",
        }
    return pd.DataFrame(rows).T.rename_axis("rule")


def band_gains(scores):
    """{difference, low, high (rule, width)}: what each rule adds to the majority near boundaries.

    One seed; the intervals redraw images only.
    """
    counts = scores.observed["bands"]["counts"]  # (rule, width, B, C + 1, C)
    found = {"difference": [], "low": [], "high": []}
    for rule in SHOWN:
        gains = []
        for width in WIDTHS:
            of_rule, base = (counts.sel(rule=r, width=width).values for r in (rule, "majority"))
            gains.append(paired_bootstrap(of_rule, base, scores.ignore_label))
        for name, values in found.items():
            values.append([np.nan if rule == "majority" else gain[name] for gain in gains])
    return {name: labelled(values, rule=SHOWN, width=WIDTHS) for name, values in found.items()}


def band_frame(scores):
    """Frame (rule, width, miou, difference, low, high) for fig_miou_by_boundary_distance.

    The observer `bands` must have the intervals of `band_gains`.
    """
    found = scores.observed["bands"]
    rows = []
    for width in WIDTHS:
        for rule in SHOWN:
            here = {"rule": rule, "width": width}
            counts = found["counts"].sel(here).values
            total = counts.sum(0) if counts.ndim == 3 else counts
            row = {"rule": scores.label(rule), "width": width}
            row["miou"] = 100 * mean_iou(total, scores.ignore_label)
            row |= {name: found[name].sel(here).item() for name in ("difference", "low", "high")}
            rows.append(row)
    return pd.DataFrame(rows)


# ---- where a change acts ------------------------------------------------------------------------


def change_frame(scores, change="majority to entropy_weighted"):
    """Frame (group, value, changed, repaired, broken), shares, for fig_changes_by_group."""
    groups = {
        "by_class": ("class", "{}".format),
        "by_distance": ("distance to a boundary", _distance),
        "by_disagreement": ("disagreement", "from {:g} nats".format),
    }
    rows = []
    for what, (group, said) in groups.items():
        found = scores.observed["changed_pixels"][what].sum("split").sel(change=change)
        axis = found.dims[0]
        for value in found[axis].values.tolist():
            counts = found.sel({axis: value})
            pixels = int(counts.sel(quantity="pixels"))
            if pixels:
                row = {"group": group, "value": said(value)}
                for name in ("changed", "repaired", "broken"):
                    row[name] = int(counts.sel(quantity=name)) / pixels
                rows.append(row)
    return pd.DataFrame(rows)


def _distance(width):
    return f"under {width:g} px" if width < np.inf else "farther"


def change_counts(scores):
    """Frame, a row per change of CHANGES: pixels, changed, repaired, broken, still_wrong."""
    found = scores.observed["changed_pixels"]["by_class"].sum(("split", "class"))
    return found.to_pandas()


def change_table(scores):
    """The same as text, with shares of the pixels and the balance."""
    rows = {}
    for change, x in change_counts(scores).iterrows():
        before, after = (scores.label(rule) for rule in change.split(" to "))
        rows[f"{before} → {after}"] = {
            "changed": f"{x.changed:,} ({x.changed / x.pixels:.2%})",
            "repaired": f"{x.repaired:,}",
            "broken": f"{x.broken:,}",
            "wrong before and after": f"{x.still_wrong:,}",
            "balance": f"{x.repaired - x.broken:+,}",
        }
    return pd.DataFrame(rows).T.rename_axis("change of vote")


# ---- members ------------------------------------------------------------------------------------


def entropy_histograms(scores):
    """(edges [bins + 1] in nats, {pixels: (right [bins], wrong [bins])}) of member votes."""
    counts = scores.observed["member_entropies"]["counts"].sum("split")
    edges = np.linspace(0, np.log(len(scores.attrs["classes"])), ENTROPY_BINS + 1)
    return edges, {p: counts.sel(pixels=p).values for p in counts.pixels.values.tolist()}


def diversity_table(scores):
    """Frame, a row per seed: how far members differ, and what the majority gains by it."""
    found = scores.observed["diversity"]
    single = scores.member_miou().mean("member").values
    majority_miou = scores.miou().sel(rule="majority").values
    columns = {
        "disagreement": found["mutual_information"].mean("image").values,
        "pairs that differ": found["pairwise_disagreement"].mean("image").values,
        "single member": single,
        "majority minus member": majority_miou - single,
    }
    return pd.DataFrame(columns, index=pd.Index(scores.seeds, name="seed"))


def members_frame(scores):
    """Frame (rule, n_members, miou, low, high) for fig_miou_by_members: over all orders."""
    grown = scores.curve("members_added").squeeze("split")  # (rule, order, n_members)
    rows = []
    for rule in SHOWN:
        for n in grown.n_members.values.tolist():
            miou = grown.sel(rule=rule, n_members=n).values  # of each order
            row = {"rule": scores.label(rule), "n_members": n, "miou": miou.mean()}
            rows.append(row | {"low": miou.min(), "high": miou.max()})
    return pd.DataFrame(rows)


def pixel_with_most_winners(scores, ks):
    """(members [N, 3], path [K, 3], names of three classes) of one disputed pixel.

    path: the entropy-weighted vote for each of `ks`. Of all pixels of the observer
    disputed_pixel it is the one with the most winners over k; of equals, the one whose three best
    classes leave the least out. Both are rescaled to these classes.
    """
    probs = scores.observed["disputed_pixel"]["probs"]
    pixels = torch.from_numpy(probs.transpose("member", "class", "image").values)  # (N, C, B)
    paths = torch.stack([entropy_weighted(pixels, k) for k in ks])  # (K, C, B)
    share, three = paths[0].topk(3, 0)  # of the mean
    winners = [len(paths[..., b].argmax(1).unique()) for b in range(pixels.shape[2])]
    best = max(range(len(winners)), key=lambda b: (winners[b], share[:, b].sum()))
    chosen = three[:, best]
    members, path = (x[..., best][:, chosen] for x in (pixels, paths))
    members, path = (x / x.sum(1, keepdims=True) for x in (members, path))
    names = [probs["class"].values[c] for c in chosen.tolist()]
    return members, path, names
