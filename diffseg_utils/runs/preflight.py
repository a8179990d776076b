"""Before runs start: is the input right, and how many notebooks fit on this machine at a time?"""

import os
import shutil
from collections import Counter
from dataclasses import dataclass

import psutil

from ..files import read_json
from ..presets import BACKBONES
from .records import backbone_of, decisive_parameters, read_record
from .run import pick_device
from .stages import VOTING

GB = 1e9
WIDENED_BELOW = 2**30  # bytes: smaller feature maps are widened to float32 for a training
BESIDE = 0.4  # GB of the process that executes a notebook, beside the kernel
SMALL = 100e6  # bytes of weights: such networks need what the table of stages says


@dataclass(frozen=True)
class Room:
    """What there is to compute with: how many jobs at once, threads of each, GB of memory, ids of
    GPUs (one for each job).
    """

    slots: int
    threads: int
    memory: float
    gpus: tuple = ()


def cores():
    """Processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def check_k(jobs):
    """ValueError if a vote among the jobs would lie beside runs of another k.

    The tables of one folder of results are about one k.
    """
    votes = [job for job in jobs if job.stage.notebook == VOTING]
    made_anew = {job.run.path("manifest") for job in votes}
    for job in votes:
        k = decisive_parameters(job).get("k", 1.0)
        root = job.run.results_root
        for path in sorted(root.glob("*/seed*/run.json")):
            other = read_json(path)["parameters"].get("k", 1.0)
            if path not in made_anew and other != k:
                raise ValueError(
                    f"{path.parent} was made with k = {other:g}, and k = {k:g} is asked for; a "
                    f"folder of results has one k: choose another one, as --results k{k:g}/results"
                )


def check(run, here=True, echo=print):
    """Read every image and label of a run once and look for its checkpoint, before any work starts.

    ValueError or OSError names what is wrong; a class that no classifier can learn is only
    mentioned. here: whether it is computed on this machine.
    """
    _, weights = backbone_of(run)
    if here and run.device != "auto":
        pick_device(run.device)
    if not weights.exists():
        raise FileNotFoundError(
            f"{weights}: the checkpoint of backbone {run.backbone_used!r} is missing; "
            f"{how_to_get(run)}"
        )
    if run.preset.painted:
        return
    if run.preset.own:
        from ..own.images import check_masks

        check_masks(run.preset)
    else:
        from ..data import samples

        for split in ("validation", "test"):
            for _ in samples(run.preset, split, run.data_root):
                pass
    note = unlearnable(run)
    if note:
        echo(note)


def unlearnable(run):
    """A note on the classes of a run that no classifier can learn, or ""."""
    from ..data import absent_classes, labels_of

    absent = absent_classes(labels_of(run.preset, "train", run.data_root), run.preset)
    if not absent:
        return ""
    size = run.preset.label_size
    return (
        f"note: {run.name} has no training pixel of {', '.join(absent)} (in labels of {size} x "
        f"{size}, of which very small regions are ignored); no classifier can learn it"
    )


def how_to_get(run):
    """Half a sentence: where the checkpoint of a run's backbone comes from."""
    backbone, preset = run.backbone_used, run.preset
    if "urls" not in BACKBONES.get(backbone, {}):
        return "put it there"
    asked = backbone if preset.own or backbone != preset.backbone else run.dataset
    return f"`diffseg fetch {asked}` downloads it"


def memory_of(job):
    """GB that a job needs at most: what it took before, else what the table of stages and the size
    of the network say.
    """
    record = read_record(job)
    peak = record and record["facts"].get("peak_mib")
    if peak:
        return 1.1 * peak * 2**20 / GB + BESIDE
    needed = job.stage.memory
    if "preset" not in job.stage.settings or backbone_of(job.run)[1].stat().st_size < SMALL:
        return needed
    from ..backbone import anatomy

    _, image_bytes, weights = anatomy(job.run.backbone_used)
    if "backbone" in job.stage.settings:
        needed += 1.5 * weights / GB
    if "features" in job.stage.reads:
        needed += widened(image_bytes * job.run.preset.counts["train"]) / GB
    return needed


def widened(map_bytes):
    """Bytes that a training keeps of float16 maps: small ones are widened to float32 beside
    them.
    """
    return 3 * map_bytes if map_bytes < WIDENED_BELOW else map_bytes


def room_for(plan, jobs=None, device="auto", *, there=None):
    """(Room, a sentence about what limits it or "") for the jobs of a plan on this machine.

    jobs: how many at once, at most; None: one per core, or per GPU. there: (cores, GB of free
    memory, ids of GPUs), to pretend a machine.
    """
    n_cores, free, gpus = there or (cores(), psutil.virtual_memory().available / GB, _gpus(device))
    widest = max(Counter(job.stage.notebook for job in plan).values())
    slots = jobs or min(len(gpus) or n_cores, widest)
    words = []
    if gpus and slots > len(gpus):
        slots = len(gpus)
        words.append(f"GPUs: {slots}, so {slots} at a time")
    largest = max(memory_of(job) for job in plan)
    if slots * largest > free:
        fit = max(1, int(free / largest))
        words.append(
            f"memory: a stage may need {largest:.1f} GB and {free:.1f} GB are free, "
            f"so not always {slots} at a time, but {fit} at least"
        )
    threads = int(os.environ.get("OMP_NUM_THREADS", max(1, n_cores // slots)))
    return Room(slots, threads, free, tuple(gpus)), "; ".join(words)


def _gpus(device):
    """Ids of the GPUs to use, as CUDA_VISIBLE_DEVICES wants them; none on another device."""
    if device == "auto" and not (shutil.which("nvidia-smi") or shutil.which("rocm-smi")):
        return []  # without loading torch
    if pick_device(device) != "cuda":
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
