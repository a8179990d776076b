"""A run: one dataset, backbone, seed and recipe; the names of its folders and files; the parameters
of its notebooks.
"""

import ast
import json
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from ..files import atomic, write_json
from ..own.folder import file_of, names_a_file, preset_of
from ..presets import DATASETS, RECIPES, choose

PACKAGE = Path(__file__).parents[1]
DEVICES = ("auto", "cpu", "cuda", "mps")

# Every file that a notebook leaves for another one, or for a reader. {results} is small and
# committed, {data} is big and can be computed again. {name}: <dataset>[@<backbone>], {setting}:
# seed<k>[_<recipe>], {variant}: [_<recipe>].
PATHS = {
    "features": "{data}/{name}/features",
    "history": "{results}/{name}/{setting}/history.csv",
    "ensemble": "{data}/{name}/{setting}/ensemble.safetensors",
    "folds": "{data}/{name}/{setting}/folds",
    "scores": "{results}/{name}/{setting}/scores.npz",
    "patches": "{results}/{name}/{setting}/patches.csv",
    "examples": "{data}/{name}/{setting}/examples.npz",
    "manifest": "{results}/{name}/{setting}/run.json",
    "evidence": "{results}/{name}/evidence{variant}.npz",
    "evidence table": "{results}/{name}/evidence{variant}.csv",
    "effects": "{results}/{name}/what_helps.csv",
    "uncertainty": "{results}/{name}/uncertainty.csv",
    "page": "{results}/README.md",
    "all scores": "{results}/scores.csv",
    "table 1": "{results}/table1.csv",
    "table 1, masked": "{results}/table1_masked.csv",
    "recipes": "{results}/recipes.csv",
    "costs": "{results}/costs.csv",
}


def exploring():
    """Whether a person runs this notebook, in JupyterLab or by papermill, and not `diffseg`.

    `diffseg` sets DIFFSEG_UNFINISHED for the notebooks that it starts. They alone write to results/
    and data/runs; what a person runs is written to data/exploring.
    """
    return "DIFFSEG_UNFINISHED" not in os.environ


def exploring_root(results="results"):
    """data/exploring beside the folder of results: a place for what a person tries."""
    return _from_project(results).parent / "data" / "exploring"


def output_root(results="results"):
    """The folder to which a notebook writes its small files: results/, or data/exploring."""
    return exploring_root(results) if exploring() else _from_project(results)


def to_add_to(name, results="results"):
    """A file or folder of results/ to which a notebook adds what is missing.

    By hand that is a copy in data/exploring, which is made once.
    """
    kept, own = _from_project(results) / name, output_root(results) / name
    if kept != own and kept.exists() and not own.exists():
        with atomic(own) as partial:
            copy = shutil.copytree if kept.is_dir() else shutil.copy
            copy(kept, partial)
    return own


