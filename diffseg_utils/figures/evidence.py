"""Is the gain real, is it the entropy, what helps more? Differences with intervals; mIoU in percent, differences in points."""

import numpy as np

from .lines import curves, dots, note, ranks, verdict_colours
from .style import BROKEN, GREY, INK, PALE, REPAIRED, look, new_figure, series

VERDICTS = {"gain": REPAIRED, "loss": BROKEN, "not resolved": GREY}


def fig_ladder(steps):
    """From one member to the best vote, a rung a step: where the mIoU stands, and what the step adds with its interval.

    steps: frame (dataset, step, miou, difference, low, high), steps in order, the difference to the step before (nan for the
    first), and optionally spread, drawn around the first; a panel a dataset.
    """
    groups = list(steps.groupby("dataset", sort=False))
    names, columns = list(steps.step.unique()), min(2, len(groups))
    rows = -(-len(groups) // columns)
    figure, axes = new_figure(
        5.6 * columns, rows * (1 + 0.38 * len(names)), nrows=rows, ncols=columns, sharey=True
    )
    for ax in axes.flat[len(groups) :]:
        ax.set_visible(False)
    for ax, (dataset, rungs) in zip(axes.flat, groups):
        _rungs(ax, rungs.set_index(rungs.step.map(names.index)))
        ax.set(
            title=dataset,
            xlabel="mIoU (%); right: what the step adds, 95 % interval",
            ylim=(len(names) - 0.5, -0.5),
        )
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(names)), [look(step)[0] for step in names])
    return figure


def _rungs(ax, rungs):
    before, colours = rungs.miou.shift(), verdict_colours(rungs)
    spread = rungs.spread.fillna(0) if "spread" in rungs else 0 * rungs.miou
    ax.hlines(rungs.index, rungs.miou - spread, rungs.miou + spread, color=look("member")[1], lw=2)
    ax.vlines(before, rungs.index - 1, rungs.index, color=PALE, lw=1.5, zorder=0)
    ax.hlines(rungs.index, before, rungs.miou, color=PALE, lw=1.5, zorder=0)
    ax.hlines(rungs.index, before + rungs.low, before + rungs.high, color=colours, lw=6, alpha=0.35)
    ax.scatter(rungs.miou, rungs.index, c=[look(step)[1] for step in rungs.step], s=50, zorder=3)
    for colour, (y, rung) in zip(colours, rungs.iterrows()):
        text = (
            f"{rung.miou:.2f}"
            if np.isnan(rung.difference)
            else f"{rung.difference:+.2f} [{rung.low:+.2f}, {rung.high:+.2f}]"
        )
        note(ax, text, 1, y, (4, 0), xycoords=ax.get_yaxis_transform(), color=colour)


def fig_effects(effects):
    """What helps more? A row a change, the largest mean difference on top, with its cost; dots are datasets.

    effects: frame (change, dataset, difference, low, high, cost).
    """
    means = effects.groupby("change").difference.mean().sort_values()
    looks, costs = series(effects.dataset.unique()), effects.groupby("change").cost.first()
    figure, [[ax]] = new_figure(10, 1.5 + 0.62 * len(means))
    ax.axvline(0, color=INK, lw=1)
    ax.barh(
        range(0, len(means), 2), 1, 1, color="#f4f4f4", transform=ax.get_yaxis_transform(), zorder=0
    )
    ax.vlines(
        means,
        np.arange(len(means)) - 0.42,
        np.arange(len(means)) + 0.42,
        color=PALE,
        lw=5,
        zorder=1,
    )
    for shift, (dataset, (colour, marker)) in zip(
        np.linspace(0.28, -0.28, len(looks)) if len(looks) > 1 else [0], looks.items()
    ):
        rows = effects[effects.dataset == dataset]
        dots(
            ax,
            rows,
            means.index.get_indexer(rows.change) + shift,
            colour,
            marker,
            lw=1.5,
            s=28,
            label=dataset,
        )
    for y, (change, mean) in enumerate(means.items()):
        note(
            ax,
            f"{mean:+.2f}",
            1,
            y,
            (10, 0),
            xycoords=ax.get_yaxis_transform(),
            fontsize=11,
            weight="bold",
        )
        note(
            ax,
            costs[change],
            1,
            y,
            (62, 0),
            xycoords=ax.get_yaxis_transform(),
            fontsize=10,
            color=GREY,
        )
    for text, place in (("mean", 10), ("cost", 62)):
        note(
            ax,
            text,
            1,
            len(means) - 0.25,
            (place, 0),
            xycoords=ax.get_yaxis_transform(),
            fontsize=10,
        )
    ax.set_yticks(range(len(means)), means.index, fontsize=11)
    ax.set(
        ylim=(-0.5, len(means) - 0.5),
        xlabel="mIoU points gained, 95 % interval (grey bar: mean of the datasets)",
    )
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.03)
    figure.legend(loc="outside lower center", ncols=len(looks), fontsize=10, frameon=False)
    return figure


