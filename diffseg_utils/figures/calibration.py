"""How far the confidence of a vote and the entropy of a member can be trusted."""

from .layout import draw_curves
from .style import BROKEN, GREY, PALE, REPAIRED, empty_figure, new_figure, rule_styles


def fig_reliability(bins, errors, dataset=""):
    """Accuracy against confidence of each rule, and below it where its pixels lie.

    bins: frame (rule, confidence, accuracy, share), all 0..1, one row per bin, below drawn as a
    tick as high as its share; errors: {rule: expected calibration error}.
    """
    if bins.empty:
        return empty_figure("No bin of confidence has a pixel.")
    figure, [[top], [bottom]] = new_figure(
        7.5, 5.2, dataset, nrows=2, sharex=True, height_ratios=(5, 1)
    )
    top.plot([0, 1], [0, 1], color=PALE, lw=1, zorder=0)
    along = {"rotation": 45, "transform_rotates_text": True, "rotation_mode": "anchor"}
    top.text(0.03, 0.04, "confidence = accuracy", color=GREY, **along)
    top.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1.0))
    bottom.set(
        xlabel="confidence",
        yticks=[],
        ylim=(bins.rule.nunique() - 0.4, -0.6),
        ylabel="pixels",
    )
    after = {rule: f", error {error:.3f}" for rule, error in errors.items()}
    draw_curves(top, bins, "confidence", "accuracy", after=after)
    styles = rule_styles(bins.rule.unique())
    most = bins.share.max()
    for y, (rule, rows) in enumerate(bins.groupby("rule", sort=False)):
        height = 0.4 * rows.share / (most if most > 0 else 1)
        bottom.vlines(rows.confidence, y - height, y + height, color=styles[rule][1], lw=1.5)
    words = [f"{label}{after.get(rule, '')}" for rule, (label, _) in styles.items()]
    return figure.describe(
        f"Lines: accuracy against confidence, with the calibration error of each rule: "
        f"{'; '.join(words)}.",
        dataset,
    )


def fig_risk_coverage(curve, areas, dataset=""):
    """The error among the pixels a vote is most certain of, against how many these are.

    curve: frame (rule, coverage, risk), 0..1; areas: {rule: area under its curve}, 0..1.
    """
    if curve.empty:
        return empty_figure("No pixel to sort by certainty.")
    figure, [[ax]] = new_figure(7.5, 3.8, dataset)
    label = "share of pixels kept, most certain first"
    ax.set(xlabel=label, ylabel="wrong among them", xlim=(0, 1))
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.yaxis.set_major_formatter("{x:.1%}")
    after = {rule: f", area {area:.4f}" for rule, area in areas.items()}
    draw_curves(ax, curve, "coverage", "risk", after=after)
    styles = rule_styles(curve.rule.unique())
    words = [f"{label}{after.get(rule, '')}" for rule, (label, _) in styles.items()]
    return figure.describe(
        f"Lines: error against the share of pixels kept, with the area under each curve: "
        f"{'; '.join(words)}.",
        dataset,
    )


def fig_entropy_histograms(edges, counts, dataset=""):
    """Entropies of right and wrong votes of members, one panel per set of pixels.

    edges: [bins + 1], nats; counts: {title: (right [bins], wrong [bins])}.
    """
    if not counts:
        return empty_figure("No votes of members to count.")
    figure, [axes] = new_figure(9, 3.2, dataset, ncols=len(counts))
    said = []
    for ax, (title, (right, wrong)) in zip(axes, counts.items()):
        less_certain = _share_of_pairs(right, wrong)
        said.append(f"{title} {less_certain:.0%}")
        for values, colour, name, line in (
            (right, REPAIRED, "right", "-"),
            (wrong, BROKEN, "wrong", "--"),
        ):
            total = values.sum()
            how = {"color": colour, "lw": 2, "ls": line, "label": f"{name} ({total:,})"}
            ax.stairs(values / max(total, 1), edges, **how)
        ax.legend(fontsize=9, frameon=False, title="member votes")
        ax.set(
            xlabel="entropy of the member, nats",
            ylabel="share of these votes",
            xlim=(0, edges[-1]),
            title=f"{title}: the wrong one is less certain\nin {less_certain:.0%} of pairs",
        )
        if right.sum() + wrong.sum() > 0:
            ax.set_yscale("log")
    return figure.describe(
        "Histograms: entropies of right and of wrong member votes; the wrong one is less certain "
        f"in this share of pairs: {', '.join(said)}.",
        dataset,
    )


def _share_of_pairs(right, wrong):
    """In which share of pairs (a right vote, a wrong vote) the wrong one lies in a higher bin; ties
    count half; 0 if there is no pair."""
    below = right.cumsum() - right / 2  # right votes in lower bins, and half of those in the same
    return (wrong * below).sum() / max(1, right.sum() * wrong.sum())
