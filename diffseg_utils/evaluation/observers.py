"""What else is looked at while rules vote: small functions, each of one image and one seed.

An observer takes (name, probs, votes, truth, preset): the name of the image, the members' probs
[N, C, H, W], votes {rule: Vote(distribution, labels)}, the truth [H, W], and the preset of the
dataset. It returns {name: labelled array}. `evaluate` adds the arrays up over images, but keeps
every image of those with an axis "image". `Only` restricts an observer to the first seeds.
"""

import numpy as np
import torch
import xarray as xr

from .. import voting
from ..metrics import changes, confusion, is_scored, pairwise_disagreement
from .boundaries import boundary_confusion, boundary_length, fragments, trimap
from .calibration import COLUMNS, histogram
from .scores import OUTSIDE

SHOWN = ("majority", "mean", "entropy_weighted")  # rules of the detailed looks
CHANGES = (
    ("majority", "mean"),
    ("majority", "entropy_weighted"),
    ("mean", "entropy_weighted"),
)
WIDTHS = (1, 2, 4, 8, 16, np.inf)  # pixels from a true boundary
DISPUTES = (1e-3, 1e-2, 0.1, 0.3)  # nats of disagreement: ends of the bins
ENTROPY_BINS = 30


# ---- every rule ---------------------------------------------------------------------------------


def calibration(name, probs, votes, truth, preset):
    """Histograms of confidence, and each image's sums of Brier score and log-likelihood.

    histogram (rule, quantity, bin): as in calibration.histogram; penalty (rule, image, score).
    """
    distributions = [vote.distribution for vote in votes.values()]
    histograms = [histogram(q, truth, preset.ignore_label) for q in distributions]
    histograms = np.stack(histograms)  # (R, 7, bins)
    penalties = ["brier", "nll"]
    sums = histograms[:, [COLUMNS.index(score) for score in penalties]].sum(2)  # (R, 2)
    return {
        "histogram": labelled(histograms, rule=votes, quantity=COLUMNS, bin=None),
        "penalty": labelled(sums[:, None], rule=votes, image=None, score=penalties),
    }


def boundaries(name, probs, votes, truth, preset):
    """Confusions of boundary regions (rule, image, truth, predicted) with the new id "inside"."""
    n, ignored = preset.n_classes, preset.ignore_label
    counts = [boundary_confusion(vote.labels, truth, n, ignored) for vote in votes.values()]
    regions = [*preset.classes, "inside"]
    counts = np.stack(counts)[:, None]  # (R, 1, C + 2, C + 1)
    axes = {"rule": votes, "image": None, "truth": [*regions, OUTSIDE], "predicted": regions}
    return {"counts": labelled(counts, **axes)}


def diversity(name, probs, votes, truth, preset):
    """How far members differ: mutual information in nats, and the share of pixels in dispute."""
    information = float(voting.disagreement(probs).mean())
    share = pairwise_disagreement(probs.argmax(1))
    return {
        "mutual_information": labelled([information], image=None),
        "pairwise_disagreement": labelled([share], image=None),
    }


def disputes(name, probs, votes, truth, preset):
    """How unsure the members are of an image, and how much the entropy-weighted vote changes.

    disagreement: mean over its pixels, in nats; changed: pixels that differ from the majority.
    """
    disagreement = float(voting.disagreement(probs).mean())
    changed = votes["entropy_weighted"].labels != votes["majority"].labels
    return {
        "disagreement": labelled([disagreement], image=None),
        "changed": labelled([int(changed.sum())], image=None),
    }


def agreement(name, probs, votes, truth, preset):
    """Pixels (fact, class) that are scored, in dispute, right by majority, right by any member."""
    choices = probs.max(1).indices.numpy()  # (N, H, W)
    scored = is_scored(truth, preset.n_classes, preset.ignore_label)
    facts = {
        "scored": scored,
        "disputed": (choices != choices[0]).any(0),
        "majority right": votes["majority"].labels == truth,
        "any member right": (choices == truth).any(0),
    }
    n = preset.n_classes
    counts = [np.bincount(truth[scored & fact], minlength=n) for fact in facts.values()]
    return {"pixels": labelled(counts, fact=facts, **{"class": preset.classes})}


