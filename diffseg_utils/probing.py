"""How useful is a denoiser? The majority of ten small classifiers on its features, asked without a test image."""

from itertools import product

import numpy as np
import pandas as pd
import torch

from .backbone import shared_noise
from .data import batches, labels_of, samples
from .features import FeatureMaps, extract
from .metrics import confusion, mean_iou
from .training import train
from .voting import vote


def rounds(backbone, preset, root="data", n_folds=5):
    """[(maps, labels, other maps, truths), ...]: what classifiers of each round learn from, and what they are asked.

    A painted dataset has one round: its training and its validation split. Of image files the training images are all that
    is used: in turn, every n_folds-th of them is asked and the others are learnt from. labels and truths: int64 [B, H, W].
    """
    maps, labels = _maps(backbone, preset, "train", root), labels_of(preset, "train", root)
    if preset.painted:
        return [
            (
                maps,
                labels,
                _maps(backbone, preset, "validation", root),
                labels_of(preset, "validation", root),
            )
        ]
    truths, fold = _truths(preset, root), torch.arange(len(labels)) % n_folds
    return [
        (_some(maps, fold != k), labels[fold != k], _some(maps, fold == k), truths[fold == k])
        for k in range(n_folds)
    ]


def ask(rounds, preset, n_members=10, seed=0, device="cpu", report=None):
    """Confusions int64 [B, C + 1, C] of the majority vote on all images asked, in order of the rounds; tuned recipe."""
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
        found += [
            confusion(
                vote(ensemble.probabilities(others, i, preset.label_size).cpu(), "majority"),
                truth,
                preset.n_classes,
            )
            for i, truth in enumerate(truths)
        ]
        if report:
            report(done, len(rounds))
    return np.stack(found)


def ask_each_map(backbone, rounds, preset, seed=0, device="cpu"):
    """Frame (step, block, miou in percent): one classifier that reads one map alone; first round only."""
    maps, labels, others, truths = rounds[0]
    rows = []
    for k, (step, block) in enumerate(product(backbone.steps, backbone.blocks)):
        one = [(FeatureMaps([maps.maps[k]]), labels, FeatureMaps([others.maps[k]]), truths)]
        found = ask(one, preset, 1, seed, device)
        rows.append((step, block, mean_iou(found.sum(0), preset.ignore_label)))
    return pd.DataFrame(rows, columns=["step", "block", "miou"])


def spread(confusions, ignore_label, resamples=2000):
    """Standard error of the mIoU (percent) over images: the spread of bootstrap resamples of confusions [B, C + 1, C]."""
    n = len(confusions)
    drawn = np.random.default_rng(0).multinomial(n, [1 / n] * n, resamples)  # (R, B)
    return float(mean_iou(np.tensordot(drawn, confusions, 1), ignore_label).std())


def _maps(backbone, preset, split, root):
    size = backbone.image_size
    images = (sample.image for sample in samples(preset, split, root))
    return extract(
        backbone, batches(images, size), shared_noise(size, 0, backbone.device), dtype=torch.float16
    )


def _truths(preset, root):
    """Labels of the training images as they are: tiny regions are ignored in training only."""
    return torch.from_numpy(np.stack([sample.label for sample in samples(preset, "train", root)]))


def _some(maps, chosen):
    return FeatureMaps([m[chosen] for m in maps.maps])
