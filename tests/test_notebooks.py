"""The notebooks as sources (form) and as runs: mini_smoke through 00, 01, 02, 03 and 04 by the command line."""
import ast
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from diffseg_utils.metrics import mean_iou
from diffseg_utils.notebooks import execute, parameters_of
from diffseg_utils.presets import DATASETS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMOKE = DATASETS["mini_smoke"]


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_form(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    cells = code_cells(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(c.outputs or c.execution_count for c in cells), "sources are committed without outputs"
    first = notebook.cells[0].source.splitlines()
    assert first[0].startswith("# ") and "?" in first[0], "the title is a question"
    assert all(not c.id.isdigit() and len(c.id) < 40 and "-" in c.id + "-" for c in notebook.cells)
    lengths = [len([line for line in c.source.splitlines() if line.strip()]) for c in cells]
    assert 10 <= len(cells) <= 27 and statistics.median(lengths) <= 7 and max(lengths) <= 18, (len(cells), lengths)
    text = "\n".join(c.source for c in cells)
    assert "sys.path" not in text and "!pip" not in text
    functions = [n.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    assert not functions or path.stem.startswith(("00", "06")), functions


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_literals_with_help(path):
    cell = next(c for c in code_cells(path) if "parameters" in c.metadata.get("tags", []))
    lines = [line for line in cell.source.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 8
    for line in lines:
        value, _, comment = line.partition("#")
        assert comment.strip() and "=" not in comment, f"papermill hides a parameter whose comment has '=': {line}"
        ast.literal_eval(value.partition("=")[2].strip())
    assert set(parameters_of(path)) == {line.split("=")[0].strip() for line in lines}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder in which mini_smoke went through the command line."""
    folder = tmp_path_factory.mktemp("smoke")
    done = diffseg("run", "mini_smoke", "--results", folder / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "a newcomer's terminal shows no warning"
    return folder


def diffseg(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    return subprocess.run([sys.executable, "-m", "diffseg_utils", *map(str, arguments)], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=300)


def test_smoke_leaves_what_a_run_leaves(smoke):
    folder = smoke / "results" / "mini_smoke"
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {"01_feature_extraction.ipynb", *(f"seed0/{n}" for n in (
        "02_classifier_training.ipynb", "03_voting_analysis.ipynb", "history.csv", "scores.csv", "confusions.npz", "run.json"))}
    assert (smoke / "results" / "table1.csv").exists() and list((smoke / "results" / "figures").glob("*.png"))
    assert not [p for p in smoke.rglob("*") if "partial" in p.name or ".failed" in p.name or p.suffix == ".progress"]


def test_smoke_scores_follow_from_its_confusions(smoke):
    folder = smoke / "results" / "mini_smoke" / "seed0"
    scores = pd.read_csv(folder / "scores.csv")
    with np.load(folder / "confusions.npz") as file:
        confusions, rules, chosen = file["confusions"], list(file["rules"]), file["chosen"]
    assert confusions.shape[1:] == (SMOKE.counts["test"], SMOKE.n_classes + 1, SMOKE.n_classes)
    assert (confusions.sum((2, 3)) == 64 * 64).all()
    for rule in ("majority", "mean", "geometric_mean", "most_certain", "entropy_weighted"):
        row = scores.query("split == 'test' and rule == @rule and protocol == 'published' and `class` == 'mean'")
        value = mean_iou(confusions[rules.index(rule)].sum(0), SMOKE.ignore_label)
        assert row[~row.chosen.astype(bool)].iou.item() == pytest.approx(value, abs=1e-6)
    assert chosen.sum() == 1


def test_smoke_says_where_it_comes_from(smoke):
    run = json.loads((smoke / "results" / "mini_smoke" / "seed0" / "run.json").read_text())
    assert run["seed"] == 0 and run["recipe"] == "published" and len(run["data_sha256"]) == len(run["checkpoint_sha256"]) == 64
    assert "noise" in run and "device" in run and run["versions"]["torch"] and set(run["seconds"]) == {
        "01_feature_extraction", "02_classifier_training", "03_voting_analysis"}


def test_executed_notebooks_are_clean(smoke):
    for path in (smoke / "results").rglob("*.ipynb"):
        text = path.read_text()
        assert len(text) < 1_000_000, f"{path.name}: {len(text)} bytes"
        for word in ("Warning", "Traceback", "start_time", "papermill\": {", str(ROOT)):
            assert word not in text, f"{path.name} shows {word!r}"


def test_a_second_run_keeps_everything_and_a_lost_file_is_made_again(smoke):
    again = diffseg("run", "mini_smoke", "--results", smoke / "results", "--dry-run")
    assert again.stdout.count("keep") == 3, again.stdout + again.stderr
    examples = smoke / "data" / "runs" / "mini_smoke" / "seed0" / "examples.npz"
    content, stat = examples.read_bytes(), examples.stat()
    examples.unlink()
    lost = diffseg("run", "mini_smoke", "--results", smoke / "results", "--dry-run")
    assert lost.stdout.count("keep") == 2 and lost.stdout.count("make") == 1
    examples.write_bytes(content)
    os.utime(examples, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_other_parameters_are_another_result(smoke):
    other = diffseg("run", "mini_smoke", "--results", smoke / "results", "--dry-run", "-p", "k", "2.0")
    assert other.stdout.splitlines()[-1].endswith("make")


def test_several_seeds(tmp_path):
    planned = diffseg("run", "mini_smoke", "--seeds", "0", "1", "2", "--results", tmp_path, "--dry-run").stdout.splitlines()
    assert len(planned) == 9 and {line.split()[0] for line in planned} == {f"mini_smoke/seed{k}" for k in range(3)}


def test_status_reads_the_results(smoke):
    assert "mini_smoke/seed0" in diffseg("status", "--results", smoke / "results").stdout


def test_tour(tmp_path):
    start = time.monotonic()
    execute(ROOT / "notebooks" / "00_tour.ipynb", tmp_path / "tour.ipynb", {"dataset": "mini_smoke"})
    assert "Warning" not in (tmp_path / "tour.ipynb").read_text()
    assert time.monotonic() - start < 240


@pytest.mark.parametrize("arguments, words", [
    (["run", "hores_21"], ["unknown dataset 'hores_21'", "choose from bedroom_28, ffhq_34"]),
    (["run", "mini_smoke", "-p", "members", "3"], ["unknown notebook parameter 'members'", "choose from"]),
    (["run", "mini_smoke", "--recipe", "secret"], ["unknown recipe 'secret'", "published, tuned"]),
    (["run", "mini_smoke", "--device", "tpu"], ["unknown device 'tpu'", "auto, cpu"]),
    (["run", "mini_smoke", "--backbone", "nowhere.json"], ["nowhere.json", "no such backbone file"]),
    (["run", "mini_smoke", "--backbone", "ffqh"], ["unknown backbone 'ffqh'", "lsun_bedroom"]),
    (["run", "horse_21", "--data", "/nonexistent", "--backbone", "mini"],
     ["/nonexistent/datasets/horse_21", "diffseg fetch horse_21"]),
    (["run", "horse_21", "--data", "/nonexistent"], ["/nonexistent/checkpoints/lsun_horse.pt", "diffseg fetch horse_21"]),
    (["status", "--results", "/nonexistent"], ["/nonexistent", "no results here"]),
])
def test_bad_input_is_one_clear_sentence(arguments, words, tmp_path):
    results = [] if arguments[0] == "status" else ["--results", tmp_path / "results"]
    done = diffseg(*arguments, *results)
    assert done.returncode != 0 and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "results").exists(), "nothing half-written"
