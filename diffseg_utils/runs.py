"""A run: its folders, the record of what produced them, and the one path (dask, papermill) by which runs are made."""
import ast
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from .presets import DATASETS, RECIPES, choose

PACKAGE = Path(__file__).parent
FEATURES, TRAINING, VOTING, FIGURES = ("01_feature_extraction", "02_classifier_training", "03_voting_analysis",
                                       "04_figure_reproduction")
STAGES = (FEATURES, TRAINING, VOTING)
SHARE = {FEATURES: 3, TRAINING: 10, VOTING: 3}      # of the time of a run, for the estimate of what is left


def project():
    """The folder that holds notebooks/: this checkout, or the first such folder upwards from here."""
    for folder in (PACKAGE.parent, Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks" / f"{FEATURES}.ipynb").exists():
            return folder
    raise FileNotFoundError(f"no folder notebooks/ with {FEATURES}.ipynb at {Path.cwd()} or above it; run inside a clone")


@dataclass(frozen=True)
class Run:
    """One dataset, backbone, seed and recipe; results are small and committed, `big` is recomputable.

    results/<dataset>[@<backbone>]/seed<k>[_<recipe>]/ beside data/runs/<same>/; relative paths count from the project.
    """

    dataset: str
    seed: int = 0
    recipe: str = "published"
    backbone: str = ""
    data: str = "data"
    results: str = "results"
    device: str = "auto"

    def __post_init__(self):
        choose("dataset", self.dataset, DATASETS)
        choose("recipe", self.recipe, RECIPES)
        choose("device", self.device, ("auto", "cpu", "cuda", "mps"))

    @property
    def preset(self):
        return DATASETS[self.dataset]

    @property
    def backbone_used(self):
        """The backbone asked for (a relative .json counts from the project), or the preset's own."""
        return str(self._path(self.backbone)) if self.backbone.endswith(".json") else self.backbone or self.preset.backbone

    @property
    def name(self):
        own = self.backbone in ("", self.preset.backbone)
        return self.dataset if own else f"{self.dataset}@{Path(self.backbone).stem}"

    @property
    def data_root(self):
        return self._path(self.data)

    @property
    def results_root(self):
        return self._path(self.results)

    @property
    def folder(self):
        """results/<name>: what does not depend on the seed."""
        return self.results_root / self.name

    @property
    def seed_folder(self):
        return self.folder / self._seed_name

    @property
    def big(self):
        """data/runs/<name> beside results/."""
        return self.results_root.parent / "data" / "runs" / self.name

    @property
    def seed_big(self):
        return self.big / self._seed_name

    @property
    def torch_device(self):
        return pick_device(self.device)

    @property
    def _seed_name(self):
        return f"seed{self.seed}" + ("" if self.recipe == "published" else f"_{self.recipe}")

    @staticmethod
    def _path(path):
        return Path(path) if Path(path).is_absolute() else project() / path

    def outputs(self, stage):
        """The files and folders a stage leaves, its executed notebook first."""
        return {
            FEATURES: [self.folder / f"{FEATURES}.ipynb", self.big / "features"],
            TRAINING: [self.seed_folder / f"{TRAINING}.ipynb", self.seed_folder / "history.csv",
                       self.seed_big / "ensemble.safetensors"],
            VOTING: [self.seed_folder / f"{VOTING}.ipynb", self.seed_folder / "scores.csv",
                     self.seed_folder / "confusions.npz", self.seed_big / "examples.npz"],
        }[stage]

    def record(self, stage):
        """Where the record of a finished stage lies."""
        return (self.big if stage == FEATURES else self.seed_big) / f"{stage}.json"

    def note(self, stage, **facts):
        """Called by a notebook: facts about its work (device, noise, checksums) that belong into run.json."""
        write_json(self.record(stage).with_suffix(".facts.json"), facts)


def pick_device(device="auto"):
    """"auto": cuda, else mps, else cpu; ValueError when the one asked for is not there."""
    import torch
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, available in there.items() if available)
    if not there[device]:
        raise ValueError(f"device {device!r} is not available here; choose from auto, "
                         f"{', '.join(name for name, available in there.items() if available)}")
    return device


