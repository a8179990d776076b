"""What are a denoiser's features worth? Compared with pixels, by step and block, by checkpoint.

Everything is measured on validation images or held-out training images, by the majority of ten
classifiers with the tuned recipe, unless said otherwise. Rows that a file already has are not
measured again; each says by which recipe it was scored, and another recipe makes new ones.

Shapes: B images, H x W labels, C classes.
"""

from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from .backbone import describe, load_backbone
from .data import to_input
from .evaluation.held_out import (
    compare_choices,
    compare_recipes,
    folds,
    score_each_map,
    score_folds,
    standard_error,
    sweep_maps,
)
from .evaluation.measured import Measured
from .evaluation.significance import paired_bootstrap
from .features import FeatureMaps
from .metrics import mean_iou
from .own.folder import preset_of
from .presets import RECIPES

N_VALIDATION = 100  # painted images that a checkpoint is scored on, more than the split has
RECIPE = f"tuned, {RECIPES['tuned']['steps']} steps"  # what the rows of a file are scored by


def _judge(dataset):
    """The preset of a name or a dataset.yml, with more validation images if they are painted."""
    preset = preset_of(dataset)
    return preset.resized(validation=N_VALIDATION) if preset.painted else preset


# ---- features against pixels ---------------------------------------------------------------------


def compare_descriptions(denoiser, untrained, preset, root="data", report=None):
    """Frame, a row per description of a pixel: its mIoU, and what the denoiser gains over it.

    The descriptions are the features of `denoiser`, the features of `untrained` (the same network
    with random weights), and the colours around the pixel with its position. Columns: description,
    images, miou (percent), difference, low, high (points; interval over images).
    """
    sources = {
        "denoiser": denoiser,
        "same U-Net, random weights": untrained,
        "5 x 5 patch + position": lambda images: patches(images, preset.label_size),
    }
    counts = {}  # {description: confusions [B, C + 1, C]}
    for done, (name, source) in enumerate(sources.items(), 1):
        counts[name] = score_folds(folds(source, preset, root), preset, device=denoiser.device)
        if report:
            report(done, len(sources))
    rows = []
    for name, own in counts.items():
        row = {"description": name, "images": len(own)}
        row["miou"] = 100 * mean_iou(own.sum(0), preset.ignore_label)
        rows.append(row | paired_bootstrap(counts["denoiser"], own, preset.ignore_label))
    return pd.DataFrame(rows)


def patches(images, size):
    """The plainest description: FeatureMaps [B, size, size, 77] of images uint8 [S, S, 3].

    Red, green and blue of the 5 x 5 pixels around each pixel, and its position.
    """
    line = torch.linspace(-1, 1, size)
    position = torch.stack(torch.meshgrid(line, line, indexing="ij"))  # (2, size, size)
    found = []
    for picture in images:
        image = to_input(picture, size)[None]  # (1, 3, size, size)
        framed = F.pad(image, (2, 2, 2, 2), mode="replicate")
        patch = F.unfold(framed, 5)[0].view(75, size, size)
        found.append(torch.cat([patch, position]).permute(1, 2, 0).half())  # (size, size, 77)
    return FeatureMaps([torch.stack(found)])


def measure_descriptions(backbone, datasets, seen, file, root="data", device="cpu", report=None):
    """The table of compare_descriptions for all `datasets`, with their names and `seen` in front.

    seen: images that `backbone` has seen in its training.
    """
    table = Measured(file, ["dataset", "seen", "recipe"])
    judges = {judge.name: judge for judge in map(_judge, datasets)}
    for done, (name, judge) in enumerate(judges.items(), 1):
        key = (name, seen, RECIPE)
        if key not in table:
            denoiser = load_backbone(backbone, device, data=root)
            untrained = load_backbone(backbone, device, data=root, random_weights=0)
            found = compare_descriptions(denoiser, untrained, judge, root)
            table.add(key, found.to_dict("records"))
        if report:
            report(done, len(judges))
    return table.of(judges, seen=seen, recipe=RECIPE)


# ---- which steps and blocks? ---------------------------------------------------------------------