def label_maps(name, probs, votes, truth, preset):
    """The votes of the rules SHOWN: labels (rule, image, y, x)."""
    shown = [rule for rule in SHOWN if rule in votes]
    labels = np.stack([votes[rule].labels for rule in shown])[:, None].astype(np.int16)
    return {"labels": labelled(labels, rule=shown, image=None, y=None, x=None)}


# ---- families of rules --------------------------------------------------------------------------


def over_k(ks):
    """The observer that counts the entropy-weighted vote for each of `ks`."""

    def sweep(name, probs, votes, truth, preset):
        """counts (k, truth, predicted)"""
        labels = voting.sweep(probs, ks)  # (K, H, W)
        counts = [confusion(row, truth, preset.n_classes) for row in labels]
        return {"counts": _counts(counts, preset, k=ks)}

    return sweep


def over_pools(points):
    """The observer that counts `pool` for each of `points`, dicts of k, r and temperature.

    Of larger images only a grid of about 64 x 64 pixels is voted on.
    """

    def pools(name, probs, votes, truth, preset):
        """counts (point, truth, predicted)"""
        every = max(1, len(truth) // 64)
        probs, truth = probs[..., ::every, ::every], truth[::every, ::every]
        counts = []
        for point in points:
            labels = voting.vote(probs, voting.pool, **point)
            counts.append(confusion(labels, truth, preset.n_classes))
        array = _counts(counts, preset, point=range(len(points)))
        coords = {key: ("point", [point[key] for point in points]) for key in points[0]}
        return {"counts": array.assign_coords(coords)}

    return pools


# ---- details ------------------------------------------------------------------------------------


def bands(name, probs, votes, truth, preset):
    """Confusions within some pixels of a true boundary: (rule, width, image, truth, predicted)."""
    counts = []
    within = trimap(truth, WIDTHS)  # (widths, H, W)
    for rule in SHOWN:
        labels = votes[rule].labels
        counts.append([confusion(labels[w], truth[w], preset.n_classes) for w in within])
    counts = np.array(counts)[:, :, None]
    return {"counts": _counts(counts, preset, rule=SHOWN, width=WIDTHS, image=None)}


def roughness(name, probs, votes, truth, preset):
    """Boundary length and fragments of the truth and of the rules SHOWN: (map, measure)."""
    maps = {"truth": truth, **{rule: votes[rule].labels for rule in SHOWN}}
    found = [[boundary_length(labels), fragments(labels)] for labels in maps.values()]
    return {"edges": labelled(found, map=maps, measure=["length", "fragments"])}


def changed_pixels(name, probs, votes, truth, preset):
    """What another rule changes: the columns of metrics.changes, by class, distance, disagreement.

    Axis change: "<before> to <after>" of CHANGES. Distances are those to a true boundary, under
    each of WIDTHS; disagreements start at 0 and at each of DISPUTES, in nats.
    """
    scored = np.where(truth == preset.ignore_label, -1, truth)
    bands = np.diff(trimap(truth, WIDTHS), axis=0, prepend=False)  # in this and in no narrower one
    bins = np.digitize(voting.disagreement(probs).numpy(), DISPUTES)
    dispute = [bins == i for i in range(len(DISPUTES) + 1)]
    found = {"by_class": [], "by_distance": [], "by_disagreement": []}
    for rules in CHANGES:
        before, after = (votes[rule].labels for rule in rules)

        def of(masks, before=before, after=after):
            frames = [changes(before[m], after[m], scored[m], preset.n_classes) for m in masks]
            return [frame.sum().to_numpy() for frame in frames]

        by_class = changes(before, after, scored, preset.n_classes)
        found["by_class"].append(by_class.to_numpy())
        found["by_distance"].append(of(bands))
        found["by_disagreement"].append(of(dispute))
    change = [f"{before} to {after}" for before, after in CHANGES]
    own = {
        "by_class": {"class": preset.classes},
        "by_distance": {"under": WIDTHS},
        "by_disagreement": {"start": (0, *DISPUTES)},
    }
    return {
        what: labelled(found[what], change=change, **axis, quantity=list(by_class))
        for what, axis in own.items()
    }


def member_entropies(name, probs, votes, truth, preset):
    """How many member votes have which entropy: (pixels, vote, bin), bins from 0 to log C.

    pixels: all with a scored truth, or those on which not all members agree.
    """
    members = probs.argmax(1).numpy()  # (N, H, W)
    doubt = voting.entropy(probs).numpy() / np.log(preset.n_classes)
    bins = np.minimum((ENTROPY_BINS * doubt).astype(int), ENTROPY_BINS - 1)
    known = is_scored(truth, preset.n_classes, preset.ignore_label)
    right = members == truth
    disputed = known & (members != members[0]).any(0)
    counts = [
        [np.bincount(bins[where & vote], minlength=ENTROPY_BINS) for vote in (right, ~right)]
        for where in (known, disputed)
    ]
    axes = {"pixels": ["all pixels", "disputed pixels"], "vote": ["right", "wrong"], "bin": None}
    return {"counts": labelled(counts, **axes)}


def disputed_pixel(name, probs, votes, truth, preset):
    """The probs (image, member, class) of the most disputed pixel of an image, with a scored truth.

    It is one that the entropy weights change, if they change any.
    """
    moved = votes["mean"].labels != votes["entropy_weighted"].labels
    score = voting.disagreement(probs).numpy() + 10 * moved  # 10: more than any disagreement
    score[~is_scored(truth, preset.n_classes, preset.ignore_label)] = -1
    pixel = probs.flatten(2)[:, :, int(score.argmax())].numpy()  # (N, C)
    return {"probs": labelled(pixel[None], image=None, member=None, **{"class": preset.classes})}


def growing(orders):
    """The observer that counts the votes of the first 1, 2, ... N members, in each order.

    orders: permutations of range(N). counts (rule, order, n_members, truth, predicted).
    """

    def members_added(name, probs, votes, truth, preset):
        """Sums over members grow one member at a time; the normalisation changes no winner."""
        n_members, n_classes = probs.shape[:2]
        weights = torch.exp(-voting.entropy(probs))  # k = 1
        terms = {
            "majority": lambda i: _one_hot(probs[i]),
            "mean": lambda i: probs[i],
            "entropy_weighted": lambda i: weights[i] * probs[i],
        }
        counts = np.zeros((len(SHOWN), len(orders), n_members, n_classes + 1, n_classes), int)
        for r, rule in enumerate(SHOWN):
            for o, order in enumerate(orders):
                total = 0
                for n, member in enumerate(order):
                    total = total + terms[rule](member)
                    counts[r, o, n] = confusion(total.max(0).indices, truth, n_classes)
        axes = {"rule": SHOWN, "order": range(len(orders)), "n_members": range(1, n_members + 1)}
        return {"counts": _counts(counts, preset, **axes)}

    return members_added


def _one_hot(q):
    """The hard vote of one member: [C, *pixels] of zeros and ones."""
    return torch.nn.functional.one_hot(q.max(0).indices, len(q)).movedim(-1, 0)


# ---- labels -------------------------------------------------------------------------------------


def labelled(values, **axes):
    """A labelled array: for each axis, in order, its labels, or None for none."""
    coords = {name: list(labels) for name, labels in axes.items() if labels is not None}
    return xr.DataArray(np.asarray(values), coords, tuple(axes))


def _counts(values, preset, **axes):
    """A labelled array of confusions [..., C + 1, C]."""
    return labelled(values, **axes, truth=[*preset.classes, OUTSIDE], predicted=preset.classes)
