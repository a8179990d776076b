"""Votes: label maps, where members disagree, what another rule or k changes, and the scores."""

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D

from .layout import (
    CHANGE_COLOURS,
    NATS,
    class_legend,
    colour_legend,
    draw_intervals,
    end_labels,
    gallery,
    note,
    note_at_right,
    paint_changes,
)
from .style import (
    ACCENT,
    BROKEN,
    GREY,
    INK,
    PALE,
    RULE_COLOURS,
    colour_labels,
    empty_figure,
    headline,
    new_figure,
    rule_styles,
)

WRONG = {"cmap": ListedColormap(["#e9e9e9", BROKEN]), "vmin": 0, "vmax": 1}
CHANGED = {"cmap": ListedColormap(["#e9e9e9", ACCENT]), "vmin": 0, "vmax": 1}


# ---- one image -----------------------------------------------------------------------------------


def fig_label_maps(maps, preset, columns=4, title="label maps of one image"):
    """Label maps [H, W] and pictures [H, W, 3] side by side; maps: {title: map or picture}."""
    if not maps:
        return empty_figure(f"{preset.title}: no label maps.")
    labels = [np.unique(m) for m in maps.values() if np.ndim(m) == 2]
    figure, _ = gallery(
        [colour_labels(m, preset) if np.ndim(m) == 2 else m for m in maps.values()],
        maps,
        columns,
        size=2.05,
        below=0.65,
        title=headline(preset.title, title),
    )
    if labels:
        class_legend(figure, preset, np.concatenate(labels))
    names = ", ".join(title.replace("\n", " ") for title in maps)
    return figure.describe(f"Side by side: {names}.", preset.title)


def fig_votes_and_disagreement(image, truth, majority, entropy_weighted, disagreement, preset):
    """One image: input, truth, disagreement, and below them two votes and what differs.

    image: [S, S, 3]; truth, majority, entropy_weighted: labels [H, W]; disagreement: nats [H, W].
    """
    maps = truth, majority, entropy_weighted
    labels = [colour_labels(m, preset) for m in maps]
    changed, repaired, broken = paint_changes(image, *maps, preset.ignore_label)
    counts = f"{repaired} repaired, {broken} broken"
    figure, _ = gallery(
        [image, labels[0], (disagreement, NATS), *labels[1:], changed],
        ["input", "truth", "disagreement", "majority", "entropy-weighted", counts],
        columns=3,
        size=2.8,
        below=0.7,
        title=headline(preset.title, "majority against entropy-weighted vote"),
    )
    class_legend(figure, preset, np.stack(maps), more=CHANGE_COLOURS)
    return figure.describe(
        "One image, its true labels, a map of the members' disagreement, the majority, the "
        f"entropy-weighted vote, and the pixels that differ: {counts}.",
        preset.title,
    )


def fig_votes_over_k(image, truth, plain, votes, ks, preset):
    """Votes for several k, and below each the pixels it repairs or breaks against k = 0.

    image: [S, S, 3]; truth and plain (k = 0): labels [H, W]; votes: [K, H, W]; ks: [K].
    """
    painted = [paint_changes(image, truth, plain, vote, preset.ignore_label) for vote in votes]
    pictures = [colour_labels(vote, preset) for vote in votes]
    titles = [f"$k$ = {k:g}" + (", the mean" if k == 0 else "") for k in ks]
    columns = len(pictures)
    if columns == 1:  # a vote and its changes side by side
        columns = 2
    between = "\n" if len(ks) > 2 else " "
    for picture, repaired, broken in painted:
        pictures.append(picture)
        titles.append(f"{repaired} repaired,{between}{broken} broken")
    figure, _ = gallery(
        pictures,
        titles,
        columns,
        size=1.9 if len(ks) > 2 else 2.5,
        below=0.5,
        title=headline(preset.title, "entropy-weighted votes against the mean"),
    )
    colour_legend(figure, {}, CHANGE_COLOURS)
    counts = [
        f"k = {k:g} repairs {repaired} pixels and breaks {broken}"
        for k, (_, repaired, broken) in zip(ks, painted)
    ]
    return figure.describe(
        f"Entropy-weighted votes and what they change against the mean: {'; '.join(counts)}.",
        preset.title,
    )


