"""Segmentation with frozen diffusion features: pixel classifiers, and how their votes are counted.

The names that notebooks use most, each loaded when it is first asked for:
`from diffseg_utils import evaluate, vote`.
"""

import os
from importlib import import_module

# torch on huge pages: mapping small ones took a third of a run's CPU time
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_WHERE = {
    "samples": "data",
    "load_backbone": "backbone",
    "extract": "features",
    "FeatureMaps": "features",
    "PixelEnsemble": "classifiers",
    "train": "training",
    "RULES": "voting",
    "vote": "voting",
    "sweep": "voting",
    "predictions": "evaluation",
    "evaluate": "evaluation",
    "Scores": "evaluation",
    "load_scores": "evaluation",
    "load_results": "evaluation",
    "compare": "evaluation",
    "explore": "explorer",
    "Run": "runs",
    "progress": "runs",
}

__all__ = list(_WHERE)


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


def __dir__():
    return sorted([*globals(), *_WHERE])
