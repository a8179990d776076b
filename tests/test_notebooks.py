"""The notebooks as sources (form) and as runs: mini_smoke through 00, 01, 02, 03 and 04 by the
command line.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import diffseg

from diffseg_utils.evidence import load
from diffseg_utils.metrics import mean_iou, paired_bootstrap, verdict
from diffseg_utils.presets import DATASETS
from diffseg_utils.runs.run import parameters_of

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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
                "scores.csv",
                "confusions.npz",
                "calibration.npz",
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


def test_smoke_scores_follow_from_its_confusions(smoke):
    folder = smoke / "results" / "mini_smoke" / "seed0"
    scores = pd.read_csv(folder / "scores.csv")
    with np.load(folder / "confusions.npz") as file:
        confusions, rules, chosen = file["confusions"], list(file["rules"]), file["chosen"]
    assert confusions.shape[1:] == (SMOKE.counts["test"], SMOKE.n_classes + 1, SMOKE.n_classes)
    assert (confusions.sum((2, 3)) == 64 * 64).all()
    for rule in ("majority", "mean", "geometric_mean", "most_certain", "entropy_weighted"):
        row = scores.query(
            "split == 'test' and rule == @rule and protocol == 'published' and `class` == 'mean'"
        )
        value = mean_iou(confusions[rules.index(rule)].sum(0), SMOKE.ignore_label)
        assert row[~row.chosen.astype(bool)].iou.item() == pytest.approx(value, abs=1e-6)
    assert chosen.sum() == 1


def test_smoke_chooses_a_pool_and_counts_confidence(smoke):
    folder = smoke / "results" / "mini_smoke" / "seed0"
    with (
        np.load(folder / "confusions.npz") as votes,
        np.load(folder / "calibration.npz") as trusted,
    ):
        assert votes["pool_grid"].shape == (18, 3) and list(votes["pool_grid"][0]) == [0, 1, 1], (
            "the simplest is the first"
        )
        at, names = list(votes["rules"]).index("pool"), list(trusted["rules"])
        assert votes["k"][at] == votes["pool_grid"][votes["pool_miou"].argmax()][0]
        assert names[-2:] == ["k chosen", "pool chosen"] and trusted["histograms"].shape == (
            7,
            7,
            128,
        )
        right = {
            name: trusted["histograms"][names.index(name), 2].sum()
            for name in ("majority", "pool chosen")
        }
        for name, row in (
            ("majority", list(votes["rules"]).index("majority")),
            ("pool chosen", at),
        ):
            assert right[name] == np.trace(votes["confusions"][row].sum(0)[: SMOKE.n_classes])
        assert trusted["brier"].sum(1) == pytest.approx(trusted["histograms"][:, 3].sum(1))
        assert (trusted["count"] == 64 * 64).all()


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


def test_other_parameters_are_another_result(smoke):
    other = diffseg(
        "run", "mini_smoke", "--results", smoke / "results", "--dry-run", "-p", "k", "2.0"
    )
    assert other.stdout.splitlines()[0].endswith("k: 1.0 before, 2.0 now")


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
        "label_budget.csv",
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
    found, table = load(evidence / "evidence.npz"), pd.read_csv(evidence / "evidence.csv")
    names = list(found["rules"])
    new, old = (
        found["confusions"][:, :, names.index(rule)].swapaxes(0, 1) for rule in ("mean", "majority")
    )
    assert new.shape == (2, 4, SMOKE.n_classes + 1, SMOKE.n_classes)
    row = table.query(
        "comparison == 'mean minus majority' and measure == 'mIoU' and protocol == 'published' and images == 4"
    )
    row = row.iloc[0]
    gain = paired_bootstrap(new, old, SMOKE.ignore_label)
    assert [row.difference, row.low, row.high] == pytest.approx(
        [gain[x] for x in ("difference", "low", "high")], abs=1e-4
    )
    assert row.verdict == verdict(gain["low"], gain["high"]) and row.seeds == 2
    seeds = [np.load(evidence / f"seed{k}" / "confusions.npz") for k in (0, 1)]
    for counts, stored in zip(old, seeds):  # the first images are those of notebook 03
        expected = stored["confusions"][list(stored["rules"]).index("majority")]
        assert np.abs(counts[:3] - expected).sum() <= 2e-3 * expected.sum()


def test_what_helps_is_ranked_and_costed(evidence):
    effects, budget = (
        pd.read_csv(evidence / "what_helps.csv"),
        pd.read_csv(evidence / "label_budget.csv"),
    )
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
    assert sorted(set(budget.images)) == [1, 2, 4]
    everything = budget[(budget.images == 4) & (budget.rule != "majority")].iloc[0]
    same = effects[effects.change == "vote: entropy-weighted, k = 1"].iloc[0]
    assert [everything.difference, everything.low] == pytest.approx(
        [same.difference, same.low], abs=1e-4
    )


def test_status_reads_the_results(smoke):
    assert "\n| mini_smoke | " in diffseg("status", "--results", smoke / "results").stdout