def write_json(path, content):
    """Write `content` to `path` through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1, default=str) + "\n")
    os.replace(partial, path)


# ---- is a stage done? -------------------------------------------------------------------------------------------------

def rooms(source, seen=()):
    """Files of the package that Python text `source` imports from, directly or through one another."""
    found = set(seen)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix("diffseg_utils").strip(".")
            inside = node.level > 0 or (node.module or "").startswith("diffseg_utils")
            names = [module] if module else [alias.name for alias in node.names]
            for name in names if inside else []:
                for file in _files_of(name.split(".")[0]):
                    if file not in found:
                        found |= rooms(file.read_text(), found | {file})
    return found


def _files_of(room):
    if (PACKAGE / room).is_dir():
        return sorted((PACKAGE / room).glob("*.py"))
    return [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else []


def stage_key(run, stage, extra):
    """Everything that a stage's outputs depend on, as plain JSON: parameters, code, checkpoint, data, the stage before."""
    from . import data, diffusion
    notebook = project() / "notebooks" / f"{stage}.ipynb"
    cells = [c["source"] for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    code = "\n".join("".join(source) for source in cells)
    weights = diffusion.checkpoint_path(run.backbone_used, run.data_root)
    before = STAGES[STAGES.index(stage) - 1] if stage != FEATURES else None
    return {
        "parameters": {**_identity(run, stage), **extra},
        "notebook": _digest(code.encode()),
        "rooms": {f.relative_to(PACKAGE).as_posix(): _digest(f.read_bytes()) for f in sorted(rooms(code))},
        "backbone": {k: diffusion.describe(run.backbone_used)[k] for k in ("flags", "steps", "blocks")},
        "checkpoint": _stamp(weights) if weights.exists() else None,
        "data": data.identity(run.preset, run.data_root),
        "before": json.loads(run.record(before).read_text())["outputs"] if before else None,
    }


def is_done(run, stage, key):
    """True if the record says that the same inputs produced its outputs and all of them are still there (size, time)."""
    try:
        record = json.loads(run.record(stage).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    outputs = _outputs(run, stage)
    return record["key"] == json.loads(json.dumps(key)) and record["outputs"] == outputs and bool(outputs)


def _identity(run, stage):
    """The parameters that decide what a stage computes (not where it writes; features do not depend on the seed)."""
    skip = {"data", "results"} | ({"seed", "recipe"} if stage == FEATURES else set())
    return {name: value for name, value in asdict(run).items() if name not in skip}


def _outputs(run, stage):
    """{path: [size, time]} of a stage's outputs; empty if one is missing."""
    found = {}
    for path in run.outputs(stage):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        if not path.exists():
            return {}
        found.update({f.relative_to(run.results_root.parent).as_posix(): _stamp(f) for f in files if f.is_file()})
    return found


def _stamp(path):
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _digest(content):
    return hashlib.sha256(content).hexdigest()


# ---- making runs ------------------------------------------------------------------------------------------------------

def run_stage(run, stage, extra=None, threads=None, after=None):
    """Make one stage of a run unless it is done; returns (stage, seconds, "made" or "kept"). Runs on a dask worker."""
    extra, start = extra or {}, time.monotonic()
    key = stage_key(run, stage, extra)
    if is_done(run, stage, key):
        return stage, 0.0, "kept"
    run.record(stage).unlink(missing_ok=True)
    notebook, output = project() / "notebooks" / f"{stage}.ipynb", run.outputs(stage)[0]
    from .notebooks import parameters_of
    known = parameters_of(notebook)
    parameters = {name: value for name, value in {**asdict(run), **extra}.items() if name in known}
    environment = {**os.environ, "DIFFSEG_PROGRESS": str(progress_file(run, stage))}
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads)}
    child = subprocess.run([sys.executable, "-m", "diffseg_utils.notebooks", notebook, output, json.dumps(parameters)],
                           env=environment, cwd=project(), capture_output=True, text=True)
    progress_file(run, stage).unlink(missing_ok=True)
    if child.returncode:
        raise RuntimeError(f"{run.name} {stage}: {child.stderr.strip().splitlines()[-1]}")
    missing = [path for path in run.outputs(stage) if not path.exists()]
    if missing:
        raise RuntimeError(f"{run.name} {stage}: the notebook ended without writing {missing[0]}")
    seconds = time.monotonic() - start
    facts = run.record(stage).with_suffix(".facts.json")
    facts = json.loads(facts.read_text()) if facts.exists() else {}
    write_json(run.record(stage), {"key": key, "outputs": _outputs(run, stage), "seconds": seconds, "facts": facts})
    if stage == VOTING:
        testify(run, extra)
    return stage, seconds, "made"


