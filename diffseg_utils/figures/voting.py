"""Figures of notebooks 02 and 03: ten members, where they disagree, and what a change of vote changes."""

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap

from .lines import dots, end_labels, log_y, note
from .panels import class_legend, gallery
from .style import GREY, INK, PALE, RULES, class_colours, colour_labels, look, new_figure

BLUE, ORANGE = RULES["majority"][1], RULES["entropy_weighted"][1]
DOUBT = {"cmap": "magma", "vmin": 0, "bar": "nats"}
MASK = {"cmap": ListedColormap(["#e9e9e9", ORANGE]), "vmin": 0, "vmax": 1}


# ---- 02: ten members --------------------------------------------------------------------------------------------------


def fig_label_budget(counts, preset):
    """Training pixels of every scored class, `counts` [C], on a log axis."""
    ids = [i for i in np.argsort(counts, kind="stable")[::-1] if i != preset.ignore_label]
    figure, ax = _class_bars(
        ids, np.maximum(counts[ids], 0.5), preset, [f"{n:,}" for n in counts[ids]]
    )
    ax.set(xscale="log", xlim=(0.5, counts.max() * 4), xlabel="labelled training pixels")
    half = np.argmax(counts[ids].cumsum() * 2 >= counts.sum()) + 1
    ax.set_title(f"Half of all labels lie in {half} of {len(ids)} classes")
    return figure


def fig_class_shares(shares, preset, what):
    """`shares` [C] (0..1, nan where a class has no pixel) of every class, largest first; `what` names the axis."""
    ids = [
        i
        for i in np.argsort(-np.nan_to_num(shares), kind="stable")
        if np.isfinite(shares[i]) and i != preset.ignore_label
    ]
    figure, ax = _class_bars(
        ids, 100 * shares[ids], preset, [f"{100 * s:.0f} %" for s in shares[ids]]
    )
    ax.set(xlim=(0, 100 * shares[ids].max() * 1.12 + 1), xlabel=what)
    ax.set_title(f"Most disputed: {preset.classes[ids[0]]}; least: {preset.classes[ids[-1]]}")
    return figure


def _class_bars(ids, widths, preset, texts):
    """A horizontal bar a class in its colour, the value written at its end."""
    figure, [[ax]] = new_figure(7, 1.1 + 0.22 * len(ids))
    bars = ax.barh(
        [preset.classes[i] for i in ids], widths, color=class_colours(preset.n_classes)[ids] / 255
    )
    ax.bar_label(bars, texts, padding=4, fontsize=8)
    ax.tick_params(axis="y", length=0, labelsize=8)
    ax.set_ylim(len(ids) - 0.4, -0.6)
    return figure, ax


