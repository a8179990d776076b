"""results/README.md: all tables and findings in one page, written anew by notebook 04."""

from pathlib import Path

import pandas as pd

from ..presets import DATASETS, RECIPES
from . import tables

ASKED = {
    "k = 1 minus majority": "The entropy-weighted vote (k = 1) against the majority",
    "mean minus majority": "The plain mean, which knows no entropy, against the majority",
    "ties by mean minus majority": "A majority whose ties are broken by the mean, against it",
    "k = 1 minus mean": "What the entropy weights add to the mean",
    "k chosen minus mean": "What the k chosen on validation images adds to the mean",
}


def results_page(folder, captions):
    """Markdown of everything that was found in `folder`; what was not run is left out.

    captions: {name: caption} of the pictures in figures/ beside the page, as a FigureFolder has it.
    """
    folder = Path(folder)
    parts = [
        "# Results",
        "Written by [04_figure_reproduction](../notebooks/04_figure_reproduction.ipynb) from the "
        "files in this folder. mIoU in %, published protocol; differences in points, with 95 % "
        "intervals (paired bootstrap over test images and, where there are several, trainings). "
        "A *gain* is an interval above zero, a *loss* one below; else it is *not resolved*.",
        "*Published protocol*: an ignored pixel counts as a mistake of the class predicted there, "
        "and a class that occurs nowhere scores 0. *Published recipe*: classifiers trained as by "
        "Baranchuk et al.; *tuned*: by this kit's recipe (notebook 08). *Ties by mean*: the "
        "majority, with the mean deciding ties. *k chosen* and *pool chosen*: a *k*, or a *k* with "
        "a temperature and the order of the mean, chosen on validation images (notebook 03).",
        "## Findings",
        *findings(folder),
        "Rows with an `@` are the paper's images on the small denoiser `photo` (64 px, 4.5 million "
        "parameters), not on the paper's 256 px networks: they show how the votes compare on weak "
        "features, and cannot say whether the paper's Table I holds. The official checkpoints have "
        "not been run here.",
    ]
    for recipe in RECIPES:
        parts += _section(f"## Runs, {recipe} recipe", tables.results_table, folder, recipe)
        title = f"## More images and trainings, {recipe} recipe"
        parts += _section(title, tables.evidence_table, folder, recipe)
    parts += _section("## What the tuned recipe gains", tables.training_table, folder)
    parts += _section("## What other changes gain", effects_table, folder)
    parts += _section("## What it costs", tables.costs_table, folder)
    if captions:
        parts.append("## Figures")
    for name, caption in captions.items():
        parts.append(f"{caption}:\n\n![{caption}](figures/{name}.png)")
    return "\n\n".join(parts) + "\n"


def findings(folder):
    """A bullet for each comparison of votes and each recipe: range and verdicts over datasets."""
    lines = []
    for recipe in RECIPES:
        files = sorted(folder.glob(f"*/{tables.evidence_name(recipe)}.csv"))
        painted = [file for file in files if _is_painted(file.parent.name)]
        if not painted:
            continue
        rows = pd.concat([tables.most_evidence(file) for file in painted])
        lines.append(f"{recipe.capitalize()} recipe, {len(painted)} painted datasets:")
        for comparison, words in ASKED.items():
            found = rows[rows.comparison == comparison]
            if len(found):
                lines.append(f"- {words}: {_range(found)}.")
        lines.append("")
    gains = tables.recipe_gains(folder)
    if len(gains):
        lines.append(f"The tuned recipe against the published one, all datasets: {_range(gains)}.")
    return ["\n".join(lines).strip()] if lines else []


def _is_painted(name):
    return name in DATASETS and DATASETS[name].painted is not None


def effects_table(folder):
    """Frame of text of what 10 measured: range and costs over datasets.

    FileNotFoundError if nothing was measured.
    """
    files = sorted(Path(folder).glob("*/what_helps.csv"))
    if not files:
        raise FileNotFoundError(f"{folder}: no what_helps.csv here; `diffseg evidence` makes it")
    effects = pd.concat([pd.read_csv(file) for file in files])
    order = effects.groupby("change").difference.mean().sort_values(ascending=False).index
    rows = pd.DataFrame(index=order.rename("change"))
    rows["difference"] = [_range(effects[effects.change == change]) for change in order]
    costs = tables.with_cost_ranges(effects).groupby("change").cost.first()
    rows["cost (baseline = 1)"] = costs[order]
    return rows


def _range(rows):
    """'+0.34 to +0.45 (4 gain)'"""
    counts = ", ".join(f"{n} {word}" for word, n in rows.verdict.value_counts().items())
    low, high = rows.difference.min(), rows.difference.max()
    return f"{low:+z.2f} to {high:+z.2f} ({counts})"


def _section(title, table, *arguments):
    try:
        return [title, tables.markdown(table(*arguments))]
    except FileNotFoundError:
        return []
