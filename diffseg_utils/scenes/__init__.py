"""Painted stand-ins for the paper's four datasets: 64x64 images with exact part labels.

Any number of images can be painted, each from its own seed.

A family of scenes is a module here: NAMES, its classes in the order of their ids; SEED, a number
that no other family has; and scene(rng), which paints a Canvas. A row in presets.py makes a dataset
of it. Datasets of one family show the same first images.
"""

from importlib import import_module
from pkgutil import iter_modules

import numpy as np

from ..presets import choose

SPLITS = ("train", "validation", "test", "pretrain")


def _families():
    """{name: module} of every module here that has a scene, in the order of their seeds."""
    modules = {
        info.name: import_module(f"{__name__}.{info.name}") for info in iter_modules(__path__)
    }
    painters = {name: module for name, module in modules.items() if hasattr(module, "scene")}
    return dict(sorted(painters.items(), key=lambda item: item[1].SEED))


_MODULES = _families()
FAMILIES = tuple(_MODULES)


def paint(family, split, index):
    """(image uint8 [64, 64, 3], label int64 [64, 64]) of scene `index` of a split.

    Splits never share a seed.
    """
    module = choose("family", family, _MODULES)
    choose("split", split, dict.fromkeys(SPLITS))
    rng = np.random.default_rng([module.SEED, SPLITS.index(split), index])
    return module.scene(rng).finish()
