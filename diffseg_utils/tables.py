"""The README's tables, printed from the files in results/: a row for each dataset and backbone, over all seeds of a recipe."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from .metrics import mean_iou, paired_bootstrap, verdict

RULES = ("majority", "mean", "entropy_weighted")
HEAD = (
    "| dataset | seeds | test images | majority | mean | entropy-weighted, k = 1 | k chosen on validation "
    "| k = 1 minus majority | k = 1 minus mean |\n" + "|---" + "|---:" * 8 + "|"
)

COMPARISONS = (
    "k = 1 minus majority",
    "mean minus majority",
    "ties by mean minus majority",
    "k = 1 minus mean",
    "k chosen minus mean",
    "pool chosen minus mean",
)


def results_table(folder, recipe="published"):
    """Markdown: mIoU (%, published protocol, mean over seeds), and differences with 95 % intervals over images and seeds.

    FileNotFoundError if there are no results of this recipe.
    """
    rows = [
        _row(name, found) for (name, other), found in _groups(folder).items() if other == recipe
    ]
    if not rows:
        raise FileNotFoundError(
            f"{folder}: no results of recipe {recipe} here; `diffseg run --recipe {recipe}` makes them"
        )
    return "\n".join([HEAD, *rows])


def costs_table(folder):
    """Markdown of `folder`/costs.csv; FileNotFoundError if 06_costs has not been run."""
    path = Path(folder) / "costs.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path}: nothing was measured here; run notebooks/06_costs.ipynb")
    return costs_markdown(pd.read_csv(path))


def costs_markdown(costs):
    """The README's table of a frame (cost, unit, published, ours, ratio, goal), blank where nothing was measured."""
    head = "| what | published | ours | published / ours | goal |\n|---|---:|---:|---:|---:|\n"
    return head + "\n".join(
        f"| {row.cost} | {_number(row.published, row.unit)} | {_number(row.ours, row.unit)} | "
        f"{_number(row.ratio)} | {_number(row.goal)} |"
        for row in costs.itertuples()
    )


def _number(value, unit=""):
    unit = unit if isinstance(unit, str) else ""
    return (
        ""
        if value != value
        else f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f} {unit}".strip()
    )


def evidence_table(folder, recipe="published"):
    """Markdown of what 09 found: mIoU differences over all images and seeds, with verdicts.

    FileNotFoundError if 09_evidence has not been run by this recipe.
    """
    rows = [_evidence_row(path) for path in sorted(Path(folder).glob(f"*/{_evidence(recipe)}.csv"))]
    if not rows:
        raise FileNotFoundError(
            f"{folder}: no evidence of recipe {recipe} here; `diffseg evidence --recipe {recipe}` makes it"
        )
    head = (
        f"| dataset | seeds | test images | {' | '.join(COMPARISONS)} |\n"
        + "|---" * 3
        + "|---:" * len(COMPARISONS)
        + "|"
    )
    return "\n".join([head, *rows])


def training_table(folder):
    """Markdown of recipe_gains; FileNotFoundError if no dataset was run by both recipes."""
    gains = recipe_gains(folder)
    if gains.empty:
        raise FileNotFoundError(
            f"{folder}: nothing was run by both recipes here; `diffseg run --recipe tuned` adds the second"
        )
    head = (
        "| dataset | seeds | test images | published | tuned | tuned minus published |\n|---"
        + "|---:" * 5
        + "|"
    )
    return "\n".join(
        [
            head,
            *(
                f"| {x.dataset} | {x.seeds} | {x.images} | {x.published:.2f} | {x.tuned:.2f} | {x.difference:+.2f} "
                f"[{x.low:+.2f}, {x.high:+.2f}] {x.verdict} |"
                for x in gains.itertuples()
            ),
        ]
    )


