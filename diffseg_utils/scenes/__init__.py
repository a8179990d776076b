"""Painted stand-ins for the paper's four datasets: 64x64 images with exact part labels, any number
of them, by seed.
"""

from importlib import import_module

import numpy as np

from ..presets import choose

FAMILIES = ("bedroom", "ffhq", "cat", "horse", "smoke")
SPLITS = ("train", "validation", "test", "pretrain")


def paint(family, split, index):
    """(image uint8 [64, 64, 3], label int64 [64, 64]) of scene `index` of a split; splits never
    share a seed.
    """
    choose("family", family, dict.fromkeys(FAMILIES))
    choose("split", split, dict.fromkeys(SPLITS))
    rng = np.random.default_rng([FAMILIES.index(family), SPLITS.index(split), index])
    return import_module(f"{__name__}.{family}").scene(rng).finish()
