"""Where a vote can be trusted and what a change of vote changes: calibration, boundaries, groups of pixels, one pixel."""

import numpy as np

from .lines import curves, note, ranks
from .panels import FLIPS, class_legend, gallery, key, paint_changes
from .style import GREY, INK, PALE, RULES, SERIES, colour_labels, look, new_figure


def fig_reliability(bins, errors):
    """Accuracy against confidence, and below it where the pixels of each rule lie, a tick a bin, as high as its share.

    bins: frame (rule, confidence, accuracy, share), all 0..1; errors: {rule: expected calibration error}.
    """
    figure, [[top], [low]] = new_figure(7.5, 5.2, nrows=2, sharex=True, height_ratios=(5, 1))
    top.plot([0, 1], [0, 1], color=PALE, lw=1, zorder=0)
    top.text(
        0.03,
        0.04,
        "as sure as right",
        rotation=45,
        transform_rotates_text=True,
        rotation_mode="anchor",
        color=GREY,
    )
    top.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1.0))
    low.set(xlabel="confidence", yticks=[], ylim=(bins.rule.nunique() - 0.4, -0.6), ylabel="pixels")
    curves(
        top,
        bins,
        "confidence",
        "accuracy",
        after={rule: f", error {error:.3f}" for rule, error in errors.items()},
    )
    for y, (rule, rows) in enumerate(bins.groupby("rule", sort=False)):
        height = 0.4 * rows.share / bins.share.max()
        low.vlines(rows.confidence, y - height, y + height, color=look(rule)[1], lw=1.5)
    return figure


def fig_risk_coverage(curve, areas):
    """Error among the pixels a vote is most certain of, against how many these are.

    curve: frame (rule, coverage, risk), 0..1; areas: {rule: area under its curve}, 0..1.
    """
    figure, [[ax]] = new_figure(7.5, 3.8)
    ax.set(
        xlabel="share of pixels kept, most certain first", ylabel="wrong among them", xlim=(0, 1)
    )
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.yaxis.set_major_formatter("{x:.1%}")
    curves(
        ax,
        curve,
        "coverage",
        "risk",
        after={rule: f", area {area:.4f}" for rule, area in areas.items()},
    )
    return figure


def fig_bands(bands):
    """mIoU of the pixels nearer to a true boundary than a width, and how far each rule is above the majority there.

    bands: frame (rule, width in pixels (inf: all), miou, difference, low, high), differences nan for the majority.
    """
    figure, [[left, right]] = new_figure(11, 3.6, ncols=2)
    places = bands.assign(place=ranks(left, bands.width))
    ranks(right, bands.width)
    right.axhline(0, color=look("majority")[1], lw=1)
    for ax, label in ((left, "mIoU (%)"), (right, "points above the majority, 95 % interval")):
        ax.set(xlabel="nearer to a boundary than (pixels)", ylabel=label)
    curves(left, places.drop(columns=["low", "high"]), "place", "miou")
    curves(right, places.dropna(subset="difference"), "place", "difference")
    return figure


def fig_changes(image, truth, before, after, preset, names):
    """An image, its truth and two votes [H, W], and the pixels that the second repairs or breaks; names: of the two votes."""
    painted, repaired, broken = paint_changes(image, truth, before, after, preset.ignore_label)
    maps = truth, before, after
    figure, _ = gallery(
        [image, *(colour_labels(m, preset) for m in maps), painted],
        ["the image", "truth", *names, f"{repaired} repaired, {broken} broken"],
        size=2.3,
        below=0.7,
    )
    class_legend(figure, preset, np.stack(maps), more=FLIPS)
    return figure


def fig_where(changes):
    """Where a change of vote acts: pixels broken (left) and repaired (right), the balance as a mark, the share that changes.

    changes: frame (group, value, changed, repaired, broken), shares 0..1 of the pixels with that value; a panel a group.
    """
    groups = list(changes.groupby("group", sort=False))
    figure, [axes] = new_figure(
        3.7 * len(groups), 1.2 + 0.24 * max(len(rows) for _, rows in groups), ncols=len(groups)
    )
    for ax, (group, rows) in zip(axes, groups):
        y = np.arange(len(rows))
        ax.barh(y, 100 * rows.repaired, color=FLIPS["repaired"])
        ax.barh(y, -100 * rows.broken, color=FLIPS["broken"])
        ax.plot(100 * (rows.repaired - rows.broken), y, "D", color=INK, mec="white", ms=6)
        for place, share in zip(y, rows.changed):
            note(
                ax,
                f"{100 * share:.2g} %",
                1,
                place,
                (4, 0),
                xycoords=ax.get_yaxis_transform(),
                color=GREY,
            )
        ax.axvline(0, color=INK, lw=1)
        ax.set_yticks(y, rows.value.astype(str), fontsize=9)
        note(ax, "changed", 1, -0.5, (4, 7), xycoords=ax.get_yaxis_transform(), color=GREY)
        ax.set(title=f"by {group}", ylim=(len(rows) - 0.5, -0.5), xlabel="% of the pixels there")
    key(
        figure,
        {"broken": FLIPS["broken"], "repaired": FLIPS["repaired"], "repaired minus broken": INK},
    )
    return figure


def fig_simplex(members, path, ks, class_names):
    """One pixel and three classes: members [N, 3], and the entropy-weighted mean [K, 3] as k [K] grows from 0 to infinity.

    A point is as near to a corner as that class is probable; the shades are the classes that win.
    """
    figure, [[ax]] = new_figure(7.2, 5.2)
    corners = np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])
    middle, mid = corners.mean(0), lambda a, b: (corners[a] + corners[b]) / 2
    for c, (colour, _) in enumerate(SERIES[:3]):
        ax.fill(
            *np.array([corners[c], mid(c, (c + 1) % 3), middle, mid(c, c - 1)]).T,
            color=colour,
            alpha=0.13,
            lw=0,
        )
        note(
            ax,
            class_names[c],
            *corners[c],
            (0, 12 if c == 2 else -12),
            ha="center",
            color=colour,
            fontsize=12,
            weight="bold",
        )
    ax.plot(
        *(np.asarray(members) @ corners).T,
        "o",
        color=RULES["member"][1],
        ms=9,
        alpha=0.7,
        label=f"{len(members)} members",
    )
    points, winners = np.asarray(path) @ corners, np.argmax(path, 1)
    ax.plot(*points.T, color=RULES["entropy_weighted"][1], lw=2.5)
    turns = np.flatnonzero(np.diff(winners)) + 1
    marks = [
        (0, "mean", f"k = 0, the mean: {class_names[winners[0]]}"),
        *(
            (i, "entropy_weighted", f"from k = {ks[i]:.2g}: {class_names[winners[i]]}")
            for i in turns
        ),
        (-1, "most_certain", f"k → ∞, the most certain: {class_names[winners[-1]]}"),
    ]
    for i, rule, label in marks:
        ax.plot(*points[i], "o", color=RULES[rule][1], ms=9, mec="white", label=label)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.legend(
        loc="upper left", bbox_to_anchor=(-0.12, 1), frameon=False, fontsize=9
    )  # beside the top corner
    return figure