STEPS = (5, 20, 50, 100, 150, 250, 350, 500)
N_MEMBERS_OF_A_MAP = 3  # there are many maps


def measure_maps(
    backbone, datasets, seen, file, steps=STEPS, root="data", device="cpu", report=None
):
    """Frame (dataset, seen, recipe, step, block, miou): every map of `backbone` alone.

    All decoder blocks, by the majority of N_MEMBERS_OF_A_MAP classifiers. seen: images that
    `backbone` has seen in its training.
    """
    table = Measured(file, ["dataset", "seen", "recipe", "step"])
    work = [(dataset, step) for dataset in datasets for step in steps]
    for done, (dataset, step) in enumerate(work, 1):
        key = (dataset, seen, RECIPE, step)
        if key not in table:
            whole = load_backbone(backbone, device, blocks="all", data=root)
            judge = _judge(dataset)
            found = sweep_maps(whole, judge, [step], N_MEMBERS_OF_A_MAP, root, device)
            table.add(key, found.drop(columns="step").to_dict("records"))
        if report:
            report(done, len(work))
    return table.of(datasets, seen=seen, recipe=RECIPE)


def _named(steps, blocks):
    """(name, (steps, blocks)) of a choice."""
    words = [" ".join(map(str, numbers)) for numbers in (steps, blocks)]
    return f"steps {words[0]}, blocks {words[1]}", (steps, blocks)


# The paper's steps, and the blocks of the shipped networks that were read first.
FIRST_CHOICE, _ = _named((50, 150, 250), (2, 3, 4, 5, 6))
CHOICES = dict(  # of no more features than the first
    _named(steps, blocks)
    for steps, blocks in [
        ((50, 150, 250), (2, 3, 4, 5, 6)),
        ((20, 50, 100), (2, 3, 4, 5, 6)),
        ((50, 100, 150), (2, 3, 4, 5, 6)),
        ((20, 50, 150), (2, 3, 4, 5, 6)),
        ((20, 50, 250), (2, 3, 4, 5, 6)),
        ((50, 100, 250), (2, 3, 4, 5, 6)),
        ((20, 100, 250), (2, 3, 4, 5, 6)),
        ((100, 150, 250), (2, 3, 4, 5, 6)),
        ((50, 150, 350), (2, 3, 4, 5, 6)),
        ((5, 50, 150), (2, 3, 4, 5, 6)),
        ((20, 50, 100, 150), (2, 3, 4)),
        ((50, 100, 150, 250), (2, 3, 4)),
        ((20, 50, 150, 250), (2, 3, 4)),
        ((50, 150, 250), (2, 3, 4, 5)),
        ((20, 50, 150), (2, 3, 4, 5)),
        ((50, 150, 250), (1, 2, 3)),
        ((50, 150), (1, 2, 3, 4, 5)),
        ((50, 150, 250), (1, 3, 5, 7)),
        ((20, 50, 150), (1, 3, 5, 7)),
    ]
)


def measure_choices(
    backbone, datasets, seen, choices, base, file, root="data", device="cpu", report=None
):
    """The table of compare_choices for all `datasets`, with their names and `seen` in front.

    choices: {name: (steps, blocks)}, `base` among them. A choice that does not gain beyond chance
    on one dataset is not measured on those after it. A recipe that came later makes no new rows: a
    choice is made once.
    """
    table = Measured(file, ["dataset", "seen"])
    for done, dataset in enumerate(datasets, 1):
        if (dataset, seen) not in table:
            tried = table.of(datasets, seen=seen)
            failed = [row.choice for row in tried.itertuples() if row.low <= 0]
            left = {name: choices[name] for name in choices if name == base or name not in failed}
            whole = load_backbone(backbone, device, blocks="all", data=root)
            found = compare_choices(whole, _judge(dataset), left, base, root, device)
            table.add((dataset, seen), found.assign(recipe=RECIPE).to_dict("records"))
        if report:
            report(done, len(datasets))
    return table.of(datasets, seen=seen)


# ---- which recipe? -------------------------------------------------------------------------------


