"""What runs with downloads will need, said before they start: disk; then hours and memory, measured
on a few steps.
"""

import os
import shutil
import sys
import time
from collections import Counter

import psutil
import torch

from ..backbone import anatomy, checkpoint_path, load_backbone, shared_noise
from ..data import batches, labels_of, samples
from ..features import FeatureMaps, extract
from ..official.download import fetch_folder, fetch_weights
from ..presets import DATA_URLS, RECIPES
from ..training import train
from .preflight import GB, widened

DATA_BYTES = 2 * 47e6  # the archive of images and labels, and what is unpacked of it
STEPS = 20  # training steps that are timed


def prepare(runs, workers=1, echo=print):
    """Fetch what `runs` need; before it says how much disk, and with the first checkpoint how many
    hours and how much memory.
    """
    echo(disk(runs))
    for run in runs:
        if not (run.preset.painted or run.preset.own):
            fetch_folder(DATA_URLS, run.data_root, "datasets", run.dataset, echo)
    for i, run in enumerate(runs):
        fetch_weights(run.backbone_used, run.data_root, echo)
        if i == 0:
            echo(effort(runs, workers))


def disk(runs):
    """One sentence: GB of downloads and feature maps that are not there yet, and GB free. OSError
    if they do not fit.
    """
    maps, downloads = {}, {}  # {name or file: bytes}
    for run in runs:
        _, image_bytes, weight_bytes = anatomy(run.backbone_used)
        if not run.path("features").is_dir():
            maps[run.name] = image_bytes * n_images(run.preset)
        weights = checkpoint_path(run.backbone_used, run.data_root)
        if not weights.exists():
            downloads[weights] = weight_bytes
        images = run.data_root / "datasets"
        if not (run.preset.painted or run.preset.own or images.is_dir()):
            downloads[images] = DATA_BYTES
    needed, free, words = Counter(), {}, []
    for what, place, sizes in (
        ("downloads", runs[0].data_root, downloads),
        ("feature maps", runs[0].runs_root, maps),
    ):
        there = next(p for p in (place, *place.parents) if p.exists())
        disk = os.stat(there).st_dev
        needed[disk] += sum(sizes.values())
        free[disk] = shutil.disk_usage(there).free
        words.append(
            f"{sum(sizes.values()) / GB:.3g} GB of {what} in {place} "
            f"({free[disk] / GB:.3g} GB free)"
        )
    sentence = f"disk: {' and '.join(words)}"
    if any(needed[disk] > free[disk] for disk in needed):
        raise OSError(f"{sentence}: that does not fit")
    return sentence


def n_images(preset):
    """Images of a dataset whose feature maps are stored."""
    return sum(preset.counts[split] for split in preset.stored_splits())


def effort(runs, workers=1):
    """One sentence: hours at least and GB of memory of `runs` here, measured on a batch of images
    of the first one.

    The published recipe stops at the earliest in epoch 5; voting and figures come on top. All runs
    are taken to have the U-Net of the first.
    """
    first = runs[0]
    maps, image_seconds = extraction_cost(first)
    images = sum({run.name: n_images(run.preset) for run in runs}.values())
    training = sum(fewest_steps(run) * _step_seconds(run, maps) for run in runs)
    hours = (images * image_seconds + training) / 3600
    kept = max(maps.nbytes / maps.n_images * run.preset.counts["train"] for run in runs)
    kept = widened(kept)
    device, own = first.torch_device, _peak(first.torch_device)
    return (
        f"time: at least {hours:.3g} hours on {device} "
        f"({images} images of {image_seconds:.3g} s, then training; "
        f"measured on {first.preset.name}); "
        f"memory: {own / GB:.2g} GB of its own and {kept / GB:.2g} GB of feature maps "
        "for each run, "
        f"{workers} at a time"
    )


def extraction_cost(run):
    """(float16 maps of the first training images, seconds of an image); one step stands for all
    steps.
    """
    denoiser = load_backbone(run.backbone_used, run.torch_device, "auto", data=run.data_root)
    size = denoiser.image_size
    chunk = next(batches((s.image for s in samples(run.preset, "train", run.data_root)), size))
    noise, seconds = shared_noise(size, 0, run.torch_device), []
    for part in (chunk[:1], chunk):  # the first time warms up
        start = time.perf_counter()
        maps = extract(denoiser, part, noise, denoiser.steps[:1], dtype=torch.float16).maps
        seconds.append((time.perf_counter() - start) / len(part))
    return FeatureMaps(maps * len(denoiser.steps)), seconds[-1] * len(denoiser.steps)


def _step_seconds(run, maps):
    """Seconds of a training step of ten members on `maps`, with random pixels."""
    size, ignored = run.preset.label_size, run.preset.ignore_label
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(maps.n_images * size * size, generator=generator)
    seconds = []
    for steps in (1, STEPS):  # what a training takes before its first step is subtracted
        drawn = order[: steps * RECIPES[run.recipe]["batch"]]
        labels = torch.full((len(order),), ignored)
        labels[drawn] = int(ignored == 0)
        start = time.perf_counter()
        train(
            maps,
            labels.view(-1, size, size),
            run.preset.n_classes,
            ignored,
            recipe=run.recipe,
            epochs=1,
            device=run.torch_device,
        )
        seconds.append(time.perf_counter() - start)
    return max(seconds[1] - seconds[0], 0) / (STEPS - 1)


def fewest_steps(run):
    """Training steps of `run`, at least."""
    recipe, preset = RECIPES[run.recipe], run.preset
    labels = labels_of(preset, "train", run.data_root)
    per_epoch = (
        int(((labels < preset.n_classes) & (labels != preset.ignore_label)).sum())
        // recipe["batch"]
    )
    steps = recipe.get("steps") or recipe["patient_from"] * per_epoch + recipe["patience"] + 2
    return min(steps, preset.epochs * per_epoch)


def _peak(device):
    """Most bytes this process had in memory so far; on CUDA, in the GPU's."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
