"""What is in somebody's own folder, what is wrong with it, and how long a run will take."""

import time

import numpy as np
from PIL import Image

from ..backbone import checkpoint_path, describe
from ..classifiers import PixelEnsemble
from ..data import labels_of, samples, to_input
from ..figures.style import colour_labels
from ..files import atomic
from ..presets import BACKBONES, RECIPES
from ..training import train
from .folder import fitted, image_files, size_of, unmasked
from .images import GREY_16, check_classes, look_at, parts_of, range_of, read_all

PANEL = 256  # pixels of a panel of the picture


def report(preset):
    """(text about sizes and classes, a list of sentences about what is wrong)."""
    problems, sizes, ranges = [], [], []
    pixels = np.zeros(preset.n_classes, np.int64)
    for split, path, size, found in read_all(preset):
        if isinstance(found, ValueError):
            problems.append(str(found))
            continue
        sizes.append((path, *size))
        if split == "train":
            pixels += found
    rest = unmasked(preset)
    for path in image_files(preset.folder).values():
        try:
            height, width, mode = look_at(path)
            if mode in GREY_16:
                ranges.append(range_of(path))
        except ValueError as error:
            if path in rest:  # of the others it is known
                problems.append(str(error))
            continue
        if path in rest:
            sizes.append((path, height, width))
    if not problems:
        try:
            check_classes(preset, pixels)
        except ValueError as error:
            problems.append(str(error))
    lines = [
        f"{preset.file}: {len(image_files(preset.folder))} images, {len(preset.n_parts)} with a "
        f"mask, {len(rest)} without (`diffseg label` is for those)",
        _splits(preset),
        *_sizes(preset, sizes),
        *_ranges(preset, ranges),
        *_classes(preset, pixels),
        _backbone(preset),
    ]
    return "\n".join(lines), problems


def _splits(preset):
    if preset.n_folds:
        return f"scores: from {preset.n_folds} folds of the images with a mask"
    return f"scores: from {preset.counts['test']} test squares"


def _sizes(preset, sizes):
    """Lines: which sizes there are, and what becomes of the smallest and the largest image."""
    if not sizes:
        return []
    by_area = sorted(sizes, key=lambda entry: entry[1] * entry[2])
    lines = []
    for words, (path, height, width) in (("smallest", by_area[0]), ("largest", by_area[-1])):
        h, w = fitted(height, width, preset.longer_side)
        side = preset.label_size
        n = len(parts_of((h, w), preset))
        becomes = f"{n} tiles of {side} x {side}" if n > 1 else f"padded to {side} x {side}"
        if n == 1 and h == w == side:
            becomes = "no padding"
        lines.append(f"{words} image: {path.name}, {width} x {height} -> {w} x {h}, {becomes}")
    return lines


def _ranges(preset, ranges):
    """A line about the values of 16-bit images, which come out black if the range is too wide."""
    if not ranges:
        return []
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return [
        f"{len(ranges)} images of 16 bit hold {low} to {high}; range_16_bit "
        f"{list(preset.range_16_bit)} makes black and white of its ends"
    ]


def _classes(preset, pixels):
    """Lines: the share of the labelled pixels that each class has."""
    total = max(1, int(pixels.sum()))
    width = max(len(name) for name in preset.classes)
    return [
        f"class {i:>3} {name:<{width}} {count:>12,} pixels {count / total:>7.2%}"
        for i, (name, count) in enumerate(zip(preset.classes, pixels.tolist()))
    ]


def _backbone(preset):
    knows = BACKBONES.get(preset.backbone, {}).get("knows")
    if knows is None:
        return f"backbone: {preset.backbone}"
    other = "; imagenet knows more (see dataset.yml)" if preset.backbone == "photo" else ""
    return f"backbone: {preset.backbone}, which knows {knows} only{other}"


# ---- one image as the denoiser sees it ----------------------------------------------------------


def write_picture(run):
    """Write check.png beside dataset.yml: image, input and label side by side; returns its path."""
    image, seen, label = look_through(run)
    panels = [_enlarged(panel) for panel in (image, seen, colour_labels(label, run.preset))]
    path = run.preset.folder / "check.png"
    with atomic(path) as temporary:
        Image.fromarray(np.concatenate(panels, 1)).save(temporary)
    return path


def look_through(run):
    """A masked image [S, S, 3], what the denoiser sees of it [s, s, 3], and its label [H, W]."""
    sample = next(samples(run.preset, "train", run.data_root))
    side = describe(run.backbone_used)["flags"]["image_size"]
    seen = to_input(sample.image, side)  # (3, s, s)
    seen = ((seen.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    return sample.image, seen, sample.label


def _enlarged(panel):
    return np.asarray(Image.fromarray(panel).resize((PANEL, PANEL), Image.NEAREST))


# ---- how long it will take ----------------------------------------------------------------------


def duration(run):
    """One sentence: minutes of a run and of labelling here, from a few measured pieces of each.

    Where the checkpoint is missing it says so instead.
    """
    from ..runs.estimate import extraction_cost, n_images
    from ..runs.preflight import how_to_get

    preset = run.preset
    weights = checkpoint_path(run.backbone_used, run.data_root)
    if not weights.exists():
        return f"{weights} is missing, so nothing was measured; {how_to_get(run)}"
    maps, image_seconds = extraction_cost(run)
    images = n_images(preset)
    training = (1 + preset.n_folds) * training_seconds(run, maps)
    voting = vote_seconds(preset, maps)
    run_seconds = images * (image_seconds + voting) + training
    rest = unmasked(preset)
    squares = sum(len(parts_of(_fitted(path, preset), preset)) for path in rest)
    label_seconds = squares * (image_seconds + voting)
    return (
        f"time here, on {run.torch_device}: `run` about {_minutes(run_seconds)} "
        f"({images} squares of {image_seconds:.2g} s, then {1 + preset.n_folds} trainings), "
        f"and the notebooks' figures; `label` about {_minutes(label_seconds)} "
        f"({len(rest)} images, {image_seconds + voting:.2g} s a square)"
    )


def training_seconds(run, maps, few=10, more=40):
    """Seconds of a training of ten members: two short ones on a few images are measured.

    maps: of the first training images. The published recipe stops at the earliest in epoch 5.
    """
    from ..runs.estimate import fewest_steps

    preset = run.preset
    labels = labels_of(preset, "train", run.data_root)[: maps.n_images]
    seconds = {}
    for steps in (few, more):
        start = time.perf_counter()
        train(
            maps,
            labels,
            preset.n_classes,
            preset.ignore_label,
            recipe=RECIPES[run.recipe] | {"steps": steps},
            device=run.torch_device,
        )
        seconds[steps] = time.perf_counter() - start
    a_step = max(0, seconds[more] - seconds[few]) / (more - few)
    return seconds[few] + a_step * (fewest_steps(run) - few)


def vote_seconds(preset, maps, n_members=10):
    """Seconds in which an ensemble predicts one square and votes."""
    from ..voting import vote

    ensemble = PixelEnsemble(n_members, maps.n_features, preset.n_classes).eval().to(maps.device)
    start = time.perf_counter()
    vote(ensemble.probabilities(maps, 0, preset.label_size))
    return time.perf_counter() - start


def _fitted(path, preset):
    return fitted(*size_of(path), preset.longer_side)


def _minutes(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
