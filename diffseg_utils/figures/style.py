"""The look of every figure: fonts, one colour for each rule, dataset and class, and `Picture`."""

import colorsys
from io import BytesIO
from pathlib import Path
from zlib import crc32

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..files import atomic

# ---- colours -------------------------------------------------------------------------------------

RULE_COLOURS = {  # Okabe and Ito's colour-blind-safe palette
    "member": "#999999",
    "majority": "#0072B2",
    "mean": "#E69F00",
    "geometric_mean": "#009E73",
    "most_certain": "#CC79A7",
    "entropy_weighted": "#D55E00",
    "k": "#D55E00",  # "k chosen": the entropy-weighted vote with a chosen k
    "pool": "#56B4E9",
    "dawid_skene": "#7F5539",
    "stacking": "#222222",
}
RULE_LABELS = {  # where the label is not the name with spaces
    "member": "single member",
    "entropy_weighted": "entropy-weighted",
    "dawid_skene": "soft Dawid-Skene",
}
RESERVE_COLOURS = ("#990066", "#0000E6", "#99637E", "#734B51", "#732600", "#2E8AE6")

SERIES_COLOURS = (  # Tol's muted palette and others as far from each other
    "#332288",
    "#44AA99",
    "#999933",
    "#882255",
    "#6699CC",
    "#661100",
    "#DDCC77",
    "#117733",
    "#CC6677",
    "#88CCEE",
    "#AA4499",
    "#111111",
)
SERIES_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "*", "h")

INK = "#222222"
GREY = "#777777"
PALE = "#bbbbbb"
ACCENT = "#1B7F8C"  # what this kit reads, stores or marks; no rule has this colour
REPAIRED = "#1b7837"  # right now, wrong before; colour-blind readers tell it from BROKEN
BROKEN = "#c51b7d"  # wrong now, right before
OTHER = "#d8b42a"  # wrong before and after, in two classes
IGNORED = (70, 70, 70)  # red, green, blue of pixels that are not scored


def rule_label(name):
    """The label of a rule: 'geometric_mean' reads 'geometric mean'."""
    return RULE_LABELS.get(name, name.replace("_", " "))


def rule_styles(rules):
    """{rule: (label, colour)} of rules and their variants, such as 'entropy_weighted, k = 1'.

    A variant has the colour of its rule. A rule that has no colour in RULE_COLOURS takes one of
    RESERVE_COLOURS, the same in every figure unless another rule among `rules` took it first.
    """
    styles = {}
    reserved = {}
    for rule in rules:
        name, variant = _split(rule)
        colour = RULE_COLOURS.get(name) or reserved.get(name)
        if colour is None:
            colour = _reserve_colour(name, reserved.values())
            reserved[name] = colour
        styles[rule] = (rule_label(name) + variant, colour)
    return styles


def rule_style(rule):
    """(label, colour) of one rule or variant; see `rule_styles`."""
    return rule_styles([rule])[rule]


def _split(rule):
    """('entropy_weighted', ', k = 1') of 'entropy_weighted, k = 1'; names and labels are known."""
    for name in RULE_COLOURS:
        for known in (name, rule_label(name)):
            variant = rule.removeprefix(known)
            if rule == known or (variant != rule and variant[0] in " ,"):
                return name, variant
    name = rule.split(",")[0].removesuffix(" chosen")
    return name.replace(" ", "_"), rule[len(name) :]


def _reserve_colour(name, taken):
    """The first reserve colour that is free; where to start looking follows from the name."""
    start = crc32(name.encode()) % len(RESERVE_COLOURS)
    ordered = RESERVE_COLOURS[start:] + RESERVE_COLOURS[:start]
    free = [colour for colour in ordered if colour not in taken]
    return free[0] if free else ordered[0]


