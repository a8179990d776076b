"""Parts that several figures share: labels, intervals, curves, images side by side, legends."""

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image
from scipy.optimize import isotonic_regression

from ..presets import PADDING
from .style import (
    BROKEN,
    IGNORED,
    OTHER,
    REPAIRED,
    class_colours,
    class_name,
    new_figure,
    rule_styles,
    series_styles,
)

CHANGE_COLOURS = {"repaired": REPAIRED, "broken": BROKEN, "wrong before and after": OTHER}
NATS = {"cmap": "magma", "vmin": 0, "bar": "nats"}  # how `show` draws an entropy or divergence


# ---- text ----------------------------------------------------------------------------------------


def note(axes, text, x, y, offset=(6, 0), **how):
    """`text` beside a point of the data, `offset` in printer's points; how: options of annotate.

    Nothing is written beside a point that is not finite.
    """
    if not np.isfinite([x, y]).all():
        return
    how = {"va": "center", "fontsize": 8.5, **how}
    axes.annotate(text, (x, y), offset, textcoords="offset points", **how)


def note_at_right(axes, text, y, offset=(4, 0), **how):
    """`text` outside the right edge of the axes at the height y of the data."""
    note(axes, text, 1, y, offset, xycoords=axes.get_yaxis_transform(), **how)


def end_labels(axes, labels, fontsize=9):
    """Names at the right ends of lines, kept apart; labels: (x, y, text, colour).

    Call it when the limits of the axes are set. A label at a place that is not finite is left out.
    """
    labels = [label for label in labels if np.isfinite(label[:2]).all()]
    if not labels:
        return
    labels.sort(key=lambda label: label[1])
    axes.figure.draw_without_rendering()  # gives the axes their place
    pixels = axes.transData.transform([(x, y) for x, y, _, _ in labels])
    y = pixels[:, 1] * 72 / axes.figure.dpi  # heights of the line ends, in printer's points
    lines = np.array([1 + text.count("\n") for _, _, text, _ in labels])
    gaps = 1.25 * fontsize * (lines[1:] + lines[:-1]) / 2  # between the middles of neighbours
    offsets = np.concatenate([[0], np.cumsum(gaps)])
    placed = isotonic_regression(y - offsets).x + offsets  # the nearest places with these gaps
    for (x, at, text, colour), shift in zip(labels, placed - y):
        note(axes, text, x, at, (7, shift), color=colour, fontsize=fontsize)


# ---- axes ----------------------------------------------------------------------------------------


def space_evenly(axes, values, last=None):
    """Positions 0, 1, ... of `values` on an x axis, a tick for each; `last` names the largest."""
    order = sorted(set(values))
    names = [f"{value:g}" for value in order]
    if last is not None:
        names[-1:] = [last]
    axes.set_xticks(range(len(order)), names)
    return [order.index(value) for value in values]