def fig_member_disagreement(image, n_choices, divergence, dataset=""):
    """An image, the number of different classes its members chose, and their divergence.

    image: [S, S, 3]; n_choices: int [H, W]; divergence: nats [H, W].
    """
    most = max(2, n_choices.max())
    colours = ListedColormap(mpl.colormaps["magma"](np.linspace(0.05, 0.95, most)))
    counted = {"cmap": colours, "vmin": 0.5, "vmax": most + 0.5}
    counted |= {"bar": "different classes chosen", "ticks": range(1, most + 1)}
    titles = [
        "the image",
        f"not unanimous on\n{100 * np.mean(n_choices > 1):.1f} % of pixels",
        "divergence of the distributions",
    ]
    images = [image, (n_choices, counted), (divergence, NATS)]
    figure, _ = gallery(
        images, titles, size=3.1, title=headline(dataset, "where the members disagree")
    )
    return figure.describe(
        "An image, how many different classes its members choose "
        f"({titles[1].replace(chr(10), ' ')}), and the divergence of their distributions.",
        dataset,
    )


def fig_uncertainty(image, entropy, divergence, wrong, dataset=""):
    """An image, the members' mean entropy, their divergence, and where the vote is wrong.

    image: [S, S, 3]; entropy and divergence: nats [H, W]; wrong: bool [H, W].
    """
    titles = [
        "the image",
        "doubt: mean entropy",
        f"wrong: {100 * wrong.mean():.1f} % of pixels",
        "dispute: divergence",
    ]
    images = [image, (entropy, NATS), (wrong, WRONG), (divergence, NATS)]
    figure, _ = gallery(
        images,
        titles,
        columns=2,
        size=3.1,
        title=headline(dataset, "entropy-weighted vote, doubt and dispute"),
    )
    return figure.describe(
        "An image, maps of the members' mean entropy and of their divergence, and the "
        f"{100 * wrong.mean():.1f} % of pixels that are wrong.",
        dataset,
    )


def fig_vote_at_k(labels, plain, weights, preset, k):
    """The vote at one k, how many members count at each pixel, and what differs from the mean.

    labels and plain (the mean): [H, W]; weights: [N, H, W], of which 1 / sum w^2 members count.
    """
    effective = 1 / np.square(weights).sum(0)
    changed = labels != plain
    count = {"cmap": "viridis", "vmin": 1, "vmax": max(len(weights), 2), "bar": "members"}
    titles = [
        f"entropy-weighted, k = {k:.3g}",
        f"{effective.mean():.1f} members count on average",
        f"not the mean's class: {changed.sum():,} pixels",
    ]
    images = [colour_labels(labels, preset), (effective, count), (changed, CHANGED)]
    figure, _ = gallery(
        images, titles, size=3.1, below=0.4, title=headline(preset.title, "the vote at one $k$")
    )
    class_legend(figure, preset, np.stack([labels, plain]), more={"changed": ACCENT})
    return figure.describe(f"Three maps of one image: {'; '.join(titles)}.", preset.title)


def fig_changed_pixels(image, truth, before, after, preset, names):
    """An image, its truth, two votes, and the pixels that the second repairs or breaks.

    image: [S, S, 3]; truth, before, after: labels [H, W]; names: of the two votes.
    """
    painted, repaired, broken = paint_changes(image, truth, before, after, preset.ignore_label)
    maps = truth, before, after
    counts = f"{repaired} repaired, {broken} broken"
    figure, _ = gallery(
        [image, *(colour_labels(m, preset) for m in maps), painted],
        ["the image", "truth", *names, counts],
        size=2.3,
        below=0.7,
        title=headline(preset.title, f"{names[0]} against {names[1]}"),
    )
    class_legend(figure, preset, np.stack(maps), more=CHANGE_COLOURS)
    return figure.describe(
        f"An image, its true labels, the votes {names[0]} and {names[1]}, and the pixels that "
        f"change: {counts}.",
        preset.title,
    )


# ---- a whole split -------------------------------------------------------------------------------