def project():
    """The folder that holds notebooks/: this checkout, or the first such folder upwards from
    here.
    """
    for folder in (PACKAGE.parent, Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks" / "00_tour.ipynb").exists():
            return folder
    raise FileNotFoundError(
        f"no folder notebooks/ with 00_tour.ipynb at {Path.cwd()} or above it; run inside a clone"
    )


@dataclass(frozen=True)
class Run:
    """One dataset, backbone, seed and recipe, and where its files lie.

    Small results go to results/<name>/<setting>/, big files to data/runs/<name>/<setting>/ beside
    results/; `data` holds downloads. Relative paths count from the project. dataset: a name in
    DATASETS, or the path of somebody's own dataset.yml or of its folder. recipe: empty for the
    dataset's own. A notebook that a person runs writes to data/exploring, and reads from there what
    it finds there (`exploring`). ValueError for an unknown dataset, recipe or device.
    """

    dataset: str
    seed: int = 0
    recipe: str = ""
    backbone: str = ""
    data: str = "data"
    results: str = "results"
    device: str = "auto"

    def __post_init__(self):
        if self.dataset not in DATASETS and names_a_file(self.dataset):
            object.__setattr__(self, "dataset", str(file_of(self.dataset)))  # the class is frozen
        object.__setattr__(self, "recipe", self.recipe or self.preset.recipe)
        choose("recipe", self.recipe, RECIPES)
        choose("device", self.device, dict.fromkeys(DEVICES))

    @cached_property
    def preset(self):
        """The Preset; of somebody's own folder it is read once."""
        return preset_of(self.dataset)

    @property
    def backbone_used(self):
        """The backbone asked for (a relative .json counts from the project), or the preset's own.

        A dataset.yml that states steps or blocks stands for its backbone, read there.
        """
        if self.backbone.endswith(".json"):
            return str(_from_project(self.backbone))
        preset = self.preset
        if preset.own and self.name == preset.name and (preset.steps or preset.blocks):
            return self.dataset
        return self.backbone or preset.backbone

    @property
    def torch_device(self):
        return pick_device(self.device)

    @property
    def name(self):
        """<dataset>, or <dataset>@<backbone> where that is not the dataset's own."""
        if self.backbone in ("", self.preset.backbone):
            return self.preset.name
        return f"{self.preset.name}@{Path(self.backbone).stem}"

    @property
    def variant(self):
        """What the recipe adds to names; nothing for the published one."""
        return "" if self.recipe == "published" else f"_{self.recipe}"

    @property
    def setting(self):
        """seed<k>[_<recipe>]"""
        return f"seed{self.seed}{self.variant}"

    @property
    def data_root(self):
        """The folder with downloads: datasets/ and checkpoints/."""
        return _from_project(self.data)

    @property
    def results_root(self):
        return _from_project(self.results)

    @property
    def runs_root(self):
        """data/runs beside results/: big files, and the records of stages."""
        return self.results_root.parent / "data" / "runs"

    # ---- files ------------------------------------------------------------------------------

    def path(self, what):
        """Where `diffseg` keeps a file or folder of this run; `what` is a name in PATHS."""
        return self._path(what, self.results_root, self.runs_root)

    def target(self, what):
        """Where a notebook writes it: `path`, or a place in data/exploring if a person runs it."""
        if not exploring():
            return self.path(what)
        root = exploring_root(self.results)
        return self._path(what, root, root)

    def source(self, what):
        """Where a notebook reads it: `target` if it is there, else `path`.

        FileNotFoundError says which command makes it if it is at neither place.
        """
        for path in (self.target(what), self.path(what)):
            if path.exists():
                return path
        raise FileNotFoundError(f"{path}: not made yet; `{self.command}` makes it")

    def has(self, what):
        """Whether there is a `source` of this file or folder."""
        return self.target(what).exists() or self.path(what).exists()

    def reading(self, *what):
        """Where a notebook reads files, for a sentence: '`data/runs/mini_horse/features`'."""
        return self._named([self.source(name) for name in what])

    def writing(self, *what):
        """Where a notebook writes files, for a sentence."""
        return self._named([self.target(name) for name in what])

    def _named(self, paths):
        root = self.results_root.parent
        return ", ".join(f"`{path.relative_to(root).as_posix()}`" for path in paths)

    @property
    def command(self):
        """The command that makes this run."""
        words = ["diffseg run", self.dataset]
        usual = Run(self.dataset)
        named = {"seed": "--seeds", "recipe": "--recipe", "backbone": "--backbone"}
        named |= {"data": "--data", "results": "--results"}
        for field, option in named.items():
            if getattr(self, field) != getattr(usual, field):
                words.append(f"{option} {getattr(self, field)}")
        return " ".join(words)

    def _path(self, what, results, data):
        pattern = choose("file", what, PATHS)
        named = {"name": self.name, "setting": self.setting, "variant": self.variant}
        return Path(pattern.format(results=results, data=data, **named))

    # ---- what it holds ----------------------------------------------------------------------

    def scores(self):
        """The Scores of notebook 03; FileNotFoundError if it has not been run."""
        from ..evaluation import load_scores

        return load_scores(self.source("scores"))

    def ensemble(self):
        """The PixelEnsemble of notebook 02, on the device; FileNotFoundError if not trained."""
        from ..classifiers import PixelEnsemble

        return PixelEnsemble.load(self.source("ensemble")).to(self.torch_device)

    def maps(self, split):
        """The FeatureMaps of a split, from notebook 01; FileNotFoundError if not extracted.

        In folds the test images are the training images.
        """
        from ..features import FeatureMaps

        self._check_split(split)
        return FeatureMaps.load(self.source("features") / self._stored(split))

    def samples(self, split):
        """The Samples of a split, images and labels, as a list."""
        from ..data import samples

        self._check_split(split)
        return list(samples(self.preset, split, self.data_root))

    def _check_split(self, split):
        """ValueError for a split that this dataset does not have."""
        there = {name: count for name, count in self.preset.counts.items() if count}
        choose("split", split, there)

    def _stored(self, split):
        """The split under which the maps of `split` are stored."""
        in_folds = self.preset.n_folds and split == "test"
        return "train" if in_folds else split

    def stream(
        self,
        split,
        n_images=None,
        *,
        stored=True,
        as_published=False,
        noise_seed=0,
        mirrored=False,
        report=None,
    ):
        """Yield (Sample, FeatureMaps, place in them) of the first images of a split, one at a time.

        n_images: None takes the preset's number. The maps are the stored ones of this run where
        these are wanted (`stored`), there, and of just these images: the shared noise, not
        mirrored; a Path as `stored` is the folder of other ones. Else they come from the U-Net and
        are not kept: as notebook 01 stores them (four images at a time, maps in float16), or
        `as_published` (one at a time, a U-Net in float16 on CUDA, its maps as they come). report:
        called with (images done, all images).
        """
        from ..data import samples
        from ..features import FeatureMaps

        preset = self.preset if n_images is None else self.preset.resized(**{split: n_images})
        total = preset.counts[split]
        if stored is True and self.has("features"):
            stored = self.source("features")
        same = total == self.preset.counts[split] and noise_seed == 0 and not mirrored
        folder = self._stored(split)
        if isinstance(stored, Path) and same and (stored / folder).exists():
            maps = FeatureMaps.load(stored / folder)
            found = ((s, maps, i) for i, s in enumerate(samples(preset, split, self.data_root)))
        else:
            images = samples(preset, split, self.data_root)
            found = self._extracted(images, as_published, noise_seed, mirrored)
        for done, one in enumerate(found, 1):
            yield one
            if report:
                report(done, total)

    def _extracted(self, found, as_published, noise_seed, mirrored):
        """What stream yields, from the U-Net."""
        import torch

        from ..backbone import load_backbone, shared_noise
        from ..data import to_input
        from ..features import extract

        precision = "auto" if as_published else "float32"
        dtype = None if as_published else torch.float16
        backbone = load_backbone(
            self.backbone_used, self.torch_device, precision, data=self.data_root
        )
        noise = shared_noise(backbone.image_size, noise_seed, self.torch_device)
        while group := list(islice(found, 1 if as_published else 4)):
            images = [to_input(sample.image, backbone.image_size) for sample in group]
            images = torch.stack(images)  # (b, 3, S, S)
            if mirrored:
                images = images.flip(3)
            maps = extract(backbone, images, noise, dtype=dtype)
            yield from ((sample, maps, i) for i, sample in enumerate(group))

    def unfinished(self, stage):
        """The folder of what `stage` goes on from when it is interrupted; it is deleted when the
        stage has ended.

        `diffseg` names it by the fingerprint of the stage: nothing goes on from work of another
        code or parameter.
        """
        if exploring():
            return exploring_root(self.results) / self.name / f".{self.setting}.{stage}"
        return Path(os.environ["DIFFSEG_UNFINISHED"])

    def note(self, stage, **facts):
        """Called by a notebook at its end: facts (device, noise, checksums) that belong into
        run.json.
        """
        from .resources import peak_mib, processor, threads

        peak = peak_mib()
        known = None if peak != peak else peak  # nan where the system does not say
        facts |= {"processor": processor(), "threads": threads(), "peak_mib": known}
        if exploring():
            shutil.rmtree(self.unfinished(stage), ignore_errors=True)
        else:
            write_json(self.unfinished(stage) / "facts.json", facts)

    def figure(self, name):
        """Where a figure of this run is kept, without its ending.

        In results/figures, or in data/figures if it may show photographs; in data/exploring/figures
        if a person runs the notebook.
        """
        root = output_root(self.results)
        if not exploring() and not self.preset.painted:
            root = self.runs_root.parent
        return root / "figures" / f"{name}_{self.name}{self.variant}"


def pick_device(device="auto"):
    """The device to compute on; "auto": cuda, else cpu. ValueError when the one asked for is not
    there.
    """
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[device]:
        choices = ", ".join(name for name, available in there.items() if available)
        raise ValueError(f"device {device!r} is not available here; choose from auto, {choices}")
    return device


def notebook_path(name):
    """The source of the notebook `name`."""
    return project() / "notebooks" / f"{name}.ipynb"


def code_cells(notebook):
    """The code cells of a notebook file, each a dict with `source` and `metadata`."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def tags(cell):
    return cell["metadata"].get("tags", [])


def parameters_of(notebook):
    """{name: default} of the cell tagged `parameters`; ValueError if there is none, or a default is
    no literal.
    """
    for cell in code_cells(notebook):
        if "parameters" in tags(cell):
            assignments = ast.parse("".join(cell["source"])).body
            return {line.targets[0].id: ast.literal_eval(line.value) for line in assignments}
    raise ValueError(f"{notebook}: no cell is tagged 'parameters'")


def _from_project(path):
    return Path(path) if Path(path).is_absolute() else project() / path
