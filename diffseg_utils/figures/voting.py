"""Figures of notebooks 02 and 03: ten members, where they disagree, and what a change of vote changes."""
import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from .style import BROKEN, INK, OTHER, PALE, REPAIRED, RULES, class_colours, class_legend, colour_labels, new_figure, show

BLUE, ORANGE = RULES["majority"][1], RULES["entropy_weighted"][1]
FLIPS = ("repaired", "broken", "wrong before and after")
FLIP_COLOURS = (REPAIRED, BROKEN, OTHER)                        # after the ground colour of unchanged pixels


def fig_label_budget(counts, preset):
    """Training pixels of every scored class, `counts` [C], on a log axis."""
    ids = [i for i in np.argsort(counts, kind="stable")[::-1] if i != preset.ignore_label]
    figure, [[axes]] = new_figure(7, 1.1 + 0.22 * len(ids))
    _class_bars(axes, ids, np.maximum(counts[ids], 0.5), preset, [f"{n:,}" for n in counts[ids]])
    axes.set(xscale="log", xlim=(0.5, counts.max() * 4), xlabel="labelled training pixels")
    half = np.argmax(counts[ids].cumsum() * 2 >= counts.sum()) + 1
    axes.set_title(f"Half of all labels lie in {half} of {len(ids)} classes")
    return figure


