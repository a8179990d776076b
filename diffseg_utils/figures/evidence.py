"""Is the gain real, and what helps more? mIoU in percent, differences in points with intervals."""

import numpy as np

from .layout import (
    draw_curves,
    draw_intervals,
    note,
    note_at_right,
    space_evenly,
)
from .style import (
    BROKEN,
    GREY,
    INK,
    PALE,
    REPAIRED,
    RULE_COLOURS,
    empty_figure,
    headline,
    new_figure,
    rule_styles,
    series_styles,
    sign_colours,
    verdict_colours,
)

VERDICT_COLOURS = {"gain": REPAIRED, "loss": BROKEN, "not resolved": GREY}


def fig_gain_of_each_step(steps):
    """From one member to the best vote: where the mIoU stands, and what each step adds.

    steps: frame (dataset, step, miou, difference, low, high), steps in order, the difference to the
    step before (nan for the first), and optionally spread, drawn around the first; one panel per
    dataset. A step is a rule or a variant of one.
    """
    if steps.empty:
        return empty_figure("No step from a member to a vote.")
    panels = list(steps.groupby("dataset", sort=False))
    styles = rule_styles(steps.step.unique())
    names = list(styles)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    height = rows * (1 + 0.38 * len(names))
    title = "From one member to the best vote"
    figure, axes = new_figure(5.6 * columns, height, title, nrows=rows, ncols=columns, sharey=True)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (dataset, panel) in zip(axes.flat, panels):
        _draw_steps(ax, panel, panel.step.map(names.index).to_numpy(), styles)
        ax.set(
            title=dataset,
            xlabel="mIoU (%); right: what the step adds, 95 % interval",
            ylim=(len(names) - 0.5, -0.5),
        )
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(names)), [label for label, _ in styles.values()])
    dataset, panel = panels[0]
    words = ", ".join(f"{styles[row.step][0]} {row.miou:.2f} %" for row in panel.itertuples())
    others = "" if len(panels) == 1 else f" (first of {len(panels)} panels)"
    return figure.describe(
        f"Steps from one member to the best vote, mIoU: {words}{others}.", dataset
    )


def _draw_steps(ax, panel, y, styles):
    """The steps of one dataset at heights y: lines between steps, intervals, points, numbers."""
    miou = panel.miou.to_numpy()
    before = np.append(np.nan, miou[:-1])
    colours = verdict_colours(panel)
    if "spread" in panel:
        spread = panel.spread.fillna(0).to_numpy()
        ax.hlines(y, miou - spread, miou + spread, color=RULE_COLOURS["member"], lw=2)
    ax.vlines(before[1:], y[:-1], y[1:], color=PALE, lw=1.5, zorder=0)
    ax.hlines(y, before, miou, color=PALE, lw=1.5, zorder=0)
    low, high = before + panel.low.to_numpy(), before + panel.high.to_numpy()
    ax.hlines(y, low, high, color=colours, lw=6, alpha=0.35)
    ax.scatter(miou, y, c=[styles[step][1] for step in panel.step], s=50, zorder=3)
    for place, colour, row in zip(y, colours, panel.itertuples()):
        if np.isnan(row.difference):
            text = f"{row.miou:.2f}"
        else:
            text = f"{row.difference:+z.2f} [{row.low:+z.2f}, {row.high:+z.2f}]"
        note_at_right(ax, text, place, color=colour)


