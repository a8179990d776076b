"""What are a denoiser's features worth? The same classifiers on several descriptions of a pixel.

Shapes: B images, H x W labels, C classes.
"""

import pandas as pd
import torch
import torch.nn.functional as F

from .backbone import shared_noise
from .data import batches, labels_of, samples, to_input
from .features import FeatureMaps, extract
from .metrics import confusion, mean_iou
from .training import train
from .voting import vote

LEARNED = 20  # images at most that the classifiers learn from
SCORED = 10  # images at most that they are scored on
THINNED = 64  # labels larger than 64 x 64 are thinned to as many pixels


def compare_descriptions(denoiser, untrained, preset, root="data", report=None):
    """mIoU in percent of three descriptions of a pixel: a Series {description: mIoU}.

    They are the features of `denoiser`, the features of `untrained` (the same network with random
    weights), and the colours around the pixel with its position. Three classifiers learn from each
    with the tuned recipe, in at most two epochs, and their majority is scored on other images.
    No test image takes part.
    """
    learned, scored = _images(preset, root)
    pictures = [sample.image for sample in learned + scored]
    labels = labels_of(preset, "train", root)[: len(learned)]  # (B, H, W)
    labels = thin_out(labels, preset.ignore_label)
    truths = [sample.label for sample in scored]

    sources = {
        "denoiser": lambda: _features(denoiser, pictures),
        "same U-Net, random weights": lambda: _features(untrained, pictures),
        "5 x 5 patch + position": lambda: patches(pictures, preset.label_size),
    }
    found = {}
    for done, (name, describe) in enumerate(sources.items(), 1):
        found[name] = _miou(describe(), labels, truths, preset, denoiser.device)
        if report:
            report(done, len(sources))
    return pd.Series(found)


def _images(preset, root):
    """(Samples that classifiers learn from, Samples that they are scored on)."""
    train_images = list(samples(preset, "train", root))
    validation = list(samples(preset, "validation", root))
    if validation:
        return train_images[:LEARNED], validation[-SCORED:]
    n_scored = min(SCORED, len(train_images) // 2)
    return train_images[:-n_scored], train_images[-n_scored:]


def thin_out(labels, ignore_label):
    """labels [B, H, H] of which at random about 64 x 64 per image stay, and the rest is ignored."""
    size = labels.shape[-1]
    chance = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(chance < THINNED**2 / size**2, labels, ignore_label)


def _features(backbone, pictures):
    noise = shared_noise(backbone.image_size, 0, backbone.device)
    images = batches(pictures, backbone.image_size)
    return extract(backbone, images, noise, dtype=torch.float16)


def patches(pictures, size):
    """The plainest description: FeatureMaps [B, size, size, 77] of images uint8 [S, S, 3].

    Red, green and blue of the 5 x 5 pixels around each pixel, and its position.
    """
    line = torch.linspace(-1, 1, size)
    position = torch.stack(torch.meshgrid(line, line, indexing="ij"))  # (2, size, size)
    found = []
    for picture in pictures:
        image = to_input(picture, size)[None]  # (1, 3, size, size)
        framed = F.pad(image, (2, 2, 2, 2), mode="replicate")
        patch = F.unfold(framed, 5)[0].view(75, size, size)
        found.append(torch.cat([patch, position]).permute(1, 2, 0).half())  # (size, size, 77)
    return FeatureMaps([torch.stack(found)])


def _miou(maps, labels, truths, preset, device):
    """mIoU in percent on the images of `maps` that follow the labelled ones."""
    n_learned = len(labels)
    ensemble, _ = train(
        maps[:n_learned],
        labels,
        preset.n_classes,
        preset.ignore_label,
        n_members=3,
        recipe="tuned",
        epochs=min(2, preset.epochs),
        device=device,
    )
    counts = 0
    for i, truth in enumerate(truths, n_learned):
        probs = ensemble.probabilities(maps, i, preset.label_size).cpu()  # (N, C, H, W)
        counts = counts + confusion(vote(probs, "majority"), truth, preset.n_classes)
    return mean_iou(counts, preset.ignore_label)
