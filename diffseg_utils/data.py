"""Images and labels of a split, painted or from files; every check of input; tiny regions."""

import hashlib
import tokenize
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .scenes import paint

IMAGES = (".png", ".jpg", ".jpeg")
# What numpy raises for a damaged .npy file. Its header is the text of a Python dict, so it may fail
# as source code does, or state a shape that no memory can hold.
DAMAGED_NPY = (
    ValueError,
    OSError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    MemoryError,
    OverflowError,
)


class Sample(NamedTuple):
    """One image with its label: name, image uint8 [S, S, 3], label int64 [H, W] or None."""

    name: str
    image: np.ndarray
    label: np.ndarray | None


# ---- a split ------------------------------------------------------------------------------------


def samples(preset, split, root="data"):
    """Yield the Samples of a split ("train", "validation", "test"), one at a time.

    They are painted, or read from `root`/datasets/<name>/, or from somebody's own folder.
    ValueError or FileNotFoundError names the file and what is wrong with it.
    """
    if split not in preset.counts:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(preset.counts)}")
    n_images = preset.counts[split]
    if n_images == 0:
        return
    if preset.painted:
        first = dict(preset.skip).get(split, 0)
        for index in range(first, first + n_images):
            image, label = paint(preset.painted, split, index)
            yield Sample(f"{split}_{index:03d}", image, label)
    elif preset.own:
        from .own.images import samples_of

        yield from islice(samples_of(preset, split), n_images)
    else:
        for path in published_images(preset, split, root):
            image = read_image(path)
            label = read_label(path.with_suffix(".npy"), preset)
            yield Sample(path.stem, image, label)


def published_images(preset, split, root="data"):
    """The paths of the images of a split: the first ones in string order, as published."""
    folder = Path(root) / "datasets" / preset.name / dict(preset.folders)[split]
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; `diffseg fetch {preset.name}` downloads the data, "
            "or name the folder that holds datasets/ with --data"
        )
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGES), key=str)
    first = dict(preset.skip).get(split, 0)
    end = first + preset.counts[split]
    if len(files) < end:
        raise ValueError(
            f"{folder}: {len(files)} images (.png, .jpg), {end} are needed for the "
            f"{split} split of {preset.name}"
        )
    return files[first:end]


def files_of(preset, split, root="data"):
    """The paths of the images and labels of a split, in order; none of painted ones."""
    if preset.painted or not preset.counts[split]:
        return []
    if preset.own:
        from .own.folder import pairs_of

        return [path for pair in pairs_of(preset, split) for path in pair]
    images = published_images(preset, split, root)
    return [path for image in images for path in (image, image.with_suffix(".npy"))]


def labels_of(preset, split, root="data"):
    """Labels int64 [B, H, W] of a split; in the training split tiny regions are ignored.

    Scribbles stay, however small they are.
    """
    labels = [sample.label for sample in samples(preset, split, root)]
    if split == "train" and not preset.unlabelled:
        labels = [
            ignore_tiny_regions(label, preset.n_classes, preset.ignore_label) for label in labels
        ]
    return torch.from_numpy(np.stack(labels))


def ignore_tiny_regions(label, n_classes, ignore_label, area=20):
    """`label` [H, W] with every class of fewer than `area` pixels ignored.

    As published, for training images only.
    """
    known = label[(label >= 0) & (label < n_classes)]
    counts = np.bincount(known, minlength=n_classes)  # (C,)
    tiny = np.flatnonzero((counts > 0) & (counts < area))
    return np.where(np.isin(label, tiny), ignore_label, label)


def absent_classes(labels, preset):
    """Names of the scored classes without a pixel in `labels`: no classifier can learn them."""
    present = set(np.unique(labels).tolist()) | {preset.ignore_label}
    return [name for i, name in enumerate(preset.classes) if i not in present]


def checksum(pictures):
    """The SHA-256 of all images and labels of {split: [Sample, ...]}, in order."""
    digest = hashlib.sha256()
    for split in pictures:
        for sample in pictures[split]:
            digest.update(sample.name.encode())
            digest.update(np.ascontiguousarray(sample.image))
            digest.update(np.ascontiguousarray(sample.label))
    return digest.hexdigest()


# ---- files --------------------------------------------------------------------------------------


def read_image(path, name=None):
    """uint8 [S, S, 3] of a square RGB image file.

    path: a path, or an open file whose `name` is used in messages. ValueError for an image that is
    not readable or not square.
    """
    name = name or path
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: not a readable image ({str(error).splitlines()[0]})") from None
    height, width = pixels.shape[:2]
    if height != width:
        raise ValueError(f"{name}: {width} x {height} pixels; images must be square")
    return pixels


def read_label(path, preset):
    """int64 [H, W] of a label file, checked against the label size and the classes of `preset`.

    FileNotFoundError or ValueError names the file and what is wrong.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: this image has no label file")
    try:
        with open(path, "rb") as file:
            label = np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGED_NPY as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a readable .npy label ({reason})") from None
    size, n_classes, ignored = preset.label_size, preset.n_classes, preset.ignore_label
    if label.dtype.kind not in "ui":
        raise ValueError(f"{path}: labels are {label.dtype}; they must be integers")
    if label.shape != (size, size):
        raise ValueError(
            f"{path}: a label of shape {label.shape}; {preset.name} has {size} x {size}"
        )
    label = label.astype(np.int64)
    is_class = (label >= 0) & (label < n_classes)
    wrong = label[~is_class & (label != ignored)]
    if wrong.size:
        raise ValueError(
            f"{path}: class id {wrong[0]} in a dataset of {n_classes} classes "
            f"(0..{n_classes - 1}) or ignore {ignored}"
        )
    return label


# ---- input of a denoiser ------------------------------------------------------------------------


def to_input(image, size):
    """Float tensor [3, size, size] in [-1, 1] of a uint8 image [S, S, 3].

    Averaged over boxes when it shrinks, bicubic when it grows.
    """
    if image.shape[0] != size:
        method = Image.BOX if image.shape[0] > size else Image.BICUBIC
        image = Image.fromarray(image).resize((size, size), method)
    pixels = torch.from_numpy(np.array(image, np.float32))  # (size, size, 3)
    return pixels.permute(2, 0, 1) * (2 / 255) - 1


def batches(images, size, batch=4):
    """Yield tensors [b, 3, size, size] in [-1, 1] of images uint8 [S, S, 3], with b <= batch."""
    pending = []
    for image in images:
        pending.append(to_input(image, size))
        if len(pending) == batch:
            yield torch.stack(pending)
            pending = []
    if pending:
        yield torch.stack(pending)
