"""Who executes a notebook: a child process here, a job of Slurm, or a worker of a dask cluster. One
way for all three.

Each place has make(task) -> {"error": sentence or None, "seconds"}, which is called in a thread of
its own and waits, and stop(), which ends what it has begun. A task is a plain dict (see task_of),
so that it can travel.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock

from .run import PACKAGE, project

# glibc maps every large tensor anew, and page faults take a fifth of a run's time; elsewhere these
# are ignored
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
PATIENCE = 20  # seconds without a dask worker


class Gone(Exception):
    """The place is there no more; nothing else can be made."""


def task_of(job, unfinished, threads, gpu, memory):
    """What a place needs to know to make a job."""
    environment = {"DIFFSEG_UNFINISHED": str(unfinished), "OMP_NUM_THREADS": str(threads)}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    return {
        "label": job.label,
        "arguments": [str(job.notebook), str(job.executed), json.dumps(job.parameters())],
        "project": str(project()),
        "package": package_digest(),
        "environment": environment,
        "lock": str(job.record.with_suffix(".lock")),
        "memory": memory,
    }


def package_digest():
    """Checksum of the package's Python files: two machines that work together must have the
    same.
    """
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


class Here:
    """A child process of this one. It watches its standard input, and ends when this process
    ends.
    """

    def __init__(self):
        self.children = set()
        self.stopped = False

    def make(self, task):
        start = time.monotonic()
        problem = _problem(task)
        if problem:
            return {"error": problem, "seconds": 0.0}
        with FileLock(task["lock"]):  # a job that a killed driver left behind may still be at it
            error = self._execute(task)
        return {"error": error, "seconds": time.monotonic() - start}

    def _execute(self, task):
        if self.stopped:
            return "stopped"
        child = subprocess.Popen(
            [sys.executable, "-m", "diffseg_utils.runs.execute", *task["arguments"]],
            cwd=task["project"],
            env=MALLOC | os.environ | task["environment"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal reaches only this process
        )
        self.children.add(child)
        try:
            said = child.stderr.read().strip()
            code = child.wait()
        finally:
            self.children.discard(child)
            child.stdin.close()
            child.stderr.close()
        if code == -9:
            return "killed (out of memory?)"
        if code:
            return said.splitlines()[-1] if said else f"ended with code {code}"
        return None

    def stop(self):
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


class Slurm:
    """One job of Slurm for each stage, sent by submitit. options: "partition=gpu time=60 gpus=1
    cpus=4".
    """

    OPTIONS = ("partition", "time", "gpus", "cpus", "account", "qos", "constraint")

    def __init__(self, options, folder):
        import submitit

        given = dict(word.partition("=")[::2] for word in options.split())
        unknown = [name for name in given if name not in self.OPTIONS]
        if unknown:
            raise ValueError(
                f"unknown Slurm option {unknown[0]!r}; choose from {', '.join(self.OPTIONS)}"
            )
        self.cpus = int(given.pop("cpus", 1))
        self.minutes = int(given.pop("time", 60))
        self.gpus = int(given.pop("gpus", 0))
        self.name = "diffseg-" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        self.executor = submitit.AutoExecutor(folder / "slurm", cluster="slurm")
        self.executor.update_parameters(
            name=self.name,
            timeout_min=self.minutes,
            cpus_per_task=self.cpus,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            **{f"slurm_{name}": value for name, value in given.items()},
        )
        self.lock = threading.Lock()
        self.stopped = False
        self._cancel_left_behind()

    def make(self, task):
        with self.lock:
            if self.stopped:
                return {"error": "stopped", "seconds": 0.0}
            self.executor.update_parameters(slurm_mem=f"{1000 * task['memory']:.0f}M")
            job = self.executor.submit(work, task)
        missing = 0
        while not job.paths.result_pickle.exists():
            time.sleep(2)
            missing = 0 if self._in_queue(job.job_id) else missing + 1
            if (
                self.stopped or missing > 2
            ):  # the result may need a moment to appear on a shared file system
                break
        if not job.paths.result_pickle.exists():
            said = f"its job {job.job_id} of Slurm was cancelled or killed; see {job.paths.stderr}"
            return {"error": said, "seconds": 0.0}
        error = job.exception()
        if error:
            return {"error": str(error).strip().splitlines()[-1], "seconds": 0.0}
        return job.result()

    def stop(self):
        self.stopped = True
        self._cancel_left_behind()

    def _in_queue(self, number):
        listed = subprocess.run(["squeue", "-h", "-j", number], capture_output=True, text=True)
        return bool(listed.stdout.strip())

    def _cancel_left_behind(self):
        """Cancel the jobs of this project that are in the queue: those of a driver that was killed,
        or our own.
        """
        named = ["--name", self.name]
        subprocess.run(["scancel", *named], capture_output=True)
        for _ in range(30):
            listed = subprocess.run(["squeue", "-h", *named], capture_output=True, text=True)
            if not listed.stdout.strip():
                return
            time.sleep(1)


class Dask:
    """The workers of a dask cluster, at the address of its scheduler."""

    def __init__(self, address):
        from distributed import Client

        try:
            self.client = Client(address, timeout=10)
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


def _problem(task):
    """Why this machine cannot make a task, in one sentence; None if it can."""
    host = platform.node()
    if not Path(task["arguments"][0]).exists():
        return f"{host} does not see {task['arguments'][0]}; all machines need the same file system"
    if package_digest() != task["package"]:
        return f"{host} has another version of diffseg_utils in {PACKAGE}"
    return None
