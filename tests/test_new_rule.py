"""A researcher adds a rule: one function and one row in voting.py, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from diffseg_utils.evaluation import load_scores

ROOT = Path(__file__).parents[1]
FUNCTION = '''
def median(probs):
    """The median of the members, renormalised."""
    middle = probs.median(0).values  # (C, *pixels)
    return middle / middle.sum(0)


@dataclass(frozen=True)
class Rule'''
ROW = '''        Rule("median", "the median of all", median),
        Rule("most_certain"'''


def test_a_new_rule_stands_in_scores_tables_and_figures(tmp_path):
    skip = shutil.ignore_patterns("__pycache__")
    for folder in ("diffseg_utils", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skip)
    voting = tmp_path / "diffseg_utils" / "voting.py"
    text = voting.read_text()
    for old, new in (
        ("\n@dataclass(frozen=True)\nclass Rule", FUNCTION),
        (ROW.splitlines()[1], ROW),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    voting.write_text(text)
    older = tmp_path / "results" / "mini_cat" / "seed0"  # a run from before the rule
    older.mkdir(parents=True)
    for name in ("scores.npz", "run.json"):
        shutil.copy(ROOT / "results" / "mini_cat" / "seed0" / name, older)
    shutil.copy(ROOT / "results" / "paper.csv", tmp_path / "results")

    def in_a_terminal(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "diffseg_utils", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    in_a_terminal("run", "mini_smoke")
    results = tmp_path / "results"
    scores = load_scores(results / "mini_smoke" / "seed0" / "scores.npz")
    assert scores.has("median") and scores.has("median", "validation")
    table = pd.read_csv(results / "table1.csv").set_index("run")
    expected = scores.miou().sel(rule="median").item()
    assert abs(table["the median of all"]["mini_smoke"] - expected) < 1e-3
    assert pd.isna(table["the median of all"]["mini_cat"]), "missing from older results"
    status = in_a_terminal("status")
    assert "| the median of all |" in status and "| mini_cat | 1 | 20 |" in status
    executed = json.loads((results / "mini_smoke/seed0/03_voting_analysis.ipynb").read_text())
    drawn = [
        "".join(output["data"]["text/plain"])
        for cell in executed["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert any("the median of all" in words for words in drawn), "in a figure's text"
