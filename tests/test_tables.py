"""README's tables: one row for all seeds of a dataset, backbone and recipe."""
import json

import numpy as np
import pytest

from diffseg_utils.tables import COMPARISONS, costs_table, evidence_table, results_table


def confusions(right, wrong):
    """[1, C + 1, C] of an image with two classes of 100 pixels each, of which so many are right."""
    return np.array([[[right, 100 - right], [wrong, 100 - wrong], [0, 0]]])


@pytest.fixture
def folder(tmp_path):
    """Two seeds of one run; the entropy-weighted vote is better than the majority in both."""
    rules, votes = ["majority", "mean", "entropy_weighted", "entropy_weighted", "pool"], (90, 92, 94, 96, 50)
    for seed, less in enumerate((0, 4)):
        run = tmp_path / "mini_horse" / f"seed{seed}"
        run.mkdir(parents=True)
        counts = np.stack([np.concatenate([confusions(right - less, 10)] * 3) for right in votes])
        np.savez(run / "confusions.npz", confusions=counts, rules=rules, chosen=[False, False, False, True, False],
                 k=[np.nan, np.nan, 1, 4.0, 0])
        (run / "run.json").write_text(json.dumps({"recipe": "published", "preset": {"ignore_label": 255}}))
    return tmp_path


def test_a_row_is_the_mean_over_seeds_with_their_spread(folder):
    row = results_table(folder).splitlines()[2]
    assert row.startswith("| mini_horse | published | 2 | 3 | ")
    iou = [[right / (100 + 10), 90 / (100 + 100 - right)] for right in (90, 86)]
    miou = 100 * np.mean(iou, 1)
    assert row.split(" | ")[4] == f"{miou.mean():.2f} ± {miou.std(ddof=1):.2f}"
    assert "(k = 4)" in row and row.count("+") == 6, "both differences are above zero, with their intervals"


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results here; `diffseg run` makes them"):
        results_table(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing was measured here; run notebooks/06_costs\.ipynb"):
        costs_table(tmp_path)
    with pytest.raises(FileNotFoundError, match="diffseg evidence"):
        evidence_table(tmp_path)


def test_evidence_of_all_images_and_seeds(tmp_path):
    lines = ["measure,comparison,protocol,images,seeds,difference,low,high,verdict"]
    for name in COMPARISONS:
        lines += [f"mIoU,{name},published,20,1,9,9,9,gain", f"mIoU,{name},masked,500,5,9,9,9,gain",
                  f"boundary IoU,{name},published,500,5,9,9,9,gain", f"mIoU,{name},published,500,5,-0.126,-0.3,0.05,not resolved"]
    (tmp_path / "mini_cat").mkdir()
    for name in ("evidence.csv", "evidence_tuned.csv"):
        (tmp_path / "mini_cat" / name).write_text("\n".join(lines))
    assert evidence_table(tmp_path).splitlines()[2:] == [
        f"| mini_cat{recipe} | 5 | 500 | " + " | ".join(["-0.13 [-0.30, +0.05] not resolved"] * len(COMPARISONS)) + " |"
        for recipe in ("", " (tuned)")]
