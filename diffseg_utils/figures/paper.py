"""The paper's figures, and those that its table needs beside it: spreads, intervals, classes, every image."""
import matplotlib as mpl
import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.patches import FancyArrowPatch, Rectangle

from .style import BROKEN, INK, PALE, REPAIRED, RULES, STYLE, Picture, class_legend, colour_labels, new_figure, show

MOVED = "#888888"
MARKS = {"mean": "s", "entropy_weighted": "o", "entropy_weighted_chosen": "D"}
NAMES = {"majority": "majority", "mean": "mean", "entropy_weighted": "entropy-weighted, k = 1",
         "entropy_weighted_chosen": "entropy-weighted, k chosen"}
TAPPED, BLOCK = "#E69F00", "#d9dde3"


def _colour(vote):
    return RULES[vote.removesuffix("_chosen")][1]


# ---- numbers ----------------------------------------------------------------------------------------------------------

def fig_baselines(paper, presets):
    """Published scores of each dataset on axes of one scale: how large 0.2 points are beside the baseline's spread.

    paper: results/paper.csv (dataset, rule, source, miou, std), rows with a rule; presets: the panels.
    """
    figure, axes = new_figure(10.5, 2.9, ncols=len(presets))
    for ax, preset in zip(axes[0], presets):
        rows = paper[(paper.dataset == preset.name) & paper.rule.notna()].reset_index(drop=True)
        for y, row in rows.iterrows():
            spread, colour, ours = row["std"], RULES[row.rule][1], row.source.startswith("Jeong")
            ax.errorbar(row.miou, -y, xerr=None if np.isnan(spread) else spread, fmt="o", color=colour, ms=7, elinewidth=2,
                        capsize=4, mfc=colour if ours else "white")
            text = f"{row.miou:.2f}".removesuffix("0") + ("" if np.isnan(spread) else f" ± {spread}")
            ax.annotate(text, (row.miou, -y), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)
        middle = (rows.miou - rows["std"].fillna(0)).min() / 2 + (rows.miou + rows["std"].fillna(0)).max() / 2
        ax.set(title=preset.title, ylim=(0.5 - len(rows), 0.7), xlim=(middle - 3.9, middle + 3.9), yticks=[], xlabel="mIoU (%)")
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color="#eeeeee")
    names = np.where(rows.source.str.startswith("Jeong"), "the paper, " + rows.rule.str.replace("_", "-"), rows.source)
    axes[0, 0].set_yticks(-rows.index, [name.split(" (")[0] for name in names])
    axes[0, 0].tick_params(axis="y", length=0)
    return figure


