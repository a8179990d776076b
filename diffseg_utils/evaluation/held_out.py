"""Scores without any test image: how useful are a denoiser, a recipe, a k?

In a Fold, classifiers learn from some images and are scored on others.
"""

from dataclasses import replace
from itertools import product
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ..backbone import Backbone, shared_noise
from ..data import Sample, batches, labels_of, samples
from ..features import FeatureMaps, extract
from ..metrics import confusion, mean_iou
from ..own.folds import predictions_of_fold
from ..training import train
from ..voting import RULES, vote
from .scores import Prediction, evaluate, predictions
from .significance import paired_bootstrap

# ---- how useful is a denoiser? ------------------------------------------------------------------


class Fold(NamedTuple):
    """What classifiers learn from, and what they are scored on; labels int64 [B, H, W]."""

    maps: FeatureMaps
    labels: torch.Tensor  # of the images of `maps`, with small classes ignored
    scored_maps: FeatureMaps
    truths: torch.Tensor  # of the images of `scored_maps`, as they are


def folds(source, preset, root="data", n_folds=5):
    """The folds of a dataset, a list.

    source: what describes pixels: a Backbone, or a function from images uint8 [S, S, 3] to
    FeatureMaps.

    A painted dataset has one fold: its training and its validation split. Of image files only the
    training images are used, in n_folds folds: in fold k the images k, k + n_folds, ... are
    scored, and classifiers learn from the others.
    """
    maps, labels = _maps(source, preset, "train", root), labels_of(preset, "train", root)
    if preset.painted:
        scored_maps = _maps(source, preset, "validation", root)
        return [Fold(maps, labels, scored_maps, labels_of(preset, "validation", root))]
    truths = _truths(preset, root)
    if preset.own:
        fold = torch.tensor(preset.folds(n_folds))  # (B,), the tiles of an image in one fold
    else:
        fold = torch.arange(len(labels)) % n_folds  # (B,)
    found = []
    for k in range(min(n_folds, int(fold.max()) + 1)):
        learn, score = fold != k, fold == k
        found.append(Fold(maps[learn], labels[learn], maps[score], truths[score]))
    return found


def train_on(fold, preset, n_members=10, seed=0, device="cpu"):
    """The ensemble that learns from the images of a fold, with the tuned recipe."""
    ensemble, _ = train(
        fold.maps,
        fold.labels,
        preset.n_classes,
        preset.ignore_label,
        n_members,
        "tuned",
        seed,
        epochs=preset.epochs,
        device=device,
    )
    return ensemble


def score_on(fold, ensemble, preset, rule="majority"):
    """Confusions int64 [B, C + 1, C] of a vote on the images that a fold scores."""
    found = []
    for i, truth in enumerate(fold.truths):
        probs = ensemble.probabilities(fold.scored_maps, i, preset.label_size).cpu()
        found.append(confusion(vote(probs, rule), truth, preset.n_classes))
    return np.stack(found)


def score_folds(folds, preset, n_members=10, seed=0, device="cpu", report=None):
    """Confusions int64 [B, C + 1, C] of the majority vote on all scored images, in order of folds.

    Classifiers are trained with the tuned recipe.
    """
    found = []
    for done, fold in enumerate(folds, 1):
        ensemble = train_on(fold, preset, n_members, seed, device)
        found.append(score_on(fold, ensemble, preset))
        if report:
            report(done, len(folds))
    return np.concatenate(found)


def score_each_map(backbone, folds, preset, n_members=1, seed=0, device="cpu"):
    """Frame (step, block, miou in percent) of every map alone; first fold only."""
    whole = folds[0]
    rows = []
    for k, (step, block) in enumerate(product(backbone.steps, backbone.blocks)):
        maps, scored_maps = whole.maps.pick([k]), whole.scored_maps.pick([k])
        alone = [whole._replace(maps=maps, scored_maps=scored_maps)]
        found = score_folds(alone, preset, n_members, seed, device)
        rows.append((step, block, 100 * mean_iou(found.sum(0), preset.ignore_label)))
    return pd.DataFrame(rows, columns=["step", "block", "miou"])


def sweep_maps(backbone, preset, steps, n_members=10, root="data", device="cpu", report=None):
    """Frame (step, block, miou in percent): what each map is worth alone, at each of `steps`.

    The blocks are those of `backbone`. One step at a time is extracted, so memory stays bounded.
    """
    found = []
    for done, step in enumerate(steps, 1):
        at_step = replace(backbone, steps=[step])
        asked = folds(at_step, preset, root)
        found.append(score_each_map(at_step, asked, preset, n_members, device=device))
        if report:
            report(done, len(steps))
    return pd.concat(found, ignore_index=True)


