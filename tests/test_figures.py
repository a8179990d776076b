"""The figures from synthetic tidy data: they draw what they are given, and no label leaves the canvas or lies on another."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.text import Text

from diffseg_utils.figures import costs, evidence, paper, pretraining, seeing, style, trust, voting
from diffseg_utils.presets import DATASETS

CAT, RNG = DATASETS["mini_cat"], np.random.default_rng(0)
MINI = ["mini_bedroom", "mini_ffhq", "mini_cat", "mini_horse"]
RULES = {
    "majority": 0,
    "mean": 0.5,
    "entropy_weighted, k = 1": 0.52,
    "pool chosen": 0.6,
}  # rule -> points it gains
STEPS = ["single member", "majority", "mean", "entropy-weighted, k = 1", "k chosen", "pool chosen"]


def interval(difference, half):
    return {"difference": difference, "low": difference - half, "high": difference + half}


def ladder(datasets):
    gains = [np.nan, 2.1, 0.4, -0.02, 0.03, 0.1]
    return pd.DataFrame(
        [
            {
                "dataset": d,
                "step": step,
                "miou": 50 + 3 * i + np.nansum(gains[: j + 1]),
                "spread": np.nan if j else 0.8,
                **interval(gains[j], 0.06 * (1 + i)),
            }
            for i, d in enumerate(datasets)
            for j, step in enumerate(STEPS)
        ]
    )


def effects():
    sizes = {
        "entropy-weighted vote instead of majority": (0.3, "none"),
        "mean instead of majority": (0.28, "none"),
        "tuned recipe": (1.1, "0.2 x training"),
        "twenty members": (0.2, "2 x training"),
        "three noise draws": (0.9, "3 x extraction"),
        "horizontal flip": (0.6, "2 x extraction"),
        "five more labelled images": (3.2, "5 labels"),
        "soft Dawid-Skene": (-0.1, "seconds"),
        "stacking": (0.1, "seconds"),
    }
    return pd.DataFrame(
        [
            {"change": change, "dataset": d, "cost": cost, **interval(size + 0.15 * i, 0.25)}
            for change, (size, cost) in sizes.items()
            for i, d in enumerate(MINI)
        ]
    )


def rule_curve(x, values, height, band=None):
    frame = pd.DataFrame(
        [
            {"rule": rule, x: value, "miou": height(value) + gain}
            for rule, gain in RULES.items()
            for value in values
        ]
    )
    return frame if band is None else frame.assign(low=frame.miou - band, high=frame.miou + band)


def table():
    return pd.DataFrame(
        [
            {
                "dataset": d,
                "comparison": comparison,
                **interval(middle - 0.3 * i, 0.3),
                "seeds": 5,
                "images": 500,
                "verdict": "gain"
                if middle > 0.3 * (i + 1)
                else "loss"
                if middle < 0.3 * (i - 1)
                else "not resolved",
            }
            for comparison, middle in (("k = 1 minus majority", 0.55), ("k = 1 minus mean", 0.32))
            for i, d in enumerate(MINI)
        ]
    )


def reliability():
    confidence = 1 - 0.75 * (np.arange(15)[::-1] / 14) ** 2
    return pd.DataFrame(
        [
            {"rule": rule, "confidence": c, "accuracy": c ** (1.1 + gain), "share": 1 / 15}
            for rule, gain in RULES.items()
            for c in confidence
        ]
    )


def bands():
    frame = rule_curve("width", [1, 2, 4, 8, 16, np.inf], lambda w: 20 + 8 * np.log2(min(w, 32)))
    points = frame.rule.map(RULES)
    return frame.assign(difference=points.where(points > 0), low=points - 0.2, high=points + 0.2)


def where():
    values = {
        "class": CAT.classes,
        "distance to a boundary": ["0-1", "1-2", "2-4", "4-8", "8-16", "over 16"],
        "disagreement": ["lowest fifth", "second", "third", "fourth", "highest fifth"],
    }
    return pd.DataFrame(
        [
            {
                "group": group,
                "value": value,
                "changed": 0.01 * (i + 3),
                "repaired": 0.003 * (i + 2),
                "broken": 0.004 * (i + 1),
            }
            for group, names in values.items()
            for i, value in enumerate(names)
        ]
    )


def votes():
    truth = np.repeat(np.arange(64) // 8, 64).reshape(64, 64)
    before, after = truth.copy(), truth.copy()
    before[:10, :10], after[20:23, :10], before[40, :7], after[40, :7] = (
        9,
        9,
        8,
        9,
    )  # 100 repaired, 30 broken, 7 neither
    return RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8), truth, before, after


def simplex():
    members = np.array([[0.46, 0.44, 0.10]] * 3 + [[0.10, 0.55, 0.35], [0.02, 0.03, 0.95]])
    ks = np.append(np.linspace(0, 10, 201), 1e3)
    entropy = -(members * np.log(members)).sum(1)
    weights = np.exp(-ks[:, None] * (entropy - entropy.min()))
    return members, weights / weights.sum(1, keepdims=True) @ members, ks, ["head", "neck", "mane"]


def probes():
    return pd.DataFrame(
        [
            {
                "checkpoint": f"{n},000 images",
                "step": step,
                "block": block,
                "miou": 10 + n / 8 + block - step / 50,
            }
            for n in (10, 40, 160)
            for step in (50, 150, 250)
            for block in range(2, 7)
        ]
    )


def checkpoints():
    return pd.DataFrame(
        [
            {"dataset": d, "images": 10_000 * 2**i, "miou": 20 + 5 * j + 4 * i, "spread": 0.7}
            for j, d in enumerate(("ffhq_34", "bedroom_28"))
            for i in range(6)
        ]
    )


def some_curve():
    return pd.DataFrame(
        [{"images": n, **interval(0.3, 5 / n**0.5)} for n in (20, 50, 100, 200, 500)]
    )


def risk():
    coverage = np.arange(1, 501) / 500
    return pd.DataFrame(
        [
            {"rule": rule, "coverage": c, "risk": (0.25 - gain / 20) * c**2}
            for rule, gain in RULES.items()
            for c in coverage
        ]
    )


def bill():
    return pd.DataFrame(
        {
            "cost": ["a U-Net with a long name " * 3, "votes", "training"],
            "ratio": [0.9, 44.0, 3.2],
            "goal": [3, np.nan, 1],
        }
    )


def classes():
    return pd.DataFrame(
        [
            {"name": d, "class": name, "share": 50 / 2**i, "difference": i - 2.0}
            for d in MINI
            for i, name in enumerate(CAT.classes)
        ]
    )


def k_curve():
    ks = np.append(0, 2.0 ** np.arange(-2, 6.5, 0.5))
    curve = 50 - 0.01 * ks
    return voting.fig_k_curve(
        ks, {"validation": curve, "test": curve - 3}, {"validation": 49.3, "test": 46.295}, 0.25
    )


def k_curves():
    """Three seeds; no limit for the first split."""
    ks, seeds = np.append(0, 2.0 ** np.arange(-2, 6.5, 0.5)), np.array([[1], [2], [6]])
    curves = {"validation": 50 - 0.01 * seeds * ks, "test": 40 + 0.001 * seeds * ks}
    return voting.fig_k_curve(ks, curves, {"test": np.array([40.1, 40.2, 40.3])})


GAINS = {"mean": interval(0.4, 0.2), "entropy_weighted, k = 1": interval(0.5, 0.6)}
DRAWN = {
    "ladder": lambda: evidence.fig_ladder(ladder(MINI)),
    "ladder of one": lambda: evidence.fig_ladder(ladder(MINI[:1])),
    "effects": lambda: evidence.fig_effects(effects()),
    "members": lambda: evidence.fig_members(
        rule_curve("n_members", range(1, 21), lambda n: 50 - 3 / n, 0.3)
    ),
    "label budget": lambda: evidence.fig_label_budget(
        rule_curve("images", (1, 2, 5, 10, 20, 30), lambda n: 20 + 6 * np.log2(n))
    ),
    "power": lambda: evidence.fig_power(some_curve()),
    "table": lambda: evidence.fig_table_intervals(table()),
    "reliability": lambda: trust.fig_reliability(reliability(), dict.fromkeys(RULES, 0.0123)),
    "risk": lambda: trust.fig_risk_coverage(risk(), dict.fromkeys(RULES, 0.0456)),
    "bands": lambda: trust.fig_bands(bands()),
    "where": lambda: trust.fig_where(where()),
    "changes": lambda: trust.fig_changes(*votes(), CAT, ["majority", "entropy-weighted"]),
    "costs": lambda: costs.fig_costs(bill()),
    "simplex": lambda: trust.fig_simplex(*simplex()),
    "heat": lambda: pretraining.fig_heat(probes()),
    "curve": lambda: pretraining.fig_curve(checkpoints(), [("raw pixels, ffhq_34", 28.4)]),
    "classes": lambda: paper.fig_class_differences(classes()),
    "images": lambda: paper.fig_image_differences(classes(), {"the paper's cat": 2.2}),
    "k curve": k_curve,
    "k curves": k_curves,
    "scores": lambda: voting.fig_scores(
        np.arange(40, 50), {"majority": 50, **{rule: 50.2 for rule in GAINS}}, GAINS
    ),
    "sources": lambda: seeing.fig_sources(pd.Series({"denoiser": 36.5, "random": 22.8})),
    "pixel over k": lambda: seeing.fig_pixel_over_k(
        simplex()[2][:-1], simplex()[1][:-1], simplex()[3], 0.4
    ),
}


@pytest.fixture(scope="module", params=DRAWN)
def figure(request):
    drawn = DRAWN[request.param]()
    drawn.draw_without_rendering()
    return drawn


def labels(figure):
    """{text: its box in dots} of every label that is seen; ticks beyond the limits are not."""
    hidden = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not (low - slack <= tick.get_loc() <= high + slack and axes.axison):
                    hidden |= {tick.label1, tick.label2}
        hidden |= set() if axes.get_visible() else set(axes.findobj(Text))
    return [
        (t.get_text(), t.get_window_extent())
        for t in figure.findobj(Text)
        if t.get_visible() and t.get_text().strip() and t not in hidden
    ]


def test_labels_stay_on_the_canvas_and_apart(figure):
    seen, (width, height) = labels(figure), figure.bbox.size
    for text, box in seen:
        assert box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1, (
            f"{text!r} leaves the canvas"
        )
    for (one, a), (other, b) in combinations(seen, 2):
        shared = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(shared) < 2, f"{one!r} lies on {other!r}"


def test_every_axis_says_what_it_measures(figure):
    for axes in (a for a in figure.findobj(Axes) if a.axison and a.get_visible() and not a.images):
        numbers = [
            tick
            for tick in axes.xaxis.get_major_ticks()
            if tick.label1.get_visible() and tick.label1.get_text()
        ]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert axes.get_xlabel() or not numbers
        assert (
            axes.get_ylabel()
            or any(n.strip("−.0123456789") for n in names)
            or not axes.yaxis.get_tick_params()["labelleft"]
        )


def drawn_lines(axes):
    """{colour: y of the line with most points in it}."""
    found = {}
    for line in sorted(axes.lines, key=lambda line: len(line.get_xdata())):
        found[to_hex(line.get_color()).upper()] = np.asarray(line.get_ydata(), float)
    return found


@pytest.mark.parametrize(
    "name, axes, frame, column",
    [
        ("members", 0, lambda: rule_curve("n_members", range(1, 21), lambda n: 50 - 3 / n), "miou"),
        (
            "label budget",
            0,
            lambda: rule_curve("images", (1, 2, 5, 10, 20, 30), lambda n: 20 + 6 * np.log2(n)),
            "miou",
        ),
        ("reliability", 0, reliability, "accuracy"),
        ("risk", 0, risk, "risk"),
        ("bands", 0, bands, "miou"),
        ("bands", 1, lambda: bands().dropna(), "difference"),
    ],
)
def test_a_line_a_rule_in_its_own_colour(name, axes, frame, column):
    lines_seen = drawn_lines(DRAWN[name]().axes[axes])
    for rule, rows in frame().groupby("rule"):
        np.testing.assert_array_equal(lines_seen[style.look(rule)[1].upper()], rows[column])


def test_k_curve_is_the_mean_of_the_seeds_and_its_band_holds_all():
    axes = k_curves().axes[0]
    line = next(line for line in axes.lines if to_hex(line.get_color()) == style.INK)
    assert line.get_ydata()[-1] == pytest.approx(-0.01 * 3 * 64)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-0.01 * 6 * 64) and band[:, 1].max() == 0


def test_kept_as_png_and_pdf(tmp_path):
    drawn = k_curves()
    assert drawn.keep(tmp_path / "new" / "curve") is drawn
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["curve.pdf", "curve.png"]
    assert files[0].read_bytes()[:4] == b"%PDF" and files[1].read_bytes()[1:4] == b"PNG"


def test_the_label_budget_is_evenly_spaced_and_ends_with_all():
    axes = DRAWN["label budget"]().axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "1",
        "2",
        "5",
        "10",
        "20",
        "all (30)",
    ]
    assert list(axes.lines[0].get_xdata()) == list(range(6))


def segments(axes):
    """[S, 2, 2] of all hlines and vlines, in the order drawn."""
    found = [
        s
        for c in axes.collections
        if isinstance(c, mpl.collections.LineCollection)
        for s in c.get_segments()
    ]
    return np.array([s for s in found if len(s) == 2])


def test_the_ladder_stands_on_the_step_before_and_says_what_each_step_adds():
    steps, axes = ladder(MINI[:1]), DRAWN["ladder of one"]().axes[0]
    np.testing.assert_allclose(
        axes.collections[-1].get_offsets(), np.column_stack([steps.miou, range(6)])
    )
    interval_of_pool = [[steps.miou[4] + steps.low[5], 5], [steps.miou[4] + steps.high[5], 5]]
    assert any(np.allclose(s, interval_of_pool) for s in segments(axes))
    assert any(np.allclose(s, [[49.2, 0], [50.8, 0]]) for s in segments(axes)), (
        "the spread of the single member"
    )
    colours = {t.get_text(): t.get_color() for t in axes.texts}
    assert (
        colours["+2.10 [+2.04, +2.16]"] == style.REPAIRED
        and colours["-0.02 [-0.08, +0.04]"] == style.GREY
    )


def test_a_dataset_without_a_step_keeps_the_others_in_their_rows():
    left, right = evidence.fig_ladder(
        ladder(MINI[:2]).query("dataset != 'mini_ffhq' or step != 'k chosen'")
    ).axes
    assert [label.get_text() for label in left.get_yticklabels()] == STEPS
    assert list(right.collections[-1].get_offsets()[:, 1]) == [0, 1, 2, 3, 5]


def test_effects_are_sorted_by_their_mean_and_each_dataset_keeps_its_mark():
    frame = effects().sample(frac=1, random_state=0)
    axes = evidence.fig_effects(frame).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[-1] == "five more labelled images" and names[0] == "soft Dawid-Skene"
    points = {c.get_label(): c.get_offsets() for c in axes.collections if c.get_label() in MINI}
    for dataset, offsets in points.items():
        for x, y in offsets:
            assert (
                frame[
                    (frame.dataset == dataset) & (frame.change == names[round(y)])
                ].difference.item()
                == x
            )
    assert sum(map(len, points.values())) == len(frame)
    assert "5 labels" in [t.get_text() for t in axes.texts] and "+3.43" in [
        t.get_text() for t in axes.texts
    ]  # 3.2 + 0.225


def test_verdicts_have_words_and_colours():
    axes = DRAWN["power"]().axes[0]
    assert [(t.get_text(), t.get_color()) for t in axes.texts] == [
        ("not resolved", style.GREY),
        ("gain", style.REPAIRED),
    ]
    np.testing.assert_allclose(
        segments(axes)[0], [[20, 0.3 - 5 / 20**0.5], [20, 0.3 + 5 / 20**0.5]]
    )
    left, right = DRAWN["table"]().axes
    assert [t.get_text() for t in right.texts] == [
        "+0.32 gain",
        "+0.02 not resolved",
        "-0.28 not resolved",
        "-0.58 loss",
    ]
    assert [t.get_color() for t in right.texts] == [
        style.REPAIRED,
        style.GREY,
        style.GREY,
        style.BROKEN,
    ]
    np.testing.assert_allclose(left.collections[-1].get_offsets()[:, 0], [0.55, 0.25, -0.05, -0.35])


def test_where_draws_shares_in_percent():
    bars = [[p.get_width() for p in container] for container in DRAWN["where"]().axes[1].containers]
    np.testing.assert_allclose(
        bars, [100 * 0.003 * np.arange(2, 8), -100 * 0.004 * np.arange(1, 7)]
    )


def test_heat_puts_each_map_in_its_place():
    drawn = DRAWN["heat"]().axes
    expected = (
        probes()
        .query("checkpoint == '10,000 images'")
        .pivot(index="step", columns="block", values="miou")
    )
    np.testing.assert_array_equal(drawn[0].collections[0].get_array(), expected)
    assert {a.collections[0].get_clim() for a in drawn} == {
        (probes().miou.min(), probes().miou.max())
    }


def test_the_simplex_marks_the_turn_of_the_winner():
    _, path, ks, names = simplex()
    axes = trust.fig_simplex(np.eye(3), path, ks, names).axes[0]
    np.testing.assert_allclose(
        np.transpose(axes.lines[0].get_data()), [[0, 0], [1, 0], [0.5, 0.75**0.5]]
    )  # the corners
    turn = ks[np.flatnonzero(path.argmax(1) == 2)[0]]
    assert [line.get_label() for line in axes.lines][2:] == [
        "k = 0, the mean: neck",
        f"from k = {turn:.2g}: mane",
        "k → ∞, the most certain: mane",
    ]
    shades = [patch.get_path() for patch in axes.patches]
    for q in RNG.dirichlet(np.ones(3), 200):  # every point lies in the shade of its largest class
        assert shades[q.argmax()].contains_point(q @ [[0, 0], [1, 0], [0.5, 0.75**0.5]])


def test_changes_are_counted_in_the_title():
    assert "100 repaired, 30 broken" in [a.get_title() for a in DRAWN["changes"]().axes]


def test_a_curve_of_one_short_training_has_a_tick():
    points = pd.DataFrame(
        {"dataset": ["mini_cat"], "images": [4000], "miou": [30.0], "spread": [1.0]}
    )
    assert [
        tick.get_text() for tick in pretraining.fig_curve(points).axes[0].get_xticklabels()
    ] == ["4"]
