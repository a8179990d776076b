"""Making jobs in the order of what they need: a pool of threads, each of which waits for one
notebook.
"""

import queue
import shutil
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from graphlib import TopologicalSorter

from ..files import read_json, remove_leftovers
from . import records
from .places import Gone, task_of
from .progress import Forecast, clock, display, read_share

POLL = 0.3  # seconds between two looks at what runs


class StageFailed(Exception):
    """A stage did not end well; the sentence says which one, and why."""


def survey(plan, checksums, again=()):
    """{job: (state, reason)} in the order of making.

    state: "make", "follow" (only what it reads may come out different) or "keep". again: names of
    notebooks that are made even if they are current.
    """
    found = {}
    for job in plan:
        made_before = any(found[other][0] != "keep" for other in plan[job])
        reason = records.why_stale(job, checksums, reads=not made_before)
        if reason is None and job.stage.notebook in again:
            reason = "asked for again"
        if reason:
            found[job] = ("make", reason)
        elif made_before:
            found[job] = ("follow", "if what it reads comes out different")
        else:
            found[job] = ("keep", "")
    return found


def launch(plan, place, checksums, room, *, memory_of, expected, again=(), echo=print):
    """Make the jobs of `plan` {job: [jobs it needs]}; those that are current are kept.

    place: who executes a notebook (see places). memory_of(job): GB it needs. expected: {job:
    seconds}, for the forecast. again: names of notebooks that are made even if they are current.
    Returns the sentences of stages that failed; the others were made. A signal ends all of it:
    SystemExit.
    """
    with display(len(plan), echo) as shown, _signals() as received:
        driver = _Driver(plan, place, checksums, room, memory_of, expected, again, shown)
        try:
            return driver.run()
        except KeyboardInterrupt:
            driver.stop()
            number = received[0] if received else signal.SIGINT
            name = signal.Signals(number).name
            shown.say(
                f"{name}: stopped. What is finished is kept; the next run goes on from there."
            )
            raise SystemExit(128 + number) from None
        except Gone as error:
            driver.stop()
            return [*driver.failures, str(error)]
        except BaseException:
            driver.stop()
            raise


class _Driver:
    """Starts what is ready, while there is room, and collects what has ended."""

    def __init__(self, plan, place, checksums, room, memory_of, expected, again, shown):
        self.plan, self.place, self.checksums = plan, place, checksums
        self.room, self.again, self.shown = room, again, shown
        self.memory = {job: memory_of(job) for job in plan}
        self.gpus = queue.Queue()
        for gpu in room.gpus:
            self.gpus.put(gpu)
        self.pool = ThreadPoolExecutor(room.slots)
        self.sorter = TopologicalSorter(plan)
        self.sorter.prepare()
        self.ready = []  # jobs whose needs are met
        self.futures = {}  # future: job
        self.begun = {}  # job: (when its notebook began, its folder of unfinished work)
        self.over = set()
        self.lost = set()  # jobs that failed or need one that failed
        self.failures = []
        kinds = {job: job.stage.notebook for job in plan}
        self.forecast = Forecast(expected, room.slots, kinds)

    def run(self):
        while self.sorter.is_active():
            self.ready += self.sorter.get_ready()
            self._start()
            if self.futures:
                ended, _ = wait(self.futures, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._collect(self.futures.pop(future), future)
            self._show()
        self.pool.shutdown()
        return self.failures

    def stop(self):
        """End what runs; its threads return when their notebooks have ended."""
        self.place.stop()
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _start(self):
        for job in list(self.ready):
            if any(other in self.lost for other in self.plan[job]):
                self.ready.remove(job)
                self.lost.add(job)
                self._end(job, "not made: it needs a stage that failed")
            elif len(self.futures) < self.room.slots and self._fits(job):
                self.ready.remove(job)
                self.futures[self.pool.submit(self._make, job)] = job

    def _fits(self, job):
        """Whether there is memory for one more job; a single one is always tried."""
        running = sum(self.memory[other] for other in self.futures.values())
        return not self.futures or running + self.memory[job] <= self.room.memory

    def _make(self, job):
        """In a thread: make a job unless it is current; returns (seconds, what happened)."""
        now = records.fingerprint(job, self.checksums)
        reason = records.why_stale(job, self.checksums, now)
        if reason is None and job.stage.notebook not in self.again:
            return 0.0, "kept"
        for path in [job.record, *job.outputs]:
            remove_leftovers(path)
        unfinished = _folder_of_unfinished(job, now)
        self.begun[job] = (time.monotonic(), unfinished)
        ended = self._execute(job, now, unfinished)
        if ended["error"]:
            raise StageFailed(f"{job.label}: {ended['error']}")
        facts = unfinished / "facts.json"
        facts = read_json(facts) if facts.exists() else {}
        records.finish(job, now, self.checksums, ended["seconds"], facts)
        shutil.rmtree(unfinished, ignore_errors=True)
        why = "" if reason in (None, records.NEVER) else f" ({reason})"
        return ended["seconds"], f"made in {clock(ended['seconds'])}{why}"

    def _execute(self, job, now, unfinished):
        """Have the notebook of a job executed, on a GPU of its own where there are any."""
        gpu = self.gpus.get() if self.room.gpus else None
        try:
            task = task_of(job, now, unfinished, self.room.threads, gpu, self.memory[job])
            return self.place.make(task)
        finally:
            if gpu is not None:
                self.gpus.put(gpu)

    def _collect(self, job, future):
        try:
            seconds, outcome = future.result()
        except (StageFailed, OSError) as error:  # a full disk, a file that cannot be read
            said = str(error) if isinstance(error, StageFailed) else f"{job.label}: {error}"
            self.failures.append(said)
            self.lost.add(job)
            outcome = "failed"
        else:
            if seconds:
                self.forecast.ended[job] = seconds
        self._end(job, outcome)

    def _end(self, job, outcome):
        self.begun.pop(job, None)
        self.over.add(job)
        self.shown.ended(job, outcome)
        self.sorter.done(job)

    def _show(self):
        now = time.monotonic()
        running = {
            job: (now - start, read_share(unfinished))
            for job, (start, unfinished) in list(self.begun.items())
        }
        waiting = [job for job in self.plan if job not in running and job not in self.over]
        self.shown.update(running, self.forecast.to_go(running, waiting))


def _folder_of_unfinished(job, now):
    """The folder of what a job with fingerprint `now` goes on from; those of other fingerprints are
    deleted.
    """
    wanted = job.unfinished(records.short(now))
    for other in wanted.parent.glob(f".{job.record.stem}.*"):
        if other != wanted and other.is_dir():
            shutil.rmtree(other)
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / "progress").unlink(missing_ok=True)
    return wanted


def expected_seconds(job):
    """Seconds that a job took here; else, of photographs, where the committed results were made,
    and of painted images what the table of stages says.
    """
    record = records.read_record(job)
    if record:
        return max(record["seconds"], 1.0)
    manifest = job.run.path("manifest")
    if manifest.exists() and not job.run.preset.painted:
        known = read_json(manifest)["seconds"].get(job.stage.notebook)
        if known:
            return known
    return 60 * job.stage.minutes


@contextmanager
def _signals():
    """Yields a list that receives the number of a signal that asks to end, which then raises
    KeyboardInterrupt.
    """
    received = []

    def stop(number, _):
        received.append(number)
        raise KeyboardInterrupt

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    # nohup ignores SIGHUP, and means it
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
