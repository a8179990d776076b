"""README's tables: one row for all seeds of a dataset, backbone and recipe."""

from io import StringIO

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from diffseg_utils.evaluation import Scores, evidence, load_results
from diffseg_utils.evaluation.formats import formatted
from diffseg_utils.evaluation.page import effects_table
from diffseg_utils.evaluation.scores import COUNTED, OUTSIDE
from diffseg_utils.evaluation.tables import (
    COMPARISONS,
    all_scores,
    class_differences,
    costs_table,
    difference_table,
    evidence_table,
    image_differences,
    markdown,
    recipe_gains,
    results_table,
    rule_table,
    table_1,
    training_table,
    verdict_table,
    with_cost_ranges,
)
from diffseg_utils.presets import DATASETS

RULES = {
    "majority": "majority",
    "mean": "mean",
    "most_certain": "most certain",
    "entropy_weighted": "entropy-weighted, k = 1",
    "k chosen": "k = 4 (validation)",
}


def confusions(right, wrong):
    """[C + 1, C] of an image with two classes of 100 pixels each, of which so many are right."""
    return np.array([[right, 100 - right], [wrong, 100 - wrong], [0, 0]])


def some_scores(votes, seed=0, images=3, rules=RULES):
    """Scores of one seed: of each rule so many pixels of the first class are right in an image."""
    counts = [[confusions(right, 10)] * images for right in votes]
    members = [[confusions(80 + i, 10)] * images for i in range(3)]
    classes = ["sky", "sea"]
    axes = {
        "seed": [seed],
        "image": [f"test_{i}" for i in range(images)],
        "split": ("image", ["test"] * images),
        "truth": [*classes, OUTSIDE],
        "predicted": classes,
    }
    attrs = {"classes": classes, "ignore_label": 255, "labels": dict(rules)}
    return Scores(
        xr.DataArray([counts], axes | {"rule": list(rules)}, COUNTED),
        xr.DataArray([members], axes | {"member": range(3)}, ("seed", "member", *COUNTED[2:])),
        {},
        attrs | {"chosen": {seed: {"k": 4.0}}},
    )


def miou(right):
    return 50 * (right / 110 + 90 / (200 - right))


@pytest.fixture
def one_run(results_of):
    """The results of a seed, each rule a little better than the one before."""

    def leave(name, seed, recipe, less):
        votes = [right - less for right in (90, 92, 93, 94, 96)]
        results_of(some_scores(votes, seed), name, seed, recipe)

    return leave


@pytest.fixture
def folder(one_run, tmp_path):
    """Two seeds of one run; the entropy-weighted vote is better than the majority in both."""
    for seed, less in enumerate((0, 4)):
        one_run("mini_horse", seed, "published", less)
    return tmp_path


def row_of(table, name="mini_horse"):
    """{title: text} of a row of a frame of text."""
    return {title: str(text) for title, text in table.loc[name].items()}


def test_a_row_is_the_mean_over_seeds_with_their_spread(folder):
    row = row_of(results_table(folder))
    assert [row["seeds"], row["test images"]] == ["2", "3"]
    both = np.array([miou(90), miou(86)])
    assert row["majority"] == f"{both.mean():.2f} ± {both.std(ddof=1):.2f}"
    assert "(k = 4)" in row["k chosen on validation"]
    assert all(row[f"k = 1 minus {rule}"].count("+") == 3 for rule in ("majority", "mean"))
    assert "most certain" not in row, "too many columns for a narrow table"


def test_a_new_rule_has_a_column_also_beside_older_results(folder, results_of):
    new = {**RULES, "median": "the median"}
    results_of(some_scores([90, 92, 93, 94, 96, 50], rules=new), "mini_cat", 0)
    table = results_table(folder)
    assert row_of(table, "mini_cat")["the median"] == f"{miou(50):.2f}"
    assert row_of(table, "mini_horse")["the median"] == "none"
    assert "the median" in rule_table(some_scores([90] * 6, rules=new)).index


