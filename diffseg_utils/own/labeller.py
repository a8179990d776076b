"""A labeller: what turns an image of any size into a label. It comes from a run, or from one file.

The file travels: it holds classes, sizes, the ensemble, the noise, steps and blocks, and the sha256
of the denoiser's weights, which it does not hold. Shapes: H x W image, C classes.
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..backbone import checkpoint_path, describe, load_backbone, shared_noise
from ..classifiers import PixelEnsemble
from ..data import to_input
from ..features import extract
from ..files import atomic, read_json, sha256
from ..presets import BACKBONES
from ..voting import disagreement, entropy_weighted
from .folder import fitted, preset_from
from .images import cut, parts_of, resize_picture

BATCH = 4  # squares of one image that the denoiser sees at once
KIND = "diffseg labeller 1"


@dataclass(frozen=True)
class Sizes:
    """How images are read, resized and cut: the fields of an OwnPreset that say so."""

    label_size: int
    longer_side: int
    tile: int = 0
    overlap: int = 0
    range_16_bit: tuple = (0, 65535)


@dataclass
class Labeller:
    """An ensemble with all that is needed to use it."""

    classes: tuple
    ignore_label: int
    sizes: Sizes
    backbone: str  # a name in BACKBONES, or the path of a .json
    weights: str  # sha256 of its checkpoint
    steps: list
    blocks: list
    k: float  # of the entropy-weighted vote
    ensemble: PixelEnsemble
    noise: torch.Tensor  # [1, 3, S, S]
    made_by: str  # in words

    @property
    def n_classes(self):
        """C."""
        return len(self.classes)

    def described(self):
        """Everything but the tensors, as plain JSON."""
        names = ("classes", "ignore_label", "backbone", "weights", "steps", "blocks", "k")
        found = {name: getattr(self, name) for name in (*names, "made_by")}
        return json.loads(json.dumps(found | {"sizes": asdict(self.sizes)}))

    def digest(self):
        """A checksum of everything that decides a label."""
        decisive = self.described() | {"made_by": None, "backbone": None}
        found = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
        for _, tensor in sorted(self._tensors().items()):
            found.update(tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def _tensors(self):
        state = {f"ensemble.{name}": t for name, t in self.ensemble.state_dict().items()}
        return state | {"noise": self.noise}

    def save(self, path):
        """Write one .safetensors file that holds all but the weights of the denoiser."""
        tensors = {name: t.cpu().contiguous() for name, t in self._tensors().items()}
        described = self.described()
        described["backbone"] = Path(self.backbone).name  # a path is of no use elsewhere
        with atomic(path) as temporary:
            save_file(tensors, temporary, {"kind": KIND, "labeller": json.dumps(described)})


def load_labeller(path, backbone=""):
    """The Labeller in a file that `diffseg export` wrote.

    backbone: where the denoiser is, if it is none of this kit's. FileNotFoundError or ValueError
    names the file and what is wrong.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file; `diffseg export RUN FILE` writes one")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a labeller ({error})") from None
    if header.get("kind") != KIND:
        raise ValueError(f"{path}: not a labeller; `diffseg export RUN FILE` writes one")
    said = json.loads(header["labeller"])
    noise = tensors.pop("noise")
    state = {name.removeprefix("ensemble."): t for name, t in tensors.items()}
    return Labeller(
        **said
        | {
            "classes": tuple(said["classes"]),
            "sizes": Sizes(**said["sizes"]),
            "backbone": backbone or said["backbone"],
            "ensemble": PixelEnsemble.from_state(state),
            "noise": noise,
        }
    )


def labeller_of(folder, backbone=""):
    """The Labeller of a finished run; folder: results/<name>/<setting>.

    backbone: where the denoiser is, if run.json names none of this kit's and none that is there.
    """
    folder = Path(folder).absolute()
    manifest = folder / "run.json"
    if not manifest.exists():
        raise FileNotFoundError(f"{manifest}: no finished run here; `diffseg run` makes one")
    run = read_json(manifest)
    preset = preset_from(run["preset"])
    used = run["backbone_flags"]
    if not backbone:
        backbone = _backbone_of(run, preset, manifest)
    runs_root = folder.parents[1].parent / "data" / "runs"
    ensemble = runs_root / folder.parent.name / folder.name / "ensemble.safetensors"
    return Labeller(
        classes=tuple(preset.classes),
        ignore_label=preset.ignore_label,
        sizes=_sizes_of(preset),
        backbone=backbone,
        weights=run["checkpoint_sha256"],
        steps=used["steps"],
        blocks=used["blocks"],
        k=run.get("k_chosen", 1.0),
        ensemble=PixelEnsemble.load(ensemble),
        noise=_noise_of(run, used["flags"]["image_size"], manifest),
        made_by=f"{folder.parent.name}, {folder.name}",
    )


