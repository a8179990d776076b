"""What a piece of work costs on this machine: seconds and peak memory, measured; and the table that README shows."""

import ctypes
import gc
import statistics
import sys
import time
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure(work, repeats=3):
    """(result, median seconds, peak MiB) of work(), called once to warm up and `repeats` times for the clock.

    Memory is what the process, or on CUDA the GPU, held at most during the first call, less what it held before; nan where
    the system does not say.
    """
    import torch

    on_gpu = torch.cuda.is_initialized()
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what was freed goes back: used again, it shall count
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    elif RESET.exists():
        RESET.write_text("5")
    held = _peak_mib(on_gpu)  # just reset: what is held now
    start, seconds = time.perf_counter(), []
    result = work()
    first = time.perf_counter() - start
    peak = _peak_mib(on_gpu) - held
    for _ in range(repeats):
        result, start = None, time.perf_counter()
        result = work()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds or [first]), peak


def peak_mib():
    """Most MiB of memory that this process has held, since measure() began if it did; nan where the system does not say."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next(
        (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan")
    )


def _peak_mib(on_gpu):
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_mib()


def markdown(costs):
    """The README's table of a frame (cost, unit, published, ours, ratio, goal), blank where nothing was measured."""
    head = "| what | published | ours | published / ours | goal |\n|---|---:|---:|---:|---:|\n"
    return head + "\n".join(
        f"| {row.cost} | {_number(row.published, row.unit)} | {_number(row.ours, row.unit)} | "
        f"{_number(row.ratio)} | {_number(row.goal)} |"
        for row in costs.itertuples()
    )


def _number(value, unit=""):
    unit = unit if isinstance(unit, str) else ""
    return (
        ""
        if value != value
        else f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f} {unit}".strip()
    )
