"""Are a denoiser's features better than colours? The same classifiers on raw 5 x 5 patches."""

import numpy as np
import pandas as pd

from ..comparisons import patches
from ..data import labels_of, samples
from ..evaluation.significance import paired_bootstrap, verdict
from ..metrics import confusion, mean_iou
from ..training import train
from ..voting import vote

LEARNED = 100  # squares at most that an ensemble of patches learns from: 10 MB each


def compare_with_patches(run, scores, report=None):
    """Frame of two rows, "features" and "patches": the mIoU in percent of the majority vote.

    The classifiers of patches have the run's recipe and seed, and are scored on the same images as
    those of features in `scores`. They learn from the same squares, too, or from LEARNED of them,
    drawn evenly, where there are more. The row of features has the difference in points
    with its interval over images (difference, low, high, verdict).
    """
    preset = run.preset
    found = np.stack(list(_confusions(run, len(scores.members.member), report)))
    of_features = scores.confusions("majority")[0]  # (B, C + 1, C)
    gain = paired_bootstrap(of_features, found, preset.ignore_label)
    counts = {"features": of_features, "patches": found}
    table = pd.DataFrame(
        {"miou": {n: 100 * mean_iou(c.sum(0), preset.ignore_label) for n, c in counts.items()}}
    )
    for name in ("difference", "low", "high"):
        table.loc["features", name] = gain[name]
    table["verdict"] = [verdict(gain["low"], gain["high"]), ""]
    return table.rename_axis("description")


def patches_sentence(run, table):
    """One sentence that says whether the features are worth their time."""
    how = f"{run.preset.n_folds} folds" if run.preset.n_folds else "the test images"
    features, plain = table.miou["features"], table.miou["patches"]
    row = table.loc["features"]
    fewer = f" ({LEARNED} of the squares)" if run.preset.counts["train"] > LEARNED else ""
    numbers = (
        f"{run.name}, {how}: features {features:.1f} % mIoU, "
        f"raw 5 x 5 patches{fewer} {plain:.1f} %; "
        f"difference {row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
    )
    if row.verdict == "gain":
        return f"{numbers}. The denoiser's features are better than patches."
    return (
        f"{numbers}. The denoiser's features are NOT shown to be better than patches: "
        "try another backbone, other steps and blocks (`diffseg sweep`), or more masks."
    )


def _confusions(run, n_members, report):
    """Yield the confusion [C + 1, C] of each test image, in order."""
    preset = run.preset
    labels = labels_of(preset, "train", run.data_root)
    pictures = [sample.image for sample in samples(preset, "train", run.data_root)]
    everything = np.arange(len(pictures))
    learned = [everything]  # by each ensemble
    if preset.n_folds:
        folds = np.array(preset.folds())  # (B,)
        learned = [everything[folds != k] for k in range(preset.n_folds)]
    ensembles = []
    for learn in learned:
        if len(learn) > LEARNED:
            learn = learn[np.linspace(0, len(learn) - 1, LEARNED).round().astype(int)]
        maps = patches([pictures[i] for i in learn], preset.label_size)
        ensemble, _ = train(
            maps,
            labels[learn],
            preset.n_classes,
            preset.ignore_label,
            n_members,
            run.recipe,
            run.seed,
            epochs=preset.epochs,
            device=run.torch_device,
        )
        ensembles.append(ensemble)
        if report:
            report(len(ensembles), len(learned) + 1)
    for i, sample in enumerate(samples(preset, "test", run.data_root)):
        ensemble = ensembles[folds[i] if preset.n_folds else 0]
        maps = patches([sample.image], preset.label_size)
        probs = ensemble.probabilities(maps, 0, preset.label_size).cpu()  # (N, C, H, W)
        yield confusion(vote(probs, "majority"), sample.label, preset.n_classes)
    if report:
        report(1, 1)
