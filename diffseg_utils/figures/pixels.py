"""One pixel: what its members say, how the rules pool it, and how the winner depends on k."""

import numpy as np

from .layout import class_legend, end_labels, note
from .style import (
    ACCENT,
    GREY,
    INK,
    PALE,
    RULE_COLOURS,
    class_colours,
    class_name,
    headline,
    new_figure,
    rule_styles,
    series_styles,
)


def fig_pixel_distributions(members, entropies, weights, pooled, classes):
    """The distribution of each member as bars, its entropy and weight, and what each rule says.

    members: [N, C]; entropies and weights: [N]; pooled: {rule: [C]}; classes: C names.
    """
    n = len(members)
    ratios = [1] * n + [0.25] + [1.35] * len(pooled)  # a gap between members and rules
    figure, [axes] = new_figure(
        1.15 * n + 1.35 * len(pooled) + 0.6,
        3.0,
        f"One pixel: {n} members, and what {len(pooled)} rules say",
        ncols=len(ratios),
        sharey=True,
        width_ratios=ratios,
    )
    for i, ax in enumerate(axes[:n]):
        title = f"member {i + 1}\n$H$ = {entropies[i]:.2f}\n$w$ = {weights[i]:.2f}"
        _draw_distribution(ax, members[i], classes, INK)
        ax.set_title(title, fontsize=9)
    axes[n].set_visible(False)
    said = []
    for ax, (rule, (label, colour)) in zip(axes[n + 1 :], rule_styles(pooled).items()):
        winner = classes[int(np.argmax(pooled[rule]))]
        _draw_distribution(ax, pooled[rule], classes, colour)
        ax.set_title(f"{label}\nsays\n{winner}", fontsize=9, color=colour, weight="bold")
        said.append(f"{label} says {winner}")
    axes[0].set_ylabel("probability of the class")
    return figure.describe(
        f"Bars: class probabilities of {n} members at one pixel; {', '.join(said)}."
    )


def _draw_distribution(ax, probabilities, classes, colour):
    """Bars of a distribution [C]; the largest in `colour`, the others pale."""
    largest = np.arange(len(classes)) == np.argmax(probabilities)
    bars = ax.bar(classes, probabilities, 0.78, color=np.where(largest, colour, PALE))
    ax.bar_label(bars, [f"{p:.2f}" for p in probabilities], padding=2, fontsize=8)
    ax.tick_params(length=0, labelsize=9)
    ax.tick_params(axis="x", rotation=90)
    ax.set_ylim(0, 1.08)


def fig_pixel_over_k(ks, pooled, classes, turn):
    """The pooled distribution of one pixel against k, one line per class.

    ks: [K], ascending; pooled: [K, C]; classes: C names; turn: the k at which the winner changes,
    or None.
    """
    figure, [[ax]] = new_figure(6.4, 3.0, "One pixel: the weighted mean for every $k$")
    styles = ((INK, "-"), (GREY, "--"), (ACCENT, "-."))
    labels = []
    for c, name in enumerate(classes):
        colour, line = styles[c % 3]
        ax.plot(ks, pooled[:, c], color=colour, ls=line)
        labels.append((ks[-1], pooled[-1, c], name, colour))
    if turn is not None:
        ax.axvline(turn, color=PALE, lw=1, zorder=0)
        ax.text(turn, 1.01, f" the winner changes at $k$ = {turn:.2f}", va="bottom", fontsize=9)
    ax.set(
        xlim=(0, max(ks[-1], 1e-6)),
        ylim=(0, 1),
        xlabel="$k$: from the plain mean (0) towards the most certain member",
        ylabel="pooled probability",
    )
    end_labels(ax, labels)
    first, last = (classes[int(np.argmax(pooled[i]))] for i in (0, -1))
    if turn is None:
        change = f"is always {first}"
    else:
        change = f"changes from {first} to {last} at k = {turn:.2f}"
    return figure.describe(
        f"Lines: pooled class probabilities of one pixel against k; the winner {change}."
    )