def log_y(axes, values):
    """A logarithmic y axis with plain numbers; linear if none of the values is above zero."""
    if not (np.asarray(values) > 0).any():
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def largest(values, default=1.0):
    """The largest finite value, or `default` if there is none above zero: an end for an axis."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values) & (values > 0)]
    return values.max() if len(values) else default


# ---- points, lines, heat maps --------------------------------------------------------------------


def draw_intervals(axes, rows, y, colour, marker="o", lw=2, **how):
    """Differences as points on horizontal lines, their intervals, at heights y.

    rows: frame or dict (difference, low, high); how: options of scatter.
    """
    axes.hlines(y, rows["low"], rows["high"], color=colour, lw=lw)
    how = {"facecolor": colour, "edgecolor": colour, "zorder": 3, "s": 45, **how}
    axes.scatter(rows["difference"], y, marker=marker, **how)


def draw_curves(axes, frame, x, y, by="rule", after=None, ends=(), styles=None):
    """One line per group in its colour with its name at the end; set the limits of the axes before.

    frame: columns x, y and `by`, and low and high for a band; only finite points are drawn.
    by: "rule" for the colours of rules, any other column for those of series, or those in `styles`,
    as series_styles gives them.
    after: {group: text} to put behind its name, such as a score; ends: more labels for end_labels.
    """
    groups = frame[by].unique()
    if by == "rule":
        styles = {name: (*style, "o") for name, style in rule_styles(groups).items()}
    else:
        styles = styles or series_styles(groups)
        styles = {name: (name, *style) for name, style in styles.items()}
    after = after or {}
    ends = list(ends)
    for name, rows in frame.sort_values(x, kind="stable").groupby(by, sort=False):
        rows = rows[np.isfinite(rows[y])]
        if rows.empty:
            continue
        label, colour, marker = styles[name]
        few = len(rows) < 30
        axes.plot(rows[x], rows[y], color=colour, marker=marker if few else "", ms=5)
        if "low" in rows:
            axes.fill_between(rows[x], rows.low, rows.high, color=colour, alpha=0.15, lw=0)
        ends.append((rows[x].iloc[-1], rows[y].iloc[-1], label + after.get(name, ""), colour))
    end_labels(axes, ends)


def draw_map_scores(axes, scores, low=None, high=None):
    """Percent of each feature map as a heat map with its numbers.

    scores: frame [steps, decoder blocks]; low and high: ends of the colours, widened where a score
    lies outside, by default those of the scores.
    """
    values = scores.to_numpy(float)
    ends = [value for value in (low, high) if value is not None]
    finite = np.append(values[np.isfinite(values)], ends)
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    sns.heatmap(
        scores.astype(float),
        annot=True,
        fmt=".0f",
        cmap="cividis",
        vmin=low,
        vmax=high if high > low else low + 1,
        cbar=False,
        ax=axes,
    )
    axes.set(xlabel="decoder block", ylabel="step")
    axes.tick_params(length=0, rotation=0)


# ---- images --------------------------------------------------------------------------------------


def show(axes, image, title="", bar=None, ticks=None, **how):
    """`image` on `axes` without ticks or frame; the pixels of a small one stay sharp.

    bar: label of a colour bar; ticks: of that bar; how: options of imshow.
    """
    image = np.asarray(image)
    interpolation = "nearest" if len(image) <= 128 else "antialiased"
    drawn = axes.imshow(image, **{"interpolation": interpolation, **how})
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    if bar is not None:
        where = {"ax": axes, "shrink": 0.85, "aspect": 22}
        colour_bar = axes.figure.colorbar(drawn, label=bar, ticks=ticks, **where)
        colour_bar.outline.set_visible(False)


def gallery(images, titles=(), columns=None, size=1.9, below=0.0, names=(), title=""):
    """(Figure, Axes [R, K]) of images side by side, `columns` in a row.

    images: each [H, W, 3], a pair ([H, W], options of show), or None for an empty place.
    titles: one per image, or fewer; names: one per row; title: of the whole figure.
    size: inches of an image; below: inches for a legend.
    """
    images = list(images)
    titles = list(titles)
    columns = max(1, min(columns or len(images), len(images)))
    rows = max(1, -(-len(images) // columns))
    lines = max((1 + text.count("\n") for text in titles), default=0)  # of text above an image
    width = size * columns + (0.3 if len(names) else 0)
    height = (size + 0.2 * lines) * rows + 0.1 + below
    if title and lines:
        height += 0.15  # between the title of the figure and those of the images
    figure, axes = new_figure(width, height, title, nrows=rows, ncols=columns)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0)
    for i, ax in enumerate(axes.flat):
        if i >= len(images) or images[i] is None:
            ax.set_axis_off()
            continue
        image, how = images[i] if isinstance(images[i], tuple) else (images[i], {})
        show(ax, image, titles[i] if i < len(titles) else "", **how)
    for ax, name in zip(axes[:, 0], names):
        ax.set_ylabel(name)
    return figure, axes


def colour_legend(figure, colours, dots=None, **where):
    """A legend below the axes, {name: colour}; where: options of Figure.legend.

    dots: {name: colour} of single pixels, such as those that change, as small squares: an area in
    a similar colour is another thing.
    """
    handles = [mpl.patches.Patch(color=colour, label=name) for name, colour in colours.items()]
    for name, colour in (dots or {}).items():
        handles.append(Line2D([], [], ls="", marker="s", ms=5, color=colour, label=name))
    where = {"loc": "outside lower center", "ncols": 6, "fontsize": 9, **where}
    figure.legend(handles=handles, frameon=False, **where)


def class_legend(figure, preset, ids, more=None, **where):
    """A legend of the classes among the labels `ids`, and of `more`, {name: colour} of pixels.

    The class that is not scored, and labels that are no class, come last and are called ignored.
    """
    ids = np.unique(ids)
    scored = [i for i in ids if 0 <= i < preset.n_classes and i != preset.ignore_label]
    colours = {class_name(i, preset): class_colours(preset.n_classes)[i] / 255 for i in scored}
    grey = np.divide(IGNORED, 255)
    if preset.ignore_label in ids and preset.ignore_label < preset.n_classes:
        colours[class_name(preset.ignore_label, preset)] = grey
    elif len(scored) < len(ids):
        colours["ignored"] = grey
    colour_legend(figure, colours, more, **where)


def stretch_contrast(values, percent=1):
    """uint8 [..., 3]: each channel from its `percent` to its 100 - `percent` percentile."""
    values = np.asarray(values, np.float32)
    low, high = np.percentile(values.reshape(-1, 3), (percent, 100 - percent), axis=0)
    shares = (values - low) / (high - low + 1e-8)
    return (255 * shares.clip(0, 1)).astype(np.uint8)


# ---- changes of a vote ---------------------------------------------------------------------------


def change_masks(truth, before, after):
    """Three masks [...]: pixels repaired, broken, and changed from one wrong class to another."""
    truth, before, after = np.asarray(truth), np.asarray(before), np.asarray(after)
    changed = before != after
    repaired = changed & (after == truth)
    broken = changed & (before == truth)
    return repaired, broken, changed & ~repaired & ~broken


def paint_changes(image, truth, before, after, ignore_label):
    """(uint8 [H, W, 3], n_repaired, n_broken): the scored pixels that change, on a pale image.

    image: [S, S, 3]; truth, before, after: labels [H, W].
    """
    truth = np.asarray(truth)
    scored = (truth != ignore_label) & (truth != PADDING)
    grey = Image.fromarray(np.asarray(image, np.uint8)).convert("L").resize(scored.shape[::-1])
    pale = 160 + 0.35 * np.asarray(grey)
    picture = np.stack([pale, pale, pale], 2).astype(np.uint8)
    masks = [mask & scored for mask in change_masks(truth, before, after)]
    for mask, colour in zip(masks, CHANGE_COLOURS.values()):
        picture[mask] = np.multiply(mpl.colors.to_rgb(colour), 255).astype(np.uint8)
    repaired, broken, _ = masks
    return picture, int(repaired.sum()), int(broken.sum())