def fig_effects(effects):
    """What helps more? One row per change, the largest mean difference on top, with its cost.

    effects: frame (change, dataset, difference, low, high, cost); points are datasets. cost: text,
    the same in all rows of a change, such as `with_cost_ranges` makes of several datasets.
    """
    if effects.empty:
        return empty_figure("No change was measured.")
    changes = effects.groupby("change")
    means = changes.difference.mean().sort_values(na_position="first")
    costs, measured = changes.cost.first(), changes.dataset.nunique()
    styles = series_styles(effects.dataset.unique())
    y = np.arange(len(means))
    title = "What each change gains, and what it costs"
    figure, [[ax]] = new_figure(10, 1.5 + 0.62 * len(means), title)
    ax.axvline(0, color=INK, lw=1)
    every_other = {"color": "#f4f4f4", "transform": ax.get_yaxis_transform(), "zorder": 0}
    ax.barh(y[::2], 1, 1, **every_other)
    ax.vlines(means, y - 0.42, y + 0.42, color=PALE, lw=5, zorder=1)
    shifts = np.linspace(0.28, -0.28, len(styles)) if len(styles) > 1 else [0]
    for shift, (dataset, (colour, marker)) in zip(shifts, styles.items()):
        rows = effects[effects.dataset == dataset]
        heights = means.index.get_indexer(rows.change) + shift
        draw_intervals(ax, rows, heights, colour, marker, lw=1.5, s=28, label=dataset)
    for place, (change, mean) in enumerate(means.items()):
        note_at_right(ax, f"{mean:+z.2f}", place, (10, 0), fontsize=11, weight="bold")
        if measured[change] < measured.max():
            few = f"(of {measured[change]})"
            note_at_right(ax, few, place, (52, 0), fontsize=9, color=GREY)
        note_at_right(ax, costs[change], place, (92, 0), fontsize=10, color=GREY)
    note_at_right(ax, "mean", len(means) - 0.25, (10, 0), fontsize=10)
    note_at_right(ax, "cost", len(means) - 0.25, (92, 0), fontsize=10)
    ax.set_yticks(y, means.index, fontsize=11)
    label = "mIoU points gained, 95 % interval (grey bar: mean of the datasets)"
    if measured.min() < measured.max():
        label += "\n(of 1), (of 2): on fewer datasets than the others"
    ax.set(ylim=(-0.5, len(means) - 0.5), xlabel=label)
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.03)
    columns = min(len(styles), 6)
    figure.legend(loc="outside lower center", ncols=columns, fontsize=10, frameon=False)
    words = ", ".join(f"{change} {mean:+z.2f}" for change, mean in means[::-1].items())
    return figure.describe(
        f"Points with intervals: mIoU points gained, mean over the datasets: {words}.",
        ", ".join(styles),
    )


def fig_miou_by_members(curve, dataset=""):
    """mIoU of each rule against the number of members, with a band.

    curve: frame (rule, n_members, miou, low, high).
    """
    if curve.empty:
        return empty_figure("No ensemble was scored.")
    figure, [[ax]] = new_figure(7.5, 3.8, headline(dataset, "mIoU by number of members"))
    most = curve.n_members.max()
    ticks = [n for n in (1, 2, 5, 10, 15, 20, 30) if n <= most]
    ax.set(xlabel="members (bands: subsets of the ensemble)", ylabel="mIoU (%)", xticks=ticks)
    draw_curves(ax, curve, "n_members", "miou")
    words = _ends(curve, "n_members")
    return figure.describe(f"Lines: mIoU by number of members; with {most}: {words}.", dataset)


def fig_miou_by_label_budget(curve, dataset=""):
    """mIoU of each rule against the number of labelled training images, evenly spaced.

    curve: frame (rule, images, miou).
    """
    if curve.empty:
        return empty_figure("No number of training images was scored.")
    figure, [[ax]] = new_figure(7.5, 3.8, headline(dataset, "mIoU by number of labelled images"))
    most = curve.images.max()
    places = space_evenly(ax, curve.images, last=f"all ({most})")
    ax.set(xlabel="labelled training images", ylabel="mIoU (%)")
    draw_curves(ax, curve.assign(place=places), "place", "miou")
    words = _ends(curve, "images")
    return figure.describe(f"Lines: mIoU by labelled images; with {most}: {words}.", dataset)


def fig_labelling_rounds(rounds, dataset=""):
    """mIoU after each round of labelling, and what labelling the most uncertain images gains.

    rounds: frame (images, choice, miou, lowest, highest, difference, low, high); choice: random or
    uncertain; lowest and highest: over trainings, drawn as a band; the difference is to random.
    """
    if rounds.empty:
        return empty_figure("No round of labelling was measured.")
    title = headline(dataset, "which images to label next?")
    figure, [[left, right]] = new_figure(11, 3.6, title, ncols=2)
    ticks = sorted(rounds.images.unique())
    words = {"random": "drawn at random", "uncertain": "most uncertain"}
    curves = rounds.assign(
        choice=rounds.choice.replace(words), low=rounds.lowest, high=rounds.highest
    )
    left.set(xlabel="labelled images", ylabel="mIoU (%), band: all trainings", xticks=ticks)
    draw_curves(left, curves, "images", "miou", by="choice")
    gains = rounds[(rounds.choice == "uncertain") & (rounds.images > ticks[0])]
    colours = verdict_colours(gains)
    right.axhline(0, color=INK, lw=1)
    right.vlines(gains.images, gains.low, gains.high, color=colours, lw=3)
    right.scatter(gains.images, gains.difference, c=colours, s=50, zorder=3)
    label = "points above random, 95 % interval"
    right.set(xlabel="labelled images", ylabel=label, xticks=ticks, xlim=left.get_xlim())
    ends = curves[curves.images == ticks[-1]]
    said = ", ".join(f"{row.choice} {row.miou:.2f} %" for row in ends.itertuples())
    return figure.describe(
        f"Lines: mIoU by labelled images, and intervals of the difference; with {ticks[-1]}: "
        f"{said}.",
        dataset,
    )


