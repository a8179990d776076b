"""One pass over the test images with the ensembles of all seeds: what needs pixels is kept as counts and small sums.

Shapes: S seeds, R rules, B images, N members. A rule takes probs [N, C, H, W]; all seeds have the same rule names, and the
first seed alone is looked at in detail.
"""

import os
from itertools import islice, product
from pathlib import Path

import numpy as np
import torch

from .backbone import load_backbone, shared_noise
from .boundaries import boundary_confusion, boundary_length, fragments, trimap
from .calibration import COLUMNS, histogram
from .data import samples, to_input
from .features import FeatureMaps, extract
from .metrics import changes, confusion, pairwise_disagreement
from .voting import disagreement, entropy

K1 = "entropy_weighted, k = 1"
SHOWN = ("majority", "mean", K1)  # rules of the detailed looks
CHANGES = (("majority", "mean"), ("majority", K1), ("mean", K1))
WIDTHS = (1, 2, 4, 8, 16, np.inf)  # pixels from a true boundary
DISPUTES = (1e-3, 1e-2, 0.1, 0.3)  # nats of disagreement: ends of the bins
ENTROPY_BINS = 30
SUMS = (
    "histograms",
    "acted",
    "entropies",
    "curve",
)  # added up over images; all else keeps every image
STORED = {
    "confusions": 2,
    "boundaries": 2,
    "bands": 2,
    "curve": 2,
}  # as differences along this axis
CURVE_IMAGES = 100  # the growing crowd is seen on the first ones


def maps_of_test_images(run, n_images, noise_seed=0, flip=False):
    """(sample, FeatureMaps, place in them) of the first n_images test images of `run`, one at a time.

    The stored maps, if the preset has just that many images; else the U-Net is asked, four images at a time, and nothing is
    kept. Other noise, and images flipped left to right, always ask it. As stored: shared noise, float16.
    """
    preset = run.preset.resized(test=n_images)
    found = samples(preset, "test", run.data_root)
    if preset == run.preset and not noise_seed and not flip:
        maps = FeatureMaps.load(run.path("features") / "test")
        yield from ((sample, maps, i) for i, sample in enumerate(found))
        return
    backbone = load_backbone(run.backbone_used, run.torch_device, data=run.data_root)
    noise = shared_noise(backbone.image_size, noise_seed, run.torch_device)
    while group := list(islice(found, 4)):
        images = [to_input(sample.image, backbone.image_size) for sample in group]
        maps = extract(
            backbone,
            torch.stack(images).flip(3) if flip else torch.stack(images),
            noise,
            dtype=torch.float16,
        )
        yield from ((sample, maps, i) for i, sample in enumerate(group))


def collect(opinions, rules, preset, orders, report=None):
    """All counts of a pass, a dict of arrays; image first, then seed, then rule, unless a sum (SUMS).

    opinions: (sample, [probs [N, C, H, W] of each seed]); rules: [{name: rule} of each seed]; orders: permutations of the
    members of the first two seeds, in which a crowd grows (see grow).
    confusions [B, S, R, C + 1, C], members [B, S, N, C + 1, C], boundaries [B, S, R, C + 2, C + 1], scores [B, S, R, 2]
    (Brier, negative log-likelihood: sums over pixels), diversity [B, S, 2] (mean mutual information in nats, pairwise
    disagreement), histograms [S, R, 7, bins] of calibration. Of the first seed: bands [B, widths, SHOWN, C + 1, C], edges
    [B, 1 + SHOWN, 2] (boundary length and fragments of the truth, then of the votes), acted [CHANGES, groups, 5] (the columns
    of metrics.changes; groups: classes, distances, disputes), entropies [2, 2, bins] (all, disputed; right, wrong), votes
    uint8 [B, SHOWN, H, W], pixels [B, N, C] (the most disputed pixel, if any among those that the entropy changes). curve
    [SHOWN, orders, members, C + 1, C] of the first CURVE_IMAGES.
    """
    kept, sums = [], {}
    for i, (sample, probs) in enumerate(opinions):
        truth = np.where(sample.label == preset.ignore_label, -1, sample.label)  # not scored
        seeds, labels = zip(
            *(_votes(q, of, sample.label, truth, preset) for q, of in zip(probs, rules))
        )
        found = {name: np.stack([seed[name] for seed in seeds]) for name in seeds[0]}
        found |= _details(
            probs[0], {name: labels[0][name] for name in SHOWN}, sample.label, truth, preset
        )
        found["curve"] = grow(torch.cat(probs[:2]), sample.label, orders) if i < CURVE_IMAGES else 0
        sums = {name: sums.get(name, 0) + found.pop(name) for name in SUMS}
        kept.append(found)
        if report:
            report(i + 1)
    return sums | {name: np.stack([image[name] for image in kept]) for name in kept[0]}