def fig_losses(history, stopped, n_steps):
    """Loss of every member's batches (running median) and the step at which each one stopped; `stopped` [N] of bool."""
    figure, [[top], [bottom]] = new_figure(7, 4.6, nrows=2, sharex=True, height_ratios=(1.5, 1))
    for _, curve in history.groupby("member"):
        middle = curve.loss.rolling(max(1, len(curve) // 30), center=True, min_periods=1).median()
        top.plot(curve.step, middle, color=RULES["member"][1], lw=1, alpha=0.8)
        top.plot(curve.step.iloc[-1], middle.iloc[-1], "o", color=INK, ms=4)
    last = history.groupby("member").step.max()
    bottom.hlines(last.index, 0, last, color=PALE, lw=3)
    bottom.scatter(
        last,
        last.index,
        s=25,
        color=np.where(stopped[last.index], INK, "white"),
        edgecolors=INK,
        zorder=3,
    )
    bottom.set(
        xlabel="steps; filled dot = stopped by the rule, open dot = ran to the end",
        ylabel="member",
        yticks=last.index,
        ylim=(last.index.max() + 0.6, -0.6),
        xlim=(0, last.max() * 1.03),
    )
    bottom.tick_params(axis="y", labelsize=7)
    log_y(top)
    top.set(
        ylabel="loss of a batch,\nrunning median",
        title=f"Every member took {last.max():,} steps"
        if last.nunique() == 1
        else f"Stops between step {last.min():,} and step {last.max():,} of {n_steps:,} allowed",
    )
    return figure


def fig_stops(steps, scores):
    """Where each member stopped against its mIoU; both [N]."""
    figure, [[ax]] = new_figure(5, 3.2)
    ax.axhline(np.mean(scores), color=PALE, lw=1)
    ax.axhspan(
        np.mean(scores) - np.std(scores),
        np.mean(scores) + np.std(scores),
        color=PALE,
        alpha=0.3,
        lw=0,
    )
    ax.plot(steps, scores, "o", color=INK, ms=6)
    end_labels(
        ax,
        [(*point, str(member), GREY) for member, point in enumerate(zip(steps, scores))],
        fontsize=7,
    )
    ax.set(
        xlabel="steps trained",
        ylabel="mIoU of the member, %",
        **({} if np.ptp(steps) else {"xticks": steps[:1]}),
    )
    ax.margins(x=0.08, y=0.12)
    ax.set_title(f"From the worst member to the best: {np.ptp(scores):.1f} points")
    return figure


def fig_maps(maps, preset, columns=4):
    """Label maps [H, W] or pictures [H, W, 3] side by side; `maps` is a dict title -> map."""
    labels = np.concatenate([np.unique(m) for m in maps.values() if np.ndim(m) == 2])
    figure, _ = gallery(
        [colour_labels(m, preset) if np.ndim(m) == 2 else m for m in maps.values()],
        list(maps),
        columns,
        size=2.05,
        below=0.65,
    )
    class_legend(figure, preset, labels)
    return figure


def fig_disputes(image, n_choices, divergence):
    """An image, the number of different classes its members chose [H, W], and their divergence in nats [H, W]."""
    most = max(2, n_choices.max())
    colours = ListedColormap(mpl.colormaps["magma"](np.linspace(0.05, 0.95, most)))
    counted = (
        n_choices,
        {"cmap": colours, "vmin": 0.5, "vmax": most + 0.5, "bar": "classes chosen by ten"},
    )
    titles = [
        "the image",
        f"not unanimous on {np.mean(n_choices > 1):.1%} of pixels",
        "divergence of the distributions",
    ]
    return gallery([image, counted, (divergence, DOUBT)], titles, size=3.1)[0]


# ---- 03: one vote or the other ----------------------------------------------------------------------------------------


def fig_pixel(probs, weights, votes, preset, truth):
    """One pixel: members' distributions `probs` [N, C] with their `weights` [N], and `votes`, a dict rule -> [C]."""
    order, n = np.argsort(-weights, kind="stable"), len(weights)
    rows = np.array([*probs[order], *votes.values()])
    names = [*(f"member {i}" for i in order), *(RULES[rule][0] for rule in votes)]
    y = np.array([*range(n), *(n + 0.7 + np.arange(len(votes)))])
    figure, [[left, right]] = new_figure(8, 4.2, ncols=2, sharey=True, width_ratios=(2.6, 1))
    seen = np.flatnonzero(rows.max(0) > 0.03)
    left.barh(y, 1, color="#e9e9e9")  # what the classes too small to draw leave
    for c in seen:
        left.barh(
            y,
            rows[:, c],
            left=rows[:, :c].sum(1),
            color=class_colours(preset.n_classes)[c] / 255,
            ec="white",
            lw=0.5,
        )
    for place, row in zip(y[n:], rows[n:]):
        note(left, preset.classes[np.argmax(row)], 1, place)
    right.barh(range(n), weights[order], color=ORANGE)
    right.axvline(1 / n, color=INK, lw=1, ls=":")
    note(right, "equal weights", 1 / n, n + 0.2, (3, 0))
    left.set_yticks(y, names, fontsize=9)
    left.set(xlim=(0, 1.3), ylim=(y[-1] + 0.6, -0.6), xticks=[0, 0.5, 1], xlabel="probability")
    right.set(xlabel="weight, equation (3)", xlim=(0, max(weights.max(), 1 / n) * 1.15))
    left.set_title(
        f"The truth here: {preset.classes[truth] if truth < preset.n_classes else 'not labelled'}"
    )
    class_legend(figure, preset, seen)
    return figure


def fig_k_curve(ks, curves, limits, chosen=None):
    """mIoU over k, and the band from the lowest to the highest of S seeds.

    curves: dict split -> [K] or [S, K]; limits: dict split -> mIoU of the most certain member (k to infinity), or [S]. A
    split without a limit ends with the last k.
    """
    places = np.log2(np.maximum(ks, ks[ks > 0].min() / 2))
    end, ends, spans = places[-1] + 1.5, [], []
    figure, [[ax]] = new_figure(7.5, 3.8)
    looks = {"validation": (INK, 2.2, "used to choose k"), "test": ("#888888", 1.2, "not used")}
    ax.axhline(0, color=PALE, lw=1)
    for split, curve in curves.items():
        curve, limit, (colour, width, use) = (
            np.atleast_2d(curve),
            limits.get(split, ()),
            looks[split],
        )
        gains = (
            np.column_stack([curve, *np.reshape(limit, (-1, len(curve)))]) - curve[:, :1]
        )  # (S, K) or (S, K + 1)
        gain, x = gains.mean(0), np.append(places, end)[: gains.shape[1]]
        ax.fill_between(x, gains.min(0), gains.max(0), color=colour, alpha=0.15, lw=0)
        ax.plot(places, gain[: len(ks)], color=colour, lw=width)
        if len(gain) > len(ks):
            ax.plot(x[-2:], gain[-2:], ":", color=colour, lw=width)
            ax.plot(end, gain[-1], "o", color=RULES["most_certain"][1], ms=6)
        ends.append(
            (x[-1], gain[-1], f"{split}, {use}\n(k = 0: {curve[:, 0].mean():.2f} %)", colour)
        )
        spans.append(np.ptp(gain))
        if chosen is not None and split == "validation":
            x = places[list(ks).index(chosen)]
            ax.plot(x, max(gain), "D", color=ORANGE, ms=8, zorder=4)
            note(ax, f"chosen: k = {chosen:.3g}", x, max(gain), (-4, 12), fontsize=9, color=ORANGE)
    ax.plot(places[0], 0, "o", color=RULES["mean"][1], ms=6)
    ax.set_title(f"The {next(iter(curves))} curve spans {spans[0]:.2f} points")
    marks = [i for i, place in enumerate(places) if place == int(place)]
    ax.set_xticks(
        [*places[marks], end], ["0\nmean", *(f"{k:.3g}" for k in ks[marks][1:]), "∞\nmost certain"]
    )
    ax.margins(y=0.18)
    ax.set(xlabel="k (0, then a log scale)", ylabel="mIoU above k = 0, points")
    end_labels(ax, ends, fontsize=8)
    return figure


def fig_scores(members, scores, gains):
    """mIoU of `members` [N] and of the rules, `scores` (dict label -> percent), and each rule's gain over the majority.

    gains: dict label -> dict(difference, low, high). Labels start with a name in style.RULES, as "entropy_weighted, k = 1".
    """
    figure, [[left, right]] = new_figure(9, 1.3 + 0.42 * len(scores), ncols=2, sharey=True)
    left.plot(members, np.zeros(len(members)), "o", color=RULES["member"][1], ms=6, alpha=0.7)
    for y, (label, score) in enumerate(scores.items(), 1):
        left.plot(score, y, "o", color=look(label)[1], ms=8)
        note(left, f"{score:.2f}", score, y, (8, 0))
        if label in gains:
            dots(right, gains[label], y, look(label)[1])
    right.axvline(0, color=INK, lw=1)
    left.set_yticks(
        range(len(scores) + 1),
        [f"{len(members)} single members", *(look(label)[0] for label in scores)],
    )
    left.set(
        xlabel="mIoU on the test split, %",
        ylim=(len(scores) + 0.5, -0.5),
        title=f"members {np.mean(members):.1f}, votes {min(scores.values()):.1f} to {max(scores.values()):.1f}",
    )
    left.margins(x=0.12)
    resolved = sum(gain["low"] > 0 or gain["high"] < 0 for gain in gains.values())
    right.set(
        xlabel="points above the majority, 95 % interval",
        title=f"{resolved} of {len(gains)} differences exclude zero",
    )
    return figure


def fig_uncertainty(image, entropy, divergence, wrong):
    """An image, the members' mean entropy, their divergence (both [H, W], nats), and where the vote is wrong (bool)."""
    titles = [
        "the image",
        "doubt: mean entropy",
        "dispute: divergence",
        f"wrong: {wrong.mean():.1%} of pixels",
    ]
    return gallery([image, (entropy, DOUBT), (divergence, DOUBT), (wrong, MASK)], titles, size=2.7)[
        0
    ]


def fig_entropies(edges, counts):
    """Entropies of right and wrong member votes; counts: dict title -> (right [bins], wrong [bins])."""
    figure, [axes] = new_figure(9, 3.2, ncols=len(counts))
    for ax, (title, pair) in zip(axes, counts.items()):
        right, wrong = pair
        auc = (wrong * (right.cumsum() - right / 2)).sum() / max(1, right.sum() * wrong.sum())
        for values, colour, name, line in zip(
            pair, (BLUE, ORANGE), ("right", "wrong"), ("-", "--")
        ):
            ax.stairs(
                values / max(values.sum(), 1),
                edges,
                color=colour,
                lw=2,
                ls=line,
                label=f"{name} ({values.sum():,})",
            )
        ax.legend(frameon=False, fontsize=9, title="member votes")
        ax.set(
            xlabel="entropy of the member, nats",
            ylabel="share of these votes",
            yscale="log",
            xlim=(0, edges[-1]),
            title=f"{title}: the wrong one is less certain\nin {auc:.0%} of pairs",
        )
    return figure


def fig_at_k(labels, plain, weights, preset, k):
    """The vote at one k: its `labels` [H, W], how many members count by their `weights` [N, H, W], what differs from `plain`."""
    effective, changed = 1 / np.square(weights).sum(0), labels != plain
    count = effective, {"cmap": "viridis", "vmin": 1, "vmax": len(weights), "bar": "members"}
    titles = [
        f"entropy-weighted, k = {k:.3g}",
        f"members that count: {effective.mean():.1f} on average",
        f"not the mean's class: {changed.sum():,} pixels",
    ]
    return gallery([colour_labels(labels, preset), count, (changed, MASK)], titles, size=3.1)[0]
