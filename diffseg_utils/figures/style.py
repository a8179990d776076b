"""One look for every figure: fonts, a colour for each rule and each class."""

import colorsys
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

RULES = {  # name -> (label, colour): Okabe and Ito's colour-blind-safe palette
    "member": ("single member", "#999999"),
    "majority": ("majority", "#0072B2"),
    "mean": ("mean", "#E69F00"),
    "geometric_mean": ("geometric mean", "#009E73"),
    "most_certain": ("most certain", "#CC79A7"),
    "entropy_weighted": ("entropy-weighted", "#D55E00"),
    "k": ("k", "#D55E00"),  # "k chosen": the entropy-weighted vote of a chosen k
    "pool": ("pool", "#56B4E9"),
    "dawid_skene": ("soft Dawid-Skene", "#7F5539"),
    "stacking": ("stacking", "#222222"),
}
INK, PALE, GREY = "#222222", "#bbbbbb", "#777777"
REPAIRED, BROKEN, OTHER = (
    "#1b7837",
    "#c51b7d",
    "#d8b42a",
)  # pixels: green and pink stay apart for colour-blind eyes
IGNORED = (70, 70, 70)
SERIES = (
    ("#332288", "o"),
    ("#44AA99", "s"),
    ("#999933", "D"),
    ("#882255", "^"),
    ("#6699CC", "v"),
    ("#661100", "P"),
)  # Tol

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
    """A Figure that shows itself in a notebook, as a PNG of 256 colours: a third of the size, so notebooks stay small."""

    def _repr_png_(self):
        full, small = BytesIO(), BytesIO()
        self.savefig(full, format="png", bbox_inches="tight")
        palette = dict(
            method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )  # keeps small vivid areas
        Image.open(full).convert("RGB").quantize(256, **palette).save(small, "PNG", optimize=True)
        return small.getvalue()

    def keep(self, path):
        """Write <path>.png (200 dpi) and <path>.pdf, through temporary names; returns the figure."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for ending, empty in (("png", "Software"), ("pdf", "CreationDate")):
            partial = path.with_name(f".{path.name}.{ending}")
            self.savefig(partial, dpi=200, metadata={empty: None})
            partial.replace(f"{path}.{ending}")
        return self


def new_figure(width, height, **grid):
    """(Figure, array of Axes) in the kit's style; no global state. grid: nrows, ncols, width_ratios, ..."""
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(squeeze=False, **grid)


def look(rule):
    """(label, colour) of a rule or of a variant of it, such as 'entropy_weighted, k = 1'; ValueError for an unknown one."""
    for name, (label, colour) in RULES.items():
        for start in (name, label):
            if (rule + " ").startswith((start + " ", start + ",")):
                return label + rule[len(start) :], colour
    raise ValueError(f"unknown rule {rule!r}; choose from {', '.join(RULES)}")


def series(names):
    """{name: (colour, marker)} of things that are no rules, such as datasets."""
    return dict(zip(names, SERIES * (1 + len(names) // len(SERIES))))


def class_colours(n_classes):
    """uint8 [n_classes, 3]: neighbours in id differ in hue and lightness; id 0 is dark."""
    hues = [(i * 0.381966) % 1 for i in range(n_classes)]
    levels = [(0.62, 0.95), (0.85, 0.72), (0.40, 0.88)]
    colours = [colorsys.hsv_to_rgb(h, *levels[i % 3]) for i, h in enumerate(hues)]
    return np.array([(0.16, 0.17, 0.20), *colours[1:]][:n_classes]) * 255 // 1


def colour_labels(label, preset):
    """uint8 [H, W, 3] of a label map; ids that are not scored are grey."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[: preset.n_classes] = class_colours(preset.n_classes)
    if preset.ignore_label < 256:
        table[preset.ignore_label] = IGNORED
    return table[np.asarray(label)]
