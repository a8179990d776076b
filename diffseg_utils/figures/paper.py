"""The paper's own figures: its published scores, Fig. 1 (the method) and Fig. 2 (examples)."""

import matplotlib as mpl
import numpy as np
from matplotlib.colors import CenteredNorm

from .layout import CHANGE_COLOURS, class_legend, gallery, note, paint_changes, show
from .style import (
    ACCENT,
    BROKEN,
    INK,
    PALE,
    REPAIRED,
    RULE_COLOURS,
    STYLE,
    Picture,
    colour_labels,
    empty_figure,
    new_figure,
    rule_label,
    rule_style,
)

# ---- published scores ----------------------------------------------------------------------------


def fig_published_scores(paper, presets):
    """Published scores of each dataset, all on one scale: 0.2 points beside the baseline's spread.

    paper: results/paper.csv (dataset, rule, source, miou, std), rows without a rule are left out;
    presets: one panel each.
    """
    paper = paper[paper.rule.notna() & paper.dataset.isin([preset.name for preset in presets])]
    if paper.empty:
        return empty_figure("No published score of these datasets.")
    from_paper = paper.source.str.startswith("Jeong")
    own = "the paper, " + paper.rule.map(rule_label)
    others = paper.source.str.split(" (", regex=False).str[0]
    paper = paper.assign(filled=from_paper, name=own.where(from_paper, others))
    names = list(paper.name.unique())
    title = "Published scores of the paper's datasets"
    figure, [axes] = new_figure(10.5, 2.9, title, ncols=len(presets))
    for ax, preset in zip(axes, presets):
        rows = paper[paper.dataset == preset.name]
        spread = rows["std"].fillna(0).clip(lower=0)
        for row, std in zip(rows.itertuples(), spread):
            y = -names.index(row.name)
            _, colour = rule_style(row.rule)
            fill = colour if row.filled else "white"
            how = {"fmt": "o", "color": colour, "mfc": fill, "ms": 7, "elinewidth": 2}
            ax.errorbar(row.miou, y, xerr=std or None, capsize=4, **how)
            text = f"{row.miou:.2f}".removesuffix("0") + (f" ± {std}" if std else "")
            note(ax, text, row.miou, y, (0, 10), ha="center")
        ax.set(title=preset.title, ylim=(0.5 - len(names), 0.7), yticks=[], xlabel="mIoU (%)")
        if rows.miou.notna().any():
            middle = ((rows.miou - spread).min() + (rows.miou + spread).max()) / 2
            ax.set_xlim(middle - 3.9, middle + 3.9)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color="#eeeeee")
    axes[0].set_yticks(-np.arange(len(names)), names)
    axes[0].tick_params(axis="y", length=0)
    return figure.describe(
        f"Points: published mIoU from {', '.join(names)}, with the spread where it was published.",
        ", ".join(preset.title for preset in presets),
    )


# ---- Fig. 1 --------------------------------------------------------------------------------------


def fig_overview(example, preset):
    """The method on one image, left to right: noise, frozen U-Net, maps, classifiers, two votes.

    example: the arrays of an examples.npz; its middle image is drawn. map_<step>_<block>: pictures
    of maps; members: labels [N, H, W]; entropy and weights: [N, H, W].
    """
    shown = len(example["image"]) // 2
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(13.9, 6.3), layout="none")
        # one sheet over the whole figure; all positions below are inches from its lower left corner
        sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, 13.9), ylim=(0, 6.3))
        sheet.set_axis_off()
        for x, text in (
            (0.2, "1  noise"),
            (2.45, "2  a frozen U-Net and its decoder maps"),
            (7.9, f"3  {len(example['members'])} classifiers"),
            (12.1, "4  the vote"),
        ):
            sheet.text(x, 6.0, text, fontsize=13, weight="bold")
        _draw_noise_and_unet(sheet, example, shown)
        _draw_members(sheet, example, preset)
        _draw_votes(sheet, example, preset, shown)
        labels = [example[name][shown] for name in ("majority", "entropy_weighted", "truth")]
        class_legend(figure, preset, labels, loc="lower center", ncols=12, fontsize=11)
    difference = float(example["difference"][shown])
    return figure.describe(
        "The method on one image: it is noised, a frozen U-Net turns it into feature maps, "
        f"{len(example['members'])} classifiers label each pixel, and the majority is compared "
        f"with the entropy-weighted vote ({difference:+z.2f} points).",
        preset.title,
    )


