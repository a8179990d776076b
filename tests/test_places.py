"""Slurm without a Slurm: what is cancelled, and when; and options that cannot be."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from diffseg_utils.runs import places


class Executor:
    """As of submitit; a job that is sent has its result at once."""

    def __init__(self, folder, cluster):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def update_parameters(self, **given):
        pass

    def submit(self, work, task):
        said.append(["submit", task["label"]])
        result = self.folder / "result"
        result.touch()
        return SimpleNamespace(
            job_id="1",
            paths=SimpleNamespace(result_pickle=result),
            exception=lambda: None,
            result=lambda: {"error": None, "seconds": 1.0},
        )


said = []  # commands of Slurm, and jobs that are sent


@pytest.fixture(autouse=True)
def slurm(monkeypatch):
    said.clear()

    def command(words, **_):
        said.append(words)
        return subprocess.CompletedProcess(words, 0, stdout="", stderr="")

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Executor))
    monkeypatch.setattr(places.subprocess, "run", command)


def cancelled():
    return [words[-1] for words in said if words[0] == "scancel"]


def test_only_jobs_of_the_same_target_are_cancelled_and_not_before_one_is_sent(tmp_path):
    results, labels = tmp_path / "results", tmp_path / "cells" / "predictions"
    first = places.Slurm("time=5", results, tmp_path / "runs")
    other = places.Slurm("time=5", labels, tmp_path / "runs")
    assert not said, "nobody holds the lock of the target yet"
    other.make({"label": "label 1 of 1", "memory": 1})
    other.make({"label": "label 1 of 1", "memory": 1})
    assert cancelled() == [other.name] and first.name != other.name
    assert said.index(["submit", "label 1 of 1"]) > said.index(["scancel", "--name", other.name])
    assert places.Slurm("", results, tmp_path / "runs").name == first.name, "of a killed driver"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("time=1:00:00", "--slurm time=1:00:00: a whole number of minutes is needed"),
        ("gpus=two", "--slurm gpus=two: a whole number is needed, such as gpus=1"),
        ("memory=4", "unknown Slurm option 'memory'; choose from partition, time"),
    ],
)
def test_options_that_cannot_be(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        places.Slurm(options, tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["submitit", "distributed"])
def test_what_is_not_installed_is_said(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f"{name} is not installed; `pip install {name}`"):
        if name == "submitit":
            places.Slurm("", tmp_path, tmp_path)
        else:
            places.Dask("tcp://nowhere:1")


def test_a_lost_cluster_is_one_sentence():
    assert issubclass(places.Gone, RuntimeError), "which the command line turns into a sentence"
