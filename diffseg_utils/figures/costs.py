"""How many times more the published procedure costs."""

import textwrap

from .lines import note
from .style import INK, RULES, new_figure


def fig_costs(costs):
    """Bars on a logarithmic axis with the goals as ticks; costs: frame (cost, ratio, goal), goal nan where none was set."""
    names = [textwrap.fill(cost, 44) for cost in costs.cost]
    figure, [[ax]] = new_figure(8.5, 0.42 * len(costs) + 0.9)
    y = range(len(costs))
    ax.barh(y, costs.ratio - 1, left=1, height=0.62, color=RULES["entropy_weighted"][1])
    ax.vlines(costs.goal, [k - 0.42 for k in y], [k + 0.42 for k in y], color=INK, lw=2)
    ax.set_xscale("log")
    for k, (ratio, goal) in enumerate(zip(costs.ratio, costs.goal)):
        note(ax, f"{ratio:.3g}", max(ratio, goal if goal == goal else 1, 1), k)
    ax.axvline(1, color=INK, lw=1)
    ax.set_yticks(y, names, fontsize=8.5)
    ax.invert_yaxis()
    ax.set(
        xlabel="published / ours (mark: the goal)",
        xlim=(0.8, 2.5 * costs[["ratio", "goal"]].max(axis=None)),
    )
    ax.xaxis.set_major_formatter("{x:g}")
    return figure
