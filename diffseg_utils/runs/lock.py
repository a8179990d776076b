"""One driver at a time for a results folder, and for what several results folders share."""

import os
import platform
from contextlib import ExitStack, contextmanager
from datetime import datetime

from filelock import FileLock, Timeout

from ..files import read_json, write_json


@contextmanager
def only_driver(results_root, runs_root, names, echo=print):
    """Hold the lock of a results folder, and of data/runs/<name> for all `names`, while the block
    runs.

    RuntimeError says who makes these results already; for what another results folder is making,
    this waits. The locks are the operating system's: a crash leaves none behind.
    """
    folder = runs_root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            _take(held, folder / f"results-{results_root.name}", timeout=0)
        except Timeout:
            holder = _holder(folder / f"results-{results_root.name}")
            raise RuntimeError(
                f"{results_root} is being made by {holder}; wait for it, or end it"
            ) from None
        for name in sorted(names):  # in one order, so that two drivers never wait for each other
            try:
                _take(held, folder / name, timeout=0)
            except Timeout:
                echo(f"waiting for {_holder(folder / name)}, which works in {runs_root / name}")
                _take(held, folder / name, timeout=-1)
        yield


def _take(held, path, timeout):
    held.enter_context(FileLock(path.with_name(f"{path.name}.lock"), timeout=timeout))
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    write_json(path.with_name(f"{path.name}.json"), [os.getpid(), platform.node(), since])


def _holder(path):
    try:
        process, host, since = read_json(path.with_name(f"{path.name}.json"))
    except (FileNotFoundError, ValueError):
        return "another process"
    return f"process {process} on {host}, since {since}"
