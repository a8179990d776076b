"""The command line where nothing is made: plans, and mistakes."""

from importlib.metadata import version

import pytest
from conftest import diffseg
from test_tables import some_scores

from diffseg_utils.presets import DATASETS
from diffseg_utils.runs import Run, preflight
from diffseg_utils.runs.places import task_of
from diffseg_utils.runs.stages import VOTING, Job, plan


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
    "seeds",
    [["0", "1", "2"], ["0,1,2"], ["0,1", "--seeds", "2"], ["0,1,2,2,0"]],
    ids=" ".join,
)
def test_seeds_may_be_said_in_several_ways(seeds, tmp_path):
    given = ["run", "mini_smoke", "--seeds", *seeds, "--results", tmp_path, "--dry-run"]
    planned = diffseg(*given).stdout
    assert [planned.count(f"seed{i} 02") for i in range(4)] == [1, 1, 1, 0]


def test_what_is_no_seed_is_said(tmp_path):
    done = diffseg("run", "mini_smoke", "--seeds", "0,x", "--dry-run", "--results", tmp_path)
    assert done.exit_code and "'0,x' is no list of whole numbers, such as 0,1,2" in done.stderr


def test_help_is_not_cut():
    commands = diffseg("--help").stdout.partition("Commands:")[2].splitlines()
    assert len(commands) >= 9 and not [line for line in commands if line.endswith("...")]


def test_version():
    said = diffseg("--version").stdout
    assert said == f"diffseg {version('diffseg-utils')}\n"


def test_list_says_which_data_are_present(tmp_path):
    (tmp_path / "datasets" / "cat_15").mkdir(parents=True)
    (tmp_path / "datasets" / "horse_21").mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "lsun_horse.pt").touch()
    lines = diffseg("list", "--data", tmp_path).stdout.splitlines()
    found = {line.split()[0]: line.split(maxsplit=6)[-1] for line in lines[1:]}
    assert list(found) == list(DATASETS)
    assert found["cat_15"] == "images here, no checkpoint" and found["horse_21"] == "here"
    assert found["bedroom_28"] == "no images and no checkpoint"
    assert found["mini_cat"] == "painted, always here"


def test_status_in_formats(tmp_path, results_of):
    results_of(some_scores((90, 92, 93, 94, 96)), "mini_horse", 0)

    def status(*given):
        return diffseg("status", "--results", tmp_path, *given).stdout

    assert status() == status("--format", "markdown"), "where there is no terminal"
    assert status().splitlines()[2].startswith("| mini_horse |")
    assert status("--format", "csv").startswith("dataset,seeds,test images,majority,mean,")
    assert r"\toprule" in status("--format", "latex")
    assert "─" in status("--format", "table")
    assert " 92.00 " in status("--measure", "accuracy"), "of the entropy-weighted vote"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "hores_21"], ["unknown dataset 'hores_21'", "choose from bedroom_28, ffhq_34"]),
        (["notebook", "11"], ["unknown notebook '11'", "choose from 00_tour"]),
        (
            ["run", "mini_smoke", "--slurm", "x=1", "--scheduler", "y"],
            ["--slurm and --scheduler", "choose one"],
        ),
        (
            ["run", "mini_smoke", "-p", "members", "3"],
            ["unknown notebook parameter 'members'", "choose from"],
        ),
        (["run", "mini_smoke", "-p", "seed", "3"], ["-p seed 3: say it with --seeds"]),
        (["run", "mini_smoke", "-p", "seeds", "3"], ["-p seeds 3: say it with --seeds"]),
        (
            ["run", "mini_smoke", "-p", "dataset", "mini_cat"],
            ["-p dataset mini_cat: say it with the name of a dataset"],
        ),
        (["notebook", "06", "-p", "results", "r"], ["-p results r: say it with --results"]),
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
        (
            ["run", "mini_smoke", "--data", "/nonexistent", "--backbone", "imagenet"],
            ["/nonexistent/checkpoints/", "`diffseg fetch imagenet` downloads it"],
        ),
        (["status", "--format", "word"], ["unknown format 'word'", "table, markdown, csv, latex"]),
        (["status", "--measure", "dice"], ["unknown measure 'dice'", "miou, accuracy"]),
        (["status", "--measure", "accuracy", "--costs"], ["for the table of runs", "--costs"]),
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


def test_a_project_notebook_may_have_a_backbone_of_its_own(tmp_path):
    done = diffseg("notebook", "06", "-p", "backbone", "mini", "--results", tmp_path, "--dry-run")
    assert not done.exit_code and "06_costs" in done.stdout


def test_what_a_job_is_about_is_never_overridden(tmp_path):
    run = Run("mini_smoke", seed=0, results=str(tmp_path))
    given = Job.of(VOTING, run, {"seed": 3, "dataset": "mini_cat", "k": 2}).parameters()
    assert (given["seed"], given["dataset"], given["k"]) == (0, "mini_smoke", 2)