def fig_differences(differences, published=0.2):
    """Points gained over the majority and over the mean, one row a run, with paired bootstrap intervals.

    differences: tidy frame (name, against, vote, difference, low, high, paper); paper marks rows of the paper's own datasets
    (their vote may be nan: not run).
    """
    names = list(dict.fromkeys(differences.name))
    figure, axes = new_figure(10.5, 1.3 + 0.52 * len(names), ncols=2, sharex=True, sharey=True)
    for ax, against in zip(axes[0], ("majority", "mean")):
        ax.axvline(0, color=INK, lw=1)
        for vote in (v for v in MARKS if v != against):
            rows = differences[(differences.against == against) & (differences.vote == vote)]
            y = np.array([-names.index(name) for name in rows.name]) + {"mean": 0.22, "entropy_weighted": 0}.get(vote, -0.22)
            spread = np.abs(rows[["low", "high"]].to_numpy().T - rows.difference.to_numpy()).reshape(2, -1)
            ax.errorbar(rows.difference, y, xerr=spread, fmt=MARKS[vote], color=_colour(vote), ms=6, elinewidth=1.5,
                        mfc="white" if vote.endswith("chosen") else None, label=f"{NAMES[vote]}, 95 % interval")
        ax.set_title(f"vote minus {NAMES[against]}" + ("" if against == "majority" else ": what the entropy adds"))
        ax.set_xlabel("mIoU points")
        ax.set_ylim(0.6 - len(names), 0.6)
        for y in range(1, len(names)):
            ax.axhline(0.5 - y, color="#eeeeee", lw=1, zorder=0)
    theirs = [-i for i, name in enumerate(names) if differences[differences.name == name].paper.any()]
    axes[0, 0].plot([published] * len(theirs), theirs, "o", mfc="none", mec=INK, ms=9, mew=1.5, ls="none",
                    label="the paper: entropy-weighted (no interval given)")
    axes[0, 0].set_yticks([-i for i in range(len(names))], names)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def fig_class_differences(classes):
    """IoU points of each class, entropy-weighted minus majority, one panel a run, frequent classes first.

    classes: tidy frame (name, class, share of pixels in percent, difference).
    """
    runs = list(classes.groupby("name", sort=False))
    columns = min(4, len(runs))
    rows, most = -(-len(runs) // columns), max(len(run) for _, run in runs)
    panel = 2.0 + 0.07 * classes["class"].str.len().max()               # long class names need room beside the points
    figure, axes = new_figure(panel * columns, rows * (1.0 + 0.21 * most), nrows=rows, ncols=columns, sharex=True)
    for ax in axes.flat[len(runs):]:
        ax.set_visible(False)
    for ax, (name, run) in zip(axes.flat, runs):
        run = run.sort_values("share", ascending=False, kind="stable").reset_index(drop=True)
        colours = np.select([run.difference > 0, run.difference < 0], [REPAIRED, BROKEN], MOVED)
        ax.hlines(-run.index, 0, run.difference, color=colours, lw=2)
        ax.scatter(run.difference, -run.index, color=colours, s=22, zorder=3, clip_on=False)
        ax.axvline(0, color=INK, lw=1)
        ax.set_yticks(-run.index, [f"{c} · {s:.2g} %" for c, s in zip(run["class"], run.share)], fontsize=8.5)
        ax.set(title=name, xlabel="IoU points", ylim=(0.5 - most, 0.5))
        ax.tick_params(axis="x", labelbottom=True)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x", color="#eeeeee")
    return figure


def fig_image_differences(images, published):
    """Change of the mIoU of every single image, one row a run; the paper's example pictures as hollow marks.

    images: tidy frame (name, difference); published: {label: points}.
    """
    names = list(dict.fromkeys(images.name))
    figure, axes = new_figure(10.5, 1.3 + 0.5 * len(names))
    ax, rng = axes[0, 0], np.random.default_rng(0)
    ax.axvline(0, color=INK, lw=1)
    for y, name in enumerate(names):
        points = images[images.name == name].difference.to_numpy()
        ax.scatter(points, -y + rng.uniform(-0.2, 0.2, len(points)), s=22, lw=0, alpha=0.75,
                   color=np.select([points > 0, points < 0], [REPAIRED, BROKEN], MOVED))
        ax.plot([np.median(points)] * 2, [-y - 0.36, -y + 0.36], color=INK, lw=2)
        ax.annotate(f"{(points > 0).sum()} of {len(points)} better", (1, -y), (6, 0), va="center", fontsize=9,
                    xycoords=("axes fraction", "data"), textcoords="offset points")
    for label, points in published.items():
        ax.plot(points, 0.75, "o", mfc="none", mec=INK, ms=8, mew=1.5)
        ax.annotate(label, (points, 0.75), (7, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_yticks([-i for i in range(len(names))], names)
    ax.set(xlabel="change of the image's mIoU, points (bar: median image)", ylim=(0.5 - len(names), 1.1))
    ax.grid(axis="x", color="#eeeeee")
    return figure


# ---- Fig. 1 -----------------------------------------------------------------------------------------------------------

def fig_overview(example, preset):
    """The method on one image, left to right: noise, frozen U-Net, maps, classifiers, entropies and weights, two votes.

    example: the arrays of an examples.npz; its middle image is drawn. Positions are inches from the lower left.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(13.9, 6.3), layout="none")
        step, maps = _maps(example)
        for x, text in ((0.2, "1  noise"), (2.45, "2  a frozen U-Net and its decoder maps"),
                        (7.9, f"3  {len(example['members'])} classifiers"), (12.1, "4  the vote")):
            _text(figure, x, 6.0, text, fontsize=13, weight="bold")
        _picture(figure, 0.2, 3.72, 1.75, example["image"][1], "input image")
        _picture(figure, 0.2, 1.2, 1.75, example["noised"], f"noised to step {step}")
        _arrow(figure, (1.07, 3.67), (1.07, 3.27))
        _arrow(figure, (2.0, 2.07), (2.4, 2.07))
        _unet(figure, maps, len(example["noised"]))
        _members(figure, example, preset)
        _votes(figure, example, preset)
        present = np.unique([example[name][1] for name in ("majority", "entropy_weighted", "truth")])
        class_legend(figure, preset, [i for i in present if i < preset.n_classes], loc="lower center", ncols=12, frameon=False)
    return figure


def _maps(example):
    """(step, [(block, picture), ...]) of the PCA pictures map_<step>_<block>, at most four, coarse first."""
    keys = sorted(tuple(map(int, key.split("_")[1:])) for key in example if key.startswith("map_"))
    return keys[0][0], [(block, example[f"map_{step}_{block}"]) for step, block in keys][-4:]


def _unet(figure, maps, size):
    """Bars as high as their maps are wide: the encoder shrinks, the decoder grows; its blocks that are read are ochre."""
    coarsest, middle = len(maps[0][1]), 2.07
    _line(figure, (2.5, middle), (3.75 + 1.02 * (len(maps) - 1), middle))
    for i, resolution in enumerate(size >> level for level in range(8) if size >> level >= coarsest):
        _bar(figure, 2.47 + 0.28 * i, middle, 2.1 * (resolution / size) ** 0.6, PALE)
    for i, (block, picture) in enumerate(maps):
        x, height = 3.37 + 1.02 * i, 2.1 * (len(picture) / size) ** 0.6
        _line(figure, (x + 0.47, middle + height / 2), (x + 0.47, 4.1), TAPPED)
        _bar(figure, x + 0.37, middle, height, TAPPED)
        _picture(figure, x, 4.15, 0.95, picture, f"block {block}\n{len(picture)} × {len(picture)}")
    _arrow(figure, (3.4 + 1.02 * len(maps), 4.62), (7.82, 4.62))
    _text(figure, 2.45, 0.62, "never trained here, cut after the last block that is read (ochre);\n"
          "all maps together describe every pixel; colours: 3 principal components", fontsize=9.5, linespacing=1.5)


def _members(figure, example, preset):
    """Classes, entropies and weights of four of the classifiers, a column each."""
    n = len(example["members"])
    entropy, weights = (np.asarray(example[name], np.float32) for name in ("entropy", "weights"))
    spread = max(np.quantile(np.abs(weights - 1 / n), 0.99), 1e-3)
    columns = sorted({0, 1 % n, 2 % n, n - 1})
    classes = [colour_labels(member, preset) for member in example["members"]]
    rows = ((4.1, f"classes (members {', '.join(str(i + 1) for i in columns)})", classes, {}),
            (2.6, f"entropy $H(i)$: black 0, bright {entropy.max():.1f} nats", entropy,
             {"cmap": "magma", "vmin": 0, "vmax": entropy.max()}),
            (1.1, f"weight $w_i$: ochre over 1/{n}, violet under", weights,
             {"cmap": "PuOr_r", "norm": CenteredNorm(1 / n, spread)}))
    for y, title, pictures, how in rows:
        _text(figure, 7.9, y + 1.04, title, fontsize=10)
        for column, i in enumerate(columns):
            show(_axes(figure, 7.9 + 0.97 * column + 0.06 * (column == 3), y, 0.94), pictures[i], **how)
    _text(figure, 7.9, 0.62, r"$w_i \propto e^{-k\,H(i)}$ (3)      $p = \sum_i w_i\,q_i$ (2),   here $k = 1$", fontsize=11)


def _votes(figure, example, preset):
    """The two votes, each at the end of its arrow, and the truth between them."""
    for name, y, title in (("majority", 3.92, "majority"), ("truth", 2.42, "ground truth"),
                           ("entropy_weighted", 0.92, f"entropy-weighted ({float(example['difference'][1]):+.2f})")):
        colour = INK if name == "truth" else RULES[name][1]
        _picture(figure, 12.25, y, 1.24, colour_labels(example[name][1], preset), title, colour)
        if name != "truth":
            _arrow(figure, (11.86, y + 0.65), (12.2, y + 0.65), colour)


def _axes(figure, x, y, size):
    width, height = figure.get_size_inches()
    return figure.add_axes((x / width, y / height, size / width, size / height))


def _picture(figure, x, y, size, image, title, colour=INK):
    ax = _axes(figure, x, y, size)
    show(ax, image)
    ax.set_title(title, color=colour, pad=4)


def _inches(figure):
    """Inches from the lower left, as a part of the figure (dpi_scale_trans would not follow a tight bounding box)."""
    return mpl.transforms.Affine2D().scale(*(1 / figure.get_size_inches())) + figure.transFigure


def _text(figure, x, y, text, **how):
    figure.text(x, y, text, transform=_inches(figure), **how)


def _line(figure, start, end, colour=PALE):
    figure.add_artist(mpl.lines.Line2D(*zip(start, end), color=colour, lw=1.5, transform=_inches(figure), zorder=0))


def _arrow(figure, start, end, colour=INK):
    figure.add_artist(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=16, lw=1.8, color=colour, shrinkA=0,
                                      shrinkB=0, transform=_inches(figure)))


def _bar(figure, x, middle, height, colour):
    figure.add_artist(Rectangle((x, middle - height / 2), 0.2, height, fc=colour, transform=_inches(figure), zorder=1))


# ---- Fig. 2 -----------------------------------------------------------------------------------------------------------

def fig_pictures(example, preset, name):
    """Input, truth, both votes and their difference for the best, the median and the worst image of a run."""
    ids = np.unique([example[key] for key in ("truth", "majority", "entropy_weighted")])
    figure, axes = new_figure(9.2, 5.9 + 0.17 * -(-len(ids) // 7), nrows=3, ncols=5)
    for row, rank in enumerate(("best", "median", "worst")):
        truth, hard, soft = (example[key][row] for key in ("truth", "majority", "entropy_weighted"))
        for ax, picture in zip(axes[row], (example["image"][row], *(colour_labels(x, preset) for x in (truth, hard, soft)))):
            show(ax, picture)
        _changes(axes[row, 4], example["image"][row], truth, hard, soft, preset.ignore_label)
        axes[row, 0].set_ylabel(f"{rank} image\n{float(example['difference'][row]):+.2f} points")
    for ax, title in zip(axes[0], ("input", "ground truth", "majority", "entropy-weighted", "what changed")):
        ax.set_title(title, color=RULES.get(title.replace("-", "_"), (title, INK))[1])
    figure.suptitle(name, fontsize=11)
    class_legend(figure, preset, [i for i in ids if i < preset.n_classes], ncols=7, fontsize=8, frameon=False)
    return figure


def _changes(ax, image, truth, hard, soft, ignore_label):
    """Repaired, broken and still wrong pixels on a pale grey copy of the image."""
    height, width = truth.shape
    show(ax, np.asarray(image).mean(2), cmap="gray", vmin=-300, vmax=255, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    changed, paint = (truth != ignore_label) & (hard != soft), np.zeros((height, width, 4))
    paint[changed] = mpl.colors.to_rgba(MOVED)
    for where, colour, word, side in ((soft == truth, REPAIRED, "repaired", "left"), (hard == truth, BROKEN, "broken", "right")):
        paint[changed & where] = mpl.colors.to_rgba(colour)
        count = (changed & where).sum()
        ax.annotate(f"{count} {word}", (float(side == "right"), 0), (0, -3), xycoords="axes fraction",
                    textcoords="offset points", va="top", ha=side, fontsize=8.5 if count < 1000 else 7.5, color=colour)
    ax.imshow(paint, interpolation="nearest")