def fig_pixel_weights(probs, weights, votes, preset, truth):
    """Stacked distributions of the members, largest weight first, and of the rules; the weights.

    probs: [N, C]; weights: [N]; votes: {rule: [C]}; truth: the class id of the pixel.
    """
    n = len(weights)
    order = np.argsort(-weights, kind="stable")
    styles = rule_styles(votes)
    rows = np.array([*probs[order], *votes.values()])  # (N + R, C)
    names = [f"member {i + 1}" for i in order] + [label for label, _ in styles.values()]
    y = np.concatenate([np.arange(n), n + 0.7 + np.arange(len(votes))])
    truth_name = class_name(truth, preset)

    title = headline(preset.title, f"one pixel, {n} members, and what {len(votes)} rules say")
    figure, [[left, right]] = new_figure(8, 4.2, title, ncols=2, sharey=True, width_ratios=(2.6, 1))
    left.barh(y, 1, color="#e9e9e9")  # what the classes too small to draw leave
    seen = np.flatnonzero(rows.max(0) > 0.03)
    for c in seen:
        colour = class_colours(preset.n_classes)[c] / 255
        start = rows[:, :c].sum(1)
        left.barh(y, rows[:, c], left=start, color=colour, ec="white", lw=0.5)
    winners = [preset.classes[c] for c in rows[n:].argmax(1)]
    for place, winner in zip(y[n:], winners):
        note(left, winner, 1, place)
    left.set_yticks(y, names, fontsize=9)
    left.set(xlim=(0, 1.3), ylim=(y[-1] + 0.6, -0.6), xticks=[0, 0.5, 1], xlabel="probability")
    left.set_title(f"The truth here: {truth_name}")

    right.barh(range(n), weights[order], color=RULE_COLOURS["entropy_weighted"])
    right.axvline(1 / n, color=INK, lw=1, ls=":")
    note(right, "equal weights", 1 / n, n + 0.2, (3, 0))
    right.set(xlabel="weight, equation (3)", xlim=(0, max(weights.max(), 1 / n) * 1.15))
    class_legend(figure, preset, seen)
    said = ", ".join(f"{label} says {w}" for (label, _), w in zip(styles.values(), winners))
    return figure.describe(
        f"Stacked bars: class probabilities of {n} members at one pixel of truth {truth_name}, and "
        f"their weights; {said}.",
        preset.title,
    )


def fig_pixel_simplex(members, path, ks, class_names, dataset=""):
    """One pixel and three classes: the members, and the entropy-weighted mean as k grows.

    A point is as near to a corner as that class is probable; the shades are the classes that win.

    members: [N, 3]; path: [K, 3], the mean for each k; ks: [K], from 0 to infinity; class_names: 3.
    """
    figure, [[ax]] = new_figure(7.2, 5.2, headline(dataset, "one pixel as $k$ grows"))
    corners = np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])
    _shade_winners(ax, corners, class_names)

    points = np.asarray(members) @ corners  # (N, 2)
    style = {"color": RULE_COLOURS["member"], "ms": 9, "alpha": 0.7}
    ax.plot(points[:, 0], points[:, 1], "o", label=f"{len(members)} members", **style)

    points = np.asarray(path) @ corners  # (K, 2)
    winners = [class_names[c] for c in np.argmax(path, 1)]
    ax.plot(points[:, 0], points[:, 1], color=RULE_COLOURS["entropy_weighted"], lw=2.5)
    marks = [(0, "mean", f"k = 0, the mean: {winners[0]}")]
    for i in range(1, len(winners)):
        if winners[i] != winners[i - 1]:
            marks.append((i, "entropy_weighted", f"from k = {ks[i]:.2g}: {winners[i]}"))
    marks.append((-1, "most_certain", f"k → ∞, the most certain: {winners[-1]}"))
    for i, rule, label in marks:
        ax.plot(*points[i], "o", color=RULE_COLOURS[rule], ms=9, mec="white", label=label)
    ax.set_aspect("equal")
    ax.set_axis_off()
    beside_the_top = {"loc": "upper left", "bbox_to_anchor": (-0.12, 1)}
    ax.legend(fontsize=9, frameon=False, **beside_the_top)
    return figure.describe(
        f"Triangle of three classes with the members of one pixel; as k grows the vote moves: "
        f"{'; '.join(label for _, _, label in marks)}.",
        dataset,
    )


def _shade_winners(ax, corners, class_names):
    """The triangle in three shades, each where its class is the largest; names at the corners."""
    middle = corners.mean(0)
    styles = list(series_styles(range(3)).values())
    for c, (colour, _) in enumerate(styles):
        corner, following, preceding = corners[c], corners[(c + 1) % 3], corners[(c + 2) % 3]
        shade = np.array([corner, (corner + following) / 2, middle, (corner + preceding) / 2])
        ax.fill(shade[:, 0], shade[:, 1], color=colour, alpha=0.13, lw=0)
        offset = (0, 12) if c == 2 else (0, -12)
        how = {"ha": "center", "fontsize": 12, "weight": "bold"}
        note(ax, class_names[c], *corner, offset, color=colour, **how)