def test_rules_of_one_run_by_hand():
    table = rule_table(some_scores((90, 92, 93, 94, 96)))
    assert table.loc["mean", "mIoU, published"] == f"{miou(92):.2f}"
    gain = f"{miou(92) - miou(90):+.2f}"
    assert table.loc["mean", "minus majority, masked"] == f"{gain} [{gain}, {gain}]"
    single = [miou(right) for right in (80, 81, 82)]
    said = f"{np.mean(single):.2f} ± {np.std(single, ddof=1):.2f}"
    assert table.loc["single member, mean ± spread", "mIoU, masked"] == said
    assert table.loc["majority", "minus majority, published"] == ""


def test_verdicts_in_words():
    scores = some_scores((90, 90, 93, 94, 96))
    pairs = [("mean", "majority"), ("entropy_weighted", "majority")]
    table = verdict_table(scores, pairs)
    assert table.index[1] == "entropy-weighted, k = 1, minus majority"
    assert table.published.iloc[0].endswith("the same votes")
    assert table.published.iloc[1].endswith(" **resolved**")
    titles, lines, *_ = markdown(table).splitlines()
    assert titles.count("|") == 4 and lines.split("|")[1][0] == ":", "names to the left"
    assert [text[-1] for text in lines.split("|")[2:4]] == [":", ":"], "numbers to the right"


def test_table_1_by_hand(folder, one_run, results_of):
    one_run("mini_horse", 0, "tuned", 3)
    results = load_results(folder)
    table = table_1(results)
    row = table.loc["painted", "mini_horse"]
    assert row["majority"] == pytest.approx((miou(90) + miou(86)) / 2)
    gain = (miou(94) + miou(90)) / 2 - (miou(90) + miou(86)) / 2
    assert row["k = 1 minus majority"] == pytest.approx(gain)
    assert row["tuned majority"] == pytest.approx(miou(87))
    assert (row["seeds"], row["chosen k"]) == (2, "4")
    paper = table.loc["official checkpoint"]
    assert list(paper.index) == ["bedroom_28", "ffhq_34", "cat_15", "horse_21"]
    assert (paper.seeds == 0).all() and paper.majority.isna().all()


def test_tables_of_another_measure(folder):
    accuracy = [(right + 90) / 2 for right in (90, 86)]
    row = row_of(results_table(folder, measure="accuracy"))
    assert row["majority"] == f"{np.mean(accuracy):.2f} ± {np.std(accuracy, ddof=1):.2f}"
    assert row["k = 1 minus majority"] == "+2.00 [+2.00, +2.00]"
    table = table_1(load_results(folder), measure="accuracy").loc["painted", "mini_horse"]
    assert table["majority"] == pytest.approx(np.mean(accuracy))
    assert table["k = 1 minus majority"] == pytest.approx(2)


def test_frames_of_the_figures_by_hand(folder, one_run):
    one_run("mini_horse", 0, "tuned", 3)
    results = load_results(folder)
    rows = difference_table(results)
    assert list(rows.dataset) == ["mini_horse"] * 2 + ["mini_horse (tuned)"] * 2
    assert set(rows.verdict) == {"gain"} and list(rows.seeds) == [2, 2, 1, 1]
    images = image_differences(results, 1)
    assert list(images.name) == ["mini_horse"] * 3
    assert images.difference.values == pytest.approx([miou(90) - miou(86)] * 3)
    assert list(images.difference) == pytest.approx([miou(90) - miou(86)] * 3)


def test_class_differences_by_hand(results_of, tmp_path):
    horse = DATASETS["mini_horse"].classes
    counts = np.zeros((1, 2, 1, len(horse) + 1, len(horse)), int)
    counts[0, 0, 0, :2, :2] = [[90, 10], [10, 90]]  # 90 / 110 of both
    counts[0, 1, 0, :2, :2] = [[100, 0], [10, 90]]  # 100 / 110, 90 / 100
    axes = {
        "seed": [0],
        "rule": ["majority", "entropy_weighted"],
        "image": ["a"],
        "split": ("image", ["test"]),
        "truth": [*horse, OUTSIDE],
        "predicted": list(horse),
    }
    array = xr.DataArray(counts, axes, COUNTED)
    members = array.rename(rule="member")
    attrs = {"classes": list(horse), "ignore_label": 255, "labels": {}}
    results_of(Scores(array, members, {}, attrs), "mini_horse", 0)
    found = class_differences(load_results(tmp_path), 0)
    assert list(found["class"]) == list(horse[:2]) and list(found.share) == [50, 50]
    assert found.difference.values == pytest.approx([100 * 10 / 110, 100 * (0.9 - 90 / 110)])