def measure_recipes(
    backbone,
    presets,
    recipes,
    base,
    file,
    could_be=(),
    *,
    seeds,
    n_members=10,
    epochs=100,
    device="cpu",
    report=None,
):
    """The table of compare_recipes for all `presets`, {dataset: Preset}, with their names in front.

    recipes: {name: numbers, as in presets.RECIPES}, `base` among them, to which all are compared. A
    row is known by its dataset and the recipe's name alone. could_be: recipes that could replace
    the base; one that does not gain beyond chance on one dataset is not measured on those after it.
    """
    table = Measured(file, ["dataset", "recipe"])
    for done, (dataset, preset) in enumerate(presets.items(), 1):
        tried = table.of(presets)
        failed = set(tried.recipe[tried.low <= 0]) & set(could_be) if len(tried) else set()
        wanted = [name for name in recipes if name not in failed]
        missing = {name: recipes[name] for name in wanted if (dataset, name) not in table}
        if missing:
            found = compare_recipes(
                load_backbone(backbone, device),
                preset,
                {base: recipes[base]} | missing,
                seeds,
                base,
                n_members=n_members,
                epochs=epochs,
            )
            for row in found[found.recipe.isin(missing)].to_dict("records"):
                table.add((dataset, row["recipe"]), [row])
        if report:
            report(done, len(presets))
    return table.of(presets)


# ---- one checkpoint against another --------------------------------------------------------------


def measure_checkpoints(
    checkpoints, datasets, start, records, name, root="data", device="cpu", report=None
):
    """Measure what is not yet in the files <name>_curve.csv, _maps.csv and _gain.csv of `records`.

    In _maps.csv is what one classifier makes of each map alone, on the first fold.

    checkpoints: {images seen: backbone}, in order of training; with no images seen, random weights
    are drawn for that backbone. datasets: names, or somebody's own dataset.yml, that score them:
    painted validation images, or folds of the training images. start: images seen at the
    beginning of this training; the gain from there to the last checkpoint is written.

    A row is known by its dataset, the images seen and how it was scored (recipe, and noise steps of
    the features), so another training needs another name. Every row is written when it is measured:
    an interrupted measurement goes on where it was.
    """
    if not checkpoints:
        return
    records = Path(records)
    curve = Measured(records / f"{name}_curve.csv", ["dataset", "images", "scored"])
    maps = Measured(records / f"{name}_maps.csv", ["dataset", "images", "scored"])
    gain = Measured(records / f"{name}_gain.csv", ["dataset", "before", "after", "scored"])
    last = max(checkpoints)
    noise_steps = " ".join(map(str, describe(checkpoints[last])["steps"]))
    scored = f"{RECIPE}; noise steps {noise_steps}"
    judges = {judge.name: judge for judge in map(_judge, datasets)}
    work = [(dataset, seen) for dataset in judges for seen in checkpoints]
    counts = {}  # (dataset, images seen): confusions [B, C + 1, C]
    for done, (dataset, seen) in enumerate(work, 1):
        ends = (dataset, start, last, scored)
        ends_gain = seen in (start, last) and ends not in gain
        key = (dataset, seen, scored)
        if key not in curve or key not in maps or ends_gain:
            backbone = load_backbone(
                checkpoints[seen], device, random_weights=0 if seen == 0 else None, data=root
            )
            preset = judges[dataset]
            asked = folds(backbone, preset, root)
            counts[dataset, seen] = score_folds(asked, preset, device=device)
            by_map = score_each_map(backbone, asked, preset, device=device)
            ignored = preset.ignore_label
            miou = 100 * mean_iou(counts[dataset, seen].sum(0), ignored)
            spread = standard_error(counts[dataset, seen], ignored)
            curve.add(key, [{"miou": miou, "spread": spread}])
            maps.add(key, by_map.to_dict("records"))
        if seen == last and ends_gain:
            difference = paired_bootstrap(
                counts[dataset, last], counts[dataset, start], preset.ignore_label
            )
            gain.add(ends, [difference])
        if report:
            report(done, len(work))
