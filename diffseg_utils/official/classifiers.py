"""The published pixel classifiers: reading them, and finding the dataset that they fit.

The published code leaves model_0.pth, model_1.pth, ... in one folder, one file per member.
"""

import re
from pathlib import Path

import torch

from ..backbone import anatomy
from ..classifiers import published_widths
from ..presets import DATASETS

# Places in the published Sequential: a linear layer and its batch norm, three times.
LAYERS = (("0", "2"), ("3", "5"), ("6", None))
# Names of a batch norm: ours, and the published ones.
NORM = {"scale": "weight", "shift": "bias", "mean": "running_mean", "var": "running_var"}


def read_published(source):
    """The state of a PixelEnsemble, {name: float32 [N, ...]}.

    source: a folder, whose files model_<number>.pth are taken by number; or one file; or a list of
    files, taken in that order. FileNotFoundError or ValueError names the file and what is wrong.
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


# ---- which dataset they fit ---------------------------------------------------------------------


def fitting_presets(ensemble):
    """Names of the presets that `ensemble` fits, each with its own backbone."""
    return [
        name
        for name, preset in DATASETS.items()
        if preset.n_classes == ensemble.n_classes
        and _expected_sizes(preset, preset.backbone) == _sizes(ensemble)
    ]


def check_fit(ensemble, preset, backbone, where):
    """ValueError unless `ensemble`, read from `where`, fits `preset` on `backbone`.

    The message names the presets that fit.
    """
    expected, found = _expected_sizes(preset, backbone), _sizes(ensemble)
    if expected != found:
        fitting = " and ".join(fitting_presets(ensemble)) or "no preset"
        raise ValueError(
            f"{where}: {_in_words(found)} fit {fitting}, "
            f"not {preset.name} on backbone {Path(backbone).stem} ({_in_words(expected)})"
        )


def _expected_sizes(preset, backbone):
    """(C, D, h1, h2) of published classifiers for `preset` on `backbone`."""
    n_features = anatomy(backbone)[0]
    return preset.n_classes, n_features, *published_widths(preset.n_classes)


def _sizes(ensemble):
    """(C, D, h1, h2)."""
    return ensemble.n_classes, ensemble.n_features, *ensemble.widths


def _in_words(sizes):
    n_classes, n_features, h1, h2 = sizes
    return f"{n_classes} classes, {n_features} features and widths {h1}, {h2}"


# ---- files --------------------------------------------------------------------------------------


def _published_files(source):
    """The files of the members, in order."""
    if not isinstance(source, str | Path):
        files = [Path(file) for file in source]
        if not files:
            raise ValueError(
                "an empty list of classifier files; name at least one model_<number>.pth"
            )
        return files
    folder = Path(source)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of pixel classifiers")
    numbered = []
    for file in folder.iterdir():
        match = re.fullmatch(r"model_(\d+)\.pth", file.name)
        if match:
            numbered.append((int(match[1]), file))
    if not numbered:
        names = sorted(file.name for file in folder.iterdir())
        there = ", ".join(names[:3]) or "nothing"
        raise FileNotFoundError(
            f"{folder}: no classifiers model_0.pth, model_1.pth, ... in it; it holds {there}"
        )
    return [file for _, file in sorted(numbered)]


def _published_member(file):
    """One member, by the names of PixelEnsemble, without the member axis; all keys are checked."""
    state = _load(file)
    _check_keys(file, state)
    member = {}
    for i, (linear, norm) in enumerate(LAYERS):
        member[f"weight{i}"] = state[_key(linear, "weight")].float().T  # (in, out)
        member[f"bias{i}"] = state[_key(linear, "bias")].float()
        if norm:
            for ours, theirs in NORM.items():
                member[f"{ours}{i}"] = state[_key(norm, theirs)].float()
    _check_shapes(file, member)
    return member


def _load(file):
    """{key without "module.": tensor} of a file; no pickled code is executed.

    The state dict may be wrapped in "model_state_dict" or bare.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such classifier file")
    try:
        state = torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes the unpickler raise
        reason = (str(error) or type(error).__name__).strip().split("\n")[0][:120]
        raise ValueError(
            f"{file}: not a file of plain weights ({reason}); no pickled code is executed"
        ) from None
    if isinstance(state, dict):
        state = state.get("model_state_dict", state)
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise ValueError(
            f"{file}: holds no state dict of tensors, neither bare nor under 'model_state_dict'"
        )
    state = {key.removeprefix("module."): t for key, t in state.items()}
    return {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}


def _check_keys(file, state):
    """ValueError unless `state` has the keys of a published classifier and no others."""
    expected = set()
    for linear, norm in LAYERS:
        expected |= {_key(linear, "weight"), _key(linear, "bias")}
        if norm:
            expected |= {_key(norm, name) for name in NORM.values()}
    missing, unexpected = expected - state.keys(), state.keys() - expected
    for problem, keys in (("missing", missing), ("unexpected", unexpected)):
        if keys:
            examples = ", ".join(sorted(keys)[:3])
            raise ValueError(
                f"{file}: {len(keys)} {problem} keys, such as {examples}; a published classifier "
                f"has {len(expected)} tensors layers.{{0,2,3,5,6}}.*, with or without 'module.'"
            )


def _check_shapes(file, member):
    """ValueError unless the layers of one member fit each other."""
    weights = [member[f"weight{i}"] for i in range(3)]  # (in, out) each
    if any(weight.dim() != 2 for weight in weights):
        raise ValueError(f"{file}: linear weights of {_layers(member)}; they must be matrices")
    sizes = [weights[0].shape[0], *(weight.shape[1] for weight in weights)]
    for name, t in member.items():
        kind, i = name[:-1], int(name[-1])
        expected = (sizes[i], sizes[i + 1]) if kind == "weight" else (sizes[i + 1],)
        if t.shape != expected:
            raise ValueError(
                f"{file}: {kind} of linear layer {i + 1} has shape {tuple(t.shape)} "
                f"where {_layers(member)} need {expected}"
            )


def _layers(member):
    """The shape of a member in words: layers 8448 -> 128, 128 -> 32, 32 -> 15."""
    shapes = [" -> ".join(map(str, member[f"weight{i}"].shape)) for i in range(3)]
    return "layers " + ", ".join(shapes)


def _key(layer, name):
    return f"layers.{layer}.{name}"