def fig_miou_by_boundary_distance(bands, dataset=""):
    """mIoU of the pixels near a true boundary, and how far each rule is above the majority there.

    bands: frame (rule, width, miou, difference, low, high): pixels nearer to a boundary than
    `width` (inf: all), differences nan for the majority.
    """
    if bands.empty:
        return empty_figure("No pixel near a boundary was scored.")
    figure, [[left, right]] = new_figure(
        11, 3.6, headline(dataset, "mIoU near boundaries"), ncols=2
    )
    last = "all" if np.isinf(bands.width.max()) else None
    bands = bands.assign(place=space_evenly(left, bands.width, last))
    space_evenly(right, bands.width, last)
    right.axhline(0, color=RULE_COLOURS["majority"], lw=1)
    for ax, label in ((left, "mIoU (%)"), (right, "points above the majority, 95 % interval")):
        ax.set(xlabel="nearer to a boundary than (pixels)", ylabel=label)
    draw_curves(left, bands.drop(columns=["low", "high"]), "place", "miou")
    draw_curves(right, bands, "place", "difference")
    words = _ends(bands, "place")
    return figure.describe(
        f"Lines: mIoU near boundaries and its difference to the majority; widest band: {words}.",
        dataset,
    )


def _ends(curve, x):
    """'majority 50.00 %, mean 50.50 %': the mIoU of each rule at the largest x."""
    last = curve[curve[x] == curve[x].max()]
    styles = rule_styles(last.rule)
    return ", ".join(f"{styles[row.rule][0]} {row.miou:.2f} %" for row in last.itertuples())


def fig_difference_by_test_images(curve, dataset="", comparison=""):
    """One difference seen with more and more test images: its interval, coloured by the verdict.

    curve: frame (images, difference, low, high); comparison: what is compared.
    """
    if curve.empty:
        return empty_figure("No difference was measured.")
    title = headline(dataset, comparison)
    figure, [[ax]] = new_figure(7.5, 3.6, title)
    colours = verdict_colours(curve)
    words = {colour: word for word, colour in VERDICT_COLOURS.items()}
    ax.axhline(0, color=INK, lw=1)
    ax.vlines(curve.images, curve.low, curve.high, color=colours, lw=3)
    ax.scatter(curve.images, curve.difference, c=colours, s=50, zorder=3)
    for i, row in enumerate(curve.itertuples()):
        if i == 0 or colours[i] != colours[i - 1]:  # the word stands where the verdict changes
            how = {"ha": "left", "fontsize": 10, "color": colours[i], "weight": "bold"}
            note(ax, words[colours[i]], row.images, row.high, (0, 8), **how)
    ax.set(xscale="log", xlabel="test images", ylabel="mIoU points, 95 % interval")
    ax.set_xticks(curve.images, [f"{n:g}" for n in curve.images])
    ax.set_xticks([], minor=True)
    ax.margins(y=0.15)
    last = curve.iloc[-1]
    return figure.describe(
        f"Intervals of {comparison or 'a difference'} by number of test images; with "
        f"{last.images:g}: {last.difference:+z.2f} [{last.low:+z.2f}, {last.high:+z.2f}] points, "
        f"{words[colours[-1]]}.",
        dataset,
    )


def fig_difference_intervals(
    table, published=0.2, title="Differences of two votes of the same members"
):
    """Differences as intervals: one panel per comparison, one row per dataset, with the verdict.

    table: frame (dataset, comparison, difference, low, high, verdict, seeds, images); verdict:
    gain, loss or not resolved; published: where a dotted line stands for the paper, or None.
    """
    if table.empty:
        return empty_figure("No difference was measured.")
    names = list(table.dataset.unique())
    comparisons = table.comparison.unique()
    figure, [axes] = new_figure(
        2.0 + 3.7 * len(comparisons),
        1.2 + 0.55 * len(names),
        title,
        ncols=len(comparisons),
        sharex=True,
        sharey=True,
    )
    for ax, comparison in zip(axes, comparisons):
        rows = table[table.comparison == comparison]
        y = rows.dataset.map(names.index).to_numpy()
        colours = rows.verdict.map(VERDICT_COLOURS).fillna(GREY)
        ax.axvline(0, color=INK, lw=1)
        if published is not None:
            ax.axvline(published, color=INK, lw=1.5, ls=":")
        draw_intervals(ax, rows, y, colours)
        for place, row, colour in zip(y, rows.itertuples(), colours):
            note_at_right(ax, f"{row.difference:+z.2f} {row.verdict}", place, color=colour)
        ax.set(title=comparison, xlabel="mIoU points, 95 % interval", ylim=(len(names) - 0.5, -0.6))
    if published is not None:
        note(axes[0], f"the paper: {published:+.1f}", published, -0.5, (4, 0))
    facts = table.groupby("dataset")[["seeds", "images"]].first()
    labels = []
    for name in names:
        seeds, images = facts.loc[name]
        labels.append(f"{name}\n{seeds} seed{'s' if seeds > 1 else ''}, {images} images")
    axes[0].set_yticks(range(len(names)), labels, fontsize=9)
    for ax in axes[1:]:
        ax.tick_params(axis="y", length=0)  # a verdict to its left would read as its label
    words = []
    for comparison in comparisons:
        counts = table[table.comparison == comparison].verdict.value_counts()
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        words.append(f"{comparison}: {verdicts}")
    return figure.describe(
        f"Intervals of mIoU differences, {'; '.join(words)}.", ", ".join(map(str, names))
    )


