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

from ..files import write_json
from ..own.folder import file_of, names_a_file, preset_of
from ..presets import DATASETS, RECIPES, choose

PACKAGE = Path(__file__).parents[1]
DEVICES = ("auto", "cpu", "cuda", "mps")

# Every file that a notebook leaves for another one, or for a reader. {results} is small and
# committed, {data} is big and
# can be computed again; {name}: <dataset>[@<backbone>], {setting}: seed<k>[_<recipe>], {variant}:
# [_<recipe>].
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
    "page": "{results}/README.md",
    "table 1": "{results}/table1.csv",
    "table 1, masked": "{results}/table1_masked.csv",
    "recipes": "{results}/recipes.csv",
    "costs": "{results}/costs.csv",
}


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
    dataset's own. ValueError for an unknown dataset, recipe or device.
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

    def path(self, what):
        """Where a file or folder of this run lies; `what` is a name in PATHS."""
        pattern = choose("file", what, PATHS)
        return Path(
            pattern.format(
                results=self.results_root,
                data=self.runs_root,
                name=self.name,
                setting=self.setting,
                variant=self.variant,
            )
        )

    def maps(self, split):
        """The stored FeatureMaps of a split; test images in folds are the training images."""
        from ..features import FeatureMaps

        return FeatureMaps.load(self.path("features") / self._stored(split))

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
        mirrored. Else they come from the U-Net and are not kept: as notebook 01 stores them (four
        images at a time, maps in float16), or `as_published` (one at a time, a U-Net in float16 on
        CUDA, its maps as they come). report: called with (images done, all images).
        """
        from ..data import samples
        from ..features import FeatureMaps

        preset = self.preset if n_images is None else self.preset.resized(**{split: n_images})
        total = preset.counts[split]
        folder = self.path("features") / self._stored(split)
        same = total == self.preset.counts[split] and noise_seed == 0 and not mirrored
        if stored and same and folder.exists():
            maps = FeatureMaps.load(folder)
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
        given = os.environ.get("DIFFSEG_UNFINISHED")
        return (
            Path(given)
            if given
            else self.runs_root / self.name / f".{self.setting}.{stage}.by-hand"
        )

    def note(self, stage, **facts):
        """Called by a notebook at its end: facts (device, noise, checksums) that belong into
        run.json.
        """
        from .resources import peak_mib, processor, threads

        peak = peak_mib()
        known = None if peak != peak else peak  # nan where the system does not say
        facts |= {"processor": processor(), "threads": threads(), "peak_mib": known}
        if "DIFFSEG_UNFINISHED" in os.environ:
            write_json(self.unfinished(stage) / "facts.json", facts)
        else:
            shutil.rmtree(self.unfinished(stage), ignore_errors=True)

    def figure(self, name):
        """Where a figure of this run is kept, without its ending.

        In results/figures, or in data/figures if it may show photographs.
        """
        painted = self.results_root / "figures"
        photographs = self.runs_root.parent / "figures"
        return (painted if self.preset.painted else photographs) / (
            f"{name}_{self.name}{self.variant}"
        )


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
