"""A typical change is made in one place: a rule, a dataset, a measure. On a copy of the project."""

import json
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_crashes import environment

from diffseg_utils.evaluation import load_scores

ROOT = Path(__file__).parents[1]
RULE = '''

def median(probs):
    """The median of the members' probabilities, scaled to sum to one."""
    middle = probs.median(0).values  # (C, *pixels)
    return middle / middle.sum(0)
'''
ROW = 'Rule("median", "median of ten", median),'
DATASET = """\
    Preset(
        "new_smoke",
        "New smoke",
        ("background", "front", "body", "rider"),
        _counts(2, 2, 2),
        "mini",
        label_size=64,
        painted="smoke",
        epochs=1,
    ),
"""


MEASURE = '''
def mean_accuracy_of_areas(areas, protocol):
    """The mean over classes of the share of their pixels that are right."""
    right, _, true = areas
    return mean_of_scored(np.where(true > 0, right / np.maximum(true, 1), np.nan))


'''
MEASURE_ROW = 'Measure("class_accuracy", "mean accuracy", mean_accuracy_of_areas),'

WRITE_SCORES = """
from diffseg_utils.evaluation import load_results
from diffseg_utils.evaluation.tables import all_scores
all_scores(load_results("results")).to_csv("scores.csv")
"""


def put_before(path, text, before):
    """Insert `text` before the first place where `before` stands."""
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, text + before, 1))


def copy_project(folder):
    """The package and the notebooks, and the results of one run; returns the folder."""
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("diffseg_utils", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    run = folder / "results" / "mini_cat" / "seed0"
    run.mkdir(parents=True)
    for name in ("scores.npz", "run.json"):
        shutil.copy(ROOT / "results" / "mini_cat" / "seed0" / name, run)
    shutil.copy(ROOT / "results" / "paper.csv", folder / "results")
    return folder


def python(folder, *arguments):
    """What Python prints in a copy of the project."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The project with one more rule and one more dataset, after a run of that."""
    folder = copy_project(tmp_path_factory.mktemp("changed"))
    voting = folder / "diffseg_utils" / "voting.py"
    put_before(voting, RULE + "\n\n", "@dataclass(frozen=True)\nclass Rule")
    put_before(voting, f"{ROW}\n        ", 'Rule("most_certain"')
    put_before(
        folder / "diffseg_utils" / "presets.py", DATASET, '    Preset(\n        "mini_smoke"'
    )
    python(folder, "-m", "diffseg_utils", "run", "new_smoke")
    return folder / "results"


def test_a_new_rule_is_one_function_and_one_row(changed):
    folder = changed / "new_smoke" / "seed0"
    scores = load_scores(folder / "scores.npz")
    assert scores.has("median") and scores.has("median", "validation")
    table = pd.read_csv(changed / "table1.csv").set_index("run")["median of ten"]
    expected = scores.miou().sel(rule="median").item()
    assert table["new_smoke"] == pytest.approx(expected, abs=1e-3)
    assert pd.isna(table["mini_cat"]), "missing from older results"
    page = (changed / "README.md").read_text()
    page = re.sub(" +", " ", page)  # columns of tables are filled up with spaces
    assert "| median of ten |" in page and "| mini_cat | 1 | 20 |" in page
    outputs = [
        output
        for cell in json.loads((folder / "03_voting_analysis.ipynb").read_text())["cells"]
        for output in cell.get("outputs", [])
    ]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert any("median of ten" in output["metadata"]["image/png"]["alt"] for output in figures)


def test_a_new_dataset_is_one_row(changed):
    assert (changed / "new_smoke" / "seed0" / "run.json").exists()
    assert "| new_smoke |" in (changed / "README.md").read_text()


def test_a_new_measure_is_one_function_and_one_row(tmp_path):
    folder = copy_project(tmp_path)
    metrics = folder / "diffseg_utils" / "metrics.py"
    put_before(metrics, MEASURE, "@dataclass(frozen=True)\nclass Measure")
    put_before(metrics, f"{MEASURE_ROW}\n        ", 'Measure("accuracy"')
    python(folder, "-c", WRITE_SCORES)
    status = "-m diffseg_utils status --format csv --measure class_accuracy"
    scores = load_scores(folder / "results" / "mini_cat" / "seed0" / "scores.npz")
    counts = scores.confusions("mean")[0].sum(0)  # (C + 1, C)
    right, true = np.diagonal(counts), counts[:-1].sum(1)
    expected = 100 * np.mean(right[true > 0] / true[true > 0])
    table = pd.read_csv(folder / "scores.csv").query("split == 'test' and rule == 'mean'")
    assert table.class_accuracy.values == pytest.approx([expected] * 2), "in both protocols"
    assert table.miou.iloc[0] == pytest.approx(scores.miou().sel(rule="mean").item())
    said = pd.read_csv(StringIO(python(folder, *status.split())))
    assert said["mean"].item() == pytest.approx(expected, abs=0.006)