def fig_members(curve):
    """mIoU against the number of members, with a band; curve: frame (rule, n_members, miou, low, high)."""
    figure, [[ax]] = new_figure(7.5, 3.8)
    ax.set(
        xlabel="members (bands: subsets of the ensemble)",
        ylabel="mIoU (%)",
        xticks=[n for n in (1, 2, 5, 10, 15, 20, 30) if n <= curve.n_members.max()],
    )
    curves(ax, curve, "n_members", "miou")
    return figure


def fig_label_budget(curve):
    """mIoU against the number of labelled training images, evenly spaced; curve: frame (rule, images, miou)."""
    figure, [[ax]] = new_figure(7.5, 3.8)
    places = ranks(ax, curve.images, f"all ({curve.images.max()})")
    ax.set(xlabel="labelled training images", ylabel="mIoU (%)")
    curves(ax, curve.assign(place=places), "place", "miou")
    return figure


def fig_power(curve):
    """One difference seen with more and more test images: its interval, coloured and named by the verdict.

    curve: frame (images, difference, low, high).
    """
    figure, [[ax]] = new_figure(7.5, 3.6)
    colours = verdict_colours(curve)
    words = {colour: word for word, colour in VERDICTS.items()}
    ax.axhline(0, color=INK, lw=1)
    ax.vlines(curve.images, curve.low, curve.high, color=colours, lw=3)
    ax.scatter(curve.images, curve.difference, c=colours, s=50, zorder=3)
    for i, row in enumerate(curve.itertuples()):
        if i == 0 or colours[i] != colours[i - 1]:
            note(
                ax,
                words[colours[i]],
                row.images,
                row.high,
                (0, 8),
                ha="left",
                fontsize=10,
                color=colours[i],
                weight="bold",
            )
    ax.set(xscale="log", xlabel="test images", ylabel="mIoU points, 95 % interval")
    ax.set_xticks(curve.images, [f"{n:g}" for n in curve.images])
    ax.set_xticks([], minor=True)
    ax.margins(y=0.15)
    return figure


def fig_table_intervals(table, published=0.2):
    """Table I as intervals: a panel a comparison, a row a dataset, coloured and named by the verdict.

    published: where a dotted line stands for the paper, or None.
    table: frame (dataset, comparison, difference, low, high, verdict, seeds, images); verdict: gain, loss or not resolved.
    """
    names, comparisons = list(table.dataset.unique()), table.comparison.unique()
    facts = table.groupby("dataset")[["seeds", "images"]].first().loc[names]
    figure, [axes] = new_figure(
        2.2 + 4.2 * len(comparisons),
        1.2 + 0.55 * len(names),
        ncols=len(comparisons),
        sharex=True,
        sharey=True,
    )
    for ax, comparison in zip(axes, comparisons):
        rows = table[table.comparison == comparison]
        y, colours = rows.dataset.map(names.index).to_numpy(), rows.verdict.map(VERDICTS)
        ax.axvline(0, color=INK, lw=1)
        if published is not None:
            ax.axvline(published, color=INK, lw=1.5, ls=":")
        dots(ax, rows, y, colours)
        for at, row, colour in zip(y, rows.itertuples(), colours):
            note(
                ax,
                f"{row.difference:+.2f} {row.verdict}",
                1,
                at,
                (4, 0),
                xycoords=ax.get_yaxis_transform(),
                color=colour,
            )
        ax.set(title=comparison, xlabel="mIoU points, 95 % interval", ylim=(len(names) - 0.5, -0.6))
    if published is not None:
        note(axes[0], f"the paper: {published:+.1f}", published, -0.5, (4, 0))
    axes[0].set_yticks(
        range(len(names)),
        [
            f"{name}\n{seeds} seed{'s' * (seeds > 1)}, {images} images"
            for name, seeds, images in facts.itertuples()
        ],
        fontsize=9,
    )
    return figure