def _votes(probs, rules, label, truth, preset):
    """({name: array [R, ...]}, {rule: labels}) of one image and seed."""
    n, ignored = preset.n_classes, preset.ignore_label
    distributions = {name: rule(probs) for name, rule in rules.items()}
    labels = {name: q.max(0).indices.numpy() for name, q in distributions.items()}
    histograms = np.stack([histogram(q, truth) for q in distributions.values()])
    first = COLUMNS.index("brier")
    return {
        "confusions": np.stack([confusion(x, label, n) for x in labels.values()]),
        "members": np.stack([confusion(member, label, n) for member in probs.argmax(1)]),
        "boundaries": np.stack([boundary_confusion(x, label, n, ignored) for x in labels.values()]),
        "histograms": histograms,
        "scores": histograms[:, first : first + 2].sum(2),
        "diversity": np.array([disagreement(probs).mean(), pairwise_disagreement(probs.argmax(1))]),
    }, labels


def _details(probs, votes, label, truth, preset):
    """What only the first seed is asked for; votes {rule: labels}."""
    n, within, dispute = preset.n_classes, trimap(label, WIDTHS), disagreement(probs).numpy()
    bands = [[confusion(vote[band], label[band], n) for vote in votes.values()] for band in within]
    distances = np.diff(within, axis=0, prepend=False)  # in this band and in no narrower one
    disputes = np.digitize(dispute, DISPUTES)
    pixel = int((dispute + 10 * (votes["mean"] != votes[K1])).argmax())
    groups = [*distances, *(disputes == i for i in range(len(DISPUTES) + 1))]
    return {
        "bands": np.array(bands),
        "edges": np.array([[boundary_length(x), fragments(x)] for x in (label, *votes.values())]),
        "acted": np.stack([_acted(votes[a], votes[b], truth, groups, n) for a, b in CHANGES]),
        "entropies": _entropies(probs, truth, n),
        "votes": np.stack(list(votes.values())).astype(np.uint8),
        "pixels": probs.flatten(2)[:, :, pixel].numpy(),
    }


def _acted(before, after, truth, groups, n_classes):
    """Counts [C + groups, 5] of metrics.changes: a row a class, then a row for each mask of `groups`."""
    by_class = changes(before, after, truth, n_classes).to_numpy()
    return np.stack(
        [
            *by_class,
            *(changes(before[g], after[g], truth[g], n_classes).sum().to_numpy() for g in groups),
        ]
    )


def _entropies(probs, truth, n_classes):
    """Counts [all or disputed, right or wrong, bins] of the members' entropies, in equal bins from 0 to log C."""
    members, doubt = probs.argmax(1).numpy(), entropy(probs).numpy() / np.log(n_classes)
    bins = np.minimum((ENTROPY_BINS * doubt).astype(int), ENTROPY_BINS - 1)
    known, right = truth >= 0, members == truth
    disputed = known & (members != members[0]).any(0)
    return np.array(
        [
            [np.bincount(bins[where & vote], minlength=ENTROPY_BINS) for vote in (right, ~right)]
            for where in (known, disputed)
        ]
    )


def grow(probs, label, orders):
    """Confusions [SHOWN, orders, N, C + 1, C] of the first 1, 2, ... N members of each order, a permutation of range(N).

    Sums over members grow one member at a time; the normalisation that the rules of voting add changes no winner.
    """
    n_members, n_classes = probs.shape[:2]
    weights = torch.exp(-entropy(probs))  # k = 1
    terms = {
        "majority": lambda i: torch.nn.functional.one_hot(
            probs[i].max(0).indices, n_classes
        ).movedim(-1, 0),
        "mean": lambda i: probs[i],
        K1: lambda i: weights[i] * probs[i],
    }
    counts = np.zeros((len(SHOWN), len(orders), n_members, n_classes + 1, n_classes), int)
    for (r, rule), (o, order) in product(enumerate(SHOWN), enumerate(orders)):
        total = 0
        for n, member in enumerate(order):
            total = total + terms[rule](member)
            counts[r, o, n] = confusion(total.max(0).indices, label, n_classes)
    return counts


def save(path, **arrays):
    """Write `arrays` to a small .npz, through a temporary name; counts that differ little, as differences (STORED)."""
    path = Path(path)
    for name, axis in STORED.items():
        if name in arrays:
            steps = np.diff(arrays[name], axis=axis, prepend=0)
            arrays[name] = steps.astype(np.int16 if np.abs(steps).max() < 2**15 else np.int32)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez_compressed(partial, **arrays)
    os.replace(partial, path)


def load(path):
    """The dict of arrays that `save` wrote."""
    with np.load(path) as file:
        return {
            name: file[name].cumsum(STORED[name], dtype=int) if name in STORED else file[name]
            for name in file
        }
