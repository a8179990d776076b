"""Labels for the images of a folder: FOLDER/predictions/, in shards that give equal bytes.

Every image is worked on alone, by one thread, so what comes out does not depend on how many
processes share the work, nor on where an interrupted one went on. masks/ is never touched.

    python -m diffseg_utils.own.label PLAN SHARD      one shard; `diffseg label` starts it
"""

import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image

from ..backbone import anatomy
from ..figures.style import class_colours
from ..files import atomic, read_json, sha256, write_json
from ..voting import uncertainty_of
from .annotations import write_palette
from .folder import IMAGE_SUFFIXES, files_by_stem, image_files, mask_files
from .images import look_at, read_picture
from .labeller import Engine, label_at, load_labeller
from .overview import write_overview

THREADS = 1  # of every process: two threads round differently
OVERLAY = 1024  # pixels of the longer side of an overlay, at most
GB = 1e9
# Of which all machines need the same version.
MODULES = ("own/label.py", "own/labeller.py", "own/images.py", "own/folder.py", "features.py")


def images_to_label(folder, everything=False):
    """The paths of the images of a folder that have no mask; everything: all of them.

    They lie in images/, or in the folder itself if it has no images/.
    """
    folder = Path(folder)
    if not (folder / "images").is_dir():
        found = files_by_stem(folder, IMAGE_SUFFIXES)
        if not found:
            raise ValueError(f"{folder}: no images here; {', '.join(IMAGE_SUFFIXES)} are read")
        return list(found.values())
    images = image_files(folder)
    masks = {} if everything or not (folder / "masks").is_dir() else mask_files(folder)
    return [path for stem, path in images.items() if stem not in masks]


def label_folder(
    folder,
    labeller,
    *,
    everything=False,
    place=None,
    shards=1,
    data="data",
    device="cpu",
    report=None,
):
    """Label the images of a folder; returns (number of images, of them made now, seconds of each).

    labeller: a Labeller. place: who executes shards, as in runs.places; None: this process, one
    after another; shards: into how many the images are divided, at most. data: the folder that
    holds checkpoints/. device: auto, cpu, cuda or mps, of the machine that does the work. Images
    that are labelled already, by this labeller and from the same file, are kept. report: called
    with (images done, all). ValueError: a file is no image, and nothing is labelled; or an image
    is damaged, and all others are labelled. RuntimeError: a shard failed.
    """
    images = images_to_label(folder, everything)
    target = Path(folder) / "predictions"
    digest = labeller.digest()
    for path in images:
        look_at(path)
    with _only_one(target):
        waiting = [path for path in images if not is_made(target, path, digest)]
        if waiting:
            shards = min(shards, len(waiting))
            for path in waiting:  # of an earlier labeller
                _row(target, path).unlink(missing_ok=True)
            plan = _write_plan(target, waiting, labeller, digest, data, device)
            if place is None:
                for k in range(shards):
                    work(plan, k, shards, report)
            else:
                _work_elsewhere(plan, place, shards, waiting, report)
            shutil.rmtree(plan.parent, ignore_errors=True)
        problems = [row["problem"] for row in _rows(target, waiting) if "problem" in row]
        made = [path for path in images if is_made(target, path, digest)]
        write_overview(target, made, labeller.classes)
    if problems:
        raise ValueError("\n".join([*problems, f"the other {len(made)} images are labelled"]))
    return len(images), len(waiting), _seconds(target, waiting)


def _seconds(target, images):
    """{piece of work: mean seconds of an image}; {} for no images."""
    rows = [row["seconds"] for row in _rows(target, images)]
    if not rows:
        return {}
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _rows(target, images):
    """What is kept about each of the images."""
    return [read_json(_row(target, path)) for path in images]


@contextmanager
def _only_one(target):
    """RuntimeError if another process labels the same folder."""
    target.mkdir(exist_ok=True)
    try:
        with FileLock(target / ".lock", timeout=0):
            yield
    except Timeout:
        raise RuntimeError(f"{target} is being written by another process; wait for it") from None


# ---- shards -------------------------------------------------------------------------------------


def _write_plan(target, images, labeller, digest, data, device):
    """Write what a shard needs to know, with the labeller's file; returns the path of plan.json."""
    folder = target / ".plan"
    labeller.save(folder / "labeller.safetensors")
    write_json(
        folder / "plan.json",
        {
            "target": str(target.absolute()),
            "images": [str(path.absolute()) for path in images],
            "backbone": _absolute(labeller.backbone),
            "digest": digest,
            "data": str(data),
            "device": device,
        },
    )
    return folder / "plan.json"


def _absolute(backbone):
    """A backbone as a process in another folder finds it: a .json with its whole path."""
    backbone = str(backbone)
    return os.path.abspath(backbone) if backbone.endswith(".json") else backbone