def fig_losses(history, stopped, n_steps):
    """Loss of every member's batches (running median) and the step at which each one stopped; `stopped` [N] of bool."""
    figure, [[top], [bottom]] = new_figure(7, 4.6, nrows=2, sharex=True, height_ratios=(1.5, 1))
    for member, curve in history.groupby("member"):
        middle = curve.loss.rolling(max(1, len(curve) // 30), center=True, min_periods=1).median()
        top.plot(curve.step, middle, color=RULES["member"][1], linewidth=1, alpha=0.8)
        top.plot(curve.step.iloc[-1], middle.iloc[-1], "o", color=INK, markersize=4)
        bottom.plot([0, curve.step.iloc[-1]], [member, member], color=PALE, linewidth=3, solid_capstyle="butt")
        bottom.plot(curve.step.iloc[-1], member, "o", color=INK, markersize=5, mfc=INK if stopped[member] else "white")
    last = history.groupby("member").step.max()
    top.set(yscale="log", ylabel="loss of a batch,\nrunning median")
    bottom.set(xlabel="steps; filled dot = stopped by the rule, open dot = ran to the end", ylabel="member",
               yticks=last.index, ylim=(last.index.max() + 0.6, -0.6), xlim=(0, last.max() * 1.03))
    bottom.tick_params(axis="y", labelsize=7)
    top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    top.yaxis.set_major_formatter(ScalarFormatter())
    top.yaxis.set_minor_formatter(NullFormatter())
    top.set_title(f"Stops between step {last.min():,} and step {last.max():,} of {n_steps:,} allowed"
                  if last.min() < last.max() else f"Every member took {last.max():,} steps")
    return figure


def fig_maps(maps, preset, columns=4, legend=True):
    """Label maps [H, W] or pictures [H, W, 3] side by side; `maps` is a dict title -> map."""
    rows = -(-len(maps) // columns)
    ids = np.unique(np.concatenate([np.unique(m) for m in maps.values() if np.ndim(m) == 2]))
    ids = ids[ids < preset.n_classes]
    lines = 1 + max(title.count("\n") for title in maps)
    figure, axes = _pictures(2.05 * columns, rows * (1.95 + 0.16 * lines) + 0.25 * -(-len(ids) // 6), nrows=rows, ncols=columns)
    for ax in axes.flat[len(maps):]:
        ax.set_axis_off()
    for ax, (title, image) in zip(axes.flat, maps.items()):
        show(ax, colour_labels(image, preset) if np.ndim(image) == 2 else image, interpolation="nearest")
        ax.set_title(title, fontsize=9)
    if legend:
        class_legend(figure, preset, ids, frameon=False)
    return figure


def fig_disputes(image, n_choices, divergence):
    """An image, the number of different classes its members chose [H, W], and their divergence in nats [H, W]."""
    figure, [axes] = _pictures(9.5, 2.8, ncols=3)
    show(axes[0], image, "the image", interpolation="nearest")
    colours = ListedColormap(mpl.colormaps["magma"](np.linspace(0.05, 0.95, max(2, n_choices.max()))))
    show(axes[1], n_choices, f"not unanimous on {np.mean(n_choices > 1):.1%} of pixels", cmap=colours, vmin=0.5,
         vmax=colours.N + 0.5, interpolation="nearest")
    show(axes[2], divergence, "divergence of the distributions", cmap="magma", vmin=0, interpolation="nearest")
    _bar(figure, axes[1], "classes chosen by ten", ticks=range(1, colours.N + 1))
    _bar(figure, axes[2], "nats")
    return figure


def fig_class_shares(shares, preset, what):
    """`shares` [C] (0..1, nan where a class has no pixel) of every class, largest first; `what` names the axis."""
    ids = [i for i in np.argsort(-np.nan_to_num(shares), kind="stable") if np.isfinite(shares[i]) and i != preset.ignore_label]
    figure, [[axes]] = new_figure(7, 1.1 + 0.22 * len(ids))
    _class_bars(axes, ids, 100 * shares[ids], preset, [f"{100 * s:.0f} %" for s in shares[ids]])
    axes.set(xlim=(0, 100 * shares[ids].max() * 1.12 + 1), xlabel=what)
    axes.set_title(f"Most disputed: {preset.classes[ids[0]]}; least: {preset.classes[ids[-1]]}")
    return figure


def fig_stops(steps, scores):
    """Where each member stopped against its mIoU; both [N]."""
    figure, [[axes]] = new_figure(5, 3.2)
    axes.axhline(np.mean(scores), color=PALE, linewidth=1)
    axes.axhspan(np.mean(scores) - np.std(scores), np.mean(scores) + np.std(scores), color=PALE, alpha=0.3, linewidth=0)
    axes.plot(steps, scores, "o", color=INK, markersize=6)
    for member, (x, y) in enumerate(zip(steps, scores)):
        axes.annotate(str(member), (x, y), (5, 3), textcoords="offset points", fontsize=8, color="#666666")
    axes.set(xlabel="steps trained", ylabel="mIoU of the member, %", **({} if np.ptp(steps) else {"xticks": steps[:1]}))
    axes.margins(x=0.08, y=0.12)
    axes.set_title(f"From the worst member to the best: {np.ptp(scores):.1f} points")
    return figure


def fig_pixel(probs, weights, votes, preset, truth):
    """One pixel: members' distributions `probs` [N, C] with their `weights` [N], and `votes`, a dict rule -> [C]."""
    order = np.argsort(-weights, kind="stable")
    rows = [*(probs[i] for i in order), *votes.values()]
    names = [*(f"member {i}" for i in order), *(RULES[rule][0] for rule in votes)]
    y = np.array([*range(len(order)), *(len(order) + 0.7 + np.arange(len(votes)))])
    figure, [[left, right]] = new_figure(8, 4.2, ncols=2, sharey=True, width_ratios=(2.6, 1))
    edges = np.cumsum(np.array(rows), 1)
    seen = [c for c in range(preset.n_classes) if max(row[c] for row in rows) > 0.03]
    left.barh(y, 1, height=0.8, color="#e9e9e9")                # what the classes too small to draw leave
    for c in seen:
        left.barh(y, np.array(rows)[:, c], left=edges[:, c] - np.array(rows)[:, c], height=0.8,
                  color=class_colours(preset.n_classes)[c] / 255, edgecolor="white", linewidth=0.5)
    for place, row in zip(y[len(order):], rows[len(order):]):
        left.text(1.01, place, preset.classes[np.argmax(row)], va="center", fontsize=9)
    right.barh(y[:len(order)], weights[order], height=0.8, color=RULES["entropy_weighted"][1])
    right.axvline(1 / len(order), color=INK, linewidth=1, linestyle=":")
    right.text(1 / len(order), len(order) - 0.1, " equal weights", fontsize=8, va="top")
    left.set_yticks(y, names, fontsize=9)
    left.set(xlim=(0, 1.3), ylim=(y[-1] + 0.6, -0.6), xticks=[0, 0.5, 1], xlabel="probability")
    right.set(xlabel="weight, equation (3)", xlim=(0, max(weights.max(), 1 / len(order)) * 1.15))
    left.set_title(f"The truth here: {preset.classes[truth] if truth < preset.n_classes else 'not labelled'}")
    class_legend(figure, preset, seen, frameon=False)
    return figure


def fig_k_curve(ks, curves, limits, chosen=None):
    """mIoU over k. curves: dict split -> [K]; limits: dict split -> mIoU of the most certain member (k to infinity)."""
    places = np.log2(np.maximum(ks, ks[ks > 0].min() / 2))
    end = places[-1] + 1
    figure, [[axes]] = new_figure(7.5, 3.8)
    looks = {"validation": (INK, 2.2, "used to choose k"), "test": ("#888888", 1, "not used")}
    axes.axhline(0, color=PALE, linewidth=1)
    for split, curve in curves.items():
        gain, limit, (colour, width, note) = curve - curve[0], limits[split] - curve[0], looks[split]
        axes.plot(places, gain, color=colour, linewidth=width)
        axes.plot([places[-1], end], [gain[-1], limit], ":", color=colour, linewidth=width)
        axes.plot(end, limit, "o", color=RULES["most_certain"][1], markersize=6)
        axes.plot(places[0], 0, "o", color=RULES["mean"][1], markersize=6)
        axes.text(end + 0.3, limit, f"{split}, {note}\n(k = 0: {curve[0]:.2f} %)", va="center", fontsize=8, color=colour)
        if chosen is not None and split == "validation":
            x = places[list(ks).index(chosen)]
            axes.plot(x, max(gain), "D", color=ORANGE, markersize=8, zorder=4)
            axes.annotate(f"chosen: k = {chosen:.3g}", (x, max(gain)), (-4, 9), textcoords="offset points", fontsize=9,
                          color=ORANGE)
    first = next(iter(curves))
    axes.set_title(f"From k = 0 to ∞ the {first} curve spans {np.ptp([*curves[first], limits[first]]):.2f} points")
    marks = [i for i, place in enumerate(places) if place == int(place)]
    axes.set_xticks([*places[marks], end], ["0\nmean", *(f"{k:.3g}" for k in ks[marks][1:]), "∞\nmost certain"])
    for label, rule in zip(np.take(axes.get_xticklabels(), (0, -1)), ("mean", "most_certain")):
        label.set_color(RULES[rule][1])
    axes.margins(y=0.18)
    axes.set(xlim=(places[0] - 0.5, end + 3.4), xlabel="k (0, then a log scale)", ylabel="mIoU above k = 0, points")
    return figure


def fig_scores(members, scores, gains):
    """mIoU of `members` [N] and of the rules, `scores` (dict label -> percent), and each rule's gain over the majority.

    gains: dict label -> dict(difference, low, high). Labels start with a name in style.RULES, as "entropy_weighted, k = 1".
    """
    labels = list(scores)
    figure, [[left, right]] = new_figure(9, 0.9 + 0.42 * (len(labels) + 1), ncols=2, sharey=True)
    left.plot(members, np.zeros(len(members)), "o", color=RULES["member"][1], markersize=6, alpha=0.7)
    for y, label in enumerate(labels, 1):
        rule = label.split(",")[0]
        left.plot(scores[label], y, "o", color=RULES[rule][1], markersize=8)
        left.annotate(f"{scores[label]:.2f}", (scores[label], y), (8, 0), textcoords="offset points", va="center", fontsize=8)
        if label in gains:
            gain = gains[label]
            right.plot([gain["low"], gain["high"]], [y, y], color=RULES[rule][1], linewidth=2.5)
            right.plot(gain["difference"], y, "o", color=RULES[rule][1], markersize=7)
    right.axvline(0, color=INK, linewidth=1)
    names = [RULES[label.split(",")[0]][0] + label[len(label.split(",")[0]):] for label in labels]
    left.set_yticks(range(len(labels) + 1), [f"{len(members)} single members", *names])
    left.set(xlabel="mIoU on the test split, %", ylim=(len(labels) + 0.5, -0.5))
    left.margins(x=0.12)
    right.set(xlabel="points above the majority, 95 % interval")
    resolved = sum(gain["low"] > 0 or gain["high"] < 0 for gain in gains.values())
    right.set_title(f"{resolved} of {len(gains)} differences exclude zero")
    left.set_title(f"members {np.mean(members):.1f}, votes {min(scores.values()):.1f} to {max(scores.values()):.1f}")
    return figure


def fig_uncertainty(image, entropy, divergence, wrong):
    """An image, the members' mean entropy, their divergence (both [H, W], nats), and where the vote is wrong (bool)."""
    figure, [axes] = _pictures(11, 2.6, ncols=4)
    show(axes[0], image, "the image", interpolation="nearest")
    show(axes[1], entropy, "doubt: mean entropy", cmap="magma", vmin=0, interpolation="nearest")
    show(axes[2], divergence, "dispute: divergence", cmap="magma", vmin=0, interpolation="nearest")
    show(axes[3], wrong, f"wrong: {wrong.mean():.1%} of pixels", cmap=ListedColormap(["#f2f2f2", ORANGE]), vmin=0, vmax=1,
         interpolation="nearest")
    _bar(figure, axes[1], "nats")
    _bar(figure, axes[2], "nats")
    return figure


def fig_entropies(edges, counts):
    """Entropies of right and wrong member votes; counts: dict title -> (right [bins], wrong [bins])."""
    figure, [axes] = new_figure(9, 3.2, ncols=len(counts))
    for ax, (title, pair) in zip(axes, counts.items()):
        right, wrong = pair
        auc = (wrong * (right.cumsum() - right / 2)).sum() / max(1, right.sum() * wrong.sum())
        for values, colour, name, line in zip(pair, (BLUE, ORANGE), ("right", "wrong"), ("-", "--")):
            density = values / max(values.sum(), 1)
            ax.stairs(density, edges, color=colour, linewidth=2, linestyle=line)
            ax.plot([], [], color=colour, linestyle=line, label=f"{name} ({values.sum():,})")
        ax.legend(frameon=False, fontsize=9, title="member votes")
        ax.set(xlabel="entropy of the member, nats", ylabel="share of these votes", yscale="log", xlim=(0, edges[-1]))
        ax.set_title(f"{title}: the wrong one is less certain\nin {auc:.0%} of pairs")
    return figure


def fig_flips(image, truth, flips, preset):
    """What a change of vote does: flips is a dict title -> [H, W] (0 same, 1 repaired, 2 broken, 3 wrong to wrong)."""
    figure, [axes] = _pictures(2.6 * (2 + len(flips)), 3.3, ncols=2 + len(flips))
    show(axes[0], image, "the image", interpolation="nearest")
    show(axes[1], colour_labels(truth, preset), "truth", interpolation="nearest")
    for ax, (title, change) in zip(axes[2:], flips.items()):
        show(ax, change, title, cmap=ListedColormap(["#e9e9e9", *FLIP_COLOURS]), vmin=0, vmax=3, interpolation="nearest")
    patches = [mpl.patches.Patch(color=c, label=name) for c, name in zip(FLIP_COLOURS, FLIPS)]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False)
    return figure


def fig_at_k(labels, plain, weights, preset, k):
    """The vote at one k: its `labels` [H, W], how many members count by their `weights` [N, H, W], what differs from `plain`."""
    effective, changed = 1 / np.square(weights).sum(0), labels != plain
    figure, [axes] = _pictures(9.5, 2.8, ncols=3)
    show(axes[0], colour_labels(labels, preset), f"entropy-weighted, k = {k:.3g}", interpolation="nearest")
    show(axes[1], effective, f"members that count: {effective.mean():.1f} on average", cmap="viridis", vmin=1,
         vmax=len(weights), interpolation="nearest")
    show(axes[2], changed, f"not the mean's class: {changed.sum():,} pixels", cmap=ListedColormap(["#e9e9e9", ORANGE]),
         vmin=0, vmax=1, interpolation="nearest")
    _bar(figure, axes[1], "members")
    return figure


def _pictures(width, height, **grid):
    """A figure of pictures: fewer dots, since photographs would swell the executed notebooks."""
    figure, axes = new_figure(width, height, **grid)
    figure.set_dpi(76)
    return figure, axes


def _class_bars(axes, ids, widths, preset, texts):
    """A horizontal bar a class in its colour, the value written at its end."""
    y = np.arange(len(ids))
    axes.barh(y, widths, color=class_colours(preset.n_classes)[ids] / 255)
    for place, width, text in zip(y, widths, texts):
        axes.annotate(text, (width, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(y, [preset.classes[i] for i in ids], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(ids) - 0.4, -0.6)


def _bar(figure, axes, label, **how):
    """A colour bar beside a panel."""
    bar = figure.colorbar(axes.images[0], ax=axes, shrink=0.85, aspect=22, label=label, **how)
    bar.outline.set_visible(False)
