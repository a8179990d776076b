"""The look of every figure: fonts, one colour for each rule, dataset and class, and `Picture`."""

from base64 import b64encode
from html import escape
from io import BytesIO
from itertools import count
from pathlib import Path
from zlib import crc32

import matplotlib as mpl
import numpy as np
from matplotlib.colors import hsv_to_rgb, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ..files import atomic
from ..presets import DATASETS, MINI

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
RULE_LABELS = {  # where the label in voting.RULES is not the name with spaces
    "member": "single member",
    "entropy_weighted": "entropy-weighted",
    "dawid_skene": "soft Dawid-Skene",
}
VARIANTS = (",", " chosen")  # what may follow the name or label of a rule
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
IGNORED = (97, 97, 97)  # red, green, blue of pixels that are not scored

# Colours of classes, the background first; a dataset takes the first list that has enough of
# them. A random search made the lists once. It maximised the smallest difference (CIEDE2000) of
# any two colours of a list, and of each colour and IGNORED, for readers with full colour vision,
# with protanopia and with deuteranopia (Machado et al. 2009). The smallest differences are 14.4,
# 11.5 and 10.2. Below 10, areas that touch are hard to tell apart.
CLASS_COLOURS = [
    text.split()
    for text in (
        """
        #1c1d24 #1e87ff #c35a00 #87fff0 #b4ff78 #a5002d #f0b4a5 #f03c96
        #c3c3ff #871ea5 #d2a500 #0f965a #00a5b4
        """,
        """
        #1c1d24 #e1b400 #96a587 #ffe1ff #fff0d2 #e1ff3c #690096 #2d8787
        #a5695a #3cf087 #876900 #a587b4 #4bc3ff #004b00 #0087ff #d24b87
        #a50f3c #879600 #5a5ac3 #004b5a #4bd2c3
        """,
        """
        #1c1d24 #690f00 #698796 #3c6987 #d2e1d2 #2d5a3c #78a5c3 #002d4b
        #3c0fd2 #78d2ff #e17800 #ffff1e #a51e00 #699669 #0f3c2d #a5d21e
        #87a5a5 #0f0f87 #a596ff #c3f087 #1e4b78 #69d2d2 #5a784b #9669ff
        #4b5ac3 #5ab45a #b45a00 #f0ffd2 #c3ffff #4b4b5a #6978b4 #78b496
        #a5d296 #5a8778
        """,
    )
]


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
            if rule == known or (variant != rule and variant.startswith(VARIANTS)):
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

    A dataset of presets.DATASETS looks the same in every figure; other names take what is left, in
    their order. Twelve have colours of their own; later ones repeat the colours with other markers.
    """
    names = list(names)
    known = [*MINI, *(name for name in DATASETS if name not in MINI)]
    taken = {known.index(name) for name in names if name in known}
    left = (place for place in count() if place not in taken)
    n = len(SERIES_COLOURS)
    styles = {}
    for name in names:
        place = known.index(name) if name in known else next(left)
        styles[name] = SERIES_COLOURS[place % n], SERIES_MARKERS[(place + place // n) % n]
    return styles


def class_name(i, preset):
    """The name of a class id; 'clutter (ignored)' of one that is not scored, or 'ignored'."""
    if not 0 <= i < preset.n_classes:
        return "ignored"
    name = preset.classes[i]
    return f"{name} (ignored)" if i == preset.ignore_label else name


def class_colours(n_classes):
    """uint8 [n_classes, 3]: colours that colour-blind readers can tell apart; id 0 is dark.

    Above 34 classes the later ones are hues in steps of the golden angle, which may look alike.
    """
    fitting = [colours for colours in CLASS_COLOURS if len(colours) >= n_classes]
    colours = [to_rgb(name) for name in (fitting or CLASS_COLOURS[-1:])[0]]
    colours += [hsv_to_rgb((i * 0.381966 % 1, 0.7, 0.8)) for i in range(len(colours), n_classes)]
    return np.round(255 * np.array(colours[:n_classes])).astype(np.uint8)


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
        """(data, metadata) for a notebook.

        JupyterLab and the default page of nbconvert prefer HTML. They write a description beside
        no PNG, whatever its metadata say, so an executed copy keeps the HTML alone
        (runs/execute.py). Other programs take the PNG, and nbconvert's template `classic` finds
        the description in metadata["image/png"]["alt"].
        """
        png = self._png(bbox_inches="tight")
        source = f"data:image/png;base64,{b64encode(png).decode()}"
        html = f'<img src="{source}" alt="{escape(self.alt)}" style="max-width: 100%">'
        data = {"image/png": png, "text/html": html, "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}

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


def headline(dataset, text):
    """The title of a figure: 'Mini-Horse: a text', or 'A text' where the dataset is empty."""
    if not dataset:
        return text[:1].upper() + text[1:]
    return f"{dataset}: {text}" if text else dataset


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
