"""Scores without test images: each training image is predicted by classifiers that never saw it.

The training images are divided into folds. For each fold an ensemble is trained without it, by
notebook 02; notebook 03 asks that ensemble about the images of the fold.
"""

import torch

from ..classifiers import PixelEnsemble
from ..data import samples
from ..evaluation.scores import Prediction
from ..files import replace_folder
from ..training import train


def train_folds(run, maps, labels, n_members, report=None):
    """Train an ensemble without each fold of the training images; write them to `folds`.

    maps, labels: of all training images. Finished folds of an interrupted training are kept. The
    folder is empty for a dataset with test images of its own.
    """
    preset = run.preset
    unfinished = run.unfinished("02_classifier_training")
    folder = unfinished / "folds"
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(preset.n_folds):
        file = folder / f"fold{k}.safetensors"
        if file.exists():
            continue
        learn = torch.tensor(preset.folds()) != k  # (B,)
        ensemble, _ = train(
            maps[learn],
            labels[learn],
            preset.n_classes,
            preset.ignore_label,
            n_members,
            run.recipe,
            run.seed,
            checkpoint=unfinished / f"fold{k}.pt",
            epochs=preset.epochs,
            device=run.torch_device,
            report=part_of(report, k, preset.n_folds),
        )
        ensemble.save(file)
    replace_folder(folder, run.target("folds"))


def part_of(report, k, n):
    """The report of the k-th of n equal pieces of work."""
    return report and (lambda done, total: report(k * total + done, n * total))


class FoldEnsembles:
    """Several ensembles in place of one: a training image is shown to that of its fold."""

    def __init__(self, ensembles, folds):
        self.ensembles = ensembles
        self.folds = folds  # of each training image

    @property
    def n_members(self):
        """N, of each ensemble."""
        return self.ensembles[0].n_members

    def to(self, device):
        """The same on another device."""
        return FoldEnsembles([ensemble.to(device) for ensemble in self.ensembles], self.folds)

    def probabilities(self, maps, image, size, rows=None):
        """As of a PixelEnsemble; `maps` must be those of all training images.

        ValueError for other maps, because then `image` would be the number of another image.
        """
        if maps.n_images != len(self.folds):
            raise ValueError(
                f"these maps are of {maps.n_images} images, the folds of {len(self.folds)}"
            )
        return self.ensembles[self.folds[image]].probabilities(maps, image, size, rows)


def test_ensemble(run):
    """What is asked about the test images: the run's ensemble, or in folds that of each fold."""
    preset = run.preset
    if not preset.n_folds:
        return run.ensemble()
    files = [run.source("folds") / f"fold{k}.safetensors" for k in range(preset.n_folds)]
    ensembles = [PixelEnsemble.load(file) for file in files]
    return FoldEnsembles(ensembles, preset.folds()).to(run.torch_device)


def predictions_of_fold(run, fold, report=None):
    """Predictions of the images of one fold, by the ensemble that has not seen them."""
    preset, asked = run.preset, test_ensemble(run)
    maps = run.maps("train")
    places = [i for i, k in enumerate(preset.folds()) if k == fold]
    done = 0
    for i, sample in enumerate(samples(preset, "train", run.data_root)):
        if i not in places:
            continue
        probs = asked.probabilities(maps, i, preset.label_size).cpu()  # (N, C, H, W)
        yield Prediction(sample.name, {run.seed: probs}, sample.label)
        done += 1
        if report:
            report(done, len(places))