def fig_changes_by_group(changes, dataset="", comparison=""):
    """Where a change of vote acts: pixels broken (left) and repaired (right), their difference as a
    mark, and the share that changes; one panel per group.

    changes: frame (group, value, changed, repaired, broken), shares 0..1 of the pixels of that
    value; comparison: the two votes.
    """
    if changes.empty:
        return empty_figure("No pixels in any group.")
    groups = list(changes.groupby("group", sort=False))
    most = max(len(rows) for _, rows in groups)
    title = headline(dataset, comparison)
    figure, [axes] = new_figure(4.1 * len(groups), 1.2 + 0.24 * most, title, ncols=len(groups))
    for ax, (group, rows) in zip(axes, groups):
        y = np.arange(len(rows))
        balance = 100 * (rows.repaired - rows.broken)
        ax.barh(y, 100 * rows.repaired, color=CHANGE_COLOURS["repaired"])
        ax.barh(y, -100 * rows.broken, color=CHANGE_COLOURS["broken"])
        ax.plot(balance, y, "D", color=INK, mec="white", ms=6)
        for place, share in zip(y, rows.changed):
            note_at_right(ax, f"{100 * share:.2g} %", place, color=GREY)
        note_at_right(ax, "changed", -0.5, (4, 7), color=GREY)
        ax.axvline(0, color=INK, lw=1)
        ax.set_yticks(y, rows.value.astype(str), fontsize=9)
        ax.set(title=f"by {group}", ylim=(len(rows) - 0.5, -0.5), xlabel="% of the pixels there")
    handles = [
        mpl.patches.Patch(color=CHANGE_COLOURS["broken"], label="broken"),
        mpl.patches.Patch(color=CHANGE_COLOURS["repaired"], label="repaired"),
        Line2D([], [], ls="", marker="D", color=INK, mec="white", label="repaired minus broken"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    names = ", ".join(f"by {group}" for group, _ in groups)
    words = f" from {comparison}" if comparison else ""
    return figure.describe(
        f"Bars: share of pixels that a change of vote{words} repairs and breaks, {names}.", dataset
    )


K_SPLITS = {  # split -> colour, line width, use
    "validation": (INK, 2.2, "used to choose k"),
    "test": ("#888888", 1.2, "not used"),
}


def fig_k_curve(ks, curves, limits, chosen=None, dataset=""):
    """mIoU over k as the mean of S seeds, and the band from the lowest to the highest of them.

    ks: [K], ascending from 0; curves: {split: [K] or [S, K]} of "validation" and "test", percent;
    limits: {split: number or [S]}, the mIoU of the most certain member (k to infinity); a split
    without a limit ends with the last k; chosen: one of ks, marked on the validation curve.
    """
    ks = np.asarray(ks, float)
    positive = ks[ks > 0]
    first = positive.min() / 2 if len(positive) else 0.5  # the place of k = 0 on the log scale
    places = np.log2(np.maximum(ks, first))
    end = places[-1] + 1.5  # the place of infinity
    figure, [[ax]] = new_figure(
        7.5, 3.8, headline(dataset, "entropy-weighted vote against the mean")
    )
    ax.axhline(0, color=PALE, lw=1)
    labels = []
    spans = {}
    for split, curve in curves.items():
        curve = np.atleast_2d(curve)  # (S, K)
        if split in limits:
            limit = np.broadcast_to(np.reshape(limits[split], (-1, 1)), (len(curve), 1))
            curve = np.hstack([curve, limit])  # (S, K + 1)
        gains = curve - curve[:, :1]
        x = np.append(places, end)[: gains.shape[1]]
        _draw_k_curve(ax, x, gains, len(ks), split)
        mean = gains.mean(0)
        spans[split] = np.ptp(mean)
        colour, _, use = K_SPLITS[split]
        name = f"{split}, {use}\n(k = 0: {curve[:, 0].mean():.2f} %)"
        labels.append((x[-1], mean[-1], name, colour))
        if split == "validation" and chosen is not None and chosen in ks:
            place = list(ks).index(chosen)
            x, height = places[place], mean[place]
            colour = RULE_COLOURS["entropy_weighted"]
            ax.plot(x, height, "D", color=colour, ms=8, zorder=4)
            text = f"chosen: k = {chosen:.3g}"
            note(ax, text, x, height, (-4, 12), fontsize=9, color=colour)
    ax.plot(places[0], 0, "o", color=RULE_COLOURS["mean"], ms=6)
    whole = [i for i in range(len(ks)) if ks[i] > 0 and places[i] == int(places[i])]
    ticks = [places[0], *places[whole], end]
    names = ["0\nmean", *(f"{k:.3g}" for k in ks[whole]), "∞\nmost certain"]
    ax.set_xticks(ticks, names)
    ax.margins(y=0.18)
    ax.set(xlabel="k (0, then a log scale)", ylabel="mIoU above k = 0, points")
    said = [f"the {split} curve spans {span:.2f} points" for split, span in spans.items()]
    if said:
        ax.set_title(said[0].capitalize())
    end_labels(ax, labels, fontsize=8)
    return figure.describe(f"Lines: gain of mIoU over k; {', '.join(said)}.", dataset)


def _draw_k_curve(ax, x, gains, n_ks, split):
    """Mean and band of gains [S, K] or [S, K + 1] at x; the last one, dotted, is the limit."""
    colour, width, _ = K_SPLITS[split]
    mean = gains.mean(0)
    ax.fill_between(x, gains.min(0), gains.max(0), color=colour, alpha=0.15, lw=0)
    ax.plot(x[:n_ks], mean[:n_ks], color=colour, lw=width)
    if len(x) > n_ks:
        ax.plot(x[-2:], mean[-2:], ":", color=colour, lw=width)
        ax.plot(x[-1], mean[-1], "o", color=RULE_COLOURS["most_certain"], ms=6)


def fig_rule_scores(members, scores, gains, dataset=""):
    """mIoU of members and of rules, and each rule's gain over the majority with its interval.

    members: [N] in percent; scores: {rule: percent}; gains: {rule: (difference, low, high)}, dicts.
    Rules may be variants, such as "entropy_weighted, k = 1".
    """
    if not scores:
        return empty_figure("No rule has a score.")
    styles = rule_styles(scores)
    title = headline(dataset, "members, votes, and what votes gain")
    figure, [[left, right]] = new_figure(9, 1.3 + 0.42 * len(scores), title, ncols=2, sharey=True)
    colour = RULE_COLOURS["member"]
    left.plot(members, np.zeros(len(members)), "o", color=colour, ms=6, alpha=0.7)
    for y, (rule, score) in enumerate(scores.items(), 1):
        _, colour = styles[rule]
        left.plot(score, y, "o", color=colour, ms=8)
        note(left, f"{score:.2f}", score, y, (8, 0))
        if rule in gains:
            draw_intervals(right, gains[rule], y, colour)
    right.axvline(0, color=INK, lw=1)
    names = [f"{len(members)} single members", *_labels_of_rules(scores, gains, styles)]
    left.set_yticks(range(len(names)), names)
    low, high = min(scores.values()), max(scores.values())
    title = f"members {np.mean(members):.1f}, votes {low:.1f} to {high:.1f}"
    left.set(xlabel="mIoU on the test split, %", ylim=(len(scores) + 0.5, -0.5), title=title)
    left.margins(x=0.12)
    resolved = sum(gain["low"] > 0 or gain["high"] < 0 for gain in gains.values())
    verdict = f"{resolved} of {len(gains)} differences exclude zero"
    right.set(xlabel="points above the majority, 95 % interval", title=verdict)
    return figure.describe(
        f"Points: mIoU in percent, {title}; right, the gains over the majority: {verdict}.", dataset
    )


def _labels_of_rules(scores, gains, styles):
    """A label for each rule; it says so where score and interval are those of an earlier rule.

    With k chosen = 0, for example, "k chosen" is the mean.
    """
    labels = []
    first = {}  # score and interval -> label of the first rule that has them
    for rule, score in scores.items():
        label, _ = styles[rule]
        gain = gains.get(rule)
        found = (score, gain["low"], gain["high"]) if gain is not None else (score,)
        labels.append(f"{label}\n(same as {first[found]})" if found in first else label)
        first.setdefault(found, label)
    return labels