def _draw_noise_and_unet(sheet, example, shown):
    """The noised image and bars as high as maps are wide: the encoder shrinks, the decoder grows.

    Blocks that are read are teal, their pictures hang above them, at most four, coarse first.
    """
    names = [name.split("_") for name in example if name.startswith("map_")]
    keys = sorted((int(step), int(block)) for _, step, block in names)[-4:]
    size = len(example["noised"])
    middle = 2.07
    step = f" to step {keys[0][0]}" if keys else ""
    _draw_picture(sheet, 0.2, 3.72, 1.75, example["image"][shown], "input image")
    _draw_picture(sheet, 0.2, 1.2, 1.75, example["noised"], f"noised{step}")
    _draw_arrow(sheet, (1.07, 3.67), (1.07, 3.27))
    _draw_arrow(sheet, (2.0, middle), (2.4, middle))

    maps = {block: example[f"map_{step}_{block}"] for step, block in keys}
    coarsest = min((len(picture) for picture in maps.values()), default=size)
    x_end = 3.75 + 1.02 * (max(len(maps), 1) - 1)
    sheet.plot([2.5, x_end], [middle, middle], color=PALE, lw=1.5, zorder=0)
    side, x = size, 2.57
    while side >= coarsest and side > 0:  # the encoder halves the side of its maps
        _draw_bar(sheet, x, middle, side / size, PALE)
        side, x = side // 2, x + 0.28
    for i, (block, picture) in enumerate(maps.items()):
        x = 3.84 + 1.02 * i
        side = len(picture)
        sheet.plot([x, x], [middle, 4.1], color=ACCENT, lw=1.5, zorder=0)
        _draw_bar(sheet, x, middle, side / size, ACCENT)
        _draw_picture(sheet, x - 0.47, 4.15, 0.95, picture, f"block {block}\n{side} × {side}")
    _draw_arrow(sheet, (3.4 + 1.02 * max(len(maps), 1), 4.62), (7.82, 4.62))
    sheet.text(
        2.45,
        0.62,
        "not trained here, cut after the last block that is read (teal);\n"
        "the colours of a map are its 3 principal components",
        fontsize=11.5,
        linespacing=1.4,
    )


def _draw_members(sheet, example, preset):
    """Classes, entropies and weights of at most four of the classifiers, one column each."""
    n = len(example["members"])
    entropy = np.asarray(example["entropy"], np.float32)
    weights = np.asarray(example["weights"], np.float32)
    most = max(float(entropy.max()), 1e-3)
    spread = max(np.quantile(np.abs(weights - 1 / n), 0.99), 1e-3)
    columns = sorted({i for i in (0, 1, 2, n - 1) if i < n})
    numbers = ", ".join(str(i + 1) for i in columns)
    classes = [colour_labels(member, preset) for member in example["members"]]
    rows = (
        (4.1, f"classes (members {numbers})", classes, {}),
        (
            2.6,
            f"entropy $H(i)$: black 0, bright {entropy.max():.1f} nats",
            entropy,
            {"cmap": "magma", "vmin": 0, "vmax": most},
        ),
        (
            1.1,
            f"weight $w_i$: brown over 1/{n}, green under",
            weights,
            {"cmap": "BrBG_r", "norm": CenteredNorm(1 / n, spread)},
        ),
    )
    for y, title, pictures, how in rows:
        sheet.text(7.9, y + 1.04, title, fontsize=11.5)
        for column, i in enumerate(columns):
            gap = 0.06 if column == 3 else 0  # members between the third and the last are left out
            _draw_picture(sheet, 7.9 + 0.97 * column + gap, y, 0.94, pictures[i], **how)
    k = float(example.get("k", 1))  # files of older runs do not say it
    equations = r"$w_i \propto e^{-k\,H(i)}$ (3)      $p = \sum_i w_i\,q_i$ (2),   here "
    equations += f"$k = {k:g}$"
    sheet.text(7.9, 0.62, equations, fontsize=11.5)


