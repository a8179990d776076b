"""The README's tables, printed from the files in results/: a row for each dataset, backbone and recipe, over all its seeds."""
import json
from pathlib import Path

import numpy as np
import pandas as pd

from .costs import markdown
from .metrics import mean_iou, paired_bootstrap

RULES = ("majority", "mean", "entropy_weighted")
HEAD = ("| dataset | recipe | seeds | test images | majority | mean | entropy-weighted, k = 1 | k chosen on validation "
        "| k = 1 minus majority | k = 1 minus mean |\n" + "|---|---" + "|---:" * 8 + "|")

COMPARISONS = ("k = 1 minus majority", "mean minus majority", "ties by mean minus majority", "k = 1 minus mean",
               "k chosen minus mean", "pool chosen minus mean")


def results_table(folder):
    """Markdown: mIoU (%, published protocol, mean over seeds), and differences with 95 % intervals over images and seeds.

    FileNotFoundError if there are no results.
    """
    groups = {}
    for path in sorted(Path(folder).glob("*/seed*/run.json")):                  # written last
        run = json.loads(path.read_text())
        groups.setdefault((path.parent.parent.name, run["recipe"]), []).append((run["preset"]["ignore_label"], path.parent))
    if not groups:
        raise FileNotFoundError(f"{folder}: no results here; `diffseg run` makes them")
    return "\n".join([HEAD, *(_row(name, recipe, found) for (name, recipe), found in groups.items())])


def costs_table(folder):
    """Markdown of `folder`/costs.csv; FileNotFoundError if 06_costs has not been run."""
    path = Path(folder) / "costs.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path}: nothing was measured here; run notebooks/06_costs.ipynb")
    return markdown(pd.read_csv(path))


def evidence_table(folder):
    """Markdown of every evidence.csv and evidence_<recipe>.csv (03b): mIoU differences over all images and seeds, with verdicts.

    FileNotFoundError if 03b_evidence has not been run.
    """
    rows = [_evidence_row(path) for path in sorted(Path(folder).glob("*/evidence*.csv"))]
    if not rows:
        raise FileNotFoundError(f"{folder}: no evidence here; `diffseg evidence` makes it")
    head = f"| dataset | seeds | test images | {' | '.join(COMPARISONS)} |\n" + "|---" * 3 + "|---:" * len(COMPARISONS) + "|"
    return "\n".join([head, *rows])


def _evidence_row(path):
    found = pd.read_csv(path).query("measure == 'mIoU' and protocol == 'published'")
    most = found[(found.images == found.images.max()) & (found.seeds == found.seeds.max())].set_index("comparison")
    recipe = path.stem.removeprefix("evidence").removeprefix("_")
    cells = [path.parent.name + f" ({recipe})" * bool(recipe), str(most.seeds.iloc[0]), str(most.images.iloc[0])]
    cells += [f"{x.difference:+.2f} [{x.low:+.2f}, {x.high:+.2f}] {x.verdict}" for x in most.loc[list(COMPARISONS)].itertuples()]
    return f"| {' | '.join(cells)} |"


def _row(name, recipe, found):
    ignored, seeds = found[0][0], [_confusions(folder) for _, folder in found]
    of = {rule: np.stack([seed[rule] for seed in seeds]) for rule in RULES}                          # (S, B, C + 1, C)
    scores = {rule: mean_iou(counts.sum(1), ignored) for rule, counts in of.items()}
    cells = [name, recipe, str(len(seeds)), str(of["mean"].shape[1]), *(_spread(scores[rule]) for rule in RULES)]
    chosen = [(mean_iou(seed["chosen"].sum(0), ignored), seed["k"]) for seed in seeds if "chosen" in seed]
    ks = ", ".join(f"{k:.3g}" for k in sorted({k for _, k in chosen}))
    cells.append(f"{_spread([miou for miou, _ in chosen])} (k = {ks})" if chosen else "none")
    for other in ("majority", "mean"):
        gain = paired_bootstrap(of["entropy_weighted"], of[other], ignored)
        cells.append("{difference:+.2f} [{low:+.2f}, {high:+.2f}]".format(**gain))
    return "| " + " | ".join(cells) + " |"


def _confusions(folder):
    """Confusions [B, C + 1, C] of RULES (k = 1), and, if a k was chosen, of that ("chosen") and it ("k")."""
    with np.load(folder / "confusions.npz") as file:
        rules, chosen, counts = list(file["rules"]), np.flatnonzero(file["chosen"]), file["confusions"]
        found = {rule: counts[rules.index(rule)] for rule in RULES}
        entropy = [i for i in chosen if rules[i] == "entropy_weighted"]
        return found | ({"chosen": counts[entropy[0]], "k": float(file["k"][entropy[0]])} if entropy else {})


def _spread(values):
    """Mean, and the spread over seeds if there are several."""
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")
