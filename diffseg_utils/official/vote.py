"""Pixel classifiers that somebody else trained, applied to the test images of a dataset: every rule, no training."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np

from ..backbone import load_backbone, shared_noise
from ..classifiers import PixelEnsemble
from ..data import samples, to_input
from ..features import FeatureMaps, extract
from ..metrics import PROTOCOLS, confusion, mean_iou, paired_bootstrap
from ..presets import KS
from ..runs import FEATURES, progress
from ..voting import RULES, entropy_weighted, sweep, vote
from .classifiers import check_fit, fitting_presets


def apply(run, folder, votes=None, stored=lambda: False, echo=print):
    """Evaluate every rule on the published classifiers in `folder`, or our own .safetensors; echoes mIoU in % as Markdown.

    stored() True: take the feature maps of `run` instead of its U-Net, which holds one image at a time. votes: a folder for the
    majority votes, <stem>.npy int64 [H, W], as published. ValueError or FileNotFoundError names what is wrong.
    """
    read = (
        PixelEnsemble.load
        if Path(folder).suffix == ".safetensors"
        else PixelEnsemble.from_published
    )
    ensemble, preset = read(folder), run.preset
    check_fit(ensemble, preset, run.backbone_used, folder)
    splits = [split for split in ("validation", "test") if _is_there(run, split)]
    counts = {
        split: sum(1 for _ in samples(preset, split, run.data_root)) for split in splits
    }  # reads and checks all
    maps_of, noise = _stored(run) if stored() else _streamed(run)
    echo(
        f"{ensemble.n_members} classifiers for {' or '.join(fitting_presets(ensemble)) or run.name}, "
        f"{counts['test']} test images; noise: {noise}"
    )
    opinions = partial(_opinions, run, ensemble.to(run.torch_device), maps_of, counts)
    rules = {name.replace("_", " "): rule for name, rule in RULES.items()}
    rules["entropy weighted, k = 1"] = rules.pop("entropy weighted")
    if "validation" in splits:
        rules |= _chosen_on_validation(opinions("validation"), preset)
    theirs = next(
        (
            p
            for p in (Path(folder) / "predictions", Path(folder).parent / "predictions")
            if p.is_dir()
        ),
        None,
    )
    confusions, same = _count(opinions("test"), rules, preset.n_classes, theirs, votes)
    echo(table(confusions, preset.ignore_label))
    if same:
        echo(
            f"{100 * np.mean(same):.4f} % of the pixels of {len(same)} images have the class of {theirs}"
        )


def table(confusions, ignore_label):
    """Markdown: mIoU (%) of every rule in both protocols, minus the majority's with 95 % of a paired bootstrap over images."""
    rows = [
        "| rule | " + " | ".join(f"mIoU, {p} | minus majority" for p in PROTOCOLS) + " |",
        "|---" + "|---:" * 4 + "|",
    ]
    for name, counts in confusions.items():
        cells = [name]
        for p in PROTOCOLS:
            gain = paired_bootstrap(counts, confusions["majority"], ignore_label, p)
            interval = (
                ""
                if name == "majority"
                else "{difference:+.2f} [{low:+.2f}, {high:+.2f}]".format(**gain)
            )
            cells += [f"{mean_iou(counts.sum(0), ignore_label, p):.2f}", interval]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _is_there(run, split):
    """The test split must be there; the validation split may be absent, and then no k is chosen."""
    preset = run.preset
    folder = run.data_root / "datasets" / preset.name / dict(preset.folders)[split]
    return split == "test" or bool(preset.counts[split] and (preset.painted or folder.is_dir()))


def _stored(run):
    """(maps_of(split, index, image) -> (FeatureMaps, place in it), where their noise came from): features on disk."""
    facts = json.loads(run.record(FEATURES).read_text())["facts"]
    maps = {}

    def maps_of(split, index, image):
        if split not in maps:
            maps[split] = FeatureMaps.load(run.big / "features" / split)
        return maps[split], index

    return maps_of, f"{facts['noise']} (features of {run.big})"


def _streamed(run):
    """The same from the U-Net: fp16 on CUDA, as published."""
    device = run.torch_device
    denoiser = load_backbone(run.backbone_used, device, "auto", data=run.data_root)
    noise = shared_noise(denoiser.image_size, 0, device)

    def maps_of(split, index, image):
        return extract(denoiser, to_input(image, denoiser.image_size)[None], noise), 0

    return (
        maps_of,
        f"one tensor for all images and steps, seed 0, {device} generator; U-Net in {denoiser.precision}",
    )


def _opinions(run, ensemble, maps_of, counts, split):
    """(sample, probs [N, C, H, W] on the CPU) of a split, one image at a time."""
    report = progress(split)
    for i, sample in enumerate(samples(run.preset, split, run.data_root)):
        yield (
            sample,
            ensemble.probabilities(*maps_of(split, i, sample.image), run.preset.label_size).cpu(),
        )
        report(i + 1, counts[split])


def _count(opinions, rules, n_classes, theirs, votes):
    """({rule: confusions [B, C + 1, C]}, [where our majority is their prediction, [H, W]]); saves the majority in `votes`."""
    confusions, same = {name: [] for name in rules}, []
    for sample, probs in opinions:
        for name, rule in rules.items():
            confusions[name].append(confusion(vote(probs, rule), sample.label, n_classes))
        majority, file = vote(probs, "majority").numpy(), f"{sample.name}.npy"
        if theirs and (theirs / file).exists():
            same.append(majority == _prediction(theirs / file, majority.shape))
        if votes:
            _save(Path(votes) / file, majority)
    return {name: np.stack(counts) for name, counts in confusions.items()}, same


def _chosen_on_validation(opinions, preset):
    """{name: the entropy-weighted rule} with the k of the best validation mIoU, the smallest of equals."""
    total = sum(
        np.stack([confusion(labels, sample.label, preset.n_classes) for labels in sweep(probs, KS)])
        for sample, probs in opinions
    )
    k = KS[np.argmax(mean_iou(total, preset.ignore_label))]
    return {f"entropy weighted, k = {k:.3g}, chosen on validation": partial(entropy_weighted, k=k)}


def _prediction(path, shape):
    """The published vote of an image, integers of `shape`."""
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: not a readable .npy vote ({str(error).splitlines()[0]})"
        ) from None
    if found.shape != shape:
        raise ValueError(f"{path}: a vote of shape {found.shape}; the labels have {shape}")
    return found


def _save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_name(f".{path.name}"), labels)
    os.replace(path.with_name(f".{path.name}"), path)
