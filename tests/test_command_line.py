"""The command line where nothing is made: plans, and mistakes."""

import pytest
from conftest import diffseg

from diffseg_utils.runs import Run, preflight
from diffseg_utils.runs.places import task_of
from diffseg_utils.runs.stages import VOTING, plan


def test_several_seeds(tmp_path):
    planned = diffseg(
        "run", "mini_smoke", "--seeds", "0", "1", "2", "--results", tmp_path, "--dry-run"
    ).stdout.splitlines()
    assert len(planned) == 8, "the features do not depend on the seed"
    assert [line.split()[0] for line in planned[:3]] == [
        "mini_smoke",
        "mini_smoke/seed0",
        "mini_smoke/seed1",
    ]
    assert not list(tmp_path.iterdir()), "a dry run writes nothing"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "hores_21"], ["unknown dataset 'hores_21'", "choose from bedroom_28, ffhq_34"]),
        (["notebook", "05"], ["unknown notebook '05'", "choose from 00_tour"]),
        (
            ["run", "mini_smoke", "--slurm", "x=1", "--scheduler", "y"],
            ["--slurm and --scheduler", "choose one"],
        ),
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


@pytest.mark.parametrize("own, expected", [("", "6"), ("2", "2")])
def test_a_single_run_has_all_cores_unless_the_environment_says_otherwise(
    own, expected, monkeypatch, tmp_path
):
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    else:
        monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(preflight, "cores", lambda: 6)
    jobs = plan([Run("mini_smoke", results=str(tmp_path))], [VOTING])
    room, _ = preflight.room_for(jobs)
    task = task_of(next(iter(jobs)), {"modules": {}}, tmp_path, room.threads, None, 1.0)
    assert task["environment"]["OMP_NUM_THREADS"] == expected
