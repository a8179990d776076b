"""Who executes a notebook: a child process here, a job of Slurm, or a worker of a dask cluster. One
way for all three.

Each place has make(task) -> {"error": sentence or None, "seconds"}, which is called in a thread of
its own and waits, and stop(), which ends what it has begun (but a worker of dask finishes the
notebook that it is at). A task is a plain dict (see task_of), so that it can travel.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from filelock import FileLock, Timeout

from .records import checksum_of_module
from .run import PACKAGE, project

# glibc maps every large tensor anew, and page faults take a fifth of a run's time; elsewhere these
# are ignored
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
PATIENCE = 20  # seconds without a dask worker
EXECUTE = "diffseg_utils.runs.execute"  # what a child process runs, unless a task says otherwise


class Gone(RuntimeError):
    """No worker is left; no further stage can be made."""


def task_of(job, now, unfinished, threads, gpu, memory):
    """What a place needs to know to make a job; now: its fingerprint, memory: in GB."""
    environment = {"DIFFSEG_UNFINISHED": str(unfinished), "OMP_NUM_THREADS": str(threads)}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    return {
        "label": job.label,
        "arguments": [str(job.notebook), str(job.executed), json.dumps(job.parameters())],
        "project": str(project()),
        "modules": now["modules"],
        "environment": environment,
        "lock": str(job.record.with_suffix(".lock")),
        "memory": memory,
    }


class Here:
    """A child process, which watches its standard input and ends when this process ends."""

    def __init__(self):
        self.children = set()
        self.lock = threading.Lock()  # of children and stopped
        self.stopped = False

    def make(self, task):
        start = time.monotonic()
        problem = problem_of(task)
        if problem:
            return {"error": problem, "seconds": 0.0}
        lock = FileLock(task["lock"])
        while not self.stopped:
            with suppress(Timeout):  # a job that a killed driver has left behind is still at it
                lock.acquire(timeout=1)
                break
        try:
            error = self._execute(task)
        finally:
            lock.release()
        return {"error": error, "seconds": time.monotonic() - start}

    def _execute(self, task):
        """Execute the notebook of a task; returns what went wrong, or None."""
        with tempfile.TemporaryFile("w+") as said:
            with self.lock:
                if self.stopped:
                    return "stopped"
                child = self._start(task, said)
                self.children.add(child)
            code = child.wait()
            with self.lock:
                self.children.discard(child)
            child.stdin.close()
            said.seek(0)
            lines = said.read().strip().splitlines()
        if code == -9:
            return "killed (out of memory?)"
        if code:
            return lines[-1] if lines else f"ended with code {code}"
        return None

    def _start(self, task, said):
        return subprocess.Popen(
            [sys.executable, "-m", task.get("program", EXECUTE), *task["arguments"]],
            cwd=task["project"],
            env=MALLOC | os.environ | task["environment"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,  # Ctrl-C in a terminal reaches only this process
        )

    def stop(self):
        with self.lock:
            self.stopped = True
            children = list(self.children)
        for child in children:
            child.stdin.close()
        for child in children:
            try:
                child.wait(3)
            except subprocess.TimeoutExpired:
                child.kill()


def work(task):
    """Make a task on a node of a cluster."""
    return Here().make(task)


def problem_of(task):
    """Why this machine cannot make a task, in one sentence; None if it can."""
    host = platform.node()
    for path in (task["arguments"][0], task["environment"]["DIFFSEG_UNFINISHED"]):
        if not Path(path).exists():
            return f"{host} does not see {path}; all machines need the same file system"
    for name, checksum in task["modules"].items():
        if checksum_of_module(name) != checksum:
            return f"{host} has another version of {name} in {PACKAGE}"
    return None


def _of_a_cluster(name):
    """The module `name`; ValueError if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ValueError(
            f"{name} is not installed; `pip install {name}` in the environment of diffseg"
        ) from None


