"""A typical change is made in one place: a rule, a dataset. On a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import descriptions
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


def put_before(path, text, before):
    """Insert `text` before the first place where `before` stands."""
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, text + before, 1))


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The project with one more rule and one more dataset, after a run of that."""
    folder = tmp_path_factory.mktemp("changed")
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("diffseg_utils", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    older = folder / "results" / "mini_cat" / "seed0"  # a run from before the change
    older.mkdir(parents=True)
    for name in ("scores.npz", "run.json"):
        shutil.copy(ROOT / "results" / "mini_cat" / "seed0" / name, older)
    shutil.copy(ROOT / "results" / "paper.csv", folder / "results")
    voting = folder / "diffseg_utils" / "voting.py"
    put_before(voting, RULE + "\n\n", "@dataclass(frozen=True)\nclass Rule")
    put_before(voting, f"{ROW}\n        ", 'Rule("most_certain"')
    put_before(
        folder / "diffseg_utils" / "presets.py", DATASET, '    Preset(\n        "mini_smoke"'
    )
    done = subprocess.run(
        [sys.executable, "-m", "diffseg_utils", "run", "new_smoke"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
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
    told = descriptions(folder / "03_voting_analysis.ipynb")
    assert any("median of ten" in alt for alt in told)


def test_a_new_dataset_is_one_row(changed):
    assert (changed / "new_smoke" / "seed0" / "run.json").exists()
    assert "| new_smoke |" in (changed / "README.md").read_text()
