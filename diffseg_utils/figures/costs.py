"""How many times more the published procedure costs."""

import textwrap

import numpy as np

from .layout import largest, note
from .style import ACCENT, INK, empty_figure, new_figure


def fig_costs(costs):
    """Published cost over ours as bars on a logarithmic axis, the goals as marks.

    costs: frame (cost, ratio, goal), goal nan where none was set.
    """
    if costs.empty:
        return empty_figure("No cost was measured.")
    names = [textwrap.fill(cost, 44) for cost in costs.cost]
    title = "How many times more the published procedure costs"
    figure, [[ax]] = new_figure(8.5, 0.42 * len(costs) + 1.2, title)
    y = np.arange(len(costs))
    ax.barh(y, costs.ratio - 1, left=1, height=0.62, color=ACCENT)
    ax.vlines(costs.goal, y - 0.42, y + 0.42, color=INK, lw=2)
    ax.set_xscale("log")
    for place, (ratio, goal) in enumerate(zip(costs.ratio, costs.goal)):
        note(ax, f"{ratio:.3g}", largest([ratio, goal, 1]), place)
    ax.axvline(1, color=INK, lw=1)
    ax.set_yticks(y, names, fontsize=8.5)
    ax.invert_yaxis()
    end = 2.5 * largest(costs[["ratio", "goal"]])
    ax.set(xlabel="published / ours (mark: the goal)", xlim=(0.8, max(end, 2.5)))
    ax.xaxis.set_major_formatter("{x:g}")
    values = "; ".join(f"{cost} {ratio:.3g}" for cost, ratio in zip(costs.cost, costs.ratio))
    return figure.describe(f"Bars: {title[0].lower()}{title[1:]}: {values}.")
