"""A run: its folders, the parameters and code its outputs depend on, and the record that tells whether they are current."""

import ast
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .costs import peak_mib
from .presets import DATASETS, RECIPES, choose

PACKAGE = Path(__file__).parent
FEATURES, TRAINING, VOTING, FIGURES = (
    "01_feature_extraction",
    "02_classifier_training",
    "03_voting_analysis",
    "04_figure_reproduction",
)
EVIDENCE, HELPS = "03b_evidence", "03c_what_helps"
STAGES = (FEATURES, TRAINING, VOTING)  # of one seed; the two after them read several
MINUTES = {
    FEATURES: 1,
    TRAINING: 3,
    VOTING: 1,
    EVIDENCE: 10,
    HELPS: 10,
}  # of a painted dataset on one core


def project():
    """The folder that holds notebooks/: this checkout, or the first such folder upwards from here."""
    for folder in (PACKAGE.parent, Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks" / f"{FEATURES}.ipynb").exists():
            return folder
    raise FileNotFoundError(
        f"no folder notebooks/ with {FEATURES}.ipynb at {Path.cwd()} or above it; run inside a clone"
    )


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
        choose("device", self.device, dict.fromkeys(("auto", "cpu", "cuda", "mps")))

    @property
    def preset(self):
        return DATASETS[self.dataset]

    @property
    def backbone_used(self):
        """The backbone asked for (a relative .json counts from the project), or the preset's own."""
        return (
            str(self._path(self.backbone))
            if self.backbone.endswith(".json")
            else self.backbone or self.preset.backbone
        )

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
    def label(self):
        """<name>/<seed>, as on disk."""
        return f"{self.name}/{self._seed_name}"

    def place(self, stage):
        """What a stage's outputs belong to: one seed (label), or all of them (name)."""
        return self.label if stage in (TRAINING, VOTING) else self.name

    @property
    def variant(self):
        """What the recipe adds to names; nothing for the published one."""
        return "" if self.recipe == "published" else f"_{self.recipe}"

    @property
    def _seed_name(self):
        return f"seed{self.seed}{self.variant}"

    @staticmethod
    def _path(path):
        return Path(path) if Path(path).is_absolute() else project() / path

    def outputs(self, stage):
        """The files and folders a stage leaves, its executed notebook first."""
        return {
            FEATURES: [self.folder / f"{FEATURES}.ipynb", self.big / "features"],
            TRAINING: [
                self.seed_folder / f"{TRAINING}.ipynb",
                self.seed_folder / "history.csv",
                self.seed_big / "ensemble.safetensors",
            ],
            VOTING: [
                self.seed_folder / f"{VOTING}.ipynb",
                self.seed_folder / "scores.csv",
                self.seed_folder / "confusions.npz",
                self.seed_folder / "calibration.npz",
                self.seed_big / "examples.npz",
            ],
            EVIDENCE: [
                self.folder / name
                for name in (
                    f"{EVIDENCE}{self.variant}.ipynb",
                    f"evidence{self.variant}.npz",
                    f"evidence{self.variant}.csv",
                )
            ],
            HELPS: [
                self.folder / name
                for name in (f"{HELPS}.ipynb", "what_helps.csv", "label_budget.csv")
            ],
        }[stage]

    def record(self, stage):
        """Where the record of a finished stage lies."""
        variant = self.variant if stage == EVIDENCE else ""
        return self.big.parent / self.place(stage) / f"{stage}{variant}.json"

    def reads(self, stage, extra):
        """[(run, stage)] whose outputs a stage reads; extra: parameters, of which `seeds` ("0 1 2") counts here."""
        seeds = {"seeds": "0", **extra}["seeds"].split()
        return {
            FEATURES: [],
            TRAINING: [(self, FEATURES)],
            VOTING: [(self, TRAINING)],
            EVIDENCE: [(replace(self, seed=int(seed)), VOTING) for seed in seeds],
            HELPS: [(replace(self, seed=0, recipe=recipe), VOTING) for recipe in RECIPES],
        }[stage]

    def figure(self, name):
        """Where a figure of this run is kept, without its ending: results/figures, or data/figures if it may show photographs."""
        folder = (
            self.results_root / "figures"
            if self.preset.painted
            else self.big.parent.parent / "figures"
        )
        return folder / f"{name}_{self.name}{self.variant}"

    def note(self, stage, **facts):
        """Called by a notebook at its end: facts (device, noise, checksums) that belong into run.json, and its peak memory."""
        write_json(self.record(stage).with_suffix(".facts.json"), {**facts, "peak_mib": peak_mib()})


def pick_device(device="auto"):
    """ "auto": cuda, else mps, else cpu; ValueError when the one asked for is not there."""
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, available in there.items() if available)
    if not there[device]:
        raise ValueError(
            f"device {device!r} is not available here; choose from auto, "
            f"{', '.join(name for name, available in there.items() if available)}"
        )
    return device


