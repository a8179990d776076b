"""How far work is: what a notebook reports, and what a person who waits is shown."""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from ..files import atomic

EVERY = 30.0  # seconds between plain lines, where there is no terminal


def progress(label):
    """report(done, total) for long work in a notebook: a bar for a person, a file for the command line."""
    unfinished = os.environ.get("DIFFSEG_UNFINISHED")
    if unfinished:
        return lambda done, total: _write_share(Path(unfinished), done / total)
    from tqdm.auto import tqdm

    bar = tqdm(desc=label)

    def report(done, total):
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return report


def track(items, report, done=0, total=None):
    """Yield the items of a list, and report(done, total) whenever one has been worked on.

    done: how many were worked on before these; total: of all, len(items) if None.
    """
    if total is None:
        total = len(items)
    for count, item in enumerate(items, done + 1):
        yield item
        report(count, total)


def _write_share(unfinished, share):
    with atomic(unfinished / "progress") as partial:
        partial.write_text(f"{share:.4f}")


def read_share(unfinished):
    """How far the part at hand of a notebook is, 0..1; None if it has not said so. unfinished: its folder."""
    try:
        return float((unfinished / "progress").read_text())
    except (OSError, ValueError):
        return None


class Forecast:
    """How long the jobs that are left will take.

    expected: {job: seconds}, from records or the table of stages, so right up to a common factor: this machine's speed,
    which is learnt from the jobs that have ended and, a little, from those that run.
    """

    def __init__(self, expected, slots):
        self.expected = expected
        self.slots = slots
        self.ended = {}  # job: seconds it took; a kept job is left out

    def speed(self, running):
        """Seconds here for one expected second; running: {job: (seconds so far, share done or None)}."""
        took = sum(self.ended.values())
        meant = sum(self.expected[job] for job in self.ended)
        for job, (seconds, share) in running.items():
            late = seconds > self.expected[job]
            if late or (share and seconds > 15):
                took += seconds
                meant += self.expected[job] * (1 if late else min(max(share, 0.05), 0.95))
        # one expected minute of doubt: the first job that ends early does not decide everything
        return (took + 30) / (meant + 30)

    def to_go(self, running, waiting):
        """Seconds until all is done; waiting: jobs in the order in which they will start."""
        speed = self.speed(running)
        slots = [0.0] * self.slots
        left = []
        for job, (seconds, _) in running.items():
            planned = self.expected[job] * speed
            left.append(max(planned - seconds, 0.1 * planned, 1.0))
        for at, seconds in zip(range(self.slots), sorted(left, reverse=True)):
            slots[at] = seconds
        for job in waiting:
            slots.sort()
            slots[0] += self.expected[job] * speed
        return max(slots)


def clock(seconds):
    """Minutes and seconds, with hours where there are any."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Lines:
    """What a person who waits sees where there is no terminal: a line for each job that ends, and one now and then."""

    def __init__(self, total, echo):
        self.total, self.echo = total, echo
        self.done = 0
        self.start = time.monotonic()
        self.spoke = self.start - EVERY + 3  # the first line comes soon

    def ended(self, job, outcome):
        self.done += 1
        self.echo(f"[{self.done}/{self.total}] {job.label:<52}{outcome}")

    def update(self, running, to_go):
        now = time.monotonic()
        if now - self.spoke < EVERY or not running:
            return
        self.spoke = now
        parts = [_part(job, seconds, share) for job, (seconds, share) in running.items()]
        self.echo(
            f"      {clock(now - self.start)} so far, about {clock(max(to_go, 1))} to go: {'; '.join(parts)}"
        )

    def say(self, line):
        self.echo(line)


class Bars:
    """The same in a terminal: one bar for each job that runs, and one for all."""

    def __init__(self, total, bars):
        self.total, self.bars = total, bars
        self.all = bars.add_task("all stages", total=total, note="")
        self.tasks = {}
        self.start = time.monotonic()
        self.done = 0

    def ended(self, job, outcome):
        self.done += 1
        if job in self.tasks:
            self.bars.remove_task(self.tasks.pop(job))
        self.bars.console.print(f"{job.label:<52}{outcome}", highlight=False)
        self.bars.update(self.all, completed=self.done)

    def update(self, running, to_go):
        for job, (seconds, share) in running.items():
            if job not in self.tasks:
                self.tasks[job] = self.bars.add_task(job.label, total=1.0, note="")
            self.bars.update(self.tasks[job], completed=share or 0.0, note=clock(seconds))
        so_far = clock(time.monotonic() - self.start)
        self.bars.update(self.all, note=f"{so_far} so far, about {clock(max(to_go, 1))} to go")

    def say(self, line):
        self.bars.console.print(line, highlight=False)


@contextmanager
def display(total, echo):
    """Lines, or Bars where standard output is a terminal."""
    if not sys.stdout.isatty():
        yield Lines(total, echo)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        "{task.description}",
        BarColumn(),
        "{task.percentage:>3.0f} %",
        "{task.fields[note]}",
    )
    with Progress(*[TextColumn(c) if isinstance(c, str) else c for c in columns]) as bars:
        yield Bars(total, bars)


def _part(job, seconds, share):
    how_far = f"{100 * share:.0f} %" if share else "begun"
    return f"{job.label} {how_far} after {clock(seconds)}"
