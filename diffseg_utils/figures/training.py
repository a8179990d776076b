"""The training of the members: labelled pixels, losses, and when each member stopped."""

import numpy as np

from .layout import end_labels, log_y
from .style import (
    GREY,
    INK,
    PALE,
    RULE_COLOURS,
    class_colours,
    empty_figure,
    headline,
    new_figure,
)


def fig_pixels_per_class(counts, preset):
    """Labelled training pixels of each scored class, the largest first, log axis; counts: [C]."""
    counts = np.asarray(counts)
    ids = [i for i in np.argsort(-counts, kind="stable") if i != preset.ignore_label]
    texts = [f"{n:,}" for n in counts[ids]]
    figure, ax = _class_bars(ids, np.maximum(counts[ids], 0.5), preset, texts)
    end = max(counts[ids].max(), 1) * 4
    ax.set(xscale="log", xlim=(0.5, end), xlabel="labelled training pixels")
    reached = counts[ids].cumsum() * 2 >= counts[ids].sum()
    half = np.argmax(reached) + 1
    title = f"Half of all labels lie in {half} of {len(ids)} classes"
    ax.set_title(f"{preset.title}: half of all labels lie in {half} of {len(ids)} classes")
    return figure.describe(f"Bars: labelled training pixels of each class. {title}.", preset.title)


def fig_disputed_classes(shares, preset):
    """On which share of each class's pixels not all members agree, the largest first.

    shares: [C], 0..1, nan where a class has no pixel.
    """
    shares = np.asarray(shares, float)
    order = np.argsort(-np.nan_to_num(shares), kind="stable")
    ids = [i for i in order if np.isfinite(shares[i]) and i != preset.ignore_label]
    if not ids:
        return empty_figure(f"{preset.title}: no class has a scored pixel.")
    percent = 100 * shares[ids]
    figure, ax = _class_bars(ids, percent, preset, [f"{share:.0f} %" for share in percent])
    label = "share of the class's pixels on which not all members agree, %"
    ax.set(xlim=(0, percent.max() * 1.12 + 1), xlabel=label)
    title = f"most disputed: {preset.classes[ids[0]]}; least: {preset.classes[ids[-1]]}"
    ax.set_title(f"{preset.title}, {title}")
    return figure.describe(
        f"Bars: share of each class's pixels on which the members disagree; {title}.", preset.title
    )


def _class_bars(ids, widths, preset, texts):
    """(Figure, Axes) with one horizontal bar per class in its colour and a text at its end."""
    figure, [[ax]] = new_figure(7, 1.1 + 0.22 * len(ids))
    names = [preset.classes[i] for i in ids]
    bars = ax.barh(names, widths, color=class_colours(preset.n_classes)[ids] / 255)
    ax.bar_label(bars, texts, padding=4, fontsize=8)
    ax.tick_params(axis="y", length=0, labelsize=8)
    ax.set_ylim(len(ids) - 0.4, -0.6)
    return figure, ax


def fig_losses(history, stopped, n_steps, dataset=""):
    """The loss of every member, and below it the step at which each one stopped.

    history: frame (member, step, loss), one row per batch; stopped: bool [N], by the rule rather
    than at the end; n_steps: how many were allowed.
    """
    if history.empty:
        return empty_figure("No batch was recorded.")
    stopped = np.asarray(stopped)
    last = history.groupby("member").step.max()
    if last.nunique() == 1:
        title = f"Every member took {last.max():,} steps"
    else:
        title = f"Stops between step {last.min():,} and step {last.max():,} of {n_steps:,} allowed"

    figure, [[top], [bottom]] = new_figure(
        7,
        4.6,
        headline(dataset, "losses of the members"),
        nrows=2,
        sharex=True,
        height_ratios=(1.5, 1),
    )
    for _, curve in history.groupby("member"):
        window = max(1, len(curve) // 30)
        median = curve.loss.rolling(window, center=True, min_periods=1).median()
        top.plot(curve.step, median, color=RULE_COLOURS["member"], lw=1, alpha=0.8)
        top.plot(curve.step.iloc[-1], median.iloc[-1], "o", color=INK, ms=4)
    log_y(top, history.loss)
    top.set(ylabel="loss of a batch,\nrunning median", title=title)

    members = last.index + 1  # numbered from 1 in all figures
    bottom.hlines(members, 0, last, color=PALE, lw=3)
    fill = np.where(stopped[last.index], INK, "white")
    bottom.scatter(last, members, s=25, color=fill, edgecolors=INK, zorder=3)
    bottom.set(
        xlabel="steps; filled dot = stopped by the rule, open dot = ran to the end",
        ylabel="member",
        yticks=members,
        ylim=(members.max() + 0.6, 0.4),
        xlim=(0, max(last.max(), 1) * 1.03),
    )
    bottom.tick_params(axis="y", labelsize=7)
    return figure.describe(f"Loss curves of {len(last)} members. {title}.", dataset)


def fig_stop_steps(steps, scores, dataset=""):
    """The step at which each member stopped against its mIoU, and mean and deviation of the mIoU.

    steps: [N]; scores: [N] in percent.
    """
    steps, scores = np.asarray(steps), np.asarray(scores, float)
    known = scores[np.isfinite(scores)]
    if not len(known):
        return empty_figure("No member has a score.")
    figure, [[ax]] = new_figure(5, 3.2, headline(dataset, "longer training, better member?"))
    mean, deviation = known.mean(), known.std()
    ax.axhline(mean, color=PALE, lw=1)
    ax.axhspan(mean - deviation, mean + deviation, color=PALE, alpha=0.3, lw=0)
    ax.plot(steps, scores, "o", color=INK, ms=6)
    ax.set(xlabel="steps trained", ylabel="mIoU of the member, %")
    if np.ptp(steps) == 0:
        ax.set_xticks(steps[:1])
    ax.margins(x=0.08, y=0.12)
    title = f"From the worst member to the best: {np.ptp(known):.1f} points"
    ax.set_title(title)
    points = enumerate(zip(steps, scores), 1)
    end_labels(ax, [(x, y, str(member), GREY) for member, (x, y) in points], fontsize=7)
    return figure.describe(f"Points: steps against mIoU of {len(steps)} members. {title}.", dataset)
