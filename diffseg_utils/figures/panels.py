"""Panels of images, legends of their colours, and what a change of vote changes."""

from itertools import zip_longest

import matplotlib as mpl
import numpy as np
from PIL import Image

from .style import BROKEN, OTHER, REPAIRED, class_colours, new_figure

FLIPS = {"repaired": REPAIRED, "broken": BROKEN, "wrong before and after": OTHER}


def show(axes, image, title=None, bar=None, **how):
    """`image` on `axes` without ticks or frame; the pixels of a small one stay sharp (and its PNG small).

    bar: the label of a colour bar; how: options of imshow.
    """
    image = np.asarray(image)
    drawn = axes.imshow(
        image, **{"interpolation": "nearest" if len(image) <= 128 else "antialiased", **how}
    )
    axes.set(xticks=[], yticks=[], title=title or "")
    axes.spines[:].set_visible(False)
    if bar is not None:
        axes.figure.colorbar(drawn, ax=axes, shrink=0.85, aspect=22, label=bar).outline.set_visible(
            False
        )


def gallery(images, titles=(), columns=None, size=1.9, below=0.0, names=()):
    """(Figure, Axes [R, K]) of pictures; an image is [H, W, 3] or a pair ([H, W], options of show).

    below: inches for a legend; names: a name for each row.
    """
    columns = columns or len(images)
    rows, lines = (
        -(-len(images) // columns),
        1 + max((title.count("\n") for title in titles), default=-1),
    )
    height = (size + 0.2 * lines) * rows + 0.1 + below
    figure, axes = new_figure(size * columns + 0.3 * bool(names), height, nrows=rows, ncols=columns)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0)
    for ax, image, title in zip_longest(axes.flat, images, titles):
        if image is None:
            ax.set_axis_off()
        else:
            image, how = image if isinstance(image, tuple) else (image, {})
            show(ax, image, title, **how)
    for ax, name in zip(axes[:, 0], names):
        ax.set_ylabel(name)
    return figure, axes


def key(figure, colours, **where):
    """A legend below the panels: {name: colour}."""
    patches = [mpl.patches.Patch(color=colour, label=name) for name, colour in colours.items()]
    figure.legend(
        handles=patches,
        **{"loc": "outside lower center", "ncols": 6, "fontsize": 9, "frameon": False, **where},
    )


def class_legend(figure, preset, ids, more=None, **where):
    """A legend of the classes among `ids` (any array of labels) that are scored, and of `more`, {name: colour}."""
    scored = [i for i in np.unique(ids) if i < preset.n_classes and i != preset.ignore_label]
    key(
        figure,
        {preset.classes[i]: class_colours(preset.n_classes)[i] / 255 for i in scored}
        | (more or {}),
        **where,
    )


def changes(truth, before, after):
    """Three masks: pixels repaired, broken, and changed from one wrong class to another."""
    truth, before, after = (np.asarray(a) for a in (truth, before, after))
    moved = before != after
    return (
        moved & (after == truth),
        moved & (before == truth),
        moved & (after != truth) & (before != truth),
    )


def paint_changes(image, truth, before, after, ignore_label):
    """(uint8 [H, W, 3], repaired, broken): the pixels that change, in colour on a pale grey image, and two counts."""
    scored = np.asarray(truth) != ignore_label
    masks = [mask & scored for mask in changes(truth, before, after)]
    grey = np.asarray(
        Image.fromarray(np.asarray(image, np.uint8)).convert("L").resize(scored.shape[::-1])
    )
    picture = np.repeat(160 + 0.35 * grey[..., None], 3, 2).astype(np.uint8)
    for mask, colour in zip(masks, FLIPS.values()):
        picture[mask] = np.multiply(mpl.colors.to_rgb(colour), 255).astype(np.uint8)
    return picture, int(masks[0].sum()), int(masks[1].sum())
