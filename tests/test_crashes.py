"""Runs that are killed, at any place: nothing is left behind, and the next run goes on. Real
processes, tiny notebooks.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).parents[1]
PARAMETERS = """\
dataset = "mini_smoke"  # a name
seed = 0                # of the training
recipe = "published"    # or tuned
results = "results"     # folder
"""
BEGIN = """\
import time
from pathlib import Path
from diffseg_utils.files import atomic
from diffseg_utils.runs import Run, progress
run = Run(dataset, seed, recipe, results=results)
def leave(name, text):
    with atomic(run.path(name)) as partial:
        partial.write_text(text)
"""
WORK = {
    "00_tour": "",
    "01_feature_extraction": """\
with atomic(run.path("features") / "train" / "map.bin") as partial:
    partial.write_text("features")
""",
    # ten short steps; where a file `slow` lies, all but the first take half a minute; each is kept
    "02_classifier_training": """\
folder = run.unfinished("02_classifier_training")
folder.mkdir(parents=True, exist_ok=True)
report = progress("training")
for step in range(10):
    kept = folder / f"step{step}"
    if not kept.exists():
        time.sleep(30 if step and Path("slow").exists() else 0.1)
        kept.write_text("done")
        with open("data/steps.txt", "a") as file:
            file.write(f"{step} ")
    report(step + 1, 10)
leave("history", "loss")
leave("ensemble", "weights")
""",
    "03_voting_analysis": """\
for name in ("scores", "examples"):
    leave(name, f"{name} by {run.path('ensemble').read_text()}")
""",
    "04_figure_reproduction": """\
leave("page", "all")
leave("table 1", "one")
leave("table 1, masked", "two")
leave("all scores", "three")
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with tiny notebooks, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("crashes") / "a project"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "diffseg_utils", folder / "diffseg_utils", ignore=skip)
    (folder / "notebooks").mkdir()
    (folder / "data").mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name, work in WORK.items():
        cells = [
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(BEGIN),
            nbformat.v4.new_code_cell(work),
        ]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    return folder


def heed_signals():
    """Whoever runs the tests in the background, or by nohup, hands on that signals are ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def environment(project):
    """That of a process which uses the project's own package, on one thread."""
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | settings


@pytest.fixture
def drive(project):
    """drive(): a driver that has begun to make mini_smoke anew; ended, if need be, after the
    test.
    """
    for name in ("data", "results"):
        shutil.rmtree(project / name, ignore_errors=True)
    (project / "data").mkdir()
    (project / "slow").touch()
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "diffseg_utils", "run", "mini_smoke", *arguments]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        how |= {"cwd": project, "env": environment(project), "preexec_fn": heed_signals}
        started.append(subprocess.Popen(command, **how))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def ours(project):
    """Processes, other than this one, that work in the project."""
    found = {"driver": [], "notebook": [], "kernel": []}
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if process.cwd() != str(project) or process.status() == psutil.STATUS_ZOMBIE:
                continue
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if "diffseg_utils.runs.execute" in line:
            found["notebook"].append(process)
        elif "diffseg_utils.runs.kernel" in line:
            found["kernel"].append(process)
        elif "diffseg_utils run" in line:
            found["driver"].append(process)
    return found


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} after {seconds} s"
        time.sleep(0.05)


def training_begins(project):
    wait_until(lambda: (project / "data" / "steps.txt").exists(), 60, "no training")


def nothing_left(project):
    wait_until(lambda: not any(ours(project).values()), 20, "a process is left")


def finish(project, drive):
    """The next run, which goes on: it needs no flag; returns what it said."""
    (project / "slow").unlink(missing_ok=True)
    driver = drive()
    said = driver.communicate(timeout=120)[0]
    assert driver.returncode == 0, said
    steps = (project / "data" / "steps.txt").read_text().split()
    assert steps == [str(step) for step in range(10)], "each step once: it went on where it was"
    folder = project / "results" / "mini_smoke" / "seed0"
    assert (folder / "scores.npz").read_text() == "scores by weights"
    left = [path for name in ("results", "data") for path in (project / name).rglob(".*")]
    assert not left, "nothing unfinished is left"
    return said


def test_a_killed_driver_leaves_no_process_and_the_next_goes_on(project, drive):
    before = set(project.glob("*")) | {project / "results"}
    driver = drive()
    training_begins(project)
    second = drive()
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 1 and f"is being made by process {driver.pid} on" in said
    for kind, processes in ours(project).items():
        for process in processes:
            sockets = [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
            assert all(c.laddr.ip == "127.0.0.1" for c in sockets)
            assert kind == "kernel" or not sockets, "none of ours; ipykernel opens one"
    driver.kill()
    nothing_left(project)
    said = finish(project, drive)
    assert "3 notebooks to make, 1 current" in said
    assert set(project.glob("*")) | {project / "slow"} == before, (
        "only results/ and data/ are written"
    )


@pytest.mark.parametrize(
    "victim, sentence",
    [
        ("notebook", "killed (out of memory?)"),
        ("kernel", "its kernel was killed (out of memory?) (the executed copy: "),
    ],
)
def test_a_killed_stage_is_said(project, drive, victim, sentence):
    driver = drive()
    training_begins(project)
    ours(project)[victim][0].kill()
    said = driver.communicate(timeout=30)[0]
    assert driver.returncode == 1
    assert f"mini_smoke/seed0 02_classifier_training: {sentence}" in said, said
    nothing_left(project)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_asked_to_end_it_ends(project, drive, name):
    driver = drive()
    training_begins(project)
    start = time.monotonic()
    driver.send_signal(getattr(signal, name))
    said = driver.communicate(timeout=60)[0]
    assert time.monotonic() - start < 25, "it does not wait for the next step"
    assert driver.returncode == 128 + getattr(signal, name)
    assert said.splitlines()[-1] == (
        f"{name}: stopped. What is finished is kept; the next run goes on from there."
    )
    nothing_left(project)
    if name == "SIGTERM":
        finish(project, drive)
