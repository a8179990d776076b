"""What a piece of work costs on this machine: seconds and peak memory, measured; and what machine
it is.
"""

import ctypes
import gc
import platform
import statistics
import sys
import time
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure(work, repeats=3):
    """(result, median seconds, peak MiB) of work(), called once to warm up and `repeats` times for
    the clock.

    Memory is what the process, or on CUDA the GPU, held at most during the first call, less what it
    held before; nan where the system does not say.
    """
    import torch

    on_gpu = torch.cuda.is_initialized()
    gc.collect()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "malloc_trim"):
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
    """Most MiB of memory that this process has held, since measure() began if it did; nan where the
    system does not say.
    """
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next(
        (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan")
    )


def _peak_mib(on_gpu):
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_mib()


def processor():
    """The processor's name, and the widest instructions that torch uses on it."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def threads():
    """How many threads torch computes with; one and two give slightly different weights."""
    import torch

    return torch.get_num_threads()