class Slurm:
    """One job of Slurm for each task, sent by submitit.

    options: "partition=gpu time=60 gpus=1 cpus=4". target: the folder that the tasks write. What an
    earlier driver of the same target has left in the queue is cancelled before the first task is
    sent, so hold the lock of the target by then. runs_root: its slurm/ gets what jobs say.
    """

    OPTIONS = ("partition", "time", "gpus", "cpus", "account", "qos", "constraint")

    def __init__(self, options, target, runs_root):
        submitit = _of_a_cluster("submitit")
        given = dict(word.partition("=")[::2] for word in options.split())
        unknown = [name for name in given if name not in self.OPTIONS]
        if unknown:
            raise ValueError(
                f"unknown Slurm option {unknown[0]!r}; choose from {', '.join(self.OPTIONS)}"
            )
        self.cpus = _whole_number(given, "cpus", 1)
        self.minutes = _whole_number(given, "time", 60)
        self.gpus = _whole_number(given, "gpus", 0)
        self.name = "diffseg-" + hashlib.sha256(str(target).encode()).hexdigest()[:8]
        self.folder = runs_root / "slurm"
        self.executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        self.executor.update_parameters(
            name=self.name,
            timeout_min=self.minutes,
            cpus_per_task=self.cpus,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            **{f"slurm_{name}": value for name, value in given.items()},
        )
        self.lock = threading.Lock()
        self.stopped = False
        self.queue_is_ours = False

    def make(self, task):
        with self.lock:
            if self.stopped:
                return {"error": "stopped", "seconds": 0.0}
            if not self.queue_is_ours:
                self._cancel_left_behind()
                self.queue_is_ours = True
            self.executor.update_parameters(slurm_mem=f"{1000 * task['memory']:.0f}M")
            job = self.executor.submit(work, task)
        missing = 0
        while not self._has_result(job) and not self.stopped and missing < 5:
            time.sleep(2)
            missing = 0 if self._in_queue(job.job_id) else missing + 1
        if not self._has_result(job):
            subprocess.run(["scancel", job.job_id], capture_output=True)
            said = f"its job {job.job_id} of Slurm was cancelled or killed; see {job.paths.stderr}"
            return {"error": said, "seconds": 0.0}
        error = job.exception()
        if error:
            return {"error": str(error).strip().splitlines()[-1], "seconds": 0.0}
        return job.result()

    def _has_result(self, job):
        os.listdir(self.folder)  # a shared file system then looks again
        return job.paths.result_pickle.exists()

    def stop(self):
        with self.lock:
            self.stopped = True
        self._cancel_left_behind()

    def _in_queue(self, number):
        """Whether Slurm lists a job; where it does not answer, the job may be there."""
        listed = subprocess.run(["squeue", "-h", "-j", number], capture_output=True, text=True)
        if listed.returncode and "Invalid job id" not in listed.stderr:
            return True
        return bool(listed.stdout.strip())

    def _cancel_left_behind(self):
        """Cancel the jobs of this target in the queue: those of a killed driver, or our own."""
        named = ["--name", self.name]
        subprocess.run(["scancel", *named], capture_output=True)
        for _ in range(30):
            listed = subprocess.run(["squeue", "-h", *named], capture_output=True, text=True)
            if not listed.stdout.strip():
                return
            time.sleep(1)


def _whole_number(given, name, usual):
    """The value of an option of Slurm, which is taken out of `given`."""
    text = given.pop(name, usual)
    try:
        return int(text)
    except ValueError:
        unit = " of minutes" if name == "time" else ""
        raise ValueError(
            f"--slurm {name}={text}: a whole number{unit} is needed, such as {name}={usual or 1}"
        ) from None


class Dask:
    """The workers of a dask cluster, at the address of its scheduler."""

    def __init__(self, address):
        distributed = _of_a_cluster("distributed")
        try:
            self.client = distributed.Client(address, timeout=10)
        except OSError as error:
            raise OSError(f"no dask scheduler answers at {address} ({error})") from None
        self.stopped = False

    def make(self, task):
        future = self.client.submit(work, task, pure=False)
        seen = time.monotonic()
        while not future.done():
            time.sleep(0.5)
            if self.client.scheduler_info()["workers"]:
                seen = time.monotonic()
            if self.stopped or time.monotonic() - seen > PATIENCE:
                future.cancel()
                raise Gone(f"no worker is left at {self.client.scheduler.address}")
        error = future.exception()
        if error:
            return {"error": f"{type(error).__name__}: {error}", "seconds": 0.0}
        return future.result()

    def stop(self):
        self.stopped = True
