"""Votes of published pixel classifiers on the test images of a dataset; nothing is trained."""

from functools import partial
from pathlib import Path

import numpy as np

from ..backbone import load_backbone, shared_noise
from ..classifiers import PixelEnsemble
from ..data import samples, to_input
from ..features import FeatureMaps, extract
from ..files import atomic, read_json
from ..metrics import PROTOCOLS, confusion, mean_iou, paired_bootstrap
from ..presets import KS
from ..runs import progress
from ..runs.stages import FEATURES, Job
from ..voting import RULES, entropy_weighted, sweep, vote
from .classifiers import check_fit, fitting_presets


def apply(run, folder, votes=None, stored=lambda: False, echo=print):
    """Evaluate every rule on the classifiers in `folder`; echoes mIoU in percent as Markdown.

    folder: with model_<number>.pth as published, or our own .safetensors file. votes: a folder
    for the majority votes, <stem>.npy int64 [H, W], as published. stored() True: read the feature
    maps of `run`; else they come from its U-Net, one image at a time. ValueError or
    FileNotFoundError names what is wrong.
    """
    if Path(folder).suffix == ".safetensors":
        ensemble = PixelEnsemble.load(folder)
    else:
        ensemble = PixelEnsemble.from_published(folder)
    preset = run.preset
    check_fit(ensemble, preset, run.backbone_used, folder)
    counts = {}
    for split in ("validation", "test"):
        if _is_there(run, split):
            # Reads and checks every image before the work starts.
            counts[split] = sum(1 for _ in samples(preset, split, run.data_root))
    maps_of, noise = _stored(run) if stored() else _streamed(run)
    fitting = " or ".join(fitting_presets(ensemble)) or run.name
    echo(
        f"{ensemble.n_members} classifiers for {fitting}, "
        f"{counts['test']} test images; noise: {noise}"
    )
    predictions = partial(_predictions, run, ensemble.to(run.torch_device), maps_of, counts)
    rules = {name.replace("_", " "): rule for name, rule in RULES.items()}
    rules["entropy weighted, k = 1"] = rules.pop("entropy weighted")
    if "validation" in counts:
        rules |= _chosen_on_validation(predictions("validation"), preset)
    theirs = _their_votes(folder)
    confusions, same = _count(predictions("test"), rules, preset.n_classes, theirs, votes)
    echo(table(confusions, preset.ignore_label))
    if same:
        echo(
            f"{100 * np.mean(same):.4f} % of the pixels of {len(same)} images "
            f"have the class of {theirs}"
        )


def table(confusions, ignore_label):
    """Markdown of {rule: confusions [B, C + 1, C]}: a row per rule, in both protocols.

    mIoU in percent, and the difference from the majority with the 95 % interval of a paired
    bootstrap over images.
    """
    titles = " | ".join(f"mIoU, {protocol} | minus majority" for protocol in PROTOCOLS)
    rows = [f"| rule | {titles} |", "|---" + "|---:" * 4 + "|"]
    for name, counts in confusions.items():
        cells = [name]
        for protocol in PROTOCOLS:
            cells.append(f"{mean_iou(counts.sum(0), ignore_label, protocol):.2f}")
            if name == "majority":
                cells.append("")
            else:
                gain = paired_bootstrap(counts, confusions["majority"], ignore_label, protocol)
                cells.append("{difference:+.2f} [{low:+.2f}, {high:+.2f}]".format(**gain))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


# ---- predictions --------------------------------------------------------------------------------


def _is_there(run, split):
    """True for the test split, which is needed, and for a validation split that exists."""
    preset = run.preset
    if split == "test":
        return True
    folder = run.data_root / "datasets" / preset.name / dict(preset.folders)[split]
    return bool(preset.counts[split] and (preset.painted or folder.is_dir()))


def _stored(run):
    """(maps_of, where the noise of the maps came from), with maps that lie on disk.

    maps_of(split, index, image) -> (FeatureMaps, the place of the image in them).
    """
    facts = read_json(Job.of(FEATURES, run, {}).record)["facts"]
    maps = {}

    def maps_of(split, index, image):
        if split not in maps:
            maps[split] = FeatureMaps.load(run.path("features") / split)
        return maps[split], index

    return maps_of, f"{facts['noise']} ({run.path('features')})"


def _streamed(run):
    """The same with maps from the U-Net, in float16 on CUDA, as published."""
    device = run.torch_device
    denoiser = load_backbone(run.backbone_used, device, "auto", data=run.data_root)
    noise = shared_noise(denoiser.image_size, 0, device)

    def maps_of(split, index, image):
        batch = to_input(image, denoiser.image_size)[None]  # (1, 3, S, S)
        return extract(denoiser, batch, noise), 0

    said = f"one tensor for all images and steps, seed 0, {device} generator"
    return maps_of, f"{said}; U-Net in {denoiser.precision}"


def _predictions(run, ensemble, maps_of, counts, split):
    """Yield (sample, probs [N, C, H, W] on the CPU) of a split, one image at a time."""
    report = progress(split)
    for i, sample in enumerate(samples(run.preset, split, run.data_root)):
        maps, place = maps_of(split, i, sample.image)
        yield sample, ensemble.probabilities(maps, place, run.preset.label_size).cpu()
        report(i + 1, counts[split])


def _chosen_on_validation(predictions, preset):
    """{name: the entropy-weighted rule} with the k of the best validation mIoU.

    Of equally good values the smallest.
    """
    total = 0
    for sample, probs in predictions:
        labels = sweep(probs, KS)  # (K, H, W)
        total += np.stack([confusion(row, sample.label, preset.n_classes) for row in labels])
    k = KS[np.argmax(mean_iou(total, preset.ignore_label))]
    return {f"entropy weighted, k = {k:.3g}, chosen on validation": partial(entropy_weighted, k=k)}


def _count(predictions, rules, n_classes, theirs, votes):
    """({rule: confusions [B, C + 1, C]}, [bool [H, W]: our majority is theirs, per image]).

    theirs: the folder of the published votes, or None. votes: a folder for our majority votes.
    """
    confusions = {name: [] for name in rules}
    same = []
    for sample, probs in predictions:
        for name, rule in rules.items():
            confusions[name].append(confusion(vote(probs, rule), sample.label, n_classes))
        majority = vote(probs, "majority").numpy()
        file = f"{sample.name}.npy"
        if theirs and (theirs / file).exists():
            same.append(majority == _prediction(theirs / file, majority.shape))
        if votes:
            with atomic(Path(votes) / file) as temporary:
                np.save(temporary, majority)
    return {name: np.stack(counts) for name, counts in confusions.items()}, same


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
