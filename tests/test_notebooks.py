"""The notebooks as sources (form) and as runs: mini_smoke through 00, 01, 02, 03 and 04 by the
command line.
"""

import ast
import inspect
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import diffseg
from solutions import solutions

from diffseg_utils.evaluation import compare, load_scores
from diffseg_utils.files import sha256
from diffseg_utils.metrics import mean_iou
from diffseg_utils.presets import DATASETS
from diffseg_utils.runs.execute import execute
from diffseg_utils.runs.records import code_of
from diffseg_utils.runs.run import parameters_of
from diffseg_utils.voting import RULES

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CORE = NOTEBOOKS[:5]  # 00 to 04
SMOKE = DATASETS["mini_smoke"]
EVIDENCE = ["evidence", "mini_smoke", "--seeds", "0", "1", "-p", "test_images", "4"]


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_form(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    cells = code_cells(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(c.outputs or c.execution_count for c in cells), (
        "sources are committed without outputs"
    )
    first = notebook.cells[0].source.splitlines()
    assert first[0].startswith("# ") and "?" in first[0], "the title is a question"
    assert all(not c.id.isdigit() and len(c.id) < 40 and "-" in c.id + "-" for c in notebook.cells)
    text = "\n".join(c.source for c in cells)
    assert "sys.path" not in text and "!pip" not in text
    for cell in cells:
        if "figure" in cell.metadata.get("tags", []):  # it makes nothing stale
            assert all(isinstance(line, ast.Expr) for line in ast.parse(cell.source).body)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_literals_with_help(path):
    cell = next(c for c in code_cells(path) if "parameters" in c.metadata.get("tags", []))
    lines = [line for line in cell.source.splitlines() if line.strip()]
    assert lines
    for line in lines:
        value, _, comment = line.partition("#")
        assert comment.strip() and "=" not in comment, (
            f"papermill hides a parameter whose comment has '=': {line}"
        )
        ast.literal_eval(value.partition("=")[2].strip())
    assert set(parameters_of(path)) == {line.split("=")[0].strip() for line in lines}


def imported(tree):
    """{name: object} of what a notebook's code imports from the package."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("diffseg_utils"):
            module = import_module(node.module)
            for alias in node.names:
                name = alias.name
                thing = getattr(module, name, None) or import_module(f"{node.module}.{name}")
                found[alias.asname or name] = thing
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_calls_fit_the_functions(path):
    """Some cells take too long for a test; that their calls can be made is seen without running."""
    tree = ast.parse("\n".join(cell.source for cell in code_cells(path)))
    known, checked = imported(tree), 0
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        function = call.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            called = getattr(known.get(function.value.id), function.attr, None)
        else:
            called = known.get(getattr(function, "id", None))
        unpacked = [a for a in call.args if isinstance(a, ast.Starred)]
        unpacked += [a for a in call.keywords if a.arg is None]
        if isinstance(called, FunctionType) and not unpacked:
            names = dict.fromkeys(keyword.arg for keyword in call.keywords)
            try:
                inspect.signature(called).bind(*call.args, **names)
            except TypeError as error:
                pytest.fail(f"{ast.unparse(call)}: {error}")
            checked += 1
    assert checked > 3


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder in which mini_smoke went through the command line."""
    folder = tmp_path_factory.mktemp("smoke")
    done = in_a_terminal("run", "mini_smoke", "--results", folder / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "a newcomer's terminal shows no warning"
    return folder


def in_a_terminal(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "diffseg_utils", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_smoke_leaves_what_a_run_leaves(smoke):
    folder = smoke / "results" / "mini_smoke"
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {
        "01_feature_extraction.ipynb",
        *(
            f"seed0/{n}"
            for n in (
                "02_classifier_training.ipynb",
                "03_voting_analysis.ipynb",
                "history.csv",
                "scores.npz",
                "run.json",
            )
        ),
    }
    assert (smoke / "results" / "table1.csv").exists() and list(
        (smoke / "results" / "figures").glob("*.png")
    )
    assert not [
        p
        for p in smoke.rglob("*")
        if "partial" in p.name or ".failed" in p.name or p.suffix == ".progress"
    ]


def test_smoke_counts_every_rule_on_both_splits(smoke):
    scores = load_scores(smoke / "results" / "mini_smoke" / "seed0" / "scores.npz")
    for split in ("validation", "test"):
        n_images = SMOKE.counts[split]
        for rule in RULES:
            counts = scores.confusions(rule, split)
            assert counts.shape == (1, n_images, SMOKE.n_classes + 1, SMOKE.n_classes)
            assert (counts.sum((2, 3)) == 64 * 64).all()
        members = scores.of(split).members.sum(("truth", "predicted"))
        assert members.shape == (1, 10, n_images) and (members == 64 * 64).all()
    assert scores.rules == [*RULES, "k chosen", "pool chosen"]
    total = scores.confusions("mean")[0].sum(0)
    assert scores.miou().sel(rule="mean") == 100 * mean_iou(total, SMOKE.ignore_label)


def test_smoke_chooses_on_validation_and_counts_confidence(smoke):
    scores = load_scores(smoke / "results" / "mini_smoke" / "seed0" / "scores.npz")
    chosen, curve = scores.attrs["chosen"][0], scores.curve("sweep")
    validation = curve.sel(split="validation", seed=0)
    assert chosen["k"] == validation.k[validation.argmax("k")]
    of_test = curve.sel(split="test", seed=0, k=chosen["k"])
    assert of_test == scores.miou().sel(rule="k chosen").item()
    pools = scores.curve("pools").sel(split="validation", seed=0)
    first = {name: pools[name][0].item() for name in ("k", "r", "temperature")}
    assert len(pools) == 18 and first == {"k": 0, "r": 1, "temperature": 1}, "the simplest first"
    best = pools[pools.argmax("point").item()]
    assert chosen["pool"] == {name: best[name].item() for name in first}
    histogram = scores.observed["calibration"]["histogram"].sel(split="test", seed=0)
    for rule in ("majority", "pool chosen"):
        right = histogram.sel(rule=rule, quantity="right").sum()
        assert right == np.trace(scores.confusions(rule)[0].sum(0)[: SMOKE.n_classes])
    penalty = scores.observed["calibration"]["penalty"].sel(score="brier").sum("image")
    brier = histogram.sel(quantity="brier").sum("bin")
    assert penalty.sel(seed=0).values == pytest.approx(brier.values)


def test_smoke_says_where_it_comes_from(smoke):
    run = json.loads((smoke / "results" / "mini_smoke" / "seed0" / "run.json").read_text())
    assert (
        run["seed"] == 0
        and run["recipe"] == "published"
        and len(run["data_sha256"]) == len(run["checkpoint_sha256"]) == 64
    )
    assert (
        "noise" in run
        and "device" in run
        and run["versions"]["torch"]
        and set(run["seconds"])
        == {"01_feature_extraction", "02_classifier_training", "03_voting_analysis"}
    )


def test_executed_notebooks_are_clean(smoke, evidence):
    for path in (smoke / "results").rglob("*.ipynb"):
        text = path.read_text()
        assert len(text) < 1_000_000, f"{path.name}: {len(text)} bytes"
        for word in ("Warning", "Traceback", "start_time", 'papermill": {', str(ROOT)):
            assert word not in text, f"{path.name} shows {word!r}"


def test_a_second_run_keeps_everything_and_a_lost_file_is_made_again(smoke):
    again = ("run", "mini_smoke", "--results", smoke / "results", "--dry-run")
    assert diffseg(*again).stdout == "nothing to do\n"
    examples = smoke / "data" / "runs" / "mini_smoke" / "seed0" / "examples.npz"
    content = examples.read_bytes()
    examples.unlink()
    first, second = diffseg(*again).stdout.splitlines()
    assert first.split(maxsplit=2) == [
        "mini_smoke/seed0",
        "03_voting_analysis",
        "examples.npz is missing",
    ]
    assert second.split("04_figure_reproduction")[1].strip().startswith("if what it reads")
    examples.write_bytes(content)
    assert diffseg(*again).stdout == "nothing to do\n", "contents count, not times"
    asked = diffseg(*again, "--again").stdout.splitlines()
    assert [line.endswith("asked for again") for line in asked] == [True] * 4, "01 to 04"


def test_other_parameters_are_another_result(smoke):
    other = diffseg(
        "run", "mini_smoke", "--results", smoke / "results", "--dry-run", "-p", "k", "2.0"
    )
    assert other.stdout.splitlines()[0].endswith("k: 1.0 before, 2.0 now")


def test_the_core_notebooks_begin_with_the_same_cell_for_colab():
    first = [code_cells(path)[0] for path in CORE]
    assert all(cell.metadata.tags == ["colab"] for cell in first)
    assert len({cell.source for cell in first}) == 1


def test_what_installs_on_colab_makes_nothing_stale(tmp_path):
    notebook = nbformat.read(CORE[1], 4)
    notebook.cells = [c for c in notebook.cells if "colab" not in c.metadata.get("tags", [])]
    nbformat.write(notebook, tmp_path / "without.ipynb")
    assert code_of(CORE[1]) == code_of(tmp_path / "without.ipynb")


@pytest.mark.parametrize("path", NOTEBOOKS[:6], ids=lambda p: p.stem)
def test_every_exercise_has_a_time_a_difficulty_and_a_folded_solution(path):
    cells = nbformat.read(path, 4).cells
    ids = [cell.id for cell in cells]
    exercises = [cell for cell in cells if cell.id.startswith("exercise-")]
    assert exercises and len(exercises) == len(solutions(path))
    for number, cell in enumerate(exercises, 1):
        first = cell.source.splitlines()[0]
        assert re.fullmatch(
            rf"\*\*Exercise {number}: .+\*\* \(\d+ minutes, (easy|medium|hard)\b.*\)", first
        ), first
        solution = cells[ids.index(cell.id) + 1]
        assert "solution" in solution.metadata.tags and solution.cell_type == "markdown"
        assert solution.source.startswith("<details>") and solution.source.endswith("</details>")


def test_a_notebook_by_hand_reads_the_run_and_leaves_it_as_it_is(smoke):
    results = smoke / "results"
    before = {p: sha256(p) for p in smoke.rglob("*") if p.is_file()}
    given = {"dataset": "mini_smoke", "results": str(results), "k": 5.0}
    execute(ROOT / "notebooks" / "03_voting_analysis.ipynb", smoke / "by_hand.ipynb", given)
    assert {p: sha256(p) for p in before} == before
    own = smoke / "data" / "exploring" / "mini_smoke" / "seed0"
    assert {p.name for p in own.iterdir()} == {"scores.npz", "examples.npz"}
    assert load_scores(own / "scores.npz").label("entropy_weighted").endswith("k = 5")
    again = diffseg("run", "mini_smoke", "--results", results, "--dry-run")
    assert again.stdout == "nothing to do\n", "no stage is stale"


@pytest.fixture(scope="module")
def evidence(smoke):
    """The folder of mini_smoke after its evidence."""
    done = in_a_terminal(*EVIDENCE, "--results", smoke / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " to go: " in done.stdout, "it says how long it will take"
    return smoke / "results" / "mini_smoke"


def test_evidence_is_made_from_the_runs_that_are_there(evidence, smoke):
    names = {path.name for path in evidence.iterdir()}
    assert names >= {
        "09_evidence.ipynb",
        "evidence.npz",
        "evidence.csv",
        "10_what_helps.ipynb",
        "what_helps.csv",
        "uncertainty.csv",
        "seed0",
        "seed1",
        "seed0_tuned",
    }
    again = diffseg(*EVIDENCE, "--results", smoke / "results", "--dry-run")
    assert again.stdout == "nothing to do\n"
    one_seed_less = [*EVIDENCE[:4], *EVIDENCE[5:], "--results", smoke / "results", "--dry-run"]
    first, second = diffseg(*one_seed_less).stdout.splitlines()
    assert first.startswith("mini_smoke 09_evidence ") and "'0 1' before, '0' now" in first
    assert "04_figure_reproduction" in second


def test_evidence_follows_from_its_counts(evidence):
    scores = load_scores(evidence / "evidence.npz")
    table = pd.read_csv(evidence / "evidence.csv")
    assert scores.confusions("mean").shape == (2, 4, SMOKE.n_classes + 1, SMOKE.n_classes)
    whole = table.query("measure == 'mIoU' and protocol == 'published' and images == 4")
    row = whole.query("comparison == 'mean minus majority'").iloc[0]
    gain = compare(scores, "mean", "majority")
    numbers = ["difference", "low", "high"]
    assert row[numbers].tolist() == pytest.approx([gain[x] for x in numbers], abs=1e-4)
    assert row.verdict == gain["verdict"] and row.seeds == 2
    for seed in (0, 1):  # the first images are those of notebook 03
        expected = load_scores(evidence / f"seed{seed}" / "scores.npz").confusions("majority")[0]
        counts = scores.counts.sel(seed=seed, rule="majority")[:3].values
        assert np.abs(counts - expected).sum() <= 2e-3 * expected.sum()


def test_what_helps_is_ranked_and_costed(evidence):
    effects = pd.read_csv(evidence / "what_helps.csv")
    assert set(effects.change) == {
        "vote: mean",
        "vote: entropy-weighted, k = 1",
        "vote: soft Dawid-Skene",
        "vote: stacking",
        "another seed",
        "20 members",
        "3 noise draws",
        "mirror image",
        "tuned recipe",
        "5 more labelled images",
    }
    assert effects.difference.is_monotonic_decreasing and effects.cost.notna().all()
    assert (effects.low <= effects.difference).all() and (effects.difference <= effects.high).all()


def test_status_reads_the_results(smoke):
    assert "\n| mini_smoke | " in diffseg("status", "--results", smoke / "results").stdout
