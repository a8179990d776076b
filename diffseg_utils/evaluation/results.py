"""The results of many runs: the scores of all seeds of each dataset, backbone and recipe."""

from dataclasses import dataclass
from pathlib import Path

from ..files import read_json
from ..own.folder import preset_from
from ..presets import Preset
from .scores import Scores, joined, load_scores


@dataclass(frozen=True)
class Result:
    """All seeds of one dataset, backbone and recipe: their scores, pooled, and their run.json."""

    name: str  # <dataset>[@<backbone>]
    recipe: str
    preset: Preset
    scores: Scores
    manifests: dict  # {seed: what run.json holds}

    def setting(self, seed):
        """The folder of a seed in the runs' folders, as in runs.Run."""
        return f"seed{seed}" + ("" if self.recipe == "published" else f"_{self.recipe}")

    @property
    def title(self):
        """The name, and the recipe where it is not the published one."""
        return self.name if self.recipe == "published" else f"{self.name} ({self.recipe})"


def load_results(root):
    """{(name, recipe): Result} of all runs below a folder that have ended.

    A run has ended when its run.json is there, which is written last. Runs of older versions, which
    left no scores.npz, are passed over. ValueError if seeds were made with different weights or k,
    or scored other images: they are not pooled.
    """
    groups = {}
    for path in sorted(Path(root).glob("*/seed*/run.json")):
        if not path.with_name("scores.npz").exists():
            continue
        run = read_json(path)
        groups.setdefault((path.parent.parent.name, run["recipe"]), []).append((path, run))
    results = {}
    for (name, recipe), found in groups.items():
        _check_weights(found)
        scores = []
        for path, _ in found:
            scores.append(load_scores(path.with_name("scores.npz")))
        _check_k(scores, [path.parent for path, _ in found])
        results[name, recipe] = Result(
            name,
            recipe,
            preset_from(found[0][1]["preset"]),
            joined(_same_splits(scores), "seed", f"{Path(root) / name}, recipe {recipe}"),
            {run["seed"]: run for _, run in found},
        )
    return results


def _same_splits(scores):
    """Scores of the same splits: runs of older versions kept their test images only."""
    splits = [set(one.counts.split.values.tolist()) for one in scores]
    if all(found == splits[0] for found in splits):
        return scores
    return [one.of("test") for one in scores]


def _check_weights(runs):
    """ValueError if the denoisers of (path, run.json) are not all the same."""
    weights = {run.get("checkpoint_sha256"): path.parent for path, run in runs}
    if len(weights) > 1:
        one, other = list(weights.values())[:2]
        raise ValueError(
            f"{one} and {other.name} were made with different weights of the denoiser "
            "(checkpoint_sha256 in run.json) and cannot be pooled; run one of them again"
        )


def _check_k(scores, folders):
    """ValueError if the entropy-weighted votes of seeds, each of a folder, have not all one k."""
    ks = {one.label("entropy_weighted"): folder for one, folder in zip(scores, folders)}
    if len(ks) > 1:
        (one_label, one), (other_label, other) = list(ks.items())[:2]
        raise ValueError(
            f"{one} is {one_label}, and {other.name} is {other_label}: runs of different k cannot "
            "be pooled; run one of them again"
        )
