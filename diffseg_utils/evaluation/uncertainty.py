"""Is an image's uncertainty worth something? Does it find bad labels, and images worth labelling?

The uncertainty is that of `diffseg label`: the disagreement of the members in the most disputed
tenth of the pixels (voting.image_uncertainty). Labels are those of the entropy-weighted vote, and
classifiers are trained with the tuned recipe.

Shapes: N members, B images, H x W labels, C classes, S seeds, R rounds.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ConstantInputWarning, spearmanr

from ..backbone import checkpoint_path
from ..files import sha256
from ..metrics import is_scored, mean_iou
from ..own.folds import part_of
from ..voting import image_uncertainty, vote
from .held_out import folds, score_on, train_on
from .measured import Measured
from .scores import predictions
from .significance import paired_bootstrap

RULE = "entropy_weighted"

# ---- does it find bad labels? --------------------------------------------------------------------


def image_error(label, truth, n_classes, ignore_label=None):
    """Share of the labelled pixels of an image that are wrong; label, truth: [H, W].

    A truth outside 0..n_classes-1, or equal to ignore_label, is not counted. nan for no pixels.
    """
    label, truth = np.asarray(label), np.asarray(truth)
    counted = is_scored(truth, n_classes, ignore_label)
    if not counted.any():
        return float("nan")
    return float((label != truth)[counted].mean())


def uncertainty_study(uncertainty, error, n_resamples=1000, seed=0):
    """{correlation, low, high, images}: Spearman's rank correlation, 95 % bootstrap interval.

    uncertainty, error: [B], of the same images, which are drawn together, with replacement. The
    correlation is nan if one of the two is constant; resamples in which it is are left out.
    ValueError for lengths that differ or fewer than three images.
    """
    uncertainty, error = np.asarray(uncertainty, float), np.asarray(error, float)
    n_images = len(uncertainty)
    if len(error) != n_images or n_images < 3:
        raise ValueError(
            f"{n_images} uncertainties and {len(error)} errors; equal numbers, three or more, "
            "are needed"
        )
    rng = np.random.default_rng(seed)
    draws = [np.arange(n_images), *(rng.integers(n_images, size=(n_resamples, n_images)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        found = np.array([spearmanr(uncertainty[d], error[d]).statistic for d in draws])
    resampled = found[1:][np.isfinite(found[1:])]
    low, high = np.quantile(resampled, (0.025, 0.975)) if len(resampled) else (np.nan, np.nan)
    return {
        "correlation": float(found[0]),
        "low": float(low),
        "high": float(high),
        "images": n_images,
    }


def study_predictions(predictions, preset, seed):
    """(uncertainty [B], error [B]) of images, from one pass over Predictions.

    predictions: as evaluation.predictions yields them; seed: whose members are asked. Images
    without a labelled pixel are left out.
    """
    uncertainty, error = [], []
    for one in predictions:
        probs = one.probs[seed]  # (N, C, H, W)
        label = vote(probs, RULE).numpy()
        wrong = image_error(label, one.truth, preset.n_classes, preset.ignore_label)
        if np.isnan(wrong):
            continue
        uncertainty.append(image_uncertainty(probs))
        error.append(wrong)
    return np.array(uncertainty), np.array(error)


def measure_uncertainty(run, ensemble, n_images, file, report=None):
    """Frame, the row of a run in `file`: does uncertainty rank its test images by their error?

    ensemble: of that run, with the tuned recipe. Columns: dataset, weights, correlation, low, high,
    images, error (mean share of wrong pixels, in percent). A row that is there is not measured
    again.
    """
    table = Measured(file, ["dataset", "weights"])
    key = (run.name, _weights(run))
    if key not in table:
        asked = predictions({run.seed: ensemble}, run.stream("test", n_images, report=report))
        uncertainty, error = study_predictions(asked, run.preset, run.seed)
        row = uncertainty_study(uncertainty, error) | {"error": 100 * error.mean()}
        table.add(key, [row])
    return table.under(key)


def _weights(run):
    """The weights of a run's denoiser, in twelve letters."""
    return sha256(checkpoint_path(run.backbone_used, run.data_root))[:12]


# ---- does it find images worth labelling? --------------------------------------------------------

# The protocol, which was fixed before the first measurement.
N_POOL = 100  # painted training images, whose labels are asked for in rounds
N_SCORED = 50  # images that score each round
N_START = 5  # labelled images at the beginning, drawn at random
N_EACH = 5  # images that are labelled in a round
N_ROUNDS = 5
SEEDS = (0, 1, 2)