def fig_class_differences(classes, comparison="entropy-weighted minus majority"):
    """IoU points that each class gains, one panel per run, frequent classes first.

    classes: frame (name of the run, class, share of pixels in percent, difference).
    """
    if classes.empty:
        return empty_figure("No class was scored.")
    runs = list(classes.groupby("name", sort=False))
    rows = -(-len(runs) // 4)
    columns = -(-len(runs) // rows)
    most = max(len(run) for _, run in runs)
    longest = classes["class"].str.len().max()
    panel = 2.0 + 0.07 * longest  # long class names need room beside the points
    figure, axes = new_figure(
        panel * columns,
        rows * (1.0 + 0.21 * most),
        f"IoU of each class: {comparison}",
        nrows=rows,
        ncols=columns,
        sharex=True,
    )
    for ax in axes.flat[len(runs) :]:
        ax.set_visible(False)
    for ax, (name, run) in zip(axes.flat, runs):
        run = run.sort_values("share", ascending=False, kind="stable")
        y = -np.arange(len(run))
        colours = sign_colours(run.difference)
        ax.hlines(y, 0, run.difference, color=colours, lw=2)
        ax.scatter(run.difference, y, color=colours, s=22, zorder=3, clip_on=False)
        ax.axvline(0, color=INK, lw=1)
        labels = [f"{c} · {share:.2g} %" for c, share in zip(run["class"], run.share)]
        ax.set_yticks(y, labels, fontsize=8.5)
        ax.set(title=name, xlabel="IoU points", ylim=(0.5 - most, 0.5))
        ax.tick_params(axis="x", labelbottom=True)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x", color="#eeeeee")
    better = (classes.difference > 0).sum()
    return figure.describe(
        f"Points: IoU points of each class, {comparison}; {better} of {len(classes)} classes gain.",
        ", ".join(name for name, _ in runs),
    )


def fig_image_differences(images, published, comparison="entropy-weighted minus majority"):
    """Change of the mIoU of every single image, one row per run; the paper's images as rings.

    images: frame (name of the run, difference); published: {label: points}.
    """
    if images.empty:
        return empty_figure("No image was scored.")
    runs = list(images.groupby("name", sort=False).difference)
    figure, [[ax]] = new_figure(10.5, 1.3 + 0.5 * len(runs), f"mIoU of each image: {comparison}")
    rng = np.random.default_rng(0)
    ax.axvline(0, color=INK, lw=1)
    words = []
    for y, (name, points) in enumerate(runs):
        heights = -y + rng.uniform(-0.2, 0.2, len(points))
        ax.scatter(points, heights, s=22, lw=0, alpha=0.75, color=sign_colours(points))
        ax.vlines(points.median(), -y - 0.36, -y + 0.36, color=INK, lw=2)
        better = f"{(points > 0).sum()} of {len(points)} better"
        note_at_right(ax, better, -y, (6, 0), fontsize=9)
        words.append(f"{name} {better}")
    for label, points in published.items():
        ax.plot(points, 0.75, "o", mfc="none", mec=INK, ms=8, mew=1.5)
        note(ax, label, points, 0.75, (7, 0), fontsize=9)
    ax.set_yticks(-np.arange(len(runs)), [name for name, _ in runs])
    label = "change of the image's mIoU, points (bar: median image)"
    ax.set(xlabel=label, ylim=(0.5 - len(runs), 1.1))
    ax.grid(axis="x", color="#eeeeee")
    return figure.describe(
        f"Points: change of the mIoU of each image, {comparison}: {', '.join(words)}."
    )
