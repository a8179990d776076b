"""An explorer of votes for notebooks: choose an image, a rule, k, members and a pixel, and see.

    explore(Run("mini_horse"))

Shapes: N members, C classes, H x W label resolution.
"""

import base64
import time
from html import escape
from io import BytesIO

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from ipywidgets import HTML, BoundedIntText, Dropdown, HBox, IntSlider, SelectionSlider, VBox
from PIL import Image

from .data import Sample
from .evaluation import evaluate, predictions
from .evaluation.observers import disputes
from .figures.layout import CHANGE_COLOURS, paint_changes
from .figures.style import class_name, colour_labels
from .own.folds import test_ensemble
from .voting import (
    RULES,
    disagreement,
    entropy,
    entropy_weights,
    shares,
    vote,
    weighted_sum,
    weights_from,
)

# From k = 0 to infinity; below 1/8 the vote is the mean, above 64 the most certain member decides.
SLIDER_KS = (0.0, *(2 ** (i / 2) for i in range(-6, 13)), float("inf"))
K_NAMES = {0.0: "0, the mean", float("inf"): "∞, the most certain"}
ORDERS = {"disagreement": "disagreement of the members", "changed": "pixels that change"}


def explore(run, scores=None, k=1.0):
    """The explorer of a run's test images, a widget that a notebook shows.

    scores: those of the run, if they are at hand; k: where its slider starts.
    FileNotFoundError if the run has not been made.
    """
    ensemble = test_ensemble(run)
    maps = run.maps("test")
    scores = scores or run.scores()
    if "disputes" not in scores.observed:  # scores of an older version
        found = predictions({run.seed: ensemble}, run.stream("test"))
        rules = {name: RULES[name] for name in ("majority", "entropy_weighted")}
        scores = evaluate(found, run.preset, rules, [disputes])

    def probs_of(i):
        return ensemble.probabilities(maps, i, run.preset.label_size).cpu()

    found = scores.of("test").observed["disputes"]
    found = {name: array.sel(seed=run.seed).values for name, array in found.items()}
    return Explorer(run.samples("test"), probs_of, ensemble.n_members, found, run.preset, k)


# ---- one image ----------------------------------------------------------------------------------


class Opinions:
    """What the members say of one image; what a step of a slider does not change is kept."""

    def __init__(self, probs):
        self.probs = probs  # (N, C, H, W)
        self.entropies = entropy(probs)  # (N, H, W)
        self.choices = probs.max(1).indices  # (N, H, W)
        self.kept = {}

    def vote(self, rule, k, n_members):
        """Labels [H, W] by the first members; k counts for the entropy-weighted rule alone."""
        if rule == "entropy_weighted":
            return self._entropy_weighted(k, n_members).numpy()
        if (rule, n_members) not in self.kept:
            if rule == "majority":
                counted = shares(self.choices[:n_members], self.probs.shape[1])  # (C, H, W)
                labels = counted.max(0).indices
            else:
                labels = vote(self.probs[:n_members], rule)
            self.kept[rule, n_members] = labels.numpy()
        return self.kept[rule, n_members]

    def _entropy_weighted(self, k, n_members):
        disputed, probs = self._disputed(n_members)  # (H, W), (n, C, P)
        weights = weights_from(self.entropies[:n_members, disputed], k)  # (n, P)
        labels = self.choices[0].clone()  # (H, W): where all agree, no weights change the winner
        labels[disputed] = weighted_sum(weights, probs).max(0).indices
        return labels

    def _disputed(self, n_members):
        """(mask [H, W] of pixels on which the first members differ, their probs [n, C, P])."""
        if ("disputed", n_members) not in self.kept:
            choices = self.choices[:n_members]
            mask = (choices != choices[0]).any(0)
            self.kept = {key: kept for key, kept in self.kept.items() if key[0] != "disputed"}
            self.kept["disputed", n_members] = mask, self.probs[:n_members, :, mask]
        return self.kept["disputed", n_members]

    def most_disputed(self):
        """(row, column) of the pixel on which all members differ most."""
        place = int(disagreement(self.probs).argmax())
        return divmod(place, self.probs.shape[3])

    def pixel(self, row, column, rule, k, n_members):
        """(probs [n, C], entropies [n], weights [n] or None, pooled [C]) of one pixel."""
        probs = self.probs[:n_members, :, row, column]
        pooled = RULES[rule](probs, k=k) if rule == "entropy_weighted" else RULES[rule](probs)
        ks = {"mean": 0.0, "entropy_weighted": k, "most_certain": float("inf")}
        weights = entropy_weights(probs, ks[rule]).numpy() if rule in ks else None
        entropies = self.entropies[:n_members, row, column]
        return probs.numpy(), entropies.numpy(), weights, pooled.numpy()


