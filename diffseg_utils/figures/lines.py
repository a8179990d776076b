"""Lines, points and intervals: labels at the ends of lines that stay apart, differences as dots on lines, log axes."""

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.optimize import isotonic_regression

from .style import BROKEN, GREY, REPAIRED, look, series


def note(axes, text, x, y, offset=(6, 0), **how):
    """`text` beside a point, `offset` in points."""
    return axes.annotate(
        text, (x, y), offset, textcoords="offset points", **{"va": "center", "fontsize": 8.5, **how}
    )


def end_labels(axes, labels, fontsize=9):
    """Names at the right ends of lines, kept apart; labels: (x, y, text, colour). Call it when the limits are set."""
    axes.figure.draw_without_rendering()  # gives the axes their place
    labels = sorted(labels, key=lambda label: label[1])
    lines = np.array([1 + text.count("\n") for *_, text, _ in labels])
    y = axes.transData.transform([label[:2] for label in labels])[:, 1] * 72 / axes.figure.dpi
    least = np.cumsum(np.concatenate([[0], (lines[1:] + lines[:-1]) / 2])) * 1.25 * fontsize
    for (x, at, text, colour), shift in zip(labels, isotonic_regression(y - least).x + least - y):
        note(axes, text, x, at, (7, shift), color=colour, fontsize=fontsize)


def dots(axes, rows, y, colour, marker="o", lw=2, **how):
    """Differences with their intervals as dots on lines at heights y; rows: frame or dict (difference, low, high)."""
    axes.hlines(y, rows["low"], rows["high"], color=colour, lw=lw)
    axes.scatter(
        rows["difference"],
        y,
        marker=marker,
        **{"facecolor": colour, "edgecolor": colour, "zorder": 3, "s": 45, **how},
    )


def verdict_colours(rows):
    """Green where the interval (low, high) lies above zero, pink where below, else grey; an array, or one for a dict."""
    return np.select([rows["low"] > 0, rows["high"] < 0], [REPAIRED, BROKEN], GREY)


def curves(axes, frame, x, y, by="rule", after=None, ends=()):
    """A line a group in its colour, a band where frame has low and high, the name at its end; set the axes' limits before.

    after: {group: text} behind the name, such as a score; ends: more labels for end_labels.
    """
    ends, looks = [*ends], series(frame[by].unique())
    for name, rows in frame.sort_values(x, kind="stable").groupby(by, sort=False):
        label, colour, marker = (*look(name), "o") if by == "rule" else (name, *looks[name])
        axes.plot(rows[x], rows[y], color=colour, marker=marker if len(rows) < 30 else "", ms=5)
        if "low" in rows:
            axes.fill_between(rows[x], rows.low, rows.high, color=colour, alpha=0.15, lw=0)
        ends.append(
            (rows[x].iloc[-1], rows[y].iloc[-1], label + (after or {}).get(name, ""), colour)
        )
    end_labels(axes, ends)


def ranks(axes, values, word="all"):
    """Places 0, 1, ... of `values` as an evenly spaced x axis; its last tick says `word` in place of the largest value."""
    order = sorted(set(values))
    axes.set_xticks(range(len(order)), [*(f"{value:g}" for value in order[:-1]), word])
    return [order.index(value) for value in values]


def log_y(axes):
    """A logarithmic y axis with plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
