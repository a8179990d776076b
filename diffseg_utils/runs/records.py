"""What is current: a job's fingerprint is made of contents, and its record says from which contents
it was made.
"""

import ast
import hashlib
import json
import platform
import threading
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

from ..files import read_json, sha256, write_json
from ..presets import BACKBONES, DATASETS, KS, RECIPES
from .run import PACKAGE, code_cells, parameters_of, tags
from .stages import BOTH, FEATURES, TRAINING, VOTING, Job

WHERE = ("data", "results")  # parameters that say where, not what
PARTS = ("code", "modules", "parameters", "values", "reads")  # of a fingerprint
NEVER = "no record of it here"
# What decides the results of somebody's own folder; nothing else leaves patches.csv.
OWN = ("own/folder", "own/images", "own/folds", "own/patches", "comparisons")


class Checksums:
    """sha256 of files below or beside `root`, remembered in a JSON file as long as size and time
    stay the same.

    verify: trust nothing that is remembered; every file is read once.
    """

    def __init__(self, runs_root, verify=False):
        self.file = runs_root / "checksums.json"
        self.root = runs_root.parent.parent
        self.verify = verify
        try:
            self.known = read_json(self.file)
        except (OSError, ValueError):
            self.known = {}
        self.read = set()
        self.lock = threading.Lock()

    def of(self, path):
        """{name relative to the project: sha256} of a file, or of all files in a folder; {} if it
        is not there.
        """
        path = Path(path)
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.is_file() and f.name[0] != ".")
        else:
            files = [path] if path.exists() else []
        return {self.name(file): self._of_file(file) for file in files}

    def name(self, path):
        """How records call a file."""
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        )

    def remember(self, path, checksum):
        """Take the checksum of a file from its writer."""
        with self.lock:
            self.known[self.name(path)] = [*_stamp(path), checksum]
            self.read.add(self.name(path))

    def save(self):
        with self.lock:
            write_json(self.file, self.known)

    def _of_file(self, path):
        name = self.name(path)
        known = self.known.get(name)
        trusted = not self.verify or name in self.read
        if known is None or known[:2] != _stamp(path) or not trusted:
            self.remember(path, sha256(path))
        return self.known[name][2]


def fingerprint(job, checksums):
    """Everything that decides what a job leaves, as plain JSON."""
    found = {
        "code": code_of(job.notebook),
        "modules": modules_of(job),
        "parameters": decisive_parameters(job),
        "values": {name: SETTINGS[name](job, checksums) for name in job.stage.settings},
        "reads": {},
    }
    for path in job.read_files():
        found["reads"] |= checksums.of(path) or {checksums.name(path): None}
    return json.loads(json.dumps(found, default=str))


def short(found):
    """A fingerprint as a few letters, for names of folders."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]


def code_of(notebook):
    """Checksum of a notebook's code; not of its prose, its parameters, cells that only draw (tagged
    `figure`), and the one that installs (tagged `colab`).
    """
    skipped = {"parameters", "figure", "colab"}
    cells = [cell for cell in code_cells(notebook) if not skipped & set(tags(cell))]
    return _digest("\n".join("".join(cell["source"]) for cell in cells))


def modules_of(job):
    """{file: checksum} of the modules that decide what a job leaves."""
    family = "all"
    if "preset" in job.stage.settings:
        family = "own" if job.run.preset.own else job.run.preset.painted
    files = [file for module in job.stage.computes for file in module_files(module, family)]
    names = [file.relative_to(PACKAGE).as_posix() for file in files]
    return {name: checksum_of_module(name) for name in names}


def checksum_of_module(name):
    """Checksum of a file of the package; None if it is not there."""
    file = PACKAGE / name
    return _digest(file.read_text(encoding="utf-8")) if file.exists() else None


def module_files(module, family="all"):
    """The files of a module; of scenes/, those that paint a family (none for photographs, "all" for
    all); of own/, those that decide results of somebody's own folder (none for other datasets).
    """
    if module == "own":
        return [PACKAGE / f"{name}.py" for name in (OWN if family == "own" else ())]
    if module != "scenes":
        return [PACKAGE / f"{module}.py"]
    folder = PACKAGE / "scenes"
    if family in (None, "own"):
        return []
    if family == "all":
        return sorted(folder.glob("*.py"))
    return [folder / f"{name}.py" for name in _painters(folder, family)]


def _painters(folder, family):
    """The names of the files in scenes/ that paint a family: its own, and what that imports."""
    found, new = {"__init__"}, {family}
    while new:
        name = new.pop()
        found.add(name)
        new |= _imported_beside((folder / f"{name}.py").read_text(encoding="utf-8")) - found
    return sorted(found)


@cache
def _imported_beside(source):
    """The names of the modules that Python text imports from its own folder."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found


def decisive_parameters(job):
    """{name: value} of the notebook's parameters that decide what it leaves; a backbone counts by
    its flags and weights.
    """
    skipped = {*WHERE, "backbone"} if "backbone" in job.stage.settings else {*WHERE}
    effective = parameters_of(job.notebook) | job.parameters()
    if "dataset" in effective and job.run.preset.own:
        effective["dataset"] = job.run.preset.name  # a folder that was moved is the same dataset
    return {name: value for name, value in effective.items() if name not in skipped}


def _preset(job, checksums):
    from ..data import files_of

    preset, files = job.run.preset, {}
    for split in () if preset.painted else preset.counts:
        for path in files_of(preset, split, job.run.data_root):
            files |= checksums.of(path)
    return preset.described() | {"images and labels": _digest(json.dumps(list(files.values())))}


