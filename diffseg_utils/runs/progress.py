"""How far work is: what a notebook reports, and what a person who waits is shown."""

import os
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files import atomic

EVERY = 30.0  # seconds between plain lines, where there is no terminal


def progress(label):
    """report(done, total) for long work in a notebook: a bar for a person, a file for the command
    line.
    """
    unfinished = os.environ.get("DIFFSEG_UNFINISHED")
    if unfinished:
        return lambda done, total: _write_share(Path(unfinished), done / total)
    from tqdm.auto import tqdm

    bar = tqdm(desc=label, dynamic_ncols=True)  # as wide as the notebook

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
    with suppress(OSError), atomic(unfinished / "progress") as partial:  # it is only shown
        partial.write_text(f"{share:.4f}")


def read_share(unfinished):
    """How far the part at hand of a notebook is, 0..1; None if it has not said so. unfinished: its
    folder.
    """
    try:
        return float((unfinished / "progress").read_text())
    except (OSError, ValueError):
        return None


class Forecast:
    """How long the jobs that are left will take.

    expected: {job: seconds}, from records or the table of stages: right up to a factor, which is
    learnt from the jobs that have ended and from those that run; more from jobs of the same kind.
    kinds: {job: kind}.
    """

    def __init__(self, expected, slots, kinds=None):
        self.expected = expected
        self.slots = slots
        self.kinds = kinds or dict.fromkeys(expected)
        self.ended = {}  # job: seconds it took; a kept job is left out

    def seen(self, running):
        """{job: (seconds it took so far, expected seconds of that much)}.

        running: {job: (seconds so far, share done or None)}.
        """
        found = {job: (seconds, self.expected[job]) for job, seconds in self.ended.items()}
        for job, (seconds, share) in running.items():
            if seconds > self.expected[job]:
                found[job] = (seconds, self.expected[job] * (min(share, 0.95) if share else 0.95))
            elif share and seconds > 15:
                found[job] = (seconds, self.expected[job] * min(max(share, 0.05), 0.95))
        return found

    def to_go(self, running, waiting):
        """Seconds until all is done; waiting: jobs in the order in which they will start."""
        seen = self.seen(running)
        overall = _speed(seen.values(), 1.0)
        of_kind = {
            kind: _speed([seen[job] for job in seen if self.kinds[job] == kind], overall)
            for kind in set(self.kinds.values())
        }
        planned = {job: self.expected[job] * of_kind[self.kinds[job]] for job in self.expected}
        left = [
            max(planned[job] - seconds, 0.1 * planned[job], 1.0)
            for job, (seconds, _) in running.items()
        ]
        slots = sorted(left)[-self.slots :]
        slots += [0.0] * (self.slots - len(slots))
        for job in waiting:
            slots.sort()
            slots[0] += planned[job]
        return max(slots)


def _speed(seen, before):
    """Seconds here for one expected second; as if 30 expected seconds had taken 30 * `before`."""
    took = sum(seconds for seconds, _ in seen)
    meant = sum(expected for _, expected in seen)
    return (took + 30 * before) / (meant + 30)


def clock(seconds):
    """Minutes and seconds, with hours where there are any."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Lines:
    """What a person who waits sees where there is no terminal: a line for each job that ends, and
    one now and then.
    """

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
        times = f"{clock(now - self.start)} so far, about {clock(max(to_go, 1))} to go"
        self.echo(f"      {times}: {'; '.join(parts)}")

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