def recipe_gains(folder):
    """Frame (dataset, seeds, images, published, tuned, difference, low, high, verdict): what the tuned recipe gains.

    Majority vote, mIoU in percent, published protocol; the seeds that both recipes have, on the images that both saw: those of
    09 where it was run for both, else the preset's.
    """
    groups, rows = _groups(folder), []
    for name in dict.fromkeys(name for name, _ in groups):
        pair = [groups.get((name, recipe)) for recipe in ("published", "tuned")]
        if None in pair:
            continue
        whole = [
            Path(folder) / name / f"{_evidence(recipe)}.npz" for recipe in ("published", "tuned")
        ]
        found = (
            [_whole(path) for path in whole]
            if all(path.exists() for path in whole)
            else [_of_seeds(runs) for runs in pair]
        )
        seeds, ignored = sorted(found[0].keys() & found[1].keys()), pair[0][0][0]
        if seeds:
            images = min(len(votes[seeds[0]]) for votes in found)
            old, new = (
                np.stack([votes[seed][:images] for seed in seeds]) for votes in found
            )  # (S, B, C + 1, C)
            gain = paired_bootstrap(new, old, ignored)
            scores = {
                recipe: mean_iou(x.sum(1), ignored).mean()
                for recipe, x in (("published", old), ("tuned", new))
            }
            rows.append(
                {
                    "dataset": name,
                    "seeds": len(seeds),
                    "images": images,
                    **scores,
                    **gain,
                    "verdict": verdict(gain["low"], gain["high"]),
                }
            )
    return pd.DataFrame(rows)


def _of_seeds(runs):
    """{seed: confusions [B, C + 1, C] of the majority} from the folders of runs [(ignored, folder), ...]."""
    return {
        int(re.match(r"seed(\d+)", folder.name)[1]): _confusions(folder)["majority"]
        for _, folder in runs
    }


def _whole(path):
    """The same from what 09 kept of all its images."""
    from .evidence import load  # brings torch

    file = load(path)
    return dict(
        zip(
            file["seeds"].tolist(),
            file["confusions"][:, :, list(file["rules"]).index("majority")].swapaxes(0, 1),
        )
    )


def _evidence(recipe):
    """How 09 calls its files."""
    return "evidence" if recipe == "published" else f"evidence_{recipe}"


def _groups(folder):
    """{(name, recipe): [(ignored class, folder of a seed), ...]} of all runs that ended."""
    groups = {}
    for path in sorted(Path(folder).glob("*/seed*/run.json")):  # written last
        run = json.loads(path.read_text())
        groups.setdefault((path.parent.parent.name, run["recipe"]), []).append(
            (run["preset"]["ignore_label"], path.parent)
        )
    return groups


def _evidence_row(path):
    found = pd.read_csv(path).query("measure == 'mIoU' and protocol == 'published'")
    most = found[
        (found.images == found.images.max()) & (found.seeds == found.seeds.max())
    ].set_index("comparison")
    cells = [path.parent.name, str(most.seeds.iloc[0]), str(most.images.iloc[0])]
    cells += [
        f"{x.difference:+.2f} [{x.low:+.2f}, {x.high:+.2f}] {x.verdict}"
        for x in most.loc[list(COMPARISONS)].itertuples()
    ]
    return f"| {' | '.join(cells)} |"


def _row(name, found):
    ignored, seeds = found[0][0], [_confusions(folder) for _, folder in found]
    of = {rule: np.stack([seed[rule] for seed in seeds]) for rule in RULES}  # (S, B, C + 1, C)
    scores = {rule: mean_iou(counts.sum(1), ignored) for rule, counts in of.items()}
    cells = [
        name,
        str(len(seeds)),
        str(of["mean"].shape[1]),
        *(_spread(scores[rule]) for rule in RULES),
    ]
    chosen = [
        (mean_iou(seed["chosen"].sum(0), ignored), seed["k"]) for seed in seeds if "chosen" in seed
    ]
    ks = ", ".join(f"{k:.3g}" for k in sorted({k for _, k in chosen}))
    cells.append(f"{_spread([miou for miou, _ in chosen])} (k = {ks})" if chosen else "none")
    for other in ("majority", "mean"):
        gain = paired_bootstrap(of["entropy_weighted"], of[other], ignored)
        cells.append("{difference:+.2f} [{low:+.2f}, {high:+.2f}]".format(**gain))
    return "| " + " | ".join(cells) + " |"


def _confusions(folder):
    """Confusions [B, C + 1, C] of RULES (k = 1), and, if a k was chosen, of that ("chosen") and it ("k")."""
    with np.load(folder / "confusions.npz") as file:
        rules, chosen, counts = (
            list(file["rules"]),
            np.flatnonzero(file["chosen"]),
            file["confusions"],
        )
        found = {rule: counts[rules.index(rule)] for rule in RULES}
        entropy = [i for i in chosen if rules[i] == "entropy_weighted"]
        return found | (
            {"chosen": counts[entropy[0]], "k": float(file["k"][entropy[0]])} if entropy else {}
        )


def _spread(values):
    """Mean, and the spread over seeds if there are several."""
    return f"{np.mean(values):.2f}" + (
        f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    )
