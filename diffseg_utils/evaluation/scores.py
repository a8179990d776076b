"""The one loop "predict, vote, count", and the one file format of what it found.

    scores = evaluate(predictions({0: ensemble}, run.stream("test")), preset)
    scores.counts.sel(rule="mean")      # pixels by seed, image, truth and prediction
    scores.miou().sel(rule="mean")      # percent, one number per seed
    scores.save("scores.npz")

Counts are labelled arrays of xarray: choose by name, never by position.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import xarray as xr

from ..files import atomic
from ..metrics import MEASURES, confusion
from ..presets import choose
from .packing import described, packed, unpacked

OUTSIDE = "outside"  # the row of a confusion for truths that are no class
COUNTED = ("seed", "rule", "image", "truth", "predicted")  # the axes of counts


class Prediction(NamedTuple):
    """One image: its name, probs {seed: [N, C, H, W]} on the CPU, and truth [H, W]."""

    name: str
    probs: dict
    truth: Any


class Vote(NamedTuple):
    """What a rule makes of one image: distribution [C, H, W] and labels [H, W]."""

    distribution: Any
    labels: Any


# ---- predict ------------------------------------------------------------------------------------


def predictions(ensembles, images):
    """Yield a Prediction of each image, one at a time.

    ensembles: {seed: PixelEnsemble}; images: (Sample, FeatureMaps, place in them), one at a time,
    as `run.stream("test")` yields them.
    """
    for sample, maps, place in images:
        size = len(sample.label)
        probs = {
            seed: ensemble.probabilities(maps, place, size).cpu()
            for seed, ensemble in ensembles.items()
        }
        yield Prediction(sample.name, probs, sample.label)


# ---- vote and count -----------------------------------------------------------------------------


def evaluate(predictions, preset, rules=None, observers=(), split="test"):
    """The Scores of every rule, every member and every seed on all predictions.

    predictions: anything that yields Predictions, all with the same seeds. preset: a Preset, or
    what else has `classes` and `ignore_label`. rules: {name: rule}, or {seed: {name: rule}} where
    they differ by seed; None takes voting.RULES. observers: functions as in evaluation.observers,
    which look at the same predictions and votes. split: what the images are called. ValueError if
    there is no prediction.
    """
    if rules is None:
        from ..voting import RULES as rules

    names, counts, members = [], [], []
    collected = [_Collected(observer) for observer in observers]
    n_classes = len(preset.classes)
    for name, probs, truth in predictions:
        tables = {seed: _table_of(seed, rules) for seed in probs}
        rule_names = list(dict.fromkeys(rule for table in tables.values() for rule in table))
        votes = {seed: cast(probs[seed], table) for seed, table in tables.items()}
        names.append(name)
        counts.append([_count(votes[seed], truth, rule_names, n_classes) for seed in probs])
        members.append([_count_members(q, truth, n_classes) for q in probs.values()])
        for each in collected:
            each.add(name, probs, votes, truth, preset)
    if not names:
        raise ValueError(f"no predictions of the {split} split: nothing to evaluate")
    seeds = list(probs)
    axes = {
        "seed": seeds,
        "rule": rule_names,
        "image": ("image", names),
        "split": ("image", [split] * len(names)),
        "truth": [*preset.classes, OUTSIDE],
        "predicted": list(preset.classes),
    }
    counts = np.stack(counts, 2)  # (S, R, B, C + 1, C)
    members = _members_of_all(members)  # (S, N, B, C + 1, C)
    own = {name: axis for name, axis in axes.items() if name != "rule"}
    return Scores(
        xr.DataArray(counts, axes, COUNTED),
        xr.DataArray(
            members,
            own | {"member": range(members.shape[1])},
            ("seed", "member", *COUNTED[2:]),
        ),
        {each.name: each.dataset(names, split, seeds) for each in collected},
        {
            "classes": list(preset.classes),
            "ignore_label": preset.ignore_label,
            "labels": {rule: _label(rule, tables.values()) for rule in rule_names},
        },
    )


def _table_of(seed, rules):
    """{name: rule} of a seed, from one table for all or {seed: table}."""
    return rules[seed] if isinstance(rules.get(seed), Mapping) else rules


def cast(probs, rules):
    """{name: Vote} of one image and seed; ties go to the lowest class id."""
    votes = {}
    for name, rule in rules.items():
        distribution = rule(probs)  # (C, H, W)
        votes[name] = Vote(distribution, distribution.max(0).indices.numpy())
    return votes


def _count(votes, truth, rules, n_classes):
    """Confusions [R, C + 1, C]; zeros for a rule that this seed does not have."""
    counts = np.zeros((len(rules), n_classes + 1, n_classes), np.int64)
    for row, rule in zip(counts, rules):
        if rule in votes:
            row[:] = confusion(votes[rule].labels, truth, n_classes)
    return counts


def _count_members(probs, truth, n_classes):
    """Confusions [N, C + 1, C] of the members alone."""
    return np.stack([confusion(q.max(0).indices, truth, n_classes) for q in probs])


def _members_of_all(counts):
    """[S, N, B, C + 1, C] of lists [B][S] of [N, C + 1, C]; zeros where members are fewer."""
    most = max(len(of_seed) for of_image in counts for of_seed in of_image)
    missing = ((0, 0), (0, 0))
    padded = [[np.pad(x, ((0, most - len(x)), *missing)) for x in row] for row in counts]
    return np.moveaxis(np.array(padded), 0, 2)


def _label(name, tables):
    """The label of a rule: its own, or its name with spaces."""
    rule = next(table[name] for table in tables if name in table)
    return getattr(rule, "label", name.replace("_", " "))


# ---- observe ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Only:
    """Saves time: the observer sees only the first `images` images and the first `seeds` seeds.

    The members of several seeds are joined to one large ensemble. Then it is given no votes,
    because the rules voted for each seed.
    """

    observer: Any
    seeds: int = 1
    images: int | None = None


class _Collected:
    """The arrays of one observer, of all images.

    An array with an axis "image" keeps every image. Any other is added up over them.
    """

    def __init__(self, observer):
        self.only = observer if isinstance(observer, Only) else None
        self.observer = observer.observer if self.only else observer
        self.name = self.observer.__name__
        self.n_images = 0
        self.shapes = {}  # {name: labelled array of the first image}
        self.values = {}  # {name: a sum, or a list of images}

    def add(self, name, probs, votes, truth, preset):
        self.n_images += 1
        if self.only:
            if self.n_images > (self.only.images or np.inf):
                return
            chosen = list(probs)[: self.only.seeds]
            if len(chosen) == 1:
                together, seen = probs[chosen[0]], votes[chosen[0]]
            else:
                from torch import cat  # not at the top: notebook 04 reads scores without torch

                together, seen = cat([probs[seed] for seed in chosen]), {}
            for what, array in self.observer(name, together, seen, truth, preset).items():
                self._keep(what, array, array.values)
            return
        by_seed = [self.observer(name, probs[s], votes[s], truth, preset) for s in probs]
        for what, array in by_seed[0].items():
            self._keep(what, array, np.stack([found[what].values for found in by_seed]))

    def _keep(self, what, array, values):
        self.shapes.setdefault(what, array)
        if "image" in array.dims:
            self.values.setdefault(what, []).append(values)
        else:
            self.values[what] = self.values.get(what, 0) + values

    def dataset(self, names, split, seeds):
        """All arrays, labelled: axes "seed" (unless Only) and "split" (of sums) come first."""
        found = {}
        for what, array in self.shapes.items():
            values, dims = self.values[what], array.dims
            coords = {name: axis for name, axis in array.coords.items() if name != "image"}
            if not self.only:
                dims = ("seed", *dims)
                coords["seed"] = seeds
            if "image" in dims:
                values = np.concatenate(values, dims.index("image"))
                coords["image"] = names[: values.shape[dims.index("image")]]
                coords["split"] = ("image", [split] * len(coords["image"]))
            else:
                values, dims = values[None], ("split", *dims)
                coords["split"] = [split]
            found[what] = xr.DataArray(values, coords, dims, attrs=array.attrs)
        return found


# ---- what was found -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """What rules and members scored, image by image.

    counts: pixels (seed, rule, image, truth, predicted); images have a second label, `split`; the
    last truth, "outside", collects pixels whose truth is no class. Zeros where a seed or a split
    has no votes of a rule. members: the same with `member` for `rule`, or without `image` where
    only sums were kept. observed: {observer: {name: labelled array}}. attrs: classes,
    ignore_label, labels {rule: label}, and, where k was chosen, chosen {seed: {"k", "pool"}}.
    """

    counts: xr.DataArray
    members: xr.DataArray
    observed: dict = field(default_factory=dict)
    attrs: dict = field(default_factory=dict)

    @property
    def ignore_label(self):
        """The class id that is not scored."""
        return self.attrs["ignore_label"]

    @property
    def rules(self):
        """The names of all rules."""
        return self.counts.rule.values.tolist()

    @property
    def seeds(self):
        """The seeds."""
        return self.counts.seed.values.tolist()

    def images(self, split="test"):
        """The names of the images of a split."""
        return self.of(split).counts.image.values.tolist()

    def label(self, rule):
        """What tables and figures call a rule."""
        return self.attrs["labels"].get(rule, rule.replace("_", " "))

    def has(self, rule, split="test"):
        """Whether every seed has votes of this rule on the images of this split."""
        if rule not in self.rules:
            return False
        pixels = self.of(split).counts.sel(rule=rule).sum(("image", "truth", "predicted"))
        return bool((pixels > 0).all())

    def confusions(self, rule, split="test"):
        """int64 [S, B, C + 1, C] of one rule; ValueError if a seed has no votes of it."""
        if not self.has(rule, split):
            raise ValueError(
                f"no votes of rule {rule!r} on the {split} split; choose from "
                f"{', '.join(name for name in self.rules if self.has(name, split))}"
            )
        return self.of(split).counts.sel(rule=rule).values

    def score(self, measure="miou", split="test", protocol="published"):
        """A measure in percent, labelled (seed, rule); nan where a seed has no votes of a rule.

        measure: a name in metrics.MEASURES, else ValueError.
        """
        total = self.of(split).counts.sum("image")
        return _percent(total, self.ignore_label, protocol, measure)

    def miou(self, split="test", protocol="published"):
        """mIoU in percent: score("miou")."""
        return self.score("miou", split, protocol)

    def member_miou(self, split="test", protocol="published"):
        """mIoU in percent of single members, labelled (seed, member)."""
        members = self.of(split).members
        return _percent(_summed(members), self.ignore_label, protocol)

    def curve(self, observer):
        """mIoU in percent (published protocol) of the counts that an observer added up.

        The axes truth and predicted are gone. Files of older runs kept the mIoU alone.
        """
        found = self.observed[observer]
        if "miou" in found:
            return found["miou"]
        return _percent(found["counts"], self.ignore_label)

    # ---- parts ------------------------------------------------------------------------------

    def of(self, split):
        """Scores of the images of one split; ValueError if there are none."""
        known = dict.fromkeys(self.counts.split.values.tolist())
        if split not in known:
            raise ValueError(f"no images of split {split!r}; choose from {', '.join(known)}")
        return self._map(lambda array: _of_split(array, split))

    def first(self, images=None, seeds=None):
        """Scores of the first images and seeds; sums over images stay what they are."""
        wanted = {"image": slice(images), "seed": slice(seeds)}
        return self._map(
            lambda array: array.isel({d: s for d, s in wanted.items() if d in array.dims})
        )

    def without(self, *observers):
        """Scores without what these observers found."""
        kept = {name: found for name, found in self.observed.items() if name not in observers}
        return replace(self, observed=kept)

    def assign_attrs(self, **attrs):
        """Scores with other or more attrs."""
        return replace(self, attrs=self.attrs | attrs)

    def assign_observed(self, **observers):
        """Scores with other or more {observer: {name: labelled array}}."""
        return replace(self, observed=self.observed | observers)

    def summed(self, *observers):
        """Scores with members, and what these observers found, added up over images."""
        observed = dict(self.observed)
        for name in observers:
            observed[name] = {what: _summed(array) for what, array in self.observed[name].items()}
        return replace(self, members=_summed(self.members), observed=observed)

    def rounded(self):
        """Scores whose observers' floats have 4 bytes."""

        def round_floats(array):
            return array.astype(np.float32) if array.dtype == np.float64 else array

        return self._map(round_floats)

    def join(self, other):
        """Scores of these images and of those of `other`, another split of the same seeds."""
        return joined([self, other], "image")

    def _map(self, change):
        observed = {
            name: {what: change(array) for what, array in found.items()}
            for name, found in self.observed.items()
        }
        return replace(
            self, counts=change(self.counts), members=change(self.members), observed=observed
        )

    # ---- files ------------------------------------------------------------------------------

    def save(self, path):
        """Write all to a compressed .npz."""
        arrays = {"counts": self.counts, "members": self.members}
        for observer, found in self.observed.items():
            arrays |= {f"{observer}/{what}": array for what, array in found.items()}
        header = {"attrs": self.attrs, "arrays": {n: described(a) for n, a in arrays.items()}}
        text = np.frombuffer(json.dumps(header).encode(), np.uint8)
        in_few_bytes = {name: packed(array) for name, array in arrays.items()}
        with atomic(path) as temporary:
            np.savez_compressed(temporary, header=text, **in_few_bytes)