def backbone_of(run):
    """(description, path of the weights) of a run's backbone; torch is loaded only for one of
    somebody's own.
    """
    if run.backbone_used in BACKBONES:
        described = BACKBONES[run.backbone_used]
        return described, run.data_root / "checkpoints" / described["checkpoint"]
    from ..backbone import checkpoint_path, describe

    return describe(run.backbone_used), checkpoint_path(run.backbone_used, run.data_root)


def _backbone(job, checksums):
    described, weights = backbone_of(job.run)
    found = {name: described[name] for name in ("flags", "steps", "blocks")}
    return found | {"weights": next(iter(checksums.of(weights).values()), None)}


def _named(job, checksums):
    """{name: values} of the datasets and backbones that the notebook's parameters name."""
    parameters = parameters_of(job.notebook) | job.parameters()
    words = [word for value in parameters.values() for word in str(value).split()]
    found = {word: asdict(DATASETS[word]) for word in words if word in DATASETS}
    for word in words:
        if word in BACKBONES:
            weights = checksums.of(
                job.run.data_root / "checkpoints" / BACKBONES[word]["checkpoint"]
            )
            found[word] = BACKBONES[word] | {"weights": list(weights.values())}
    return found


SETTINGS = {
    "preset": _preset,
    "backbone": _backbone,
    "recipe": lambda job, _: RECIPES[job.run.recipe],
    "both recipes": lambda job, _: {name: RECIPES[name] for name in BOTH},
    "named": _named,
    "all recipes": lambda job, _: RECIPES,
    "ks": lambda job, _: KS,
}


def read_record(job):
    """The record of a job; None if there is none that can be read."""
    try:
        record = read_json(job.record)
    except (OSError, ValueError):
        return None
    whole = {"fingerprint", "outputs", "seconds", "facts"} <= record.keys()
    return record if whole and {*PARTS} == record["fingerprint"].keys() else None


def why_stale(job, checksums, now=None, reads=True):
    """Why a job has to be made, in a few words of plain English; None if what it left is current.

    now: its fingerprint, if it is known already; reads: whether what it reads counts.
    """
    record = read_record(job)
    if record is None:
        return NEVER
    before, now = record["fingerprint"], now or fingerprint(job, checksums)
    for part in PARTS:
        if before[part] != now[part] and (reads or part != "reads"):
            return _difference(part, before[part], now[part])
    found = {}
    for path in job.outputs:
        if not path.exists():
            return f"{path.name} is missing"
        found |= checksums.of(path)
    for name in found.keys() | record["outputs"].keys():
        if found.get(name) != record["outputs"].get(name):
            return f"{Path(name).name} is not what was written"
    return None


def _difference(part, before, now):
    """What differs between the same part of two fingerprints, in plain English."""
    if part == "code":
        return "the notebook's code changed"
    names = sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
    old, new = before.get(names[0]), now.get(names[0])
    if part == "modules":
        return f"{', '.join(names)} changed"
    if part == "parameters":
        return f"{names[0]}: {old!r} before, {new!r} now"
    if part == "reads":
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more} came out different"
    if isinstance(old, dict) and isinstance(new, dict):
        inner = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return f"{names[0]}: {', '.join(inner)} changed"
    return f"{names[0]} changed"


def finish(job, found, checksums, seconds, facts):
    """Write the record of a job that was made from fingerprint `found`, last of all, and run.json
    where it belongs.

    FileNotFoundError if the notebook left something out.
    """
    if "manifest" in job.stage.leaves:
        write_manifest(job, found, seconds, facts)
    outputs = {}
    for path in job.outputs:
        if not path.exists():
            raise FileNotFoundError(f"the notebook ended without writing {path}")
        _take_from_writer(path, checksums)
        outputs |= checksums.of(path)
    record = {"fingerprint": found, "outputs": outputs, "seconds": seconds, "facts": facts}
    write_json(job.record, record)
    checksums.save()


def write_manifest(job, found, seconds, facts):
    """Write run.json: what produced these results, by stages 01 to 03."""
    run = job.run
    made = {name: read_json(Job.of(name, run, {}).record) for name in (FEATURES, TRAINING)}
    made[VOTING] = {"fingerprint": found, "seconds": seconds, "facts": facts}
    of_stage = ("peak_mib", "threads")
    noted = {
        name: value
        for record in made.values()
        for name, value in record["facts"].items()
        if name not in of_stage
    }
    first = made[FEATURES]["fingerprint"]["values"]
    packages = ("torch", "numpy", "guided-diffusion-sdk", "papermill", "diffseg-utils")
    content = {
        "dataset": run.preset.name,
        "backbone": run.name.partition("@")[2] or run.preset.backbone,
        "seed": run.seed,
        "recipe": run.recipe,
        "preset": run.preset.described(),
        "parameters": {
            name: value
            for record in made.values()
            for name, value in record["fingerprint"]["parameters"].items()
            if name not in asdict(run)
        },
        **noted,
        "backbone_flags": {name: first["backbone"][name] for name in ("flags", "steps", "blocks")},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "seconds": {name: round(record["seconds"], 1) for name, record in made.items()},
    }
    for name in of_stage:
        content[name] = {stage: record["facts"].get(name) for stage, record in made.items()}
    write_json(run.path("manifest"), content)


def _take_from_writer(path, checksums):
    """Feature maps are hashed while they are written; their checksums stand in meta.json."""
    for meta in path.glob("*/meta.json") if path.is_dir() else ():
        for entry in read_json(meta)["maps"]:
            checksums.remember(meta.parent / entry["file"], entry["sha256"])


def _stamp(path):
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()
