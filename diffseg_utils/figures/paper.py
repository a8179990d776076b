"""The paper's figures, and those that its table needs beside it: spreads, intervals, classes, every image."""

import matplotlib as mpl
import numpy as np
from matplotlib.colors import CenteredNorm

from .lines import note
from .panels import class_legend, gallery, paint_changes, show
from .style import (
    BROKEN,
    GREY,
    INK,
    PALE,
    REPAIRED,
    RULES,
    STYLE,
    Picture,
    colour_labels,
    look,
    new_figure,
)

TAPPED = "#E69F00"


# ---- numbers ----------------------------------------------------------------------------------------------------------


def fig_baselines(paper, presets):
    """Published scores of each dataset on axes of one scale: how large 0.2 points are beside the baseline's spread.

    paper: results/paper.csv (dataset, rule, source, miou, std), rows with a rule; presets: the panels.
    """
    figure, [axes] = new_figure(10.5, 2.9, ncols=len(presets))
    for ax, preset in zip(axes, presets):
        rows = paper[(paper.dataset == preset.name) & paper.rule.notna()].reset_index(drop=True)
        spread, ours = rows["std"].fillna(0), rows.source.str.startswith("Jeong")
        for y, row in rows.iterrows():
            colour = look(row.rule)[1]
            ax.errorbar(
                row.miou,
                -y,
                xerr=spread[y] or None,
                fmt="o",
                color=colour,
                ms=7,
                elinewidth=2,
                capsize=4,
                mfc=colour if ours[y] else "white",
            )
            text = f"{row.miou:.2f}".removesuffix("0") + (f" ± {spread[y]}" if spread[y] else "")
            note(ax, text, row.miou, -y, (0, 10), ha="center")
        middle = ((rows.miou - spread).min() + (rows.miou + spread).max()) / 2
        ax.set(
            title=preset.title,
            ylim=(0.5 - len(rows), 0.7),
            xlim=(middle - 3.9, middle + 3.9),
            yticks=[],
            xlabel="mIoU (%)",
        )
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color="#eeeeee")
    names = np.where(ours, "the paper, " + rows.rule.str.replace("_", "-"), rows.source)
    axes[0].set_yticks(-rows.index, [name.split(" (")[0] for name in names])
    axes[0].tick_params(axis="y", length=0)
    return figure


def _sign_colours(values):
    return np.select([values > 0, values < 0], [REPAIRED, BROKEN], GREY)