def test_all_scores_have_a_row_each(folder, one_run):
    one_run("mini_cat@photo", 0, "tuned", 3)
    table = all_scores(load_results(folder))
    assert len(table) == 3 * len(RULES) * 2
    row = table.query("dataset == 'mini_horse' and seed == 1 and rule == 'mean'")
    row = row.query("protocol == 'masked'").iloc[0]
    assert row.miou == pytest.approx(miou(88))
    assert row.accuracy == pytest.approx((88 + 90) / 2)
    assert [row.split, row.backbone, row.recipe, row.images] == ["test", "mini", "published", 3]
    other = table.query("dataset == 'mini_cat'")
    assert set(other.recipe) == {"tuned"} and set(other.backbone) == {"photo"}
    ks = table.drop_duplicates("rule").set_index("rule").k
    assert ks["entropy_weighted"] == 1 and ks["k chosen"] == 4 and np.isnan(ks["mean"])


@pytest.fixture
def small():
    """A frame with what each format has to escape or to align."""
    texts = {"mIoU": ["51.55 ± 0.17", "9.1"], "k = 1 minus mean": ["+0.10 [-0.1, +0.3]", ""]}
    return pd.DataFrame(texts, index=pd.Index(["mini_horse", "cat"], name="dataset"))


def test_formats(small):
    lines = formatted(small, "markdown").splitlines()
    assert lines[2] == "| mini_horse | 51.55 ± 0.17 | +0.10 [-0.1, +0.3] |"
    again = pd.read_csv(StringIO(formatted(small, "csv")), index_col="dataset", dtype=str)
    assert again.fillna("").equals(small)
    latex = formatted(small, "latex")
    assert r"mini\_horse & 51.55 $\pm$ 0.17 & +0.10 [-0.1, +0.3] \\" in latex
    assert r"\begin{tabular}{lrr}" in latex and r"\midrule" in latex
    with pytest.raises(ValueError, match="unknown format 'word'; choose from table, markdown, csv"):
        formatted(small, "word")