def labeller_from(run, ensemble, noise, k=1.0):
    """The Labeller of an ensemble that was trained on the maps of a Run, in a notebook.

    noise: [1, 3, S, S], with which the maps were extracted; k: of the entropy-weighted vote.
    """
    known = describe(run.backbone_used)
    return Labeller(
        classes=tuple(run.preset.classes),
        ignore_label=run.preset.ignore_label,
        sizes=_sizes_of(run.preset),
        backbone=run.backbone or run.preset.backbone,
        weights=sha256(checkpoint_path(run.backbone_used, run.data_root)),
        steps=list(known["steps"]),
        blocks=list(known["blocks"]),
        k=k,
        ensemble=ensemble,
        noise=noise.cpu(),
        made_by=f"{run.name}, {run.setting}",
    )


def _backbone_of(run, preset, manifest):
    """The name of a run's denoiser, or the path of its .json."""
    name = run["backbone"]
    if name not in BACKBONES and name != preset.backbone:
        raise ValueError(
            f"{manifest}: made with backbone {name!r}; say where it is with --backbone {name}.json"
        )
    return name


def _sizes_of(preset):
    if not preset.own:
        return Sizes(preset.label_size, preset.label_size)
    names = ("label_size", "longer_side", "tile", "overlap", "range_16_bit")
    return Sizes(**{name: getattr(preset, name) for name in names})


def _noise_of(run, size, manifest):
    """The noise of a run, from the generator of the device that it was made on."""
    device = "cuda" if "cuda generator" in run["noise"] else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{manifest}: its noise is of a GPU, and there is none here; "
            "`diffseg export` there writes a file that holds it"
        )
    return shared_noise(size, 0, device).cpu()


# ---- using it -----------------------------------------------------------------------------------


class Engine:
    """A Labeller with its denoiser, ready on a device."""

    def __init__(self, labeller, device="cpu", data="data"):
        self.labeller = labeller
        self.device = torch.device(device)
        self.backbone = load_checked(labeller, device, data)
        self.ensemble = labeller.ensemble.to(self.device)
        self.noise = labeller.noise.to(self.device)
        self.seconds = {"denoiser": 0.0, "vote": 0.0}

    def predict(self, picture):
        """(distribution [C, h, w], disagreement [h, w]) of a picture uint8 [H, W, 3].

        h x w is the size at which it is labelled; where tiles overlap, both are averaged.
        """
        sizes = self.labeller.sizes
        size = fitted(*picture.shape[:2], sizes.longer_side)
        picture = resize_picture(picture, size)
        total = torch.zeros(self.labeller.n_classes, *size)
        disputes, times = torch.zeros(size), torch.zeros(size)
        parts = parts_of(size, sizes)
        for start in range(0, len(parts), BATCH):
            group = parts[start : start + BATCH]
            for part, probs in zip(group, self._predicted(picture, group)):
                here = np.s_[part.top : part.top + part.height, part.left : part.left + part.width]
                begin = time.perf_counter()
                probs = probs[:, :, : part.height, : part.width]  # (N, C, rows, columns)
                total[:, *here] += entropy_weighted(probs, self.labeller.k).cpu()
                disputes[here] += disagreement(probs).cpu()
                times[here] += 1
                self.seconds["vote"] += time.perf_counter() - begin
        return total / times, disputes / times

    def _predicted(self, picture, parts):
        """Yield the probs [N, C, S, S] of each square of a picture."""
        side = self.labeller.sizes.label_size
        begin = time.perf_counter()
        squares = [to_input(cut(picture, part, side), self.backbone.image_size) for part in parts]
        maps = extract(self.backbone, [torch.stack(squares)], self.noise, dtype=torch.float16)
        self.seconds["denoiser"] += time.perf_counter() - begin
        for i in range(len(parts)):
            begin = time.perf_counter()
            probs = self.ensemble.probabilities(maps, i, side)
            self.seconds["vote"] += time.perf_counter() - begin
            yield probs


def load_checked(labeller, device, data):
    """The denoiser of a Labeller; ValueError if its weights are other ones."""
    describe(labeller.backbone)  # a ValueError names the choices
    path = checkpoint_path(labeller.backbone, data)
    backbone = load_backbone(
        labeller.backbone,
        device,
        "auto",
        steps=labeller.steps,
        blocks=labeller.blocks,
        data=data,
    )
    if sha256(path) != labeller.weights:
        raise ValueError(
            f"{path}: its sha256 is not {labeller.weights[:12]}..., of the weights on which the "
            f"classifiers were trained ({labeller.made_by}); bring those, or run again"
        )
    return backbone


def label_at(distribution, shape):
    """uint8 [H, W]: the class of the largest probability, interpolated to `shape` (H, W).

    distribution: [C, h, w]. One class at a time, so that memory does not grow with C; ties go to
    the lowest id.
    """
    if tuple(distribution.shape[1:]) == tuple(shape):
        return distribution.max(0).indices.numpy().astype(np.uint8)
    best = np.full(shape, -1.0, np.float32)
    label = np.zeros(shape, np.uint8)
    for class_id, share in enumerate(distribution.numpy()):
        scaled = Image.fromarray(share).resize(tuple(shape)[::-1], Image.BILINEAR)
        scaled = np.asarray(scaled)
        wins = scaled > best
        best[wins], label[wins] = scaled[wins], class_id
    return label