def testify(run, extra):
    """Write run.json: what produced these results."""
    records = {stage: json.loads(run.record(stage).read_text()) for stage in STAGES}
    facts = {name: value for record in records.values() for name, value in record["facts"].items()}
    packages = ("torch", "numpy", "guided-diffusion-sdk", "papermill", "diffseg-utils")
    first = records[FEATURES]["key"]
    write_json(run.seed_folder / "run.json", {
        "dataset": run.dataset, "backbone": run.name.partition("@")[2] or run.preset.backbone, "seed": run.seed,
        "recipe": run.recipe, "preset": asdict(run.preset), "parameters": extra, **facts,
        "backbone_flags": first["backbone"], "data_sha256": first["data"],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "seconds": {stage: round(record["seconds"], 1) for stage, record in records.items()}})


def run_all(runs, *, extra=None, workers=None, scheduler=None, echo=print):
    """Make all stages of `runs` on a LocalCluster of `workers` processes, or on the dask cluster at `scheduler`.

    Prints what is going on and how long it will still take; raises the first failure after the others have ended.
    """
    from distributed import Client, as_completed
    jobs, futures = {}, {}
    cores = os.cpu_count() or 1
    workers = min(workers or cores, len({run.name for run in runs}))
    with _client(Client, workers, scheduler) as client:
        for run in runs:
            after = None
            for stage in STAGES:
                shared = (run.name, stage) if stage == FEATURES else (run.name, run._seed_name, stage)
                if shared not in jobs:
                    threads = None if scheduler else max(1, cores // workers)
                    jobs[shared] = client.submit(run_stage, run, stage, extra, threads, after, pure=False)
                    futures[jobs[shared]] = run, stage
                after = jobs[shared]
        return _follow(futures, as_completed, echo)


def _follow(futures, as_completed, echo):
    """Report on `futures` until all have ended; {(run, stage): (seconds, how)} or the first error."""
    start, done, error, total = time.monotonic(), {}, None, sum(SHARE[stage] for _, stage in futures.values())
    waiting = as_completed(futures, raise_errors=False)
    last = 0.0
    while len(done) < len(futures):
        while not waiting.queue.empty() or waiting.count() == 0:
            future = next(waiting)
            run, stage = futures[future]
            if future.status == "error":
                error = error or future.exception()
                done[run, stage] = 0.0, "failed"
            else:
                _, seconds, how = future.result()
                done[run, stage] = seconds, how
            _, how = done[run, stage]
            echo(f"[{len(done)}/{len(futures)}] {_where(run, stage)} {how}" +
                 (f" in {done[run, stage][0]:.0f} s" if how == "made" else ""))
        if time.monotonic() - last > 15:
            last = time.monotonic()
            under_way = [(job, read_progress(*job)) for job in futures.values() if job not in done]
            share = sum(SHARE[stage] for _, stage in done) + sum(SHARE[s] * p for (_, s), p in under_way)
            for (run, stage), part in under_way:
                if part:
                    echo(f"        {_where(run, stage)} {100 * part:3.0f} %")
            if share and share < total:
                elapsed = time.monotonic() - start
                echo(f"        {clock(elapsed)} so far, about {clock(elapsed / share * (total - share))} to go")
        time.sleep(0.2)
    if error:
        raise error
    return done


def _where(run, stage):
    return f"{run.name}/{run._seed_name}".ljust(28) + stage.ljust(24)


def clock(seconds):
    """m:ss"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def _client(client, workers, scheduler):
    """A dask client: of the cluster at `scheduler`, or of processes on this machine."""
    if scheduler:
        with client(scheduler) as c:
            yield c
        return
    import logging

    from distributed import LocalCluster
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None,
                      silence_logs=logging.ERROR) as cluster, client(cluster) as c:
        yield c


# ---- progress ---------------------------------------------------------------------------------------------------------

def progress_file(run, stage):
    return run.record(stage).with_suffix(".progress")


def read_progress(run, stage):
    """How far a stage is, 0..1."""
    try:
        return float(progress_file(run, stage).read_text())
    except (OSError, ValueError):
        return 0.0


def progress(label):
    """report(done, total) for long work in a notebook: a bar for a person, a file for the command line."""
    file = os.environ.get("DIFFSEG_PROGRESS")
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        return lambda done, total: Path(file).write_text(f"{done / total:.4f}")
    from tqdm.auto import tqdm
    bar = tqdm(desc=label)

    def report(done, total):
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()
    return report
