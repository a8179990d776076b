"""How useful is a denoiser? The mIoU of small classifiers on its features, without any test image.

A round is (maps, labels, other maps, truths): classifiers learn from the first two and are scored
on the last two. labels and truths: int64 [B, H, W].
"""

from itertools import product

import numpy as np
import pandas as pd
import torch

from .backbone import shared_noise
from .data import batches, labels_of, samples
from .features import extract
from .metrics import confusion, mean_iou
from .training import train
from .voting import vote


def rounds(backbone, preset, root="data", n_folds=5):
    """The rounds of a dataset, a list.

    A painted dataset has one round: its training and its validation split. Of image files only the
    training images are used, in n_folds rounds: in round k the images k, k + n_folds, ... are
    scored, and classifiers learn from the others.
    """
    maps, labels = _maps(backbone, preset, "train", root), labels_of(preset, "train", root)
    if preset.painted:
        others = _maps(backbone, preset, "validation", root)
        return [(maps, labels, others, labels_of(preset, "validation", root))]
    truths = _truths(preset, root)
    fold = torch.arange(len(labels)) % n_folds  # (B,)
    found = []
    for k in range(n_folds):
        learn, score = fold != k, fold == k
        found.append((maps[learn], labels[learn], maps[score], truths[score]))
    return found


def ask(rounds, preset, n_members=10, seed=0, device="cpu", report=None):
    """Confusions int64 [B, C + 1, C] of the majority vote on all scored images, in order of rounds.

    Classifiers are trained with the tuned recipe.
    """
    found = []
    for done, (maps, labels, others, truths) in enumerate(rounds, 1):
        ensemble, _ = train(
            maps,
            labels,
            preset.n_classes,
            preset.ignore_label,
            n_members,
            "tuned",
            seed,
            device=device,
        )
        for i, truth in enumerate(truths):
            probs = ensemble.probabilities(others, i, preset.label_size).cpu()  # (N, C, H, W)
            found.append(confusion(vote(probs, "majority"), truth, preset.n_classes))
        if report:
            report(done, len(rounds))
    return np.stack(found)


def ask_each_map(backbone, rounds, preset, seed=0, device="cpu"):
    """Frame (step, block, miou in percent): one classifier per map; first round only."""
    maps, labels, others, truths = rounds[0]
    rows = []
    for k, (step, block) in enumerate(product(backbone.steps, backbone.blocks)):
        alone = [(maps.pick([k]), labels, others.pick([k]), truths)]
        found = ask(alone, preset, 1, seed, device)
        rows.append((step, block, mean_iou(found.sum(0), preset.ignore_label)))
    return pd.DataFrame(rows, columns=["step", "block", "miou"])


def spread(confusions, ignore_label, resamples=2000):
    """Standard error of the mIoU, in percent, over the images of confusions [B, C + 1, C].

    It is the standard deviation of bootstrap resamples.
    """
    n = len(confusions)
    drawn = np.random.default_rng(0).multinomial(n, [1 / n] * n, resamples)  # (R, B)
    return float(mean_iou(np.tensordot(drawn, confusions, 1), ignore_label).std())


def _maps(backbone, preset, split, root):
    """FeatureMaps of a split in float16, with the published noise."""
    size = backbone.image_size
    images = (sample.image for sample in samples(preset, split, root))
    noise = shared_noise(size, 0, backbone.device)
    return extract(backbone, batches(images, size), noise, dtype=torch.float16)


def _truths(preset, root):
    """Labels of the training images as they are; tiny regions are ignored in training only."""
    return torch.from_numpy(np.stack([sample.label for sample in samples(preset, "train", root)]))
