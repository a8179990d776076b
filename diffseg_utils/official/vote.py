"""Votes of published pixel classifiers on the test images of a dataset; nothing is trained."""

from pathlib import Path

import numpy as np

from ..classifiers import PixelEnsemble
from ..data import samples
from ..evaluation import evaluate, predictions
from ..evaluation.observers import labelled, over_k
from ..evaluation.tables import markdown, rule_table
from ..files import atomic, read_json
from ..presets import KS
from ..runs import progress
from ..runs.stages import FEATURES, Job
from ..voting import RULES, Rule
from .classifiers import check_fit, fitting_presets

PLAIN = Rule("entropy_weighted", "entropy-weighted, k = 1", RULES["entropy_weighted"].function)


def apply(run, folder, votes=None, stored=lambda: False, echo=print):
    """Evaluate every rule on the classifiers in `folder`; echoes mIoU in percent as Markdown.

    folder: with model_<number>.pth as published, or our own .safetensors file. votes: a folder
    for the majority votes, <stem>.npy int64 [H, W], as published. stored() True: read the feature
    maps of `run`; else they come from its U-Net. ValueError or FileNotFoundError names what is
    wrong.
    """
    if Path(folder).suffix == ".safetensors":
        ensemble = PixelEnsemble.load(folder)
    else:
        ensemble = PixelEnsemble.from_published(folder)
    preset = run.preset
    if preset.n_folds:
        raise ValueError(f"{preset.file}: voting needs test images; name a folder with `test:`")
    check_fit(ensemble, preset, run.backbone_used, folder)
    counts = {}
    for split in ("validation", "test"):
        if _is_there(run, split):
            # Reads and checks every image before the work starts.
            counts[split] = sum(1 for _ in samples(preset, split, run.data_root))
    maps_of_run = run.path("features") if stored() else False
    noise = _stored_noise(run) if maps_of_run else _fresh_noise(run)
    fitting = " or ".join(fitting_presets(ensemble)) or run.name
    echo(
        f"{ensemble.n_members} classifiers for {fitting}, "
        f"{counts['test']} test images; noise: {noise}"
    )
    ensemble = ensemble.to(run.torch_device)

    def predicted(split):
        maps = run.stream(split, stored=maps_of_run, as_published=True, report=progress(split))
        return predictions({0: ensemble}, maps)

    rules = RULES | {"entropy_weighted": PLAIN}
    if "validation" in counts:
        rules |= _chosen_on_validation(predicted("validation"), preset)
    theirs = _their_votes(folder)
    observers = [_agreement(theirs)] if theirs else []
    if votes:
        observers.append(_written_to(Path(votes)))
    scores = evaluate(predicted("test"), preset, rules, observers)
    echo(markdown(rule_table(scores).rename_axis("rule")))
    same = scores.observed["agreement"]["same"].values.ravel() if theirs else np.array([np.nan])
    same = same[~np.isnan(same)]  # images of which they have a vote
    if same.size:
        echo(
            f"{100 * np.mean(same):.4f} % of the pixels of {len(same)} images "
            f"have the class of {theirs}"
        )


def _is_there(run, split):
    """True for the test split, which is needed, and for a validation split that exists."""
    preset = run.preset
    if split == "test":
        return True
    folder = run.data_root / "datasets" / preset.name / dict(preset.folders)[split]
    return bool(preset.counts[split] and (preset.painted or preset.own or folder.is_dir()))


def _stored_noise(run):
    """Where the noise of stored maps came from, in words."""
    facts = read_json(Job.of(FEATURES, run, {}).record)["facts"]
    return f"{facts['noise']} ({run.path('features')})"


def _fresh_noise(run):
    """The noise and the precision of maps from the U-Net, in words."""
    device = run.torch_device
    precision = "float16" if device == "cuda" else "float32"
    said = f"one tensor for all images and steps, seed 0, {device} generator"
    return f"{said}; U-Net in {precision}"


def _chosen_on_validation(predictions, preset):
    """{name: the entropy-weighted rule} with the k of the best validation mIoU.

    Of equally good values the smallest.
    """
    found = evaluate(predictions, preset, {}, [over_k(KS)], split="validation")
    k = KS[int(found.curve("sweep")[0, 0].argmax("k"))]
    label = f"entropy-weighted, k = {k:.3g}, chosen on validation"
    return {"k chosen": Rule("k chosen", label, lambda probs: PLAIN(probs, k=k))}


# ---- observers ----------------------------------------------------------------------------------


def _agreement(theirs):
    """The observer of the share of pixels with the class of the votes in folder `theirs`."""

    def agreement(name, probs, votes, truth, preset):
        """same (image); nan for an image of which they have no vote"""
        labels, file = votes["majority"].labels, theirs / f"{name}.npy"
        same = np.nan
        if file.exists():
            same = np.mean(labels == _prediction(file, labels.shape))
        return {"same": labelled([same], image=None)}

    return agreement


def _written_to(folder):
    """The observer that writes the majority votes to a folder."""

    def written(name, probs, votes, truth, preset):
        with atomic(folder / f"{name}.npy") as temporary:
            np.save(temporary, votes["majority"].labels)
        return {}

    return written


# ---- published votes ----------------------------------------------------------------------------


def _their_votes(folder):
    """The folder predictions/ in `folder` or beside it, or None."""
    for place in (Path(folder) / "predictions", Path(folder).parent / "predictions"):
        if place.is_dir():
            return place
    return None


def _prediction(path, shape):
    """The published vote of an image, integers of `shape`."""
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a readable .npy vote ({reason})") from None
    if found.shape != shape:
        raise ValueError(f"{path}: a vote of shape {found.shape}; the labels have {shape}")
    return found
