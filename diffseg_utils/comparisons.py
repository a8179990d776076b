"""What are a denoiser's features worth? Compared with pixels, and from checkpoint to checkpoint.

Shapes: B images, H x W labels, C classes.
"""

from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from .backbone import load_backbone, shared_noise
from .data import batches, labels_of, samples, to_input
from .evaluation.held_out import folds, score_each_map, score_folds, standard_error
from .evaluation.significance import paired_bootstrap
from .features import FeatureMaps, extract
from .files import atomic
from .metrics import confusion, mean_iou
from .presets import DATASETS
from .training import train
from .voting import vote

N_VALIDATION = 100  # painted images that a checkpoint is scored on, more than the split has

# ---- features against pixels ---------------------------------------------------------------------

LEARNED = 20  # images at most that the classifiers learn from
SCORED = 10  # images at most that they are scored on
THINNED = 64  # labels larger than 64 x 64 are thinned to as many pixels


def compare_descriptions(denoiser, untrained, preset, root="data", report=None):
    """mIoU in percent of three descriptions of a pixel: a Series {description: mIoU}.

    They are the features of `denoiser`, the features of `untrained` (the same network with random
    weights), and the colours around the pixel with its position. Three classifiers learn from each
    with the tuned recipe, in at most two epochs, and their majority is scored on other images.
    No test image takes part.
    """
    learned, scored = _images(preset, root)
    pictures = [sample.image for sample in learned + scored]
    labels = labels_of(preset, "train", root)[: len(learned)]  # (B, H, W)
    labels = thin_out(labels, preset.ignore_label)
    truths = [sample.label for sample in scored]

    sources = {
        "denoiser": lambda: _features(denoiser, pictures),
        "same U-Net, random weights": lambda: _features(untrained, pictures),
        "5 x 5 patch + position": lambda: patches(pictures, preset.label_size),
    }
    found = {}
    for done, (name, describe) in enumerate(sources.items(), 1):
        found[name] = _miou(describe(), labels, truths, preset, denoiser.device)
        if report:
            report(done, len(sources))
    return pd.Series(found)


def _images(preset, root):
    """(Samples that classifiers learn from, Samples that they are scored on)."""
    train_images = list(samples(preset, "train", root))
    validation = list(samples(preset, "validation", root))
    if validation:
        return train_images[:LEARNED], validation[-SCORED:]
    n_scored = min(SCORED, len(train_images) // 2)
    return train_images[:-n_scored], train_images[-n_scored:]


def thin_out(labels, ignore_label):
    """labels [B, H, H] of which at random about 64 x 64 per image stay, and the rest is ignored."""
    size = labels.shape[-1]
    chance = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(chance < THINNED**2 / size**2, labels, ignore_label)


def _features(backbone, pictures):
    noise = shared_noise(backbone.image_size, 0, backbone.device)
    images = batches(pictures, backbone.image_size)
    return extract(backbone, images, noise, dtype=torch.float16)


def patches(pictures, size):
    """The plainest description: FeatureMaps [B, size, size, 77] of images uint8 [S, S, 3].

    Red, green and blue of the 5 x 5 pixels around each pixel, and its position.
    """
    line = torch.linspace(-1, 1, size)
    position = torch.stack(torch.meshgrid(line, line, indexing="ij"))  # (2, size, size)
    found = []
    for picture in pictures:
        image = to_input(picture, size)[None]  # (1, 3, size, size)
        framed = F.pad(image, (2, 2, 2, 2), mode="replicate")
        patch = F.unfold(framed, 5)[0].view(75, size, size)
        found.append(torch.cat([patch, position]).permute(1, 2, 0).half())  # (size, size, 77)
    return FeatureMaps([torch.stack(found)])


def _miou(maps, labels, truths, preset, device):
    """mIoU in percent on the images of `maps` that follow the labelled ones."""
    n_learned = len(labels)
    ensemble, _ = train(
        maps[:n_learned],
        labels,
        preset.n_classes,
        preset.ignore_label,
        n_members=3,
        recipe="tuned",
        epochs=min(2, preset.epochs),
        device=device,
    )
    counts = 0
    for i, truth in enumerate(truths, n_learned):
        probs = ensemble.probabilities(maps, i, preset.label_size).cpu()  # (N, C, H, W)
        counts = counts + confusion(vote(probs, "majority"), truth, preset.n_classes)
    return 100 * mean_iou(counts, preset.ignore_label)


# ---- one checkpoint against another --------------------------------------------------------------


def measure_checkpoints(
    checkpoints, datasets, start, records, name, root="data", device="cpu", report=None
):
    """Measure what is not yet in the files <name>_curve.csv, _maps.csv and _gain.csv of `records`.

    checkpoints: {images seen: backbone}, in order of training; with no images seen, random weights
    are drawn for that backbone. datasets: names of those that score them. start: images seen at the
    beginning of this training; the gain from there to the last checkpoint is written.

    A row is known by its dataset and the images seen, so another training needs another name. Every
    row is written when it is measured: an interrupted measurement goes on where it was.
    """
    if not checkpoints:
        return
    records = Path(records)
    curve = _Table(records / f"{name}_curve.csv", ["dataset", "images"])
    maps = _Table(records / f"{name}_maps.csv", ["dataset", "images"])
    gain = _Table(records / f"{name}_gain.csv", ["dataset", "before", "after"])
    last = max(checkpoints)
    work = [(dataset, seen) for dataset in datasets for seen in checkpoints]
    counts = {}  # (dataset, images seen): confusions [B, C + 1, C]
    for done, (dataset, seen) in enumerate(work, 1):
        ends_gain = seen in (start, last) and (dataset, start, last) not in gain
        key = (dataset, seen)
        if key not in curve or key not in maps or ends_gain:
            backbone = load_backbone(
                checkpoints[seen], device, random_weights=0 if seen == 0 else None, data=root
            )
            preset = DATASETS[dataset].resized(validation=N_VALIDATION)
            asked = folds(backbone, preset, root)
            counts[key] = score_folds(asked, preset, device=device)
            by_map = score_each_map(backbone, asked, preset, device=device)
            ignored = preset.ignore_label
            miou = 100 * mean_iou(counts[key].sum(0), ignored)
            curve.add(key, [{"miou": miou, "spread": standard_error(counts[key], ignored)}])
            maps.add(key, by_map.to_dict("records"))
        if seen == last and ends_gain:
            difference = paired_bootstrap(
                counts[dataset, last], counts[dataset, start], preset.ignore_label
            )
            gain.add((dataset, start, last), [difference])
        if report:
            report(done, len(work))


class _Table:
    """A CSV file to which rows are added under a key that says what was measured."""

    def __init__(self, path, keys):
        self.path, self.keys = path, keys
        self.frame = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=keys)

    def __contains__(self, key):
        return bool((self.frame[self.keys] == list(key)).all(axis=1).any())

    def add(self, key, rows):
        """Add rows, dicts, unless there are some under this key, and write the file."""
        if key in self:
            return
        named = dict(zip(self.keys, key))
        new = pd.DataFrame([named | row for row in rows])
        self.frame = new if self.frame.empty else pd.concat([self.frame, new])[self.frame.columns]
        with atomic(self.path) as partial:
            self.frame.to_csv(partial, index=False, float_format="%.5g")
