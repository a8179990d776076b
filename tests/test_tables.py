"""README's tables: one row for all seeds of a dataset, backbone and recipe."""

import json

import numpy as np
import pytest

from diffseg_utils.evidence import save
from diffseg_utils.tables import (
    COMPARISONS,
    costs_table,
    evidence_table,
    recipe_gains,
    results_table,
    training_table,
)


def confusions(right, wrong):
    """[1, C + 1, C] of an image with two classes of 100 pixels each, of which so many are right."""
    return np.array([[[right, 100 - right], [wrong, 100 - wrong], [0, 0]]])


def one_run(folder, recipe, less):
    """The results of a seed, each rule a little better than the one before."""
    rules, votes = (
        ["majority", "mean", "entropy_weighted", "entropy_weighted", "pool"],
        (90, 92, 94, 96, 50),
    )
    folder.mkdir(parents=True)
    counts = np.stack([np.concatenate([confusions(right - less, 10)] * 3) for right in votes])
    np.savez(
        folder / "confusions.npz",
        confusions=counts,
        rules=rules,
        chosen=[False, False, False, True, False],
        k=[np.nan, np.nan, 1, 4.0, 0],
    )
    (folder / "run.json").write_text(
        json.dumps({"recipe": recipe, "preset": {"ignore_label": 255}})
    )


@pytest.fixture
def folder(tmp_path):
    """Two seeds of one run; the entropy-weighted vote is better than the majority in both."""
    for seed, less in enumerate((0, 4)):
        one_run(tmp_path / "mini_horse" / f"seed{seed}", "published", less)
    return tmp_path


def test_a_row_is_the_mean_over_seeds_with_their_spread(folder):
    row = results_table(folder).splitlines()[2]
    assert row.startswith("| mini_horse | 2 | 3 | ")
    iou = [[right / (100 + 10), 90 / (100 + 100 - right)] for right in (90, 86)]
    miou = 100 * np.mean(iou, 1)
    assert row.split(" | ")[3] == f"{miou.mean():.2f} ± {miou.std(ddof=1):.2f}"
    assert "(k = 4)" in row and row.count("+") == 6, (
        "both differences are above zero, with their intervals"
    )


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
        assert evidence_table(tmp_path, recipe).splitlines()[2:] == [
            f"| mini_cat | {seeds} | 500 | "
            + " | ".join(["-0.13 [-0.30, +0.05] not resolved"] * len(COMPARISONS))
            + " |"
        ]


def test_recipes_are_compared_by_common_seeds(folder):
    one_run(folder / "mini_cat" / "seed0", "published", 0)  # one recipe only: no row
    for seed, less in ((1, 1), (2, 0)):  # seed 1 is what both have
        one_run(folder / "mini_horse" / f"seed{seed}_tuned", "tuned", less)
    assert "mini_horse" in results_table(folder, "tuned") and "mini_cat" not in results_table(
        folder, "tuned"
    )
    gains = recipe_gains(folder)
    old, new = (50 * (right / 110 + 90 / (200 - right)) for right in (86, 89))
    assert gains[["dataset", "seeds", "images", "verdict"]].values.tolist() == [
        ["mini_horse", 1, 3, "gain"]
    ]
    assert gains[["published", "tuned", "difference"]].iloc[0].tolist() == pytest.approx(
        [old, new, new - old]
    )
    assert (
        training_table(folder)
        .splitlines()[2]
        .startswith(f"| mini_horse | 1 | 3 | {old:.2f} | {new:.2f} | {new - old:+.2f} [")
    )


def test_recipes_are_compared_on_all_images_of_the_evidence_if_both_have_it(folder):
    one_run(folder / "mini_horse" / "seed0_tuned", "tuned", 80)  # much worse on three images
    for name, right, images in (("evidence", 80, 9), ("evidence_tuned", 85, 8)):  # better on more
        counts = np.stack([confusions(10, 10), confusions(right, 10)], 1)[:, None].repeat(
            images, 0
        )  # (B, S, rules, C + 1, C)
        save(
            folder / "mini_horse" / f"{name}.npz",
            confusions=counts,
            rules=["mean", "majority"],
            seeds=[0],
        )
    gain = recipe_gains(folder).iloc[0]
    assert (
        gain.images == 8
        and gain.verdict == "gain"
        and gain.published == pytest.approx(50 * (80 / 110 + 90 / 120))
    )
    (folder / "mini_horse" / "evidence_tuned.npz").unlink()
    gain = recipe_gains(folder).iloc[0]
    assert gain.images == 3 and gain.difference < 0
