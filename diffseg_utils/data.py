"""Images and labels of a split, painted or from files, with every check of input; the rule of tiny regions."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .scenes import paint

IMAGES = (".png", ".jpg", ".jpeg")


class Sample(NamedTuple):
    """One picture: name, image uint8 [S, S, 3], label int64 [H, W] or None."""

    name: str
    image: np.ndarray
    label: np.ndarray | None


def samples(preset, split, root="data"):
    """The samples of a split ("train", "validation", "test"), painted or read from `root`/datasets/<name>/, one at a time.

    ValueError or FileNotFoundError names the file and what is wrong with it.
    """
    if split not in preset.counts:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(preset.counts)}")
    if preset.painted:
        for index in range(preset.counts[split]):
            yield Sample(f"{split}_{index:03d}", *paint(preset.painted, split, index))
        return
    for path in image_files(preset, split, root) if preset.counts[split] else ():
        yield Sample(path.stem, read_image(path), read_label(path.with_suffix(".npy"), preset))


def image_files(preset, split, root="data"):
    """The image files of a split in plain string order of their paths; the first ones count, as published."""
    folder = Path(root) / "datasets" / preset.name / dict(preset.folders)[split]
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; `diffseg fetch {preset.name}` downloads the data, "
            "or name the folder that holds datasets/ with --data"
        )
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGES), key=str)
    first = dict(preset.skip).get(split, 0)
    wanted = files[first : first + preset.counts[split]]
    if len(wanted) < preset.counts[split]:
        raise ValueError(
            f"{folder}: {len(files)} images (.png, .jpg), {first + preset.counts[split]} are needed for the "
            f"{split} split of {preset.name}"
        )
    return wanted


def read_image(path, name=None):
    """uint8 [S, S, 3] of a square RGB image file (a path, or an open file with a `name` for messages)."""
    name = name or path
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: not a readable image ({str(error).splitlines()[0]})") from None
    if pixels.shape[0] != pixels.shape[1]:
        raise ValueError(
            f"{name}: {pixels.shape[1]} x {pixels.shape[0]} pixels; images must be square"
        )
    return pixels


def read_label(path, preset):
    """int64 [H, W] of a label file, checked against the size and the class ids of `preset`."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: this image has no label file")
    try:
        with open(path, "rb") as file:
            label = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path}: not a readable .npy label ({str(error).splitlines()[0]})"
        ) from None
    if label.dtype.kind not in "ui":
        raise ValueError(f"{path}: labels are {label.dtype}; they must be integers")
    if label.shape != (preset.label_size,) * 2:
        raise ValueError(
            f"{path}: a label of shape {label.shape}; {preset.name} has {preset.label_size} x {preset.label_size}"
        )
    label = label.astype(np.int64)
    wrong = label[((label < 0) | (label >= preset.n_classes)) & (label != preset.ignore_label)]
    if wrong.size:
        raise ValueError(
            f"{path}: class id {wrong[0]} in a dataset of {preset.n_classes} classes "
            f"(0..{preset.n_classes - 1}) or ignore {preset.ignore_label}"
        )
    return label


def ignore_tiny_regions(label, n_classes, ignore_label, area=20):
    """`label` with every class of fewer than `area` pixels ignored: for training images only, as published."""
    counts = np.bincount(label[(label >= 0) & (label < n_classes)], minlength=n_classes)
    tiny = np.flatnonzero((counts > 0) & (counts < area))
    return np.where(np.isin(label, tiny), ignore_label, label)


def labels_of(preset, split, root="data"):
    """int64 tensor [B, H, W] of a split; in the training split tiny regions are ignored."""
    labels = [sample.label for sample in samples(preset, split, root)]
    if split == "train":
        labels = [
            ignore_tiny_regions(label, preset.n_classes, preset.ignore_label) for label in labels
        ]
    return torch.from_numpy(np.stack(labels))


def absent_classes(labels, preset):
    """Names of the scored classes without a pixel in `labels`: no classifier can learn them."""
    present = set(np.unique(labels).tolist()) | {preset.ignore_label}
    return [name for i, name in enumerate(preset.classes) if i not in present]


def batches(images, size, batch=4):
    """Tensors [<= batch, 3, size, size] in [-1, 1] of images uint8 [S, S, 3]: what a denoiser of that size takes."""
    pending = []
    for image in images:
        pending.append(to_input(image, size))
        if len(pending) == batch:
            yield torch.stack(pending)
            pending = []
    if pending:
        yield torch.stack(pending)


def to_input(image, size):
    """Float tensor [3, size, size] in [-1, 1] of a uint8 image [S, S, 3]: averaged when shrunk, bicubic when enlarged."""
    if image.shape[0] != size:
        image = Image.fromarray(image).resize(
            (size, size), Image.BOX if image.shape[0] > size else Image.BICUBIC
        )
    return torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1) * (2 / 255) - 1


def identity(pictures):
    """sha256 of all images and labels of a dataset, {split: [Sample, ...]}: what a result was measured on."""
    digest = hashlib.sha256()
    for sample in (sample for samples_of_split in pictures.values() for sample in samples_of_split):
        digest.update(sample.name.encode())
        digest.update(np.ascontiguousarray(sample.image))
        digest.update(np.ascontiguousarray(sample.label))
    return digest.hexdigest()