def labelling_rounds(
    fold,
    preset,
    seed,
    n_start=N_START,
    n_each=N_EACH,
    n_rounds=N_ROUNDS,
    n_members=10,
    device="cpu",
    report=None,
):
    """{choice: confusions [R + 1, B, C + 1, C]}: images labelled at random, or the most uncertain.

    fold: a Fold; its images to learn from are the pool, those that are scored are no part of it.
    Both choices begin with the same `n_start` labelled images. In each round `n_each` more of the
    pool are labelled: the next ones of a random order, or those about which the ensemble of the
    round before is most uncertain. Then `n_members` classifiers are trained anew on all labelled
    images, and scored. seed: of the random order and of every training. ValueError for a pool that
    is too small.
    """
    n_pool = fold.maps.n_images
    if n_start + n_rounds * n_each > n_pool:
        raise ValueError(
            f"{n_rounds} rounds of {n_each} images after {n_start} need more than the {n_pool} "
            "images of the pool"
        )
    order = np.random.default_rng(seed).permutation(n_pool).tolist()
    n_trainings, done = 1 + 2 * n_rounds, 0

    def trained(labelled):
        nonlocal done
        part = fold._replace(maps=fold.maps[labelled], labels=fold.labels[labelled])
        ensemble = train_on(part, preset, n_members, seed, device)
        done += 1
        if report:
            report(done, n_trainings)
        return ensemble

    def scored(ensemble):
        return score_on(fold, ensemble, preset, RULE)  # (B, C + 1, C)

    first = trained(order[:n_start])
    score_of_first = scored(first)
    counts = {"random": [score_of_first], "uncertain": [score_of_first]}
    for n in range(1, n_rounds + 1):
        counts["random"].append(scored(trained(order[: n_start + n * n_each])))
    labelled, ensemble = order[:n_start], first
    for _ in range(n_rounds):
        labelled = labelled + most_uncertain(ensemble, fold.maps, labelled, n_each, preset)
        ensemble = trained(labelled)
        counts["uncertain"].append(scored(ensemble))
    return {choice: np.stack(found) for choice, found in counts.items()}


def most_uncertain(ensemble, maps, labelled, n_images, preset):
    """The places in `maps` of the images with the largest uncertainty, without those labelled."""
    left = [i for i in range(maps.n_images) if i not in labelled]
    found = [
        image_uncertainty(ensemble.probabilities(maps, i, preset.label_size).cpu()) for i in left
    ]
    return [left[place] for place in np.argsort(found)[::-1][:n_images]]


def rounds_table(counts, preset, n_start=N_START, n_each=N_EACH):
    """Rows, dicts: one for each number of labelled images and choice.

    counts: {choice: confusions [S, R + 1, B, C + 1, C]}, "random" among them. images: labelled
    ones; miou, lowest, highest: over seeds, in percent; difference, low, high: from "random", in
    points, with an interval over images and seeds.
    """
    n_seeds, n_scores, n_scored, _, _ = counts["random"].shape
    rows = []
    for n in range(n_scores):
        for choice, found in counts.items():
            own, base = found[:, n], counts["random"][:, n]  # (S, B, C + 1, C)
            by_seed = 100 * mean_iou(own.sum(1), preset.ignore_label)  # (S,)
            row = {
                "images": n_start + n * n_each,
                "choice": choice,
                "seeds": n_seeds,
                "scored": n_scored,
                "miou": by_seed.mean(),
                "lowest": by_seed.min(),
                "highest": by_seed.max(),
            }
            rows.append(row | paired_bootstrap(own, base, preset.ignore_label))
    return rows


def measure_rounds(run, backbone, file, report=None):
    """Frame, the rows of a painted dataset in `file`: five rounds of labelling, in two ways.

    backbone: the denoiser of the run. Columns: dataset, weights, and those of rounds_table. Rows
    that are there are not measured again.
    """
    preset = run.preset.resized(train=N_POOL, validation=N_SCORED)
    if not preset.painted:
        raise ValueError(f"{preset.name}: rounds of labelling need a painted dataset")
    table = Measured(file, ["dataset", "weights"])
    key = (run.name, _weights(run))
    if key not in table:
        (fold,) = folds(backbone, preset, run.data_root)
        found = []
        for seed in SEEDS:
            part = part_of(report, len(found), len(SEEDS))
            found.append(labelling_rounds(fold, preset, seed, device=backbone.device, report=part))
        counts = {choice: np.stack([one[choice] for one in found]) for choice in found[0]}
        table.add(key, rounds_table(counts, preset))
    return table.under(key)


def load_studies(root):
    """(Frame of correlations, Frame of rounds): what is measured in a folder of results.

    A row per dataset, as measure_uncertainty writes it, and the rows of measure_rounds. Empty ones
    if nothing is measured.
    """
    found = []
    for name in ("uncertainty", "labelling_rounds"):
        files = sorted(Path(root).glob(f"*/{name}.csv"))
        found.append(pd.concat(map(pd.read_csv, files), ignore_index=True) if files else None)
    return tuple(pd.DataFrame() if frame is None else frame for frame in found)
