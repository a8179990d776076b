"""The images that 04 draws: the best, the median and the worst of a run; the pieces of Fig. 1."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from ..backbone import create, describe, shared_noise
from ..data import to_input
from ..voting import disagreement, entropy, entropy_weights
from .tables import image_gains


def examples(run, scores, samples, maps, probs_of, k=1.0):
    """{name: array} of examples.npz.

    Three test images, chosen by the gain of the entropy-weighted vote over the majority: names,
    difference (points of their own mIoU), image, truth, majority, entropy_weighted, disagreement.
    The median one is the image of Fig. 1: noised, map_<step>_<block>, members, entropy, weights,
    k.
    scores: with the observer label_maps; samples, maps: of the test split; probs_of(i): the probs
    [N, C, H, W] of test image i.
    """
    gains = image_gains(scores)  # (B,)
    three = np.argsort(gains, kind="stable")[[-1, len(gains) // 2, 0]]
    labels = scores.of("test").observed["label_maps"]["labels"][0]  # (rule, B, H, W)
    found = {
        "names": np.array([samples[i].name for i in three]),
        "difference": gains[three],
        "image": np.stack([samples[i].image for i in three]),
        "truth": np.stack([samples[i].label for i in three]).astype(np.int16),
        "majority": labels.sel(rule="majority").values[three],
        "entropy_weighted": labels.sel(rule="entropy_weighted").values[three],
    }
    probs = [probs_of(int(i)) for i in three]
    found["disagreement"] = [disagreement(q).half().numpy() for q in probs]
    median = int(three[1])
    pieces = _noised_and_maps(run, samples[median].image, maps[median])
    return found | pieces | _members(probs[1], k) | {"k": np.array(k)}


def _noised_and_maps(run, image, maps):
    """The image as the U-Net sees it at the middle step, and the colours of three of its maps."""
    used = describe(run.backbone_used)
    steps, blocks, side = used["steps"], used["blocks"], used["flags"]["image_size"]
    middle = len(steps) // 2
    with torch.device("meta"):  # no weights: only the noise schedule is wanted
        diffusion = create(used["flags"])[1]
    noise = shared_noise(side, 0, run.torch_device).cpu()
    step = torch.tensor([steps[middle]])
    noised = diffusion.q_sample(to_input(image, side)[None], step, noise)[0]  # (3, S, S)
    pixels = ((noised.permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).byte()
    found = {"noised": pixels.numpy()}
    for j in (0, len(blocks) // 2, len(blocks) - 1):
        cells = maps.maps[middle * len(blocks) + j][0].float().numpy()  # (h, w, c)
        found[f"map_{steps[middle]}_{blocks[j]}"] = _colours(cells)
    return found


def _colours(cells):
    """uint8 [h, w, 3] of a map [h, w, c]: its three largest principal components."""
    h, w, c = cells.shape
    parts = PCA(3, random_state=0).fit_transform(cells.reshape(-1, c))
    low, high = np.percentile(parts, (2, 98), axis=0)
    colours = 255 * ((parts - low) / (high - low)).clip(0, 1)
    return colours.astype(np.uint8).reshape(h, w, 3)


def _members(probs, k):
    """What each member says, how uncertain it is, and its weight."""
    return {
        "members": probs.max(1).indices.short().numpy(),
        "entropy": entropy(probs).half().numpy(),
        "weights": entropy_weights(probs, k).half().numpy(),
    }
