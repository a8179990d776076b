"""Tables and tidy frames of scores, for notebooks, `diffseg status` and the README.

Rules and their labels come from the scores: every rule of voting.RULES that was scored has its
column or row. mIoU is in percent, differences are in points. A `measure` is a name in
metrics.MEASURES; `all_scores` has a column for each.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ..metrics import MEASURES, PROTOCOLS, iou, mean_iou
from ..presets import PAPER
from .results import load_results
from .scores import load_scores
from .significance import compare, compare_confusions, paired_bootstrap, verdict

LIMITS = ("geometric_mean", "most_certain")  # of the families; too many columns for a narrow table
CHOSEN = ("k chosen", "pool chosen")

COMPARISONS = (
    "k = 1 minus majority",
    "mean minus majority",
    "ties by mean minus majority",
    "k = 1 minus mean",
    "k chosen minus mean",
    "pool chosen minus mean",
)

# ---- one run ------------------------------------------------------------------------------------


def rule_table(scores, split="test"):
    """Frame of text: mIoU of every rule in both protocols, and its difference from the majority."""
    table = pd.DataFrame()
    for protocol in PROTOCOLS:
        title, gain_title = f"mIoU, {protocol}", f"minus majority, {protocol}"
        members = scores.member_miou(split, protocol).values
        miou = scores.miou(split, protocol).mean("seed")
        if members.size > 1:
            row = "single member, mean ± spread"
            table.loc[row, title] = f"{members.mean():.2f} ± {members.std(ddof=1):.2f}"
        for rule in scores.rules:
            label = scores.label(rule)
            table.loc[label, title] = f"{miou.sel(rule=rule):.2f}"
            if rule != "majority":
                gain = compare(scores, rule, "majority", split, protocol)
                table.loc[label, gain_title] = interval(gain)
    columns = [f"{what}, {p}" for p in PROTOCOLS for what in ("mIoU", "minus majority")]
    return table[columns].fillna("")


def rule_gains(scores, split="test"):
    """{rule label: compare with the majority}, published protocol."""
    return {
        scores.label(rule): compare(scores, rule, "majority", split)
        for rule in scores.rules
        if rule != "majority"
    }


def verdict_table(scores, pairs, split="test"):
    """Frame of text: the difference of each pair (new, old) of rules, resolved or not."""
    table = pd.DataFrame(index=[f"{scores.label(a)}, minus {scores.label(b)}" for a, b in pairs])
    for protocol in PROTOCOLS:
        table[protocol] = [_said(scores, *pair, split, protocol) for pair in pairs]
    return table.rename_axis("points of mIoU, 95 % interval")


def _said(scores, new, old, split, protocol):
    a, b = (scores.confusions(rule, split) for rule in (new, old))
    found = compare_confusions(a, b, scores.ignore_label, protocol)
    if (a == b).all():
        word = "the same votes"
    elif found["verdict"] == "not resolved":
        word = "**not resolved**, covers zero"
    else:
        word = "**resolved**"
    return f"{interval(found)} {word}"


def interval(gain):
    """'+0.12 [-0.05, +0.29]'"""
    return "{difference:+z.2f} [{low:+z.2f}, {high:+z.2f}]".format(**gain)


def markdown(frame, n_left=1):
    """A Markdown table of a frame of text; the first n_left columns are aligned to the left."""
    n_right = 1 + len(frame.columns) - n_left
    align = ["left"] * n_left + ["right"] * n_right
    return frame.to_markdown(colalign=align, disable_numparse=True)


def image_gains(scores, seed=None, new="entropy_weighted", old="majority", split="test"):
    """[B] points of mIoU by which `new` is better than `old`, image by image, of one seed."""
    counts = scores.of(split).counts.sel(seed=scores.seeds[0] if seed is None else seed)
    a, b = (mean_iou(counts.sel(rule=rule).values, scores.ignore_label) for rule in (new, old))
    return 100 * (a - b)


# ---- all runs: `diffseg status` -----------------------------------------------------------------


def results_table(folder, recipe="published", measure="miou"):
    """Frame of text: mIoU (%, published protocol, mean over seeds), and differences of votes.

    The 95 % intervals are over images and seeds. measure: another one than mIoU.
    FileNotFoundError if there are no results of this recipe.
    """
    results = load_results(folder)
    shown = [result for (_, other), result in results.items() if other == recipe]
    if not shown:
        raise FileNotFoundError(
            f"{folder}: no results of recipe {recipe} here; "
            f"`diffseg run --recipe {recipe}` makes them"
        )
    labels = rule_labels(shown)
    k = k_in_words(shown)
    rows = {result.name: _row(result.scores, labels, k, measure) for result in shown}
    rows = pd.DataFrame(rows).T
    name = "dataset" if measure == "miou" else f"dataset, {MEASURES[measure].label}"
    return rows.rename_axis(name)


def k_in_words(results):
    """'k = 1': the k of the entropy-weighted vote in all results; ValueError if it is not one."""
    ks = {}
    for result in results:
        ks.setdefault(result.scores.label("entropy_weighted"), result.title)
    if len(ks) > 1:
        (one_label, one), (other_label, other) = list(ks.items())[:2]
        raise ValueError(
            f"{one} is {one_label}, and {other} is {other_label}: a table has one k; run one of "
            "them again, or into another folder with --results"
        )
    label = next(iter(ks), "entropy-weighted, k = 1")
    return label.removeprefix("entropy-weighted, ")


def rule_labels(results):
    """{rule: label} of the columns of a table: all rules that any run scored, but for LIMITS."""
    labels = {}
    for result in results:
        labels = labels | {rule: result.scores.label(rule) for rule in result.scores.rules}
    left_out = (*LIMITS, *CHOSEN)
    return {rule: label for rule, label in labels.items() if rule not in left_out}


def _row(scores, labels, k, measure):
    """{title: text} of a run in results_table."""
    found = scores.score(measure)
    row = {"seeds": len(scores.seeds), "test images": len(scores.images())}
    for rule, label in labels.items():
        row[label] = _spread(found.sel(rule=rule).values) if rule in scores.rules else "none"
    title = "k chosen on validation"
    row[title] = "none"
    if "k chosen" in scores.rules:
        row[title] = f"{_spread(found.sel(rule='k chosen').values)} (k = {chosen_ks(scores)})"
    for old in ("majority", "mean"):
        gain = compare(scores, "entropy_weighted", old, measure=measure)
        row[f"{k} minus {old}"] = interval(gain)
    return row


def chosen_ks(scores):
    """'0.5, 1': every k that a seed chose."""
    ks = {found["k"] for found in scores.attrs.get("chosen", {}).values()}
    return ", ".join(f"{k:.3g}" for k in sorted(ks))


def _spread(values):
    """Mean, and the spread over seeds if there are several; seeds without a value do not count."""
    values = values[~np.isnan(values)]
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def evidence_table(folder, recipe="published"):
    """Frame of text of what 09 found: mIoU differences over all images and seeds, with verdicts.

    FileNotFoundError if 09_evidence has not been run with this recipe.
    """
    paths = sorted(Path(folder).glob(f"*/{evidence_name(recipe)}.csv"))
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no evidence of recipe {recipe} here; "
            f"`diffseg evidence --recipe {recipe}` makes it"
        )
    rows = pd.DataFrame({path.parent.name: _evidence_row(path) for path in paths}).T
    return rows.rename_axis("dataset")


def _evidence_row(path):
    most = most_evidence(path).set_index("comparison")
    row = {"seeds": most.seeds.iloc[0], "test images": most.images.iloc[0]}
    for name in COMPARISONS:
        row[name] = f"{interval(most.loc[name])} {most.loc[name, 'verdict']}"
    return row


def most_evidence(path):
    """The rows of an evidence.csv for mIoU, published protocol, all images and seeds."""
    found = pd.read_csv(path).query("measure == 'mIoU' and protocol == 'published'")
    return found[(found.images == found.images.max()) & (found.seeds == found.seeds.max())]


def evidence_name(recipe):
    """How 09 calls its files."""
    return "evidence" if recipe == "published" else f"evidence_{recipe}"


def training_table(folder):
    """Frame of text of recipe_gains; FileNotFoundError if no dataset was run with both recipes."""
    gains = recipe_gains(folder)
    if gains.empty:
        raise FileNotFoundError(
            f"{folder}: nothing was run by both recipes here; "
            "`diffseg run --recipe tuned` adds the second"
        )
    rows = pd.DataFrame(index=pd.Index(gains.dataset, name="dataset"))
    rows["seeds"], rows["test images"] = gains.seeds.values, gains.images.values
    for recipe in ("published", "tuned"):
        rows[recipe] = [f"{miou:.2f}" for miou in gains[recipe]]
    said = [f"{interval(row)} {row['verdict']}" for _, row in gains.iterrows()]
    rows["tuned minus published"] = said
    return rows


def recipe_gains(folder):
    """Frame (dataset, seeds, images, published, tuned, difference, low, high, verdict).

    What the tuned recipe gains: majority vote, mIoU in percent, published protocol; the seeds that
    both recipes have, on the images that both saw: those of 09 where it was run for both, else the
    preset's.
    """
    results = load_results(folder)
    rows = []
    for name in dict.fromkeys(name for name, _ in results):
        pair = [results.get((name, recipe)) for recipe in ("published", "tuned")]
        if None in pair:
            continue
        both = [Path(folder) / name / f"{evidence_name(r.recipe)}.npz" for r in pair]
        if all(path.exists() for path in both):
            pair = [load_scores(path) for path in both]
        else:
            pair = [result.scores for result in pair]
        seeds = sorted(set(pair[0].seeds) & set(pair[1].seeds))
        if not seeds:
            continue
        n_images = min(len(scores.images()) for scores in pair)
        ignored = pair[0].ignore_label
        old, new = (
            scores.of("test").counts.sel(rule="majority", seed=seeds)[:, :n_images].values
            for scores in pair
        )  # (S, B, C + 1, C) each
        gain = paired_bootstrap(new, old, ignored)
        rows.append(
            {
                "dataset": name,
                "seeds": len(seeds),
                "images": n_images,
                "published": 100 * mean_iou(old.sum(1), ignored).mean(),
                "tuned": 100 * mean_iou(new.sum(1), ignored).mean(),
                **gain,
                "verdict": verdict(gain["low"], gain["high"]),
            }
        )
    return pd.DataFrame(rows)


def all_scores(results):
    """Tidy frame of every score in percent: a row per run, split, rule and protocol.

    A column for each measure of metrics.MEASURES. k: of the entropy-weighted vote, and of the one
    chosen on validation; nan for other rules.
    """
    parts = []
    for result in results.values():
        scores = result.scores
        splits = dict.fromkeys(scores.counts.split.values.tolist())
        for split, protocol in product(splits, PROTOCOLS):
            found = {name: scores.score(name, split, protocol).to_series() for name in MEASURES}
            part = pd.DataFrame(found).reset_index()
            dataset, _, backbone = result.name.partition("@")
            part["dataset"] = dataset
            part["backbone"] = backbone or result.preset.backbone
            part["recipe"] = result.recipe
            part["split"] = split
            part["images"] = len(scores.images(split))
            part["k"] = [_k_of(scores, *pair) for pair in zip(part.seed, part.rule)]
            part["protocol"] = protocol
            parts.append(part)
    columns = ["split", "dataset", "backbone", "recipe", "seed", "images", "rule", "k", "protocol"]
    return pd.concat(parts).dropna(subset="miou")[[*columns, *MEASURES]]


def _k_of(scores, seed, rule):
    """The k of a rule, nan if it has none."""
    if rule == "k chosen":
        return scores.attrs["chosen"][seed]["k"]
    if rule == "entropy_weighted":
        return float(scores.label(rule).rpartition("k = ")[2])
    return np.nan


def training_seconds(folder, seed=0):
    """Frame, a row per run: the seconds that 02_classifier_training took with each recipe."""
    rows = []
    for (name, recipe), result in load_results(folder).items():
        if seed in result.manifests:
            seconds = result.manifests[seed]["seconds"]["02_classifier_training"]
            rows.append((name, recipe, seconds))
    found = pd.DataFrame(rows, columns=["name", "recipe", "seconds"]).astype({"name": str})
    found = found.pivot(index="name", columns="recipe", values="seconds")
    return found.reindex(columns=["published", "tuned"])


# ---- all runs: Table I and its figures ----------------------------------------------------------

# Of Table I; runs of different blocks are not to be compared with each other.
BLOCKS = ("official checkpoint", "other backbone", "painted", "own images")


def block_of(result):
    """The block of Table I in which a run stands: a name in BLOCKS."""
    if result.preset.painted:
        return "painted"
    if result.preset.own:
        return "own images"
    return "other backbone" if "@" in result.name else "official checkpoint"


def table_1(results, protocol="published", measure="miou"):
    """Frame (block, run): mIoU of every rule, published recipe, mean over seeds; gains; seeds.

    The last column is the majority of the tuned recipe. The paper's datasets have a row even if
    they were not run on their official checkpoint: with 0 seeds.
    """
    blocks = dict.fromkeys(PAPER, BLOCKS[0])
    blocks |= {result.name: block_of(result) for result in results.values()}
    names = sorted(blocks, key=lambda name: BLOCKS.index(blocks[name]))  # stable
    labels = rule_labels(results.values()) | {"k chosen": "k chosen"}
    k = k_in_words(results.values())
    rows = []
    for name in names:
        row = {"block": blocks[name], "run": name}
        result = results.get((name, "published"))
        found = _mean_scores(result, protocol, measure)
        row |= {label: found.get(rule, np.nan) for rule, label in labels.items()}
        row[f"{k} minus majority"] = _minus(found, "entropy_weighted", "majority")
        row["k chosen minus majority"] = _minus(found, "k chosen", "majority")
        row["chosen k"] = chosen_ks(result.scores) if result else ""
        row["seeds"] = len(result.scores.seeds) if result else 0
        tuned = _mean_scores(results.get((name, "tuned")), protocol, measure)
        row["tuned majority"] = tuned.get("majority", np.nan)
        rows.append(row)
    return pd.DataFrame(rows).set_index(["block", "run"])


def _mean_scores(result, protocol, measure):
    """{rule: the measure in percent, mean over seeds} of a Result, or of none."""
    if result is None:
        return {}
    found = result.scores.score(measure, "test", protocol).mean("seed")
    return dict(zip(found.rule.values.tolist(), found.values.tolist()))


def _minus(scores, new, old):
    return scores.get(new, np.nan) - scores.get(old, np.nan)


def difference_table(results):
    """Frame (dataset, recipe, block, comparison, difference, low, high, verdict, seeds, images)."""
    order = sorted(results.values(), key=lambda r: (BLOCKS.index(block_of(r)), r.recipe))
    k = k_in_words(order)
    rows = []
    for result in order:
        for old in ("majority", "mean"):
            gain = compare(result.scores, "entropy_weighted", old)
            row = {"dataset": result.title, "recipe": result.recipe, "block": block_of(result)}
            row["comparison"] = f"{k} minus {old}"
            row |= gain
            rows.append(row | {"seeds": gain["n_seeds"], "images": gain["n_images"]})
    return pd.DataFrame(rows)


def class_differences(results, seed, new="entropy_weighted", old="majority"):
    """Frame (name, painted, class, share of the pixels in percent, difference) of one seed."""
    parts = [pd.DataFrame(columns=["name", "painted", "class", "share", "difference"])]
    for result in of_seed(results, seed):
        scores = result.scores
        counts = scores.of("test").counts.sel(seed=seed).sum("image")
        a, b = (counts.sel(rule=rule).values for rule in (new, old))
        pixels = b[:-1].sum(1)  # (C,)
        part = {
            "name": result.name,
            "painted": bool(result.preset.painted),
            "class": result.preset.classes,
            "share": 100 * pixels / pixels.sum(),
            "difference": 100 * (iou(a, scores.ignore_label) - iou(b, scores.ignore_label)),
        }
        parts.append(pd.DataFrame(part))
    return _together(parts).dropna().query("share > 0")


def image_differences(results, seed, new="entropy_weighted", old="majority"):
    """Frame (name, difference of the image's own mIoU) of one seed, a row per test image."""
    parts = [pd.DataFrame(columns=["name", "difference"], dtype=float)]
    for result in of_seed(results, seed):
        difference = image_gains(result.scores, seed, new, old)
        parts.append(pd.DataFrame({"name": result.name, "difference": difference}))
    return _together(parts)


def _together(parts):
    """The frames after the first below each other; the first, which is empty, if there are none."""
    return pd.concat(parts[1:]) if parts[1:] else parts[0]


def of_seed(results, seed):
    """The Results that have this seed, of the recipe of their dataset: the published one, but for
    somebody's own images.
    """
    own = [r for r in results.values() if r.recipe == r.preset.recipe]
    return [r for r in own if seed in r.scores.seeds]


# ---- costs --------------------------------------------------------------------------------------


def costs_table(folder):
    """Frame of text of `folder`/costs.csv; FileNotFoundError if 06_costs has not been run."""
    path = Path(folder) / "costs.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path}: nothing was measured here; run notebooks/06_costs.ipynb")
    return costs_in_words(pd.read_csv(path))


