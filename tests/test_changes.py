"""A typical change is made in one place, on a copy of the project.

A rule, a dataset, a measure, a family of painted scenes, a figure. The copy that runs a dataset
also runs the solutions of the notebooks' exercises.
"""

import json
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import descriptions
from solutions import assert_solved, write_solved
from test_crashes import environment

from diffseg_utils.evaluation import load_scores
from diffseg_utils.runs import Run
from diffseg_utils.runs.records import modules_of
from diffseg_utils.runs.stages import FEATURES, Job

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "notebooks").glob("0[1-4]_*.ipynb"))
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

FAMILY = '''\
"""Blobs before a cloudy sky."""

from .canvas import Canvas, ellipse

NAMES = ["sky", "blob"]
SEED = 99


def scene(rng):
    """One blob."""
    canvas = Canvas(rng)
    canvas.fill(ellipse(*rng.uniform(20, 44, 2), 12, 8), rng.uniform(0, 1, 3), 1)
    return canvas
'''
FAMILY_ROW = """\
    Preset(
        "mini_blobs",
        "Mini-Blobs",
        ("sky", "blob"),
        _counts(4, 3, 3),
        "mini",
        label_size=64,
        painted="blobs",
    ),
"""
PAINTED = """
import json
from diffseg_utils.data import samples
from diffseg_utils.presets import DATASETS
from diffseg_utils.runs import Run
from diffseg_utils.runs.records import modules_of
from diffseg_utils.runs.stages import FEATURES, Job
train = [sample.label for sample in samples(DATASETS["mini_blobs"], "train")]
jobs = {name: Job.of(FEATURES, Run(name), {}) for name in ("mini_cat", "mini_blobs")}
modules = {name: modules_of(job) for name, job in jobs.items()}
print(json.dumps({"labels": [int(label.max()) for label in train], "modules": modules}))
"""

FIGURE = '''
def fig_seeds(results):
    """The number of seeds of every run."""
    figure, [[ax]] = new_figure(4, 2)
    ax.bar([name for name, _ in results], [len(r.scores.seeds) for r in results.values()])
    return figure.describe("Seeds of every run.")


'''
FIGURE_CELL = 'public.publish("seeds", figures.fig_seeds(found), "How many seeds there are")'
READING = ["imports", "imports-kit", "parameters", "derive", "table", "table-masked"]
CELLS = [*READING, "new", "write", "write-page"]


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
    for path in CORE:
        write_solved(path, folder / "notebooks" / path.name)
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
    told = descriptions(folder / "03_voting_analysis.ipynb")
    assert any("median of ten" in alt for alt in told)


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


def test_a_new_family_is_one_module_and_one_row(tmp_path):
    folder = copy_project(tmp_path)
    (folder / "diffseg_utils" / "scenes" / "blobs.py").write_text(FAMILY)
    cat = '    Preset(\n        "mini_cat"'
    put_before(folder / "diffseg_utils" / "presets.py", FAMILY_ROW, cat)
    found = json.loads(python(folder, "-c", PAINTED))
    assert found["labels"] == [1] * 4, "four training images with a blob each"
    assert "scenes/blobs.py" in found["modules"]["mini_blobs"], "a change of it makes it stale"
    of_cat = modules_of(Job.of(FEATURES, Run("mini_cat"), {}))
    assert found["modules"]["mini_cat"] == of_cat, "other datasets stay as they are"
    planned = python(folder, "-m", "diffseg_utils", "run", "--dry-run")
    assert "mini_blobs/seed0 " in planned, "made if no dataset is named"


def test_a_new_figure_is_one_function_and_one_cell(tmp_path):
    folder = copy_project(tmp_path)
    paper = folder / "diffseg_utils" / "figures" / "paper.py"
    put_before(paper, FIGURE, "def fig_overview")
    path = folder / "notebooks" / "04_figure_reproduction.ipynb"
    notebook = nbformat.read(path, 4)
    place = [cell.id for cell in notebook.cells].index("write")
    notebook.cells.insert(place, nbformat.v4.new_code_cell(FIGURE_CELL, id="new"))
    code = [cell.source for cell in notebook.cells if cell.id in CELLS]  # the others take long
    assert len(code) == len(CELLS)
    python(folder, "-c", "\n".join(code))
    written = folder / "data" / "exploring"
    assert (written / "figures" / "seeds.png").stat().st_size > 1000
    page = (written / "README.md").read_text()
    assert "![How many seeds there are](figures/seeds.png)" in page
    assert "| mini_cat | 1 | 20 |" in re.sub(" +", " ", page)


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.stem)
def test_solutions_run_when_their_notebook_has_run(path, changed):
    (executed,) = changed.rglob(path.name)
    assert_solved(executed, path)