def write_json(path, content):
    """Write `content` to `path` through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1, default=str) + "\n")
    os.replace(partial, path)


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


def parameters_of(notebook):
    """{name: default} of the cell tagged `parameters` (literals only)."""
    cells = [
        cell for cell in _code_cells(notebook) if "parameters" in cell["metadata"].get("tags", [])
    ]
    if not cells:
        raise ValueError(f"{notebook}: no cell is tagged 'parameters'")
    values = {}
    exec("".join(cells[0]["source"]), {}, values)  # our own notebook's literals
    return values


def _code_cells(notebook):
    return [
        cell
        for cell in json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]


def stage_key(run, stage, extra):
    """Everything that a stage's outputs depend on, as plain JSON: parameters, code, checkpoint, data, what it reads."""
    from . import backbone, data

    notebook = project() / "notebooks" / f"{stage}.ipynb"
    code = "\n".join("".join(cell["source"]) for cell in _code_cells(notebook))
    weights = backbone.checkpoint_path(run.backbone_used, run.data_root)
    return {
        "parameters": {
            **_identity(run, stage),
            **{name: extra[name] for name in extra if name in parameters_of(notebook)},
        },
        "notebook": _digest(code.encode()),
        "rooms": {
            f.relative_to(PACKAGE).as_posix(): _digest(f.read_bytes()) for f in sorted(rooms(code))
        },
        "backbone": {
            k: backbone.describe(run.backbone_used)[k] for k in ("flags", "steps", "blocks")
        },
        "checkpoint": _stamp(weights) if weights.exists() else None,
        "data": data.identity(run.preset, run.data_root),
        "before": [
            json.loads(r.record(before).read_text())["outputs"]
            for r, before in run.reads(stage, extra)
        ],
    }


def is_done(run, stage, key):
    """True if the record says that the same inputs produced its outputs and all of them are still there (size, time)."""
    try:
        record = json.loads(run.record(stage).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    outputs = outputs_now(run, stage)
    return (
        record["key"] == json.loads(json.dumps(key))
        and record["outputs"] == outputs
        and bool(outputs)
    )


def _identity(run, stage):
    """The parameters that decide what a stage computes (not where it writes; features do not depend on the seed)."""
    skip = {"data", "results"} | {
        FEATURES: {"seed", "recipe"},
        HELPS: {"seed", "recipe"},
        EVIDENCE: {"seed"},
    }.get(stage, set())
    return {name: value for name, value in asdict(run).items() if name not in skip}


def outputs_now(run, stage):
    """{path: [size, time]} of a stage's outputs; empty if one is missing."""
    found = {}
    for path in run.outputs(stage):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        if not path.exists():
            return {}
        found.update(
            {
                f.relative_to(run.results_root.parent).as_posix(): _stamp(f)
                for f in files
                if f.is_file()
            }
        )
    return found


def _stamp(path):
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _digest(content):
    return hashlib.sha256(content).hexdigest()


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
