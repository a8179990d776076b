"""Reads pixel classifiers that the published code trained: model_0.pth, model_1.pth, ... of one folder."""

import re
from pathlib import Path

import torch

from ..backbone import anatomy
from ..classifiers import published_widths
from ..presets import DATASETS

LAYERS = (
    ("0", "2"),
    ("3", "5"),
    ("6", None),
)  # the published Sequential: a linear layer and its batch norm, three times
NORM = {"scale": "weight", "shift": "bias", "mean": "running_mean", "var": "running_var"}


def read_published(source):
    """The state of a PixelEnsemble, names -> float32 [N, ...], of a folder, one file, or a list of files in that order.

    A folder gives its model_<number>.pth by number. FileNotFoundError or ValueError names the file and what is wrong.
    """
    files = _published_files(source)
    members = [_published_member(file) for file in files]
    for file, member in zip(files, members):
        if _layers(member) != _layers(members[0]):
            raise ValueError(
                f"{file}: {_layers(member)}, but {files[0].name} has {_layers(members[0])}; "
                "the members of an ensemble have one shape"
            )
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}


def fitting_presets(ensemble):
    """Names of the presets whose class ids, features of the own backbone and published widths are those of `ensemble`."""
    return [
        name
        for name, preset in DATASETS.items()
        if preset.n_classes == ensemble.n_classes
        and _wanted(preset, preset.backbone) == _found(ensemble)
    ]


def check_fit(ensemble, preset, backbone, where):
    """ValueError, which names the presets that fit, unless `ensemble` (read from `where`) fits `preset` on `backbone`."""
    wanted, found = _wanted(preset, backbone), _found(ensemble)
    if wanted != found:
        words = "{} classes, {} features and widths {}, {}".format
        raise ValueError(
            f"{where}: {words(*found)} fit {' and '.join(fitting_presets(ensemble)) or 'no preset'}, "
            f"not {preset.name} on backbone {Path(backbone).stem} ({words(*wanted)})"
        )


def _wanted(preset, backbone):
    return preset.n_classes, anatomy(backbone)[0], *published_widths(preset.n_classes)


def _found(ensemble):
    return ensemble.n_classes, ensemble.n_features, *ensemble.widths


def _published_files(source):
    """The files of the members, in order."""
    folder = Path(source) if isinstance(source, str | Path) else None
    if folder is None or folder.is_file():
        files = [Path(file) for file in ([folder] if folder else source)]
        if not files:
            raise ValueError(
                "an empty list of classifier files; name at least one model_<number>.pth"
            )
        return files
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of pixel classifiers")
    numbered = {file: re.fullmatch(r"model_(\d+)\.pth", file.name) for file in folder.iterdir()}
    files = sorted(
        (file for file in numbered if numbered[file]), key=lambda file: int(numbered[file][1])
    )
    if not files:
        there = ", ".join(sorted(file.name for file in numbered)[:3]) or "nothing"
        raise FileNotFoundError(
            f"{folder}: no classifiers model_0.pth, model_1.pth, ... in it; it holds {there}"
        )
    return files


def _published_member(file):
    """One member, by the names of PixelEnsemble without the member axis; every key and shape is checked."""
    state = _load(file)
    wanted = {_key(linear, name) for linear, _ in LAYERS for name in ("weight", "bias")}
    wanted |= {_key(norm, name) for _, norm in LAYERS if norm for name in NORM.values()}
    for problem, keys in (
        ("missing", wanted - state.keys()),
        ("unexpected", state.keys() - wanted),
    ):
        if keys:
            raise ValueError(
                f"{file}: {len(keys)} {problem} keys, such as {', '.join(sorted(keys)[:3])}; a published "
                f"classifier has {len(wanted)} tensors layers.{{0,2,3,5,6}}.*, with or without 'module.'"
            )
    member = {}
    for i, (linear, norm) in enumerate(LAYERS):
        member[f"weight{i}"] = state[_key(linear, "weight")].float().T
        member[f"bias{i}"] = state[_key(linear, "bias")].float()
        if norm:
            member |= {
                f"{ours}{i}": state[_key(norm, theirs)].float() for ours, theirs in NORM.items()
            }
    _check_shapes(file, member)
    return member


def _load(file):
    """{key without "module.": tensor} of a file, wrapped in 'model_state_dict' or bare; no pickled code is executed."""
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such classifier file")
    try:
        state = torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes the unpickler raise
        reason = (str(error) or type(error).__name__).strip().split("\n")[0][:120]
        raise ValueError(
            f"{file}: not a file of plain weights ({reason}); no pickled code is executed"
        ) from None
    state = state.get("model_state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise ValueError(
            f"{file}: holds no state dict of tensors, neither bare nor under 'model_state_dict'"
        )
    state = {key.removeprefix("module."): t for key, t in state.items()}
    return {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}


def _check_shapes(file, member):
    """ValueError unless the layers of one member fit each other."""
    if any(member[f"weight{i}"].dim() != 2 for i in range(3)):
        raise ValueError(f"{file}: linear weights of {_layers(member)}; they must be matrices")
    sizes = [member["weight0"].shape[0], *(member[f"weight{i}"].shape[1] for i in range(3))]
    for name, t in member.items():
        i = int(name[-1])
        shape = (sizes[i], sizes[i + 1]) if name.startswith("weight") else (sizes[i + 1],)
        if t.shape != shape:
            raise ValueError(
                f"{file}: {name[:-1]} of linear layer {i + 1} has shape {tuple(t.shape)} where {_layers(member)} "
                f"need {shape}"
            )


def _layers(member):
    """The shape of a member in words."""
    return "layers " + ", ".join(
        " -> ".join(map(str, member[f"weight{i}"].shape)) for i in range(3)
    )


def _key(layer, name):
    return f"layers.{layer}.{name}"
