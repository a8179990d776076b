"""The command line where nothing is made: plans, and mistakes."""

import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from conftest import diffseg

from diffseg_utils import runner
from diffseg_utils.runs import Run


def test_several_seeds(tmp_path):
    planned = diffseg(
        "run", "mini_smoke", "--seeds", "0", "1", "2", "--results", tmp_path, "--dry-run"
    ).stdout.splitlines()
    assert len(planned) == 7, "the features do not depend on the seed"
    assert {line.split()[0] for line in planned} == {
        "mini_smoke",
        *(f"mini_smoke/seed{k}" for k in range(3)),
    }


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "hores_21"], ["unknown dataset 'hores_21'", "choose from bedroom_28, ffhq_34"]),
        (
            ["run", "mini_smoke", "-p", "members", "3"],
            ["unknown notebook parameter 'members'", "choose from"],
        ),
        (
            ["run", "mini_smoke", "--recipe", "secret"],
            ["unknown recipe 'secret'", "published, tuned"],
        ),
        (["run", "mini_smoke", "--device", "tpu"], ["unknown device 'tpu'", "auto, cpu"]),
        (
            ["run", "mini_smoke", "--backbone", "nowhere.json"],
            ["nowhere.json", "no such backbone file"],
        ),
        (["run", "mini_smoke", "--backbone", "ffqh"], ["unknown backbone 'ffqh'", "lsun_bedroom"]),
        (
            ["run", "horse_21", "--data", "/nonexistent", "--backbone", "mini"],
            ["/nonexistent/datasets/horse_21", "diffseg fetch horse_21"],
        ),
        (
            ["run", "horse_21", "--data", "/nonexistent"],
            ["/nonexistent/checkpoints/lsun_horse.pt", "diffseg fetch horse_21"],
        ),
        (["status", "--recipe", "tunes"], ["unknown recipe 'tunes'", "published, tuned"]),
        (
            ["status", "--results", "/nonexistent"],
            ["/nonexistent", "no results of recipe published here"],
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments, words, tmp_path):
    results = [] if arguments[0] == "status" else ["--results", tmp_path / "results"]
    done = diffseg(*arguments, *results)
    assert done.exit_code and isinstance(done.exception, SystemExit), done.output
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "results").exists(), "nothing half-written"


@pytest.mark.parametrize("own, expected", [("", 6), ("1", None)])
def test_a_single_run_has_all_cores_unless_the_environment_says_otherwise(
    own, expected, monkeypatch, tmp_path
):
    given = []
    client = SimpleNamespace(
        submit=lambda make, run, stage, extra, threads, after, pure: given.append(threads)
    )
    monkeypatch.setattr(runner, "_client", lambda *_: nullcontext(client))
    monkeypatch.setattr(runner, "_follow", lambda *_: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", own) if own else monkeypatch.delenv("OMP_NUM_THREADS")
    runner.run_all([Run("mini_smoke", results=str(tmp_path))], echo=lambda _: None)
    assert given == [expected] * 3