def load_scores(path):
    """The Scores in a file; FileNotFoundError or ValueError names it."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no scores here; run 03_voting_analysis first")
    try:
        with np.load(path) as file:
            header = json.loads(file["header"].tobytes())
            arrays = {name: unpacked(file[name], how) for name, how in header["arrays"].items()}
        counts, members = arrays["counts"], arrays["members"]
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: not a file of scores ({error})") from None
    attrs = header["attrs"]
    if "chosen" in attrs:  # JSON knows no integer keys
        attrs["chosen"] = {int(seed): found for seed, found in attrs["chosen"].items()}
    observed = {}
    for name in arrays:
        if "/" in name:
            observer, what = name.split("/")
            observed.setdefault(observer, {})[what] = arrays[name]
    return Scores(counts, members, observed, attrs)


# ---- joining ------------------------------------------------------------------------------------


def joined(scores, dim, where="scores"):
    """Scores joined along `dim`: "seed", or "image" for another split."""
    if len(scores) == 1:
        return scores[0]
    along = {"seed": ("seed",), "image": ("image", "split")}[dim]

    def join(arrays):
        shared = next((name for name in along if name in arrays[0].dims), None)
        if shared is None or len(arrays) == 1:
            return arrays[0]
        return _concatenated(arrays, shared, where)

    observed = {}
    for one in scores:
        for observer, found in one.observed.items():
            for what, array in found.items():
                observed.setdefault(observer, {}).setdefault(what, []).append(array)
    if dim == "seed":  # what not all seeds have is not pooled
        observed = {
            observer: {what: a for what, a in found.items() if len(a) == len(scores)}
            for observer, found in observed.items()
        }
    attrs = {}
    for one in scores:
        both = {"labels", "chosen"} & attrs.keys() & one.attrs.keys()
        attrs = one.attrs | attrs | {name: attrs[name] | one.attrs[name] for name in both}
    return Scores(
        join([one.counts for one in scores]),
        join([one.members for one in scores]),
        {o: {what: join(arrays) for what, arrays in f.items()} for o, f in observed.items()},
        attrs,
    )


def _concatenated(arrays, dim, where):
    """One labelled array; a rule that some lack has zeros there; ValueError for other labels."""
    first = arrays[0]
    for name in ("rule", "member"):
        if name in first.dims and name != dim:
            labels = dict.fromkeys(x for array in arrays for x in array[name].values.tolist())
            arrays = [_with_labels(array, name, list(labels)) for array in arrays]
    first = arrays[0]
    for other in arrays[1:]:
        for name in first.dims:
            if name != dim and not np.array_equal(first[name], other[name]):
                raise ValueError(f"{where}: the {name} labels differ, so they cannot be joined")
    coords = {}
    for name, axis in first.coords.items():
        if dim in axis.dims:
            labels = np.concatenate([array[name].values for array in arrays])
            coords[name] = (axis.dims, labels)
        else:
            coords[name] = axis
    values = np.concatenate([array.values for array in arrays], first.dims.index(dim))
    return xr.DataArray(values, coords, first.dims, attrs=first.attrs)


def _with_labels(array, dim, labels):
    """The array with these labels along `dim`, zeros for those it lacks."""
    known = array[dim].values.tolist()
    if known == labels:
        return array
    axis = array.dims.index(dim)
    shape = list(array.shape)
    shape[axis] = len(labels)
    values = np.zeros(shape, array.dtype)
    places = [labels.index(label) for label in known]
    np.moveaxis(values, axis, 0)[places] = np.moveaxis(array.values, axis, 0)
    coords = {name: c for name, c in array.coords.items() if dim not in c.dims}
    return xr.DataArray(values, coords | {dim: labels}, array.dims, attrs=array.attrs)


def _summed(array):
    """The array added up over images, if it has several."""
    return array.sum("image", keep_attrs=True) if "image" in array.dims else array


def _of_split(array, split):
    """The part of an array that belongs to a split."""
    if "image" in array.dims and "split" in array.coords:
        return array.isel(image=np.flatnonzero(array.split.values == split))
    if "split" in array.dims:
        return array.isel(split=np.flatnonzero(array.split.values == split))
    return array


def _percent(counts, ignore_label, protocol="published", measure="miou"):
    """A measure in percent of counts (..., truth, predicted), labelled; nan for no pixels."""
    measure = choose("measure", measure, MEASURES)
    pixels = counts.sum(("truth", "predicted"))
    values = 100 * measure(counts.values, ignore_label, protocol)
    return pixels.copy(data=np.where(pixels > 0, values, np.nan))