def fig_class_differences(classes):
    """IoU points of each class, entropy-weighted minus majority, one panel a run, frequent classes first.

    classes: tidy frame (name, class, share of pixels in percent, difference).
    """
    runs = list(classes.groupby("name", sort=False))
    rows, most = -(-len(runs) // 4), max(len(run) for _, run in runs)
    columns = -(-len(runs) // rows)
    panel = (
        2.0 + 0.07 * classes["class"].str.len().max()
    )  # long class names need room beside the points
    figure, axes = new_figure(
        panel * columns, rows * (1.0 + 0.21 * most), nrows=rows, ncols=columns, sharex=True
    )
    for ax in axes.flat[len(runs) :]:
        ax.set_visible(False)
    for ax, (name, run) in zip(axes.flat, runs):
        run = run.sort_values("share", ascending=False, kind="stable").reset_index(drop=True)
        colours = _sign_colours(run.difference)
        ax.hlines(-run.index, 0, run.difference, color=colours, lw=2)
        ax.scatter(run.difference, -run.index, color=colours, s=22, zorder=3, clip_on=False)
        ax.axvline(0, color=INK, lw=1)
        ax.set_yticks(
            -run.index, [f"{c} · {s:.2g} %" for c, s in zip(run["class"], run.share)], fontsize=8.5
        )
        ax.set(title=name, xlabel="IoU points", ylim=(0.5 - most, 0.5))
        ax.tick_params(axis="x", labelbottom=True)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x", color="#eeeeee")
    return figure


def fig_image_differences(images, published):
    """Change of the mIoU of every single image, one row a run; the paper's example pictures as hollow marks.

    images: tidy frame (name, difference); published: {label: points}.
    """
    runs = images.groupby("name", sort=False).difference
    figure, [[ax]] = new_figure(10.5, 1.3 + 0.5 * len(runs))
    rng = np.random.default_rng(0)
    ax.axvline(0, color=INK, lw=1)
    for y, (_, points) in enumerate(runs):
        ax.scatter(
            points,
            -y + rng.uniform(-0.2, 0.2, len(points)),
            s=22,
            lw=0,
            alpha=0.75,
            color=_sign_colours(points),
        )
        ax.vlines(points.median(), -y - 0.36, -y + 0.36, color=INK, lw=2)
        note(
            ax,
            f"{(points > 0).sum()} of {len(points)} better",
            1,
            -y,
            xycoords=ax.get_yaxis_transform(),
            fontsize=9,
        )
    for label, points in published.items():
        ax.plot(points, 0.75, "o", mfc="none", mec=INK, ms=8, mew=1.5)
        note(ax, label, points, 0.75, (7, 0), fontsize=9)
    ax.set_yticks(-np.arange(len(runs)), [name for name, _ in runs])
    ax.set(
        xlabel="change of the image's mIoU, points (bar: median image)", ylim=(0.5 - len(runs), 1.1)
    )
    ax.grid(axis="x", color="#eeeeee")
    return figure


# ---- Fig. 1 -----------------------------------------------------------------------------------------------------------


def fig_overview(example, preset):
    """The method on one image, left to right: noise, frozen U-Net, maps, classifiers, entropies and weights, two votes.

    example: the arrays of an examples.npz; its middle image is drawn. Positions are inches from the lower left.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(13.9, 6.3), layout="none")
        sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, 13.9), ylim=(0, 6.3))
        sheet.set_axis_off()
        _unet(sheet, example)
        _members(sheet, example, preset)
        for name, y, title in (
            ("majority", 3.92, "majority"),
            ("truth", 2.42, "ground truth"),
            (
                "entropy_weighted",
                0.92,
                f"entropy-weighted ({float(example['difference'][1]):+.2f})",
            ),
        ):
            colour = RULES.get(name, ("", INK))[1]
            _picture(sheet, 12.25, y, 1.24, colour_labels(example[name][1], preset), title, colour)
            if name != "truth":
                _arrow(sheet, (11.86, y + 0.65), (12.2, y + 0.65), colour)
        for x, text in (
            (0.2, "1  noise"),
            (2.45, "2  a frozen U-Net and its decoder maps"),
            (7.9, f"3  {len(example['members'])} classifiers"),
            (12.1, "4  the vote"),
        ):
            sheet.text(x, 6.0, text, fontsize=13, weight="bold")
        shown = [example[name][1] for name in ("majority", "entropy_weighted", "truth")]
        class_legend(figure, preset, shown, loc="lower center", ncols=12)
    return figure


def _unet(sheet, example):
    """The noised image and bars as high as maps are wide: the encoder shrinks, the decoder grows; blocks read are ochre.

    The PCA pictures map_<step>_<block> hang above their blocks, at most four, coarse first.
    """
    keys = sorted(
        tuple(map(int, name.split("_")[1:])) for name in example if name.startswith("map_")
    )[-4:]
    maps = {block: example[f"map_{step}_{block}"] for step, block in keys}
    size, coarsest, middle = len(example["noised"]), len(maps[keys[0][1]]), 2.07
    _picture(sheet, 0.2, 3.72, 1.75, example["image"][1], "input image")
    _picture(sheet, 0.2, 1.2, 1.75, example["noised"], f"noised to step {keys[0][0]}")
    _arrow(sheet, (1.07, 3.67), (1.07, 3.27))
    _arrow(sheet, (2.0, middle), (2.4, middle))
    sheet.plot([2.5, 3.75 + 1.02 * (len(maps) - 1)], [middle, middle], color=PALE, lw=1.5, zorder=0)
    for i, side in enumerate(size >> level for level in range(8) if size >> level >= coarsest):
        _bar(sheet, 2.57 + 0.28 * i, middle, side / size, PALE)
    for x, (block, picture) in zip(3.84 + 1.02 * np.arange(len(maps)), maps.items()):
        sheet.plot([x, x], [middle, 4.1], color=TAPPED, lw=1.5, zorder=0)
        _bar(sheet, x, middle, len(picture) / size, TAPPED)
        _picture(
            sheet, x - 0.47, 4.15, 0.95, picture, f"block {block}\n{len(picture)} × {len(picture)}"
        )
    _arrow(sheet, (3.4 + 1.02 * len(maps), 4.62), (7.82, 4.62))
    sheet.text(
        2.45,
        0.62,
        "never trained here, cut after the last block that is read (ochre);\n"
        "all maps together describe every pixel; colours: 3 principal components",
        fontsize=9.5,
        linespacing=1.5,
    )


def _members(sheet, example, preset):
    """Classes, entropies and weights of four of the classifiers, a column each."""
    n = len(example["members"])
    entropy, weights = (np.asarray(example[name], np.float32) for name in ("entropy", "weights"))
    spread = max(np.quantile(np.abs(weights - 1 / n), 0.99), 1e-3)
    columns = sorted({0, 1 % n, 2 % n, n - 1})
    rows = (
        (
            4.1,
            f"classes (members {', '.join(str(i + 1) for i in columns)})",
            [colour_labels(member, preset) for member in example["members"]],
            {},
        ),
        (
            2.6,
            f"entropy $H(i)$: black 0, bright {entropy.max():.1f} nats",
            entropy,
            {"cmap": "magma", "vmin": 0, "vmax": entropy.max()},
        ),
        (
            1.1,
            f"weight $w_i$: ochre over 1/{n}, violet under",
            weights,
            {"cmap": "PuOr_r", "norm": CenteredNorm(1 / n, spread)},
        ),
    )
    for y, title, pictures, how in rows:
        sheet.text(7.9, y + 1.04, title, fontsize=10)
        for column, i in enumerate(columns):
            _picture(sheet, 7.9 + 0.97 * column + 0.06 * (column == 3), y, 0.94, pictures[i], **how)
    sheet.text(
        7.9,
        0.62,
        r"$w_i \propto e^{-k\,H(i)}$ (3)      $p = \sum_i w_i\,q_i$ (2),   here $k = 1$",
        fontsize=11,
    )


def _picture(sheet, x, y, size, image, title="", colour=INK, **how):
    ax = sheet.inset_axes((x, y, size, size), transform=sheet.transData)
    show(ax, image, **how)
    ax.set_title(title, color=colour, pad=4)


def _arrow(sheet, start, end, colour=INK):
    sheet.annotate(
        "",
        end,
        start,
        arrowprops={
            "arrowstyle": "-|>",
            "mutation_scale": 16,
            "lw": 1.8,
            "color": colour,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def _bar(sheet, x, middle, share, colour):
    """A map of the U-Net; its height grows slower than its width in pixels, so that the small ones can be seen."""
    sheet.bar(x, 2.1 * share**0.6, 0.2, middle - 1.05 * share**0.6, color=colour)


# ---- Fig. 2 -----------------------------------------------------------------------------------------------------------


def fig_pictures(example, preset, name):
    """Input, truth, both votes and their difference for the best, the median and the worst image of a run."""
    keys, images = ("truth", "majority", "entropy_weighted"), []
    painted = [
        paint_changes(example["image"][i], *(example[key][i] for key in keys), preset.ignore_label)
        for i in range(3)
    ]
    for i, (changed, *_) in enumerate(painted):
        images += [
            example["image"][i],
            *(colour_labels(example[key][i], preset) for key in keys),
            changed,
        ]
    names = [
        f"{rank} image\n{points:+.2f} points"
        for rank, points in zip(("best", "median", "worst"), example["difference"])
    ]
    labels = np.unique([example[key] for key in keys])
    figure, axes = gallery(
        images,
        ["input", "ground truth", "majority", "entropy-weighted", "what changed"],
        5,
        1.8,
        0.7 + 0.17 * (len(labels) // 5),
        names,
    )
    for ax, (_, repaired, broken) in zip(axes[:, 4], painted):
        ax.text(0, -0.1, f"{repaired} repaired", color=REPAIRED, fontsize=8, transform=ax.transAxes)
        ax.text(
            1,
            -0.1,
            f"{broken} broken",
            color=BROKEN,
            fontsize=8,
            transform=ax.transAxes,
            ha="right",
        )
    for ax, rule in zip(axes[0, 2:], keys[1:]):
        ax.title.set_color(RULES[rule][1])
    figure.suptitle(name, fontsize=11)
    class_legend(figure, preset, labels, ncols=5, fontsize=8)
    return figure