def _draw_votes(sheet, example, preset, shown):
    """The majority, the truth and the entropy-weighted vote, one above the other."""
    difference = float(example["difference"][shown])
    for name, y, title in (
        ("majority", 3.92, "majority"),
        ("truth", 2.42, "ground truth"),
        ("entropy_weighted", 0.92, f"entropy-weighted ({difference:+z.2f})"),
    ):
        colour = RULE_COLOURS.get(name, INK)
        picture = colour_labels(example[name][shown], preset)
        _draw_picture(sheet, 12.25, y, 1.24, picture, title, colour)
        if name != "truth":
            _draw_arrow(sheet, (11.86, y + 0.65), (12.2, y + 0.65), colour)


def _draw_picture(sheet, x, y, size, image, title="", colour=INK, **how):
    ax = sheet.inset_axes((x, y, size, size), transform=sheet.transData)
    show(ax, image, **how)
    ax.set_title(title, color=colour, pad=4, fontsize=11)


def _draw_arrow(sheet, start, end, colour=INK):
    style = {"arrowstyle": "-|>", "mutation_scale": 16, "lw": 1.8, "color": colour}
    sheet.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def _draw_bar(sheet, x, middle, share, colour):
    """A map of the U-Net as a bar; its height grows slower than its width, so small ones show."""
    height = 2.1 * share**0.6
    sheet.bar(x, height, 0.2, middle - height / 2, color=colour)


# ---- Fig. 2 --------------------------------------------------------------------------------------


def fig_example_votes(example, preset, name):
    """Input, truth, both votes and what changed, for the best, median and worst image of a run.

    example: the arrays of an examples.npz: image, truth, majority, entropy_weighted, difference, of
    three images; name: of the run.
    """
    n = len(example["image"])
    if not n:
        return empty_figure(f"{name}: no example images.")
    votes = ("majority", "entropy_weighted")
    keys = ("truth", *votes)
    images, names, counts, words = [], [], [], []
    for i, rank in zip(range(n), ("best", "median", "worst")):
        labels = [example[key][i] for key in keys]
        changed, repaired, broken = paint_changes(example["image"][i], *labels, preset.ignore_label)
        images += [example["image"][i], *(colour_labels(m, preset) for m in labels), changed]
        names.append(f"{rank} image\n{example['difference'][i]:+z.2f} points")
        counts.append((repaired, broken))
        words.append(f"{rank} {example['difference'][i]:+z.2f}")
    seen = np.unique([example[key] for key in keys])
    figure, axes = gallery(
        images,
        ["input", "ground truth", "majority", "entropy-weighted", "what changed"],
        columns=5,
        size=1.8,
        below=0.9 + 0.19 * (len(seen) // 5),
        names=names,
        title=f"{name}: majority against entropy-weighted vote",
    )
    for ax, (repaired, broken) in zip(axes[:, 4], counts):
        how = {"fontsize": 9, "transform": ax.transAxes}
        ax.text(0, -0.1, f"{repaired} repaired", color=REPAIRED, **how)
        ax.text(1, -0.1, f"{broken} broken", color=BROKEN, ha="right", **how)
    for ax, rule in zip(axes[0, 2:], votes):
        ax.title.set_color(RULE_COLOURS[rule])
    class_legend(figure, preset, seen, more=CHANGE_COLOURS, ncols=5, fontsize=9)
    return figure.describe(
        f"Images with majority and entropy-weighted vote and what changed; points of mIoU: "
        f"{', '.join(words)}.",
        name,
    )