def work(plan, shard, shards, report=None):
    """Label the images of shard number `shard` of `shards`; those that are made are kept."""
    from ..runs.run import pick_device

    how = read_json(plan)
    target, digest = Path(how["target"]), how["digest"]
    labeller = load_labeller(Path(plan).with_name("labeller.safetensors"), how["backbone"])
    engine = Engine(labeller, pick_device(how["device"]), how["data"])
    mine = [Path(path) for path in how["images"][shard::shards]]
    with _threads(THREADS):
        for done, path in enumerate(mine, 1):
            if not is_made(target, path, digest):
                try:
                    label_image(engine, path, target, digest)
                except ValueError as error:  # a damaged file; the others are labelled all the same
                    write_json(_row(target, path), {"image": path.name, "problem": str(error)})
            if report:
                report(done, len(mine))


@contextmanager
def _threads(n):
    """Let torch compute with n threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def memory_of_labeller(backbone):
    """GB that one process needs, roughly: the denoiser, and images of some megapixels."""
    _, _, weights = anatomy(backbone)
    return 2.0 + 1.5 * weights / GB


def _work_elsewhere(plan, place, shards, images, report):
    """Have the shards executed at a place, and wait for them."""
    how = read_json(plan)
    memory = memory_of_labeller(how["backbone"])
    tasks = [_task(plan, shard, shards, memory) for shard in range(shards)]
    target, told = Path(how["target"]), 0
    with ThreadPoolExecutor(shards) as pool:
        futures = [pool.submit(place.make, task) for task in tasks]
        try:
            while not all(future.done() for future in futures):
                time.sleep(0.5)
                done = sum(_row(target, path).exists() for path in images)
                if report and told < done < len(images):
                    report(done, len(images))
                    told = done
        except BaseException:
            place.stop()
            raise
    errors = [future.result()["error"] for future in futures if future.result()["error"]]
    if errors:
        raise RuntimeError(f"{target}: {errors[0]}")
    if report:
        report(len(images), len(images))


def _task(plan, shard, shards, memory):
    """What a place needs to know to execute a shard, as runs.places.task_of says it of a job."""
    from ..runs.records import checksum_of_module
    from ..runs.run import project

    unfinished = plan.parent
    environment = {"DIFFSEG_UNFINISHED": str(unfinished), "OMP_NUM_THREADS": str(THREADS)}
    return {
        "label": f"label {shard + 1} of {shards}",
        "program": "diffseg_utils.own.label",
        "arguments": [str(plan.absolute()), str(shard), str(shards)],
        "project": str(project()),
        "modules": {name: checksum_of_module(name) for name in MODULES},
        "environment": environment,
        "lock": str(unfinished / f"{shard}.lock"),
        "memory": memory,
    }


# ---- one image ----------------------------------------------------------------------------------


def label_image(engine, path, target, digest):
    """Write label, overlay and row of one image."""
    labeller = engine.labeller
    picture = read_picture(path, labeller.sizes.range_16_bit)
    before, begin = dict(engine.seconds), time.perf_counter()
    distribution, disputes = engine.predict(picture)
    middle = time.perf_counter()
    label = label_at(distribution, picture.shape[:2])
    with atomic(target / "labels" / f"{path.stem}.png") as temporary:
        write_palette(label, temporary, labeller.n_classes)
    with atomic(target / "overlays" / f"{path.stem}.jpg") as temporary:
        overlay(picture, label, labeller.n_classes).save(temporary, "JPEG", quality=85)
    counts = np.bincount(label.ravel(), minlength=labeller.n_classes) / label.size
    seconds = {name: engine.seconds[name] - before[name] for name in before}
    seconds["files"] = time.perf_counter() - middle
    seconds["all"] = time.perf_counter() - begin
    row = {
        "image": path.name,
        "uncertainty": round(uncertainty_of(disputes), 6),
        "shares": [round(float(share), 4) for share in counts],
        "sha256": sha256(path),
        "labeller": digest,
        "seconds": seconds,
    }
    write_json(_row(target, path), row)


def overlay(picture, label, n_classes):
    """A PIL image: the picture with the class colours over it, and white edges between classes."""
    height, width = label.shape
    scale = min(1.0, OVERLAY / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.BOX), np.float32)
    label = np.asarray(Image.fromarray(label).resize(size, Image.NEAREST))
    mixed = 0.6 * small + 0.4 * class_colours(n_classes)[label]
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    mixed[edge] = 255
    return Image.fromarray(mixed.round().astype(np.uint8))


def is_made(target, path, digest):
    """Whether an image is labelled already, by this labeller and from the same file."""
    row = _row(target, path)
    files = (target / "labels" / f"{path.stem}.png", target / "overlays" / f"{path.stem}.jpg")
    if not row.exists() or not all(file.exists() for file in files):
        return False
    try:
        said = read_json(row)
    except (ValueError, OSError):
        return False
    return said.get("labeller") == digest and said.get("sha256") == sha256(path)


def _row(target, path):
    """What is kept about one image, from which uncertainty.csv is written."""
    return target / ".rows" / f"{path.stem}.json"


def _end_with_starter():
    """End when standard input is closed, which happens when whoever started this process ends."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(" ".join(str(error).split("\n")))  # one sentence in one line