# ---- the widget ---------------------------------------------------------------------------------


class Explorer(VBox):
    """Controls, four pictures with a legend, and the members' distributions at one pixel.

    samples: the images; probs_of(i): the members' probs [N, C, H, W] of image i; found: {"changed",
    "disagreement"}, a number for each image, by which images are sorted; k: where its slider is.
    """

    def __init__(self, samples, probs_of, n_members, found, preset, k=1.0):
        self.samples, self.probs_of, self.found, self.preset = samples, probs_of, found, preset
        self.shown = None  # the place of the image on show
        orders = [(name, order) for order, name in ORDERS.items()]
        self.order = _control(Dropdown, "sorted by", options=orders)
        self.image = _control(Dropdown, "image", options=self._images())
        rules = [(rule.label, name) for name, rule in RULES.items()]
        self.rule = _control(Dropdown, "rule", options=rules, value="entropy_weighted")
        ks = [
            (K_NAMES.get(value, f"{value:.3g}"), value) for value in sorted({float(k), *SLIDER_KS})
        ]
        self.k = _control(SelectionSlider, "k", options=ks, value=float(k))
        self.members = _control(IntSlider, "members", min=1, max=n_members, value=n_members)
        last = preset.label_size - 1
        self.row = _control(BoundedIntText, "row", "12.3em", max=last)
        self.column = _control(BoundedIntText, "column", "12.3em", max=last)
        self.pictures = HTML()
        self.members_at_pixel = HTML()
        controls = [
            VBox([self.order, self.image, HBox([self.row, self.column])]),
            VBox([self.rule, self.k, self.members]),
        ]
        wrapped = HBox(controls, layout={"flex_flow": "row wrap"})
        super().__init__([wrapped, self.pictures, self.members_at_pixel])
        self.order.observe(self._sort, "value")
        self.image.observe(self._change_image, "value")
        for widget in (self.rule, self.k, self.members, self.row, self.column):
            widget.observe(self._draw, "value")
        self._change_image()

    def _images(self):
        """[(label, place)] of all images, the first by the chosen order on top."""
        places = np.argsort(-np.asarray(self.found[self.order.value]), kind="stable")
        return [(self._label(int(place)), int(place)) for place in places]

    def _label(self, i):
        changed, disagreement = self.found["changed"][i], self.found["disagreement"][i]
        return f"{self.samples[i].name}: {changed} change, {disagreement:.3f} nats"

    def _sort(self, _):
        """List the images in the other order, and show the first one."""
        self.image.options = self._images()

    def _change_image(self, _=None):
        """Ask the members about another image, and look at its most disputed pixel."""
        if self.image.value is None:  # while its options are replaced
            return
        self.shown = None
        self.opinions = Opinions(self.probs_of(self.image.value))
        self.row.value, self.column.value = self.opinions.most_disputed()
        self.shown = self.image.value
        sample = self.samples[self.shown]
        self.fixed = {
            "input": png(sample.image),
            "truth": png(colour_labels(sample.label, self.preset)),
        }
        self._draw()

    def _draw(self, _=None):
        """Draw what the controls ask for."""
        if self.shown is None:
            return
        self.k.disabled = self.rule.value != "entropy_weighted"
        self.pictures.value = self._pictures()
        self.members_at_pixel.value = self._members()

    def _pictures(self):
        """HTML of the four pictures with their captions, and of the legend."""
        sample, preset, n_members = self.samples[self.shown], self.preset, self.members.value
        labels = self.opinions.vote(self.rule.value, self.k.value, n_members)
        majority = self.opinions.vote("majority", None, n_members)
        painted, repaired, broken = paint_changes(
            sample.image, sample.label, majority, labels, preset.ignore_label
        )
        said = f"{repaired} repaired, {broken} broken"
        figures = [
            ("input", sample.name, self.fixed["input"]),
            ("truth", "", self.fixed["truth"]),
            ("vote", self._vote_in_words(), png(colour_labels(labels, preset))),
            ("against the majority", said, png(painted)),
        ]
        place = self.row.value, self.column.value
        size = preset.label_size
        shown = "".join(_figure(*each, place, size, preset.title) for each in figures)
        grid = "display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:0.8em"
        ids = np.unique([sample.label, labels])
        return f'<div style="{grid};max-width:75em">{shown}</div>{_legend(ids, preset)}'

    def _vote_in_words(self):
        label = RULES[self.rule.value].label
        k = f", k = {self.k.label}" if self.rule.value == "entropy_weighted" else ""
        return f"{label}{k}, {self.members.value} members"

    def _members(self):
        """HTML of the members' distributions at the chosen pixel, and of the vote there."""
        row, column = self.row.value, self.column.value
        preset = self.preset
        probs, entropies, weights, pooled = self.opinions.pixel(
            row, column, self.rule.value, self.k.value, self.members.value
        )
        truth = self.samples[self.shown].label[row, column]
        lines = []
        for i, q in enumerate(probs):
            weight = "" if weights is None else f"{weights[i]:.3f}"
            lines.append(_line(f"member {i + 1}", q, f"{entropies[i]:.2f}", weight, preset))
        lines.append(_line("<b>the vote</b>", pooled, "", "", preset))
        titles = ("", "distribution over the classes", "says", "entropy (nats)", "weight")
        indents = (0, 0, 1, 0, 0)  # as in the lines below
        head = "".join(
            f'<th style="text-align:left;padding-left:{indent}em">{title}</th>'
            for title, indent in zip(titles, indents)
        )
        where = f"Row {row}, column {column}: the truth is <b>{_name(truth, preset)}</b>."
        return (
            f'<div style="max-width:75em;line-height:1.4">{where}'
            '<table style="width:100%;font-size:inherit">'
            f"<tr>{head}</tr>{''.join(lines)}</table></div>"
        )