def compare_choices(backbone, preset, choices, base, root="data", device="cpu", report=None):
    """Frame, a row per choice of steps and blocks: its mIoU in percent, and its gain over `base`.

    choices: {name: (steps, blocks)}, `base` among them. Columns: choice, n_features, images, miou,
    difference, low, high: the majority of ten members, tuned recipe; interval over images.
    """
    counts, rows = {}, []
    for done, (name, (steps, blocks)) in enumerate(choices.items(), 1):
        chosen = replace(backbone, steps=list(steps), blocks=list(blocks))
        asked = folds(chosen, preset, root)
        counts[name] = score_folds(asked, preset, device=device)
        rows.append({"choice": name, "n_features": asked[0].maps.n_features})
        if report:
            report(done, len(choices))
    for row in rows:
        own = counts[row["choice"]]
        row["images"] = len(own)
        row["miou"] = 100 * mean_iou(own.sum(0), preset.ignore_label)
        row |= paired_bootstrap(own, counts[base], preset.ignore_label)
    return pd.DataFrame(rows)


def standard_error(confusions, ignore_label, resamples=2000):
    """Standard error of the mIoU, in percent, over the images of confusions [B, C + 1, C].

    It is the standard deviation of bootstrap resamples.
    """
    n = len(confusions)
    drawn = np.random.default_rng(0).multinomial(n, [1 / n] * n, resamples)  # (R, B)
    return float(100 * mean_iou(np.tensordot(drawn, confusions, 1), ignore_label).std())


def _maps(source, preset, split, root):
    """FeatureMaps of a split in float16, with the published noise."""
    images = (sample.image for sample in samples(preset, split, root))
    if not isinstance(source, Backbone):
        return source(images)
    size = source.image_size
    noise = shared_noise(size, 0, source.device)
    return extract(source, batches(images, size), noise, dtype=torch.float16)


def _truths(preset, root):
    """Labels of the training images as they are; tiny regions are ignored in training only."""
    return torch.from_numpy(np.stack([sample.label for sample in samples(preset, "train", root)]))


# ---- predictions on which a k is chosen ---------------------------------------------------------


def held_out_predictions(run, ensemble, report=None):
    """Predictions on which a k is chosen: of the validation split, by the members of `run`.

    A dataset without one gets one: other members, trained with the tuned recipe without the last
    fifth of the training images, predict that fifth. Where scores come from folds, it is the first
    fold.
    """
    preset = run.preset
    if preset.n_folds and not preset.counts["validation"]:
        yield from predictions_of_fold(run, 0, report)
        return
    if preset.counts["validation"]:
        yield from predictions({run.seed: ensemble}, run.stream("validation", report=report))
        return
    maps = run.maps("train")
    labels = labels_of(preset, "train", run.data_root)
    scored = run.samples("train")
    n_learn = len(labels) - max(1, len(labels) // 5)
    without, _ = train(
        maps[:n_learn],
        labels[:n_learn],
        preset.n_classes,
        preset.ignore_label,
        ensemble.n_members,
        "tuned",
        run.seed,
        epochs=preset.epochs,
        device=run.torch_device,
    )
    for i in range(n_learn, len(labels)):
        probs = without.probabilities(maps, i, preset.label_size).cpu()  # (N, C, H, W)
        yield Prediction(scored[i].name, {run.seed: probs}, scored[i].label)
        if report:
            report(i + 1 - n_learn, len(labels) - n_learn)


# ---- which recipe is best? ----------------------------------------------------------------------


def compare_recipes(backbone, preset, recipes, seeds, base, n_members=10, epochs=100, report=None):
    """Frame, a row per recipe: what it scores on the first fold, and its gain over `base`.

    recipes: {name: numbers, as in presets.RECIPES}, `base` among them. Columns: recipe, seeds,
    images, seconds (median of the trainings), majority, mean (mIoU in percent), difference, low,
    high (majority vote, over images and trainings). report: called with (trainings done, all).
    """
    fold = folds(backbone, preset)[0]
    votes = {rule: RULES[rule] for rule in ("majority", "mean")}
    scores, seconds, done = {}, {}, 0
    for name, recipe in recipes.items():
        ensembles, spent = {}, []
        for seed in seeds:
            start = perf_counter()
            ensembles[seed], _ = train(
                fold.maps,
                fold.labels,
                preset.n_classes,
                preset.ignore_label,
                n_members,
                recipe,
                seed,
                epochs=epochs,
                device=backbone.device,
            )
            spent.append(perf_counter() - start)
            done += 1
            if report:
                report(done, len(recipes) * len(seeds))
        scored = (
            (Sample(str(i), None, t.numpy()), fold.scored_maps, i)
            for i, t in enumerate(fold.truths)
        )
        scores[name] = evaluate(predictions(ensembles, scored), preset, votes, split="validation")
        seconds[name] = np.median(spent)
    rows = []
    for name, own in scores.items():
        miou = own.miou("validation").mean("seed")
        pair = [x.confusions("majority", "validation") for x in (own, scores[base])]
        row = {
            "recipe": name,
            "seeds": len(seeds),
            "images": len(fold.truths),
            "seconds": seconds[name],
        }
        row |= {rule: miou.sel(rule=rule).item() for rule in votes}
        rows.append(row | paired_bootstrap(*pair, preset.ignore_label))
    return pd.DataFrame(rows)