def series_styles(names):
    """{name: (colour, marker)} of things that are no rules, such as datasets.

    Twelve have colours of their own; later ones repeat the colours with other markers.
    """
    n = len(SERIES_COLOURS)
    return {
        name: (SERIES_COLOURS[i % n], SERIES_MARKERS[(i + i // n) % n])
        for i, name in enumerate(names)
    }


def class_colours(n_classes):
    """uint8 [n_classes, 3]: neighbours in id differ in hue and lightness; id 0 is dark."""
    levels = [(0.62, 0.95), (0.85, 0.72), (0.40, 0.88)]  # saturation and value
    colours = [(0.16, 0.17, 0.20)]
    for i in range(1, n_classes):
        hue = (i * 0.381966) % 1  # steps of the golden angle
        colours.append(colorsys.hsv_to_rgb(hue, *levels[i % 3]))
    return (255 * np.array(colours[:n_classes])).astype(np.uint8)


def colour_labels(label, preset):
    """uint8 [H, W, 3] of a label map [H, W]; ids that are not scored are grey."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[: preset.n_classes] = class_colours(preset.n_classes)
    if preset.ignore_label < 256:
        table[preset.ignore_label] = IGNORED
    return table[np.asarray(label)]


def sign_colours(values):
    """The colour of a gain where a value is above zero, of a loss below, else grey."""
    values = np.asarray(values, float)
    return np.select([values > 0, values < 0], [REPAIRED, BROKEN], GREY)


def verdict_colours(rows):
    """The colour of a gain where the interval (low, high) is above zero, of a loss below, or grey.

    rows: a frame or dict with low and high; returns an array, or one value for a dict of numbers.
    """
    return np.select([rows["low"] > 0, rows["high"] < 0], [REPAIRED, BROKEN], GREY)


# ---- figures -------------------------------------------------------------------------------------

STYLE = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "image.interpolation": "nearest",
    "lines.linewidth": 2.0,
}


class Picture(Figure):
    """A Figure that a notebook shows as a small PNG with a description for screen readers.

    alt: one sentence that says what is seen; the function that draws the figure sets it.
    """

    alt = ""

    def describe(self, sentence, dataset=""):
        """Set `alt` to the sentence, the dataset in front if there is one; returns the figure."""
        self.alt = f"{dataset}: {sentence}" if dataset else sentence
        return self

    def _repr_mimebundle_(self, include=None, exclude=None):
        """(data, metadata) for a notebook; nbconvert writes metadata["image/png"]["alt"] as alt."""
        png = self._png(bbox_inches="tight")
        return {"image/png": png, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}

    def save(self, path, pdf=False):
        """Write <path>.png (200 dpi), and <path>.pdf if asked; returns the figure.

        Each file gets its name when it is complete. Folders are made.
        """
        path = Path(path)
        with atomic(path.with_name(f"{path.name}.png")) as partial:
            partial.write_bytes(self._png(dpi=200))
        if pdf:
            with atomic(path.with_name(f"{path.name}.pdf")) as partial:
                self.savefig(partial, metadata={"CreationDate": None, "Title": self.alt})
        return self

    def _png(self, **how):
        """The bytes of a PNG of 256 colours, a third of the size; how: options of savefig."""
        full = BytesIO()
        self.savefig(full, format="png", metadata={"Software": None}, **how)
        image = Image.open(full).convert("RGB")
        image = image.quantize(
            256,
            method=Image.Quantize.MAXCOVERAGE,  # keeps small vivid areas
            kmeans=1,
            dither=Image.Dither.NONE,
        )
        small = BytesIO()
        image.save(small, "PNG", optimize=True)
        return small.getvalue()


def new_figure(width, height, title="", **grid):
    """(Figure, array of Axes [R, K]) in the style of the kit; sizes in inches, no global state.

    title: of the whole figure, which grows by its height; grid: nrows, ncols, width_ratios, ...
    """
    if title:
        height += 0.3
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(width, height), layout="constrained")
        axes = figure.subplots(squeeze=False, **grid)
        if title:
            figure.suptitle(title, fontsize=11, weight="bold")
        return figure, axes


def empty_figure(message):
    """A small figure with one sentence, for data of which there are none."""
    figure, [[ax]] = new_figure(6, 0.7)
    ax.set_axis_off()
    ax.text(0.5, 0.5, message, ha="center", va="center", color=GREY, transform=ax.transAxes)
    return figure.describe(message)