def _control(widget, description, width="25em", **given):
    """A widget with its label."""
    style = {"description_width": "6em"}
    return widget(description=description, style=style, layout={"width": width}, **given)


# ---- pictures and HTML --------------------------------------------------------------------------


def png(picture):
    """The bytes of a PNG of uint8 [H, W, 3], compressed little: it is drawn often."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _figure(title, words, content, place, size, dataset):
    """A picture, however few pixels it has, as wide as its column, the chosen pixel framed."""
    source = base64.b64encode(content).decode()
    alt = escape(f"{dataset}: {title}. {words}".strip(), quote=True)
    top, left = (100 * x / size for x in place)
    share = max(100 / size, 1.5)
    frame = (
        f"position:absolute;top:{top:.2f}%;left:{left:.2f}%;width:{share:.2f}%;height:{share:.2f}%;"
        "outline:2px solid white;box-shadow:0 0 0 4px black"
    )
    return (
        '<figure style="margin:0"><div style="position:relative">'
        f'<img alt="{alt}" src="data:image/png;base64,{source}" '
        'style="width:100%;display:block;image-rendering:pixelated">'
        f'<div style="{frame}"></div></div>'
        f'<figcaption style="line-height:1.4"><b>{title}</b><br>{escape(words)}</figcaption>'
        "</figure>"
    )


def _legend(ids, preset):
    """HTML of the colours of some class ids, and of what changes."""
    colours = {_name(i, preset): _css(i, preset) for i in ids}
    patches = [*colours.items(), *CHANGE_COLOURS.items()]
    shown = "".join(
        '<span style="white-space:nowrap"><span style="display:inline-block;width:1em;height:1em;'
        f'vertical-align:middle;background:{colour}"></span> {name}</span>'
        for name, colour in patches
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:0 1.2em;margin:0.6em 0">{shown}</div>'


def _line(name, q, entropy, weight, preset):
    """A row of the table of members: a bar of the distribution [C], its winner, two numbers."""
    parts = "".join(
        f'<span title="{_name(c, preset)}: {q[c]:.3f}" '
        f'style="width:{100 * q[c]:.2f}%;background:{_css(c, preset)}"></span>'
        for c in np.flatnonzero(q > 0.002)
    )
    bar = f'<div style="display:flex;height:1.1em;background:#ddd">{parts}</div>'
    winner = _name(int(q.argmax()), preset)
    cells = (
        (name, "white-space:nowrap;padding-right:1em"),
        (bar, "width:50%"),
        (winner, "padding-left:1em"),
        (entropy, ""),
        (weight, ""),
    )
    return "<tr>" + "".join(f'<td style="{css}">{text}</td>' for text, css in cells) + "</tr>"


def _name(i, preset):
    """The name of a class id, escaped for HTML."""
    return escape(class_name(i, preset))


def _css(i, preset):
    """The colour of a class id, as in all figures."""
    return "rgb({}, {}, {})".format(*colour_labels(i, preset))


# ---- how long a step takes ----------------------------------------------------------------------


def step_times(preset, n_members=10, seed=0):
    """Milliseconds of a step, from the value of a control to the pictures as PNG in HTML.

    Members and images of the preset's size are made up; members disagree in patches. Every value
    of a control is taken once for each of three images, so that nothing which an earlier step has
    kept counts. Changing the image is not a step. Returns a frame (control) of columns steps,
    median, largest; .attrs["disputed"] is the share of pixels on which not all members agree.
    """
    explorer, disputed = _made_up(preset, n_members, seed)
    found = []

    def move(control, value):
        widget = getattr(explorer, control)
        assert widget.value != value, "a control that stays where it is draws nothing"
        start = time.perf_counter()
        widget.value = value
        found.append((control, 1000 * (time.perf_counter() - start)))

    for place in range(3):
        explorer.image.value = place
        for k in SLIDER_KS:
            move("k", k)
        for n in range(n_members - 1, 1, -1):
            move("members", n)
        for _ in range(5):
            move("row", (explorer.row.value + 7) % preset.label_size)
        for rule in RULES:
            move("rule", rule)
        explorer.rule.value, explorer.members.value = "entropy_weighted", n_members
    times = pd.DataFrame(found, columns=["control", "ms"]).groupby("control", sort=False).ms
    table = pd.DataFrame({"steps": times.size(), "median": times.median(), "largest": times.max()})
    table.attrs["disputed"] = disputed
    return table


def _made_up(preset, n_members, seed):
    """(an Explorer of three images, the share of their pixels on which members differ)."""
    generator = torch.Generator().manual_seed(seed)
    size = preset.label_size

    def smooth(n, channels, cells):
        drawn = torch.randn(n, channels, cells, cells, generator=generator)
        return F.interpolate(drawn, size=(size, size), mode="bilinear")

    probs, images = [], []
    for i in range(3):
        common = smooth(1, preset.n_classes, 8)
        own = smooth(n_members, preset.n_classes, 16)
        probs.append((4 * common + 0.25 * own).softmax(1))  # (N, C, H, W)
        image = (128 + 60 * smooth(1, 3, 16)[0]).clamp(0, 255).byte().permute(1, 2, 0)
        label = common[0].argmax(0)  # (H, W)
        images.append(Sample(f"made_up_{i}", image.numpy(), label.numpy()))
    choices = torch.stack(probs).argmax(2)  # (B, N, H, W)
    disputed = (choices != choices[:, :1]).any(1).float().mean().item()
    zeros = {"disagreement": np.zeros(3), "changed": np.zeros(3, int)}
    return Explorer(images, probs.__getitem__, n_members, zeros, preset), disputed
