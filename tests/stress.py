"""Too long for every day: random kills of a real run, a Slurm cluster, a dask cluster. `make
stress` runs it.

Slurm has to be running on this machine, and `pip install .[cluster]` done; what is missing is
skipped.
"""

import hashlib
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import diffseg
from own_folders import make_folder
from test_changes import python
from test_crashes import (  # noqa: F401 (project is a fixture)
    drive,
    environment,
    nothing_left,
    ours,
    project,
    training_begins,
    wait_until,
)

ROOT = Path(__file__).parents[1]
KILLS = 10
SLURM = "partition=batch time=10 cpus=1"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of this project, as it is committed."""
    folder = tmp_path_factory.mktemp("stress") / "a clone"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    clear(folder)
    return folder


def clear(folder):
    """Delete what runs have left; results/paper.csv is the paper's."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    for path in (folder / "results").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "paper.csv":
            path.unlink()


def start(folder, *arguments):
    """A driver of the real mini_smoke in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "diffseg_utils", "run", "mini_smoke", *arguments],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def contents(folder):
    """{file: sha256} of what runs leave, without what holds times: run.json, records, executed
    notebooks of costs.
    """
    kinds = (".csv", ".npz", ".safetensors", ".bin", ".ipynb", ".png")
    files = [f for name in ("results", "data") for f in (folder / name).rglob("*")]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.suffix in kinds
    }


def test_random_kills_of_a_real_run(clone):
    said = start(clone).communicate(timeout=600)[0]
    undisturbed = contents(clone)
    assert len(undisturbed) > 50, said
    clear(clone)
    chance = random.Random(0)
    struck = []
    while len(struck) < KILLS:
        driver = start(clone)
        seconds, victim = chance.uniform(1, 25), chance.choice(["driver", "notebook", "kernel"])
        end = time.monotonic() + seconds
        while driver.poll() is None and (time.monotonic() < end or not ours(clone)[victim]):
            time.sleep(0.05)
        if driver.poll() is None:
            ours(clone)[victim][0].kill()
            struck.append((victim, round(seconds, 1)))
        driver.communicate(timeout=600)
        nothing_left(clone)
        if driver.returncode == 0:
            clear(clone)  # it was faster than the kills: once more
    said = start(clone).communicate(timeout=600)[0]
    print(struck, said)
    found = contents(clone)
    assert {n for n in undisturbed if found.get(n) != undisturbed[n]} == set()
    assert not [p for name in ("results", "data") for p in (clone / name).rglob(".*")]


# ---- Slurm ---------------------------------------------------------------------------------------


@pytest.fixture
def slurm():
    pytest.importorskip("submitit", reason="pip install .[cluster]")
    if not shutil.which("squeue") or subprocess.run(["squeue"], capture_output=True).returncode:
        pytest.skip("no Slurm is running on this machine")
    yield
    subprocess.run(["scancel", "--me"], capture_output=True)


def queue():
    listed = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True)
    return listed.stdout.split()


def test_a_sweep_on_slurm(clone, slurm):
    shutil.rmtree(clone / "data", ignore_errors=True)
    driver = start(clone, "--seeds", "0", "1", "2", "--slurm", SLURM)
    said = driver.communicate(timeout=600)[0]
    assert driver.returncode == 0, said
    assert len(list(clone.glob("results/mini_smoke/seed*/run.json"))) == 3 and not queue()


def test_a_cancelled_job_is_said_and_made_again(project, drive, slurm):  # noqa: F811
    driver = drive("--slurm", SLURM)
    training_begins(project)
    subprocess.run(["scancel", *queue()], check=True)
    said = driver.communicate(timeout=60)[0]
    assert driver.returncode == 1 and "cancelled" in said, said
    (project / "slow").unlink()
    driver = drive("--slurm", SLURM)
    said = driver.communicate(timeout=120)[0]
    assert driver.returncode == 0, said
    steps = (project / "data" / "steps.txt").read_text().split()
    assert steps == [str(step) for step in range(10)], "it went on where it was"


def test_jobs_of_a_killed_driver_are_not_doubled(project, drive, slurm):  # noqa: F811
    driver = drive("--slurm", SLURM)
    training_begins(project)
    driver.kill()
    assert queue(), "Slurm knows nothing of it"
    (project / "slow").unlink()
    driver = drive("--slurm", SLURM)
    said = driver.communicate(timeout=120)[0]
    assert driver.returncode == 0 and not queue(), said
    steps = (project / "data" / "steps.txt").read_text().split()
    assert steps == [str(step) for step in range(10)]


# ---- dask ----------------------------------------------------------------------------------------


@pytest.fixture
def dask(project, tmp_path):  # noqa: F811
    """(address of a scheduler, function that starts a worker in the project)."""
    pytest.importorskip("distributed", reason="pip install .[cluster]")
    started = []

    def spawn(*arguments):
        command = [sys.executable, "-m", "dask", *arguments]
        with open(tmp_path / f"dask{len(started)}.log", "w") as log:
            output = {"stdout": log, "stderr": log}
            process = subprocess.Popen(command, cwd=project, env=environment(project), **output)
        started.append(process)
        return process

    spawn("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    log = tmp_path / "dask0.log"
    wait_until(lambda: "Scheduler at:" in log.read_text(), 30, "no scheduler")
    address = log.read_text().partition("Scheduler at:")[2].split()[0]
    options = ("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--no-nanny")
    yield address, lambda: spawn("worker", address, *options)
    for process in started:
        process.kill()
        process.wait()


def test_when_one_worker_dies_the_other_finishes(project, drive, dask):  # noqa: F811
    address, worker = dask
    workers = [worker(), worker()]
    driver = drive("--scheduler", address)
    training_begins(project)
    busy = ours(project)["notebook"][0].parent().pid
    next(w for w in workers if w.pid == busy).kill()
    (project / "slow").unlink()
    said = driver.communicate(timeout=120)[0]
    assert driver.returncode == 0, said
    steps = (project / "data" / "steps.txt").read_text().split()
    assert sorted(set(steps)) == sorted(map(str, range(10)))


def test_when_no_worker_is_left_it_says_so(project, drive, dask):  # noqa: F811
    address, worker = dask
    one = worker()
    driver = drive("--scheduler", address)
    training_begins(project)
    one.kill()
    begun = time.monotonic()
    said = driver.communicate(timeout=60)[0]
    assert time.monotonic() - begun < 30 and driver.returncode == 1
    assert said.splitlines()[-1].startswith("Error: no worker is left at"), said
    driver = drive("--scheduler", address)
    begun = time.monotonic()
    said = driver.communicate(timeout=60)[0]
    assert time.monotonic() - begun < 35 and "no worker is left" in said, "none has joined"


# ---- labels, on either ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder with six images, of which three have a mask, and a labeller of them."""
    folder = make_folder(tmp_path_factory.mktemp("some photographs") / "discs", 6, 3)
    place = folder.parent
    for words in (
        ("run", folder / "dataset.yml", "--results", place / "results", "--jobs", "1"),
        ("export", place / "results" / "discs" / "seed0_tuned", place / "discs.safetensors"),
    ):
        done = diffseg(*words)
        assert done.exit_code == 0, done.output
    return folder


def labels_made(photographs, folder, *where):
    """{file: bytes} of the predictions for a copy of the images, made by the command line."""
    shutil.copytree(photographs / "images", folder / "images")
    labeller = photographs.parent / "discs.safetensors"
    words = ["-m", "diffseg_utils", "label", folder / "images", "--with", labeller, "--jobs", "2"]
    python(ROOT, *words, *where)
    made = folder / "images" / "predictions"
    files = [p for p in made.rglob("*") if p.is_file() and ".rows" not in p.parts]  # seconds
    return {str(p.relative_to(made)): p.read_bytes() for p in files}


def test_labels_made_on_slurm_are_the_same(photographs, tmp_path, slurm):
    here = labels_made(photographs, tmp_path / "here")
    assert len(here) > 6 * 2
    assert labels_made(photographs, tmp_path / "there", "--slurm", SLURM) == here


def test_labels_made_by_dask_are_the_same(photographs, tmp_path, dask):
    address, worker = dask
    worker(), worker()
    here = labels_made(photographs, tmp_path / "here")
    assert labels_made(photographs, tmp_path / "there", "--scheduler", address) == here
