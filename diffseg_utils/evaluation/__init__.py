"""Evaluation: which rule votes better, by how much, and is that more than chance?

scores: the one loop "predict, vote, count" and its file; results: the scores of many runs;
observers: what else is looked at on the way; held_out: scores without any test image; significance:
intervals and verdicts; calibration and boundaries: other measures; tables: rows to print.
"""

from .results import load_results
from .scores import Prediction, Scores, evaluate, load_scores, predictions
from .significance import compare

__all__ = [
    "Prediction",
    "Scores",
    "compare",
    "evaluate",
    "load_results",
    "load_scores",
    "predictions",
]
