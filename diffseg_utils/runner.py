"""Making runs: every stage is a notebook in a child process, every child a task of dask, on this machine or on many."""

import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from itertools import product

from .runs import (
    FEATURES,
    MINUTES,
    STAGES,
    VOTING,
    is_done,
    outputs_now,
    parameters_of,
    project,
    stage_key,
    write_json,
)


def run_stage(run, stage, extra=None, threads=None, after=None):
    """Make one stage of a run unless it is done; returns (stage, seconds, "made" or "kept"). Runs on a dask worker."""
    extra, start = extra or {}, time.monotonic()
    key = stage_key(run, stage, extra)
    if is_done(run, stage, key):
        return stage, 0.0, "kept"
    run.record(stage).unlink(missing_ok=True)
    notebook, output = project() / "notebooks" / f"{stage}.ipynb", run.outputs(stage)[0]
    known = parameters_of(notebook)
    parameters = {name: value for name, value in {**asdict(run), **extra}.items() if name in known}
    environment = {**os.environ, "DIFFSEG_PROGRESS": str(progress_file(run, stage))}
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads)}
    child = subprocess.run(
        [sys.executable, "-m", "diffseg_utils.notebooks", notebook, output, json.dumps(parameters)],
        env=environment,
        cwd=project(),
        capture_output=True,
        text=True,
    )
    progress_file(run, stage).unlink(missing_ok=True)
    if child.returncode:
        raise RuntimeError(f"{run.name} {stage}: {child.stderr.strip().splitlines()[-1]}")
    missing = [path for path in run.outputs(stage) if not path.exists()]
    if missing:
        raise RuntimeError(f"{run.name} {stage}: the notebook ended without writing {missing[0]}")
    seconds = time.monotonic() - start
    facts = run.record(stage).with_suffix(".facts.json")
    facts = json.loads(facts.read_text()) if facts.exists() else {}
    write_json(
        run.record(stage),
        {"key": key, "outputs": outputs_now(run, stage), "seconds": seconds, "facts": facts},
    )
    if stage == VOTING:
        testify(run, extra)
    return stage, seconds, "made"


def testify(run, extra):
    """Write run.json: what produced these results."""
    records = {stage: json.loads(run.record(stage).read_text()) for stage in STAGES}
    peaks = {stage: record["facts"].pop("peak_mib") for stage, record in records.items()}
    facts = {name: value for record in records.values() for name, value in record["facts"].items()}
    packages = ("torch", "numpy", "guided-diffusion-sdk", "papermill", "diffseg-utils")
    first = records[FEATURES]["key"]
    used = {
        name: value
        for record in records.values()
        for name, value in record["key"]["parameters"].items()
        if name in extra
    }
    write_json(
        run.seed_folder / "run.json",
        {
            "dataset": run.dataset,
            "backbone": run.name.partition("@")[2] or run.preset.backbone,
            "seed": run.seed,
            "recipe": run.recipe,
            "preset": asdict(run.preset),
            "parameters": used,
            **facts,
            "backbone_flags": first["backbone"],
            "data_sha256": first["data"],
            "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
            "seconds": {stage: round(record["seconds"], 1) for stage, record in records.items()},
            "peak_mib": peaks,
        },
    )


def plan(runs, stages=(VOTING,), extra=None):
    """{record: (run, stage, [records it reads])} of all that `stages` of `runs` need, in the order of making."""
    jobs = {}

    def add(run, stage):
        before = [add(*job) for job in run.reads(stage, extra or {})]
        jobs.setdefault(
            run.record(stage), (run, stage, before)
        )  # runs share features: they do not depend on the seed
        return run.record(stage)

    for run, stage in product(runs, stages):
        add(run, stage)
    return jobs


def run_all(runs, stages=(VOTING,), *, extra=None, workers=None, scheduler=None, echo=print):
    """Make `stages` of `runs`, and all they read, on a LocalCluster of `workers` processes, or on the cluster at `scheduler`.

    The cores are shared among the processes, unless OMP_NUM_THREADS is set. Says how long it takes, what is going on and how
    long it will still take; raises the first failure after the other runs have ended.
    """
    from distributed import Client

    jobs, cores = plan(runs, stages, extra), os.cpu_count() or 1
    workers = min(workers or cores, max(Counter(stage for _, stage, _ in jobs.values()).values()))
    threads = None if scheduler or "OMP_NUM_THREADS" in os.environ else max(1, cores // workers)
    minutes = sum(MINUTES[stage] for _, stage, _ in jobs.values()) / workers
    echo(
        f"{len(jobs)} notebooks, {workers} at a time: up to {minutes:.0f} minutes for painted datasets, longer for photographs; "
        "what is up to date is kept"
    )
    futures = {}
    with _client(Client, workers, scheduler) as client:
        for record, (run, stage, before) in jobs.items():
            after = [futures[other] for other in before]
            futures[record] = client.submit(
                run_stage, run, stage, extra, threads, after, pure=False
            )
        _follow({jobs[record][:2]: future for record, future in futures.items()}, echo)


def _follow(jobs, echo, every=15):
    """Report on `jobs` {(run, stage): future} until all have ended; then raise the first error, if there was one."""
    start = spoke = time.monotonic()
    total, ended, error = sum(MINUTES[stage] for _, stage in jobs), [], None
    while len(ended) < len(jobs):
        time.sleep(0.2)
        for (run, stage), future in jobs.items():
            if (run, stage) in ended or not future.done():
                continue
            ended.append((run, stage))
            failed = future.status != "finished"
            error = error or (future.exception() if failed else None)
            outcome = "not made" if failed else _outcome(future.result())
            echo(f"[{len(ended)}/{len(jobs)}] {run.place(stage):<30}{stage:<24}{outcome}")
        if time.monotonic() - spoke > every:
            spoke = time.monotonic()
            parts = {job: read_progress(*job) for job in jobs if job not in ended}
            for (run, stage), part in parts.items():
                if part:
                    echo(f"      {run.place(stage):<30}{stage:<24}{100 * part:.0f} %")
            share = sum(MINUTES[stage] for _, stage in ended) + sum(
                MINUTES[stage] * part for (_, stage), part in parts.items()
            )
            if share:
                to_go = (spoke - start) * (total / share - 1)
                echo(f"      {_clock(spoke - start)} so far, about {_clock(to_go)} to go")
    if error:
        raise error


def _outcome(result):
    _, seconds, how = result
    return f"{how} in {_clock(seconds)}" if how == "made" else how


def _clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def _client(client, workers, scheduler):
    """A dask client: of the cluster at `scheduler`, or of processes on this machine."""
    if scheduler:
        with client(scheduler) as c:
            yield c
        return
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=":0",
            silence_logs=logging.ERROR,
        ) as cluster,
        client(cluster) as c,
    ):
        yield c


def read_progress(run, stage):
    """How far a stage is, 0..1."""
    try:
        return float(progress_file(run, stage).read_text())
    except (OSError, ValueError):
        return 0.0


def progress_file(run, stage):
    """Where a notebook that is under way says how far it is."""
    return run.record(stage).with_suffix(".progress")