def with_cost_ranges(effects):
    """The frame with the range of each change's cost over the datasets: '1.04 to 1.08, 20 labels'.

    effects: frame with change and cost, a text such as '1.04, 20 labels'.
    """
    return effects.assign(cost=effects.groupby("change").cost.transform(_cost_range))


def _cost_range(texts):
    """The range of the numbers at the beginning of some texts, and what follows them, once."""
    parts = [str(text).partition(", ") for text in texts]
    numbers = sorted({number for number, _, _ in parts}, key=lambda number: (len(number), number))
    labels = dict.fromkeys(label for _, _, label in parts if label)
    return ", ".join([" to ".join(dict.fromkeys([numbers[0], numbers[-1]])), *labels])


def costs_in_words(costs):
    """Frame of text of a frame (cost, unit, published, ours, ratio, goal).

    Blank where nothing was measured.
    """
    rows = pd.DataFrame(index=pd.Index(costs.cost, name="what"))
    for column in ("published", "ours"):
        rows[column] = [_number(x, unit) for x, unit in zip(costs[column], costs.unit)]
    rows["published / ours"] = [_number(x) for x in costs.ratio]
    rows["goal"] = [_number(x) for x in costs.goal]
    return rows


def _number(value, unit=""):
    """'1,234 s', '12.3 s' or '1.23 s'; nothing for nan."""
    if value != value:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    unit = unit if isinstance(unit, str) else ""
    return f"{value:,.{digits}f} {unit}".strip()