@pytest.mark.parametrize("width, n_parts", [(80, 1), (40, 2)])
def test_a_table_fits_the_terminal(small, width, n_parts, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = formatted(small, "table")
    assert max(map(len, text.splitlines())) <= width
    assert text.count("mini_horse") == n_parts, "columns that do not fit come below"
    for words in ("51.55 ± 0.17", "+0.10 [-0.1, +0.3]", "k = 1 minus mean"):
        assert words in text, "nothing is cut or wrapped"


def test_nothing_there(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="no results of recipe tuned here; `diffseg run --recipe tuned` makes them",
    ):
        results_table(tmp_path, "tuned")
    with pytest.raises(FileNotFoundError, match="nothing was run by both recipes here"):
        training_table(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"nothing was measured here; run notebooks/06_costs\.ipynb"
    ):
        costs_table(tmp_path)
    with pytest.raises(FileNotFoundError, match="diffseg evidence"):
        evidence_table(tmp_path)


def test_evidence_of_all_images_and_seeds(tmp_path):
    lines = ["measure,comparison,protocol,images,seeds,difference,low,high,verdict"]
    for name in COMPARISONS:
        lines += [
            f"mIoU,{name},published,20,1,9,9,9,gain",
            f"mIoU,{name},masked,500,5,9,9,9,gain",
            f"boundary IoU,{name},published,500,5,9,9,9,gain",
            f"mIoU,{name},published,500,5,-0.126,-0.3,0.05,not resolved",
        ]
    (tmp_path / "mini_cat").mkdir()
    for name, text in (
        ("evidence.csv", "\n".join(lines)),
        ("evidence_tuned.csv", "\n".join(lines).replace("500,5", "500,3")),
    ):
        (tmp_path / "mini_cat" / name).write_text(text)
    for recipe, seeds in (("published", 5), ("tuned", 3)):
        table = evidence_table(tmp_path, recipe)
        said = ["-0.13 [-0.30, +0.05] not resolved"] * len(COMPARISONS)
        assert list(table.index) == ["mini_cat"]
        assert table.loc["mini_cat"].tolist() == [seeds, 500, *said]


def test_recipes_are_compared_by_common_seeds(folder, one_run):
    one_run("mini_cat", 0, "published", 0)  # one recipe only: no row
    for seed, less in ((1, 1), (2, 0)):  # seed 1 is what both have
        one_run("mini_horse", seed, "tuned", less)
    tuned = results_table(folder, "tuned")
    assert list(tuned.index) == ["mini_horse"]
    gains = recipe_gains(folder)
    old, new = miou(86), miou(89)
    assert gains[["dataset", "seeds", "images", "verdict"]].values.tolist() == [
        ["mini_horse", 1, 3, "gain"]
    ]
    assert gains[["published", "tuned", "difference"]].iloc[0].tolist() == pytest.approx(
        [old, new, new - old]
    )
    row = row_of(training_table(folder))
    assert list(row.values())[:4] == ["1", "3", f"{old:.2f}", f"{new:.2f}"]
    assert row["tuned minus published"].startswith(f"{new - old:+.2f} [")


def test_recipes_are_compared_on_all_images_of_the_evidence_if_both_have_it(folder, one_run):
    one_run("mini_horse", 0, "tuned", 80)  # much worse on three images
    for name, right, images in (("evidence", 80, 9), ("evidence_tuned", 85, 8)):  # better on more
        scores = some_scores([10, right], images=images, rules={"mean": "", "majority": ""})
        scores.save(folder / "mini_horse" / f"{name}.npz")
    gain = recipe_gains(folder).iloc[0]
    assert gain.images == 8 and gain.verdict == "gain"
    assert gain.published == pytest.approx(miou(80))
    (folder / "mini_horse" / "evidence_tuned.npz").unlink()
    gain = recipe_gains(folder).iloc[0]
    assert gain.images == 3 and gain.difference < 0


def test_classes_from_the_easiest_to_the_hardest():
    found = evidence.class_table(some_scores([50, 60, 60, 70, 70]))
    assert list(found.index) == ["sea", "sky"] and list(found.share) == [50, 50]
    assert found.loc["sky", "majority"] == pytest.approx(100 * 50 / 110)
    assert found.loc["sea", "entropy_weighted"] == pytest.approx(100 * 90 / 130)
    assert found.loc["sky", "difference"] == pytest.approx(100 * 20 / 110)


def test_effects_have_the_range_of_their_gains_and_of_their_costs(tmp_path):
    for dataset, difference, cost in (
        ("a", 0.5, "1.08, 20 labels"),
        ("b", -0.1, "10.00, 20 labels"),
    ):
        row = {"change": "stacking", "difference": difference, "cost": cost, "verdict": "gain"}
        free = {"change": "mean", "difference": 1.0, "cost": "1.00", "verdict": "gain"}
        (tmp_path / dataset).mkdir()
        pd.DataFrame([row, free]).to_csv(tmp_path / dataset / "what_helps.csv", index=False)
    table = effects_table(tmp_path)
    assert table.index.tolist() == ["mean", "stacking"], "the largest gain first"
    assert table.loc["stacking"].tolist() == ["-0.10 to +0.50 (2 gain)", "1.08 to 10.00, 20 labels"]
    assert table.loc["mean"].tolist() == ["+1.00 to +1.00 (2 gain)", "1.00"]


def test_a_cost_is_given_as_its_range_over_the_datasets():
    effects = pd.DataFrame(
        {
            "change": ["stacking", "stacking", "mirror", "mirror", "own"],
            "cost": ["1.08, 20 labels", "1.04, 20 labels", "0.77", "10.00", "not timed"],
        }
    )
    ranges = with_cost_ranges(effects)
    stacking, mirror = "1.04 to 1.08, 20 labels", "0.77 to 10.00"
    assert list(ranges.cost) == [stacking, stacking, mirror, mirror, "not timed"]
