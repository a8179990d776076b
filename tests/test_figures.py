"""The figures from synthetic data: they draw what they are given, and no label lies on another."""

import re
from functools import partial
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.text import Text

from diffseg_utils.figures import (
    calibration,
    costs,
    evidence,
    features,
    layout,
    paper,
    pixels,
    pretraining,
    style,
    training,
    votes,
)
from diffseg_utils.presets import DATASETS, PADDING

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


def two_votes():
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
            {
                "dataset": d,
                "images": 10_000 * 2**i,
                "scored": "a long recipe" if i > 3 else "a short recipe",
                "miou": 20 + 5 * j + 4 * i,
                "spread": 0.7,
            }
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
    return votes.fig_k_curve(
        ks, {"validation": curve, "test": curve - 3}, {"validation": 49.3, "test": 46.295}, 0.25
    )


def k_curves():
    """Three seeds; no limit for the first split."""
    ks, seeds = np.append(0, 2.0 ** np.arange(-2, 6.5, 0.5)), np.array([[1], [2], [6]])
    curves = {"validation": 50 - 0.01 * seeds * ks, "test": 40 + 0.001 * seeds * ks}
    return votes.fig_k_curve(ks, curves, {"test": np.array([40.1, 40.2, 40.3])})


def history():
    steps = {0: 40, 1: 55, 2: 60}
    return pd.DataFrame(
        [
            {"member": member, "step": step, "loss": 2 / (1 + step) + 0.01 * member}
            for member, last in steps.items()
            for step in range(1, last + 1)
        ]
    )


def published():
    rows = [
        ("majority", "Jeong & Heo, Table I", 57.5, np.nan),
        ("entropy_weighted", "Jeong & Heo, Table I", 57.7, np.nan),
        ("majority", "Baranchuk et al.", 53.7, 3.3),
        ("majority", "independent re-run (matosjan)", 57.53, np.nan),
        (np.nan, "another method", 58.6, np.nan),
    ]
    frame = pd.DataFrame(rows, columns=["rule", "source", "miou", "std"])
    return pd.concat([frame.assign(dataset=d, miou=frame.miou + i) for i, d in enumerate(MINI)])


def example(n_images=3, n_members=5):
    """The arrays of an examples.npz."""
    image, truth, before, after = two_votes()
    entropy = RNG.uniform(0, 2, (n_members, 64, 64))
    weights = np.exp(-entropy)
    return {
        "image": np.stack([image] * n_images),
        "truth": np.stack([truth] * n_images),
        "majority": np.stack([before] * n_images),
        "entropy_weighted": np.stack([after] * n_images),
        "difference": np.linspace(1, -1, n_images),
        "noised": image,
        "members": np.stack([before] * n_members),
        "entropy": entropy,
        "weights": weights / weights.sum(0),
        **{f"map_50_{block}": image[: 4 * block, : 4 * block] for block in (2, 4, 6, 8, 16)},
    }


def losses():
    return pd.DataFrame(
        [
            {"pictures": word, "step": step, "loss": 0.5 / (1 + step / 50) + 0.02 * i + 0.01 * j}
            for j, word in enumerate(("of the training", "others"))
            for step in (5, 50, 150, 500, 990)
            for i in range(4)
        ]
    )


def step_block(level=40.0):
    return pd.DataFrame(level + np.arange(6).reshape(2, 3), index=[50, 150], columns=[2, 4, 6])


def neighbours():
    parts = np.stack([two_votes()[1]] * 4)
    images = [two_votes()[0]] * 4
    return images, 1, [600, 3000], [[600, 0, 700, 3900], [3000, 1, 20, 3100]], parts, CAT


GAINS = {"mean": interval(0.4, 0.2), "entropy_weighted, k = 1": interval(0.5, 0.6)}
OUTCOMES = {"majority": [0.0, 1.0, 0.0], "mean": [0.3, 0.4, 0.3], "entropy_weighted": [0, 0.1, 0.9]}
MEMORY = pd.DataFrame(
    {"published": [2112.0, 422.4], "stored": [10.5, 2.1]}, index=["all maps", "one step"]
)


def pixel_weights():
    probs = RNG.dirichlet(np.ones(CAT.n_classes), 10)
    rules = {name: probs.mean(0) for name in ("majority", "mean", "entropy_weighted")}
    return pixels.fig_pixel_weights(probs, np.linspace(0.02, 0.18, 10), rules, CAT, 3)


def label_maps():
    image, truth, before, _ = two_votes()
    return votes.fig_label_maps({"image": image, "truth": truth, "member 0": before}, CAT)


def labelling():
    rows = []
    for images in (5, 10, 15):
        for choice, miou in (("random", 40 + images), ("uncertain", 41 + images)):
            difference = 1.0 * (choice == "uncertain")
            row = (images, choice, miou, miou - 1, miou + 1, difference)
            rows.append((*row, difference - 0.5, difference + 0.5))
    columns = ["images", "choice", "miou", "lowest", "highest", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def doubt():
    return RNG.uniform(0, 1, (64, 64))


def votes_at_k():
    weights = RNG.dirichlet(np.ones(5), (64, 64)).transpose(2, 0, 1)
    return votes.fig_vote_at_k(two_votes()[2], two_votes()[3], weights, CAT, 1)


# figures of one frame: name -> (draw it, the frame)
OF_A_FRAME = {
    "steps": (evidence.fig_gain_of_each_step, ladder(MINI)),
    "steps of one": (evidence.fig_gain_of_each_step, ladder(MINI[:1])),
    "effects": (evidence.fig_effects, effects()),
    "members": (
        evidence.fig_miou_by_members,
        rule_curve("n_members", range(1, 21), lambda n: 50 - 3 / n, 0.3),
    ),
    "label budget": (
        evidence.fig_miou_by_label_budget,
        rule_curve("images", (1, 2, 5, 10, 20, 30), lambda n: 20 + 6 * np.log2(n)),
    ),
    "labelling": (evidence.fig_labelling_rounds, labelling()),
    "test images": (evidence.fig_difference_by_test_images, some_curve()),
    "table": (evidence.fig_difference_intervals, table()),
    "bands": (evidence.fig_miou_by_boundary_distance, bands()),
    "classes": (evidence.fig_class_differences, classes()),
    "images": (
        lambda frame: evidence.fig_image_differences(frame, {"the paper's cat": 2.2}),
        classes(),
    ),
    "reliability": (
        lambda frame: calibration.fig_reliability(frame, dict.fromkeys(RULES, 0.0123)),
        reliability(),
    ),
    "risk": (
        lambda frame: calibration.fig_risk_coverage(frame, dict.fromkeys(RULES, 0.0456)),
        risk(),
    ),
    "where": (votes.fig_changes_by_group, where()),
    "costs": (costs.fig_costs, bill()),
    "miou by map": (pretraining.fig_miou_by_map, probes()),
    "images seen": (
        lambda frame: pretraining.fig_miou_by_images_seen(frame, [("raw pixels, ffhq_34", 28.4)]),
        checkpoints(),
    ),
    "denoiser loss": (
        pretraining.fig_denoiser_loss,
        pd.DataFrame({"images": 64 * np.arange(1, 200), "loss": 1 / np.arange(1, 200)}),
    ),
    "loss by noise step": (
        lambda frame: pretraining.fig_loss_by_noise_step(frame, [50, 150]),
        losses(),
    ),
    "losses": (lambda frame: training.fig_losses(frame, [True, True, False], 60), history()),
    "map scores": (lambda frame: features.fig_map_scores(frame, 10, "Mini-Cat"), step_block()),
    "memory": (features.fig_memory, MEMORY),
    "sources": (
        features.fig_feature_sources,
        pd.DataFrame(
            {
                "dataset": ["mini_cat", "mini_cat"],
                "description": ["denoiser", "random"],
                "miou": [36.5, 22.8],
            }
        ),
    ),
    "published": (
        lambda frame: paper.fig_published_scores(frame, [DATASETS[name] for name in MINI]),
        published(),
    ),
}
DRAWN = {name: partial(draw, frame) for name, (draw, frame) in OF_A_FRAME.items()} | {
    "changes": lambda: votes.fig_changed_pixels(
        *two_votes(), CAT, ["majority", "entropy-weighted"]
    ),
    "label maps": label_maps,
    "disagreement": lambda: votes.fig_votes_and_disagreement(*two_votes(), doubt(), CAT),
    "votes over k": lambda: votes.fig_votes_over_k(
        *two_votes()[:3], np.stack(two_votes()[2:]), [0, 3], CAT
    ),
    "votes at one k": lambda: votes.fig_votes_over_k(
        *two_votes()[:3], [two_votes()[3]], [1.5], CAT
    ),
    "member disagreement": lambda: votes.fig_member_disagreement(
        two_votes()[0], RNG.integers(1, 5, (64, 64)), doubt(), "Mini-Cat"
    ),
    "uncertainty": lambda: votes.fig_uncertainty(
        two_votes()[0], doubt(), doubt(), doubt() > 0.9, "Mini-Cat"
    ),
    "vote at k": votes_at_k,
    "k curve": k_curve,
    "k curves": k_curves,
    "scores": lambda: votes.fig_rule_scores(
        np.arange(40, 50), {"majority": 50, **dict.fromkeys(GAINS, 50.2)}, GAINS, "Mini-Cat"
    ),
    "pixel distributions": lambda: pixels.fig_pixel_distributions(
        RNG.dirichlet(np.ones(3), 4), [0.5] * 4, [0.25] * 4, OUTCOMES, ["head", "neck", "mane"]
    ),
    "pixel over k": lambda: pixels.fig_pixel_over_k(
        simplex()[2][:-1], simplex()[1][:-1], simplex()[3], 0.4
    ),
    "pixel weights": pixel_weights,
    "simplex": lambda: pixels.fig_pixel_simplex(*simplex()),
    "entropies": lambda: calibration.fig_entropy_histograms(
        np.linspace(0, 2, 21),
        {
            "all pixels": (np.arange(20)[::-1] ** 2, np.arange(20)),
            "disputed pixels": (np.arange(20)[::-1], np.arange(20) * 2),
        },
        "Mini-Cat",
    ),
    "pixels per class": lambda: training.fig_pixels_per_class(10 ** np.arange(10) // 7, CAT),
    "disputed classes": lambda: training.fig_disputed_classes(
        np.append(np.linspace(0, 0.8, 9), np.nan), CAT
    ),
    "stop steps": lambda: training.fig_stop_steps(
        np.arange(100, 600, 50), np.linspace(40, 44, 10), "Mini-Cat"
    ),
    "labelled images": lambda: features.fig_labelled_images(
        [two_votes()[0]] * 5, [two_votes()[1]] * 5, CAT
    ),
    "overlays": lambda: features.fig_overlays(
        [two_votes()[0], two_votes()[0][:40]], ["a.png\n0.24 nats", "b.png\n0.1 nats"], CAT
    ),
    "noised image": lambda: features.fig_noised_image(
        [two_votes()[0]] * 3, [1, 0.8, 0.1], [0, 50, 500], [50], "Mini-Cat"
    ),
    "what is seen": lambda: features.fig_what_is_seen(*[two_votes()[0]] * 2, two_votes()[1], CAT),
    "image grid": lambda: features.fig_image_grid(
        [[two_votes()[0]] * 3] * 2, ["step 50", "step 150"], ["block 2", "block 4", "block 6"]
    ),
    "neighbours": lambda: features.fig_neighbours(*neighbours()),
    "clusters": lambda: features.fig_clusters(*([[a] * 4 for a in two_votes()[:3]]), CAT),
    "scenes": lambda: pretraining.fig_scenes({"mini_cat": [two_votes()[:2]] * 5}, DATASETS),
    "image sheet": lambda: pretraining.fig_image_sheet([two_votes()[0]] * 3),
    "denoising": lambda: pretraining.fig_denoising(
        [two_votes()[0]] * 2, *[{step: [two_votes()[0]] * 2 for step in (50, 500)}] * 2
    ),
    "overview": lambda: paper.fig_overview(example(), CAT),
    "example votes": lambda: paper.fig_example_votes(example(), CAT, "mini_cat"),
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
            if tick.label1.get_visible()
            and tick.label1.get_text().strip("−.0123456789") == ""
            and tick.label1.get_text()
        ]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert axes.get_xlabel() or not numbers
        assert (
            axes.get_ylabel()
            or any(n.strip("−.0123456789") for n in names)
            or not names
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
        np.testing.assert_array_equal(lines_seen[style.rule_style(rule)[1].upper()], rows[column])


def test_k_curve_is_the_mean_of_the_seeds_and_its_band_holds_all():
    axes = k_curves().axes[0]
    line = next(line for line in axes.lines if to_hex(line.get_color()) == style.INK)
    assert line.get_ydata()[-1] == pytest.approx(-0.01 * 3 * 64)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-0.01 * 6 * 64) and band[:, 1].max() == 0


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
    steps, axes = ladder(MINI[:1]), DRAWN["steps of one"]().axes[0]
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
    left, right = evidence.fig_gain_of_each_step(
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
    axes = DRAWN["test images"]().axes[0]
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
    drawn = DRAWN["miou by map"]().axes
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
    axes = pixels.fig_pixel_simplex(np.eye(3), path, ks, names).axes[0]
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
        {
            "dataset": ["mini_cat"],
            "images": [4000],
            "scored": ["a recipe"],
            "miou": [30.0],
            "spread": [1.0],
        }
    )
    assert [
        tick.get_text()
        for tick in pretraining.fig_miou_by_images_seen(points).axes[0].get_xticklabels()
    ] == ["4"]


def test_a_dataset_that_is_only_in_earlier_rows_has_a_colour_too():
    rows = {
        "dataset": ["my_cells", "my_rooms"],
        "images": [4000, 8000],
        "scored": ["an old recipe", "a recipe"],
        "miou": [30.0, 40.0],
        "spread": [1.0, 1.0],
    }
    axes = pretraining.fig_miou_by_images_seen(pd.DataFrame(rows)).axes[0]
    earlier, current = axes.lines
    assert earlier.get_linestyle() == ":" and earlier.get_color() != current.get_color()
    assert current.get_color() == axes.texts[-1].get_color()


def test_half_of_the_fall_of_a_loss_is_half_of_its_values():
    log = pd.DataFrame(
        {"images": [1000, 2000, 3000, 4000, 5000], "loss": [1.0, 0.7, 0.5, 0.01, 0.2]}
    )
    assert "half of the fall from 1.00 is done within the first 3,000" in (
        pretraining.fig_denoiser_loss(log).alt
    )


def test_members_are_counted_from_one():
    bottom = DRAWN["losses"]().axes[1]
    assert [tick.get_text() for tick in bottom.get_yticklabels()] == ["1", "2", "3"]
    (stops,) = [c for c in bottom.collections if len(c.get_offsets()) == 3]
    np.testing.assert_array_equal(stops.get_offsets(), [[40, 1], [55, 2], [60, 3]])
    figure = training.fig_stop_steps([100, 200], [40.0, 50.0])
    assert {t.get_text() for t in figure.axes[0].texts} == {"1", "2"}


def test_the_chosen_k_is_marked_on_the_curve():
    ks = np.array([0.0, 1.0, 2.0])
    curve, limit = [50.0, 50.2, 50.1], 50.6  # the most certain member is above every k
    axes = votes.fig_k_curve(ks, {"validation": curve}, {"validation": limit}, chosen=1.0).axes[0]
    (mark,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert mark.get_ydata() == pytest.approx([0.2])


def test_padding_is_no_change_of_a_vote():
    truth = np.array([[0, PADDING, CAT.ignore_label]])
    before, after = np.array([[1, 0, 1]]), np.array([[0, 1, 0]])
    picture, repaired, broken = layout.paint_changes(
        np.zeros((3, 3, 3)), truth, before, after, CAT.ignore_label
    )
    colours = [to_hex(colour / 255) for colour in picture[0]]
    assert colours[0] == style.REPAIRED and (repaired, broken) == (1, 0)
    assert colours[1] == colours[2] and colours[1] not in (style.OTHER, style.REPAIRED)


def test_an_ignored_class_has_its_name_everywhere():
    rooms = DATASETS["mini_bedroom"]
    ignored = rooms.ignore_label
    assert style.class_name(ignored, rooms) == f"{rooms.classes[ignored]} (ignored)"
    assert style.class_name(PADDING, rooms) == "ignored"
    figure = pixels.fig_pixel_weights(
        np.full((2, rooms.n_classes), 1 / rooms.n_classes),
        np.array([0.5, 0.5]),
        {"mean": np.full(rooms.n_classes, 1 / rooms.n_classes)},
        rooms,
        ignored,
    )
    assert f"truth {rooms.classes[ignored]} (ignored)," in figure.alt


def test_a_mean_of_fewer_datasets_says_so():
    frame = effects()
    fewer = (frame.change == "twenty members") & (frame.dataset != "mini_cat")
    texts = [t.get_text() for t in evidence.fig_effects(frame[~fewer]).axes[0].texts]
    assert texts.count("(of 1)") == 1
    assert not [t for t in evidence.fig_effects(frame).axes[0].texts if "(of" in t.get_text()]


# ---- every figure --------------------------------------------------------------------------------

ROOMS = (calibration, costs, evidence, features, paper, pixels, pretraining, training, votes)


def test_every_figure_of_the_package_is_drawn_here():
    source = Path(__file__).read_text()
    names = [name for room in ROOMS for name in vars(room) if name.startswith("fig_")]
    assert len(names) == len(set(names)) > 30, "two figures have one name"
    assert [name for name in names if f".{name}" not in source] == []


def test_a_description_is_one_sentence(figure):
    assert figure.alt.endswith(".") and not re.search(r"\bnan\b", figure.alt)
    assert "_weighted" not in figure.alt, "labels, not names of variables"


@pytest.mark.parametrize("name", ["label maps", "pixel weights", "votes over k", "neighbours"])
def test_what_knows_its_dataset_says_so(name):
    drawn = DRAWN[name]()
    assert drawn.alt.startswith("Mini-Cat: ") and "Mini-Cat" in drawn.get_suptitle()


def numbers_replaced(frame, value):
    """The frame with `value` for every float; counts, names and widths stay."""
    if isinstance(frame, pd.Series):
        return frame * 0 + value
    fixed = {"width", "confidence", "coverage"}
    floats = frame.select_dtypes("float").columns.difference(fixed)
    frame = frame.copy()
    frame[floats] = value
    return frame


HARD = {
    "empty": lambda frame: frame.iloc[:0],
    "one row": lambda frame: frame.iloc[:1],
    "all zero": lambda frame: numbers_replaced(frame, 0.0),
    "all equal": lambda frame: numbers_replaced(frame, 3.0),
    "below zero": lambda frame: numbers_replaced(frame, -3.0),
    "not a number": lambda frame: numbers_replaced(frame, np.nan),
}


@pytest.mark.parametrize("hard", HARD)
@pytest.mark.parametrize("name", OF_A_FRAME)
def test_no_frame_is_too_odd_to_draw(name, hard):
    """A figure never loses the work of a stage: it draws whatever the stage found."""
    draw, frame = OF_A_FRAME[name]
    drawn = draw(HARD[hard](frame))
    drawn.draw_without_rendering()
    assert drawn.alt


@pytest.mark.parametrize("level", [0.0, 5.0, 40.0])
def test_scores_of_maps_are_drawn_below_and_above_chance(level):
    axes = features.fig_map_scores(step_block(level), 25).axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_array(), step_block(level))
    low, high = axes.collections[0].get_clim()
    assert low == min(level, 25) and high == max(level + 5, 25)


FLAT = np.zeros((64, 64), int)
BLACK = np.zeros((64, 64, 3), np.uint8)
ODD = {
    "one class, unanimous": lambda: votes.fig_votes_and_disagreement(
        BLACK, FLAT, FLAT, FLAT, np.zeros((64, 64)), CAT
    ),
    "nothing scored": lambda: votes.fig_changed_pixels(
        BLACK, FLAT + 255, FLAT, FLAT, CAT, ["a", "b"]
    ),
    "pictures without labels": lambda: votes.fig_label_maps({"image": BLACK}, CAT),
    "no map": lambda: votes.fig_label_maps({}, CAT),
    "unanimous members": lambda: votes.fig_member_disagreement(BLACK, FLAT + 1, FLAT / 1),
    "certain": lambda: votes.fig_uncertainty(BLACK, FLAT / 1, FLAT / 1, FLAT > 0),
    "one member": lambda: votes.fig_vote_at_k(FLAT, FLAT, np.ones((1, 64, 64)), CAT, 0),
    "one k": lambda: votes.fig_k_curve(np.array([0.0]), {"test": np.array([50.0])}, {}),
    "k without a limit": lambda: votes.fig_k_curve([0, 1], {"validation": [50.0, 50.0]}, {}, 3),
    "unknown mIoU": lambda: votes.fig_k_curve(
        [0, 1], {"validation": [np.nan] * 2}, {"validation": np.nan}, 1
    ),
    "no rule": lambda: votes.fig_rule_scores([50.0], {}, {}),
    "one rule, one member": lambda: votes.fig_rule_scores([50.0], {"majority": 50.0}, {}),
    "unknown scores": lambda: votes.fig_rule_scores(
        [np.nan], {"majority": np.nan, "mean": np.nan}, {"mean": interval(np.nan, 0)}
    ),
    "one member's pixel": lambda: pixels.fig_pixel_weights(
        np.full((1, CAT.n_classes), 0.1), np.ones(1), {"mean": np.full(10, 0.1)}, CAT, 255
    ),
    "one k of a pixel": lambda: pixels.fig_pixel_over_k(
        np.zeros(1), np.full((1, 3), 1 / 3), ["a", "b", "c"], 0.0
    ),
    "a winner that stays": lambda: pixels.fig_pixel_simplex(
        np.eye(3), np.eye(3)[[0, 0]], np.array([0, np.inf]), ["a", "b", "c"]
    ),
    "no votes of members": lambda: calibration.fig_entropy_histograms(
        np.linspace(0, 1, 3), {"all pixels": (np.zeros(2, int), np.zeros(2, int))}
    ),
    "no wrong votes": lambda: calibration.fig_entropy_histograms(
        np.linspace(0, 1, 3), {"all pixels": (np.ones(2, int), np.zeros(2, int))}
    ),
    "no labelled pixel": lambda: training.fig_pixels_per_class(np.zeros(10, int), CAT),
    "no class with pixels": lambda: training.fig_disputed_classes(np.full(10, np.nan), CAT),
    "no disputes": lambda: training.fig_disputed_classes(np.zeros(10), CAT),
    "one step": lambda: training.fig_losses(history().query("step == 1"), [False] * 3, 1),
    "one member's stop": lambda: training.fig_stop_steps([100], [41.0]),
    "members without a score": lambda: training.fig_stop_steps([100, 100], [np.nan] * 2),
    "one labelled image": lambda: features.fig_labelled_images([BLACK], [FLAT], CAT),
    "no labelled image": lambda: features.fig_labelled_images([], [], CAT),
    "one image's neighbours": lambda: features.fig_neighbours(
        [BLACK], 0, [5], [[5]], FLAT[None], CAT
    ),
    "one step of noise": lambda: features.fig_noised_image([BLACK], [1.0], [0], []),
    "no overlays": lambda: features.fig_overlays([], [], CAT),
    "no images": lambda: features.fig_image_grid([], [], []),
    "no sheet": lambda: pretraining.fig_image_sheet([]),
    "no scenes": lambda: pretraining.fig_scenes({}, DATASETS),
    "nothing to denoise": lambda: pretraining.fig_denoising([], {}, {}),
    "one image, one member": lambda: paper.fig_overview(example(1, 1), CAT),
    "members without doubt": lambda: paper.fig_overview(
        example() | {"entropy": np.zeros((5, 64, 64)), "weights": np.full((5, 64, 64), 0.2)}, CAT
    ),
    "no pictures of maps": lambda: paper.fig_overview(
        {name: array for name, array in example().items() if "map_" not in name}, CAT
    ),
    "one example": lambda: paper.fig_example_votes(example(1), CAT, "mini_cat"),
}


@pytest.mark.parametrize("name", ODD)
def test_no_arrays_are_too_odd_to_draw(name):
    drawn = ODD[name]()
    drawn.draw_without_rendering()
    assert drawn.alt


def test_a_new_rule_takes_a_reserve_colour_in_a_figure():
    curve = rule_curve("n_members", range(1, 6), lambda n: 50 - 3 / n)
    curve = pd.concat([curve, curve[curve.rule == "mean"].assign(rule="trimmed_mean")])
    axes = evidence.fig_miou_by_members(curve).axes[0]
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["trimmed mean"] in style.RESERVE_COLOURS
    assert colours["mean"] == style.RULE_COLOURS["mean"]


def test_panels_with_other_sources_keep_their_names():
    frame = published().query("dataset != 'mini_ffhq' or source != 'Baranchuk et al.'")
    axes = paper.fig_published_scores(frame, [DATASETS[name] for name in MINI]).axes
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    row = -names.index("independent re-run")
    assert [round(texts.xy[1]) for texts in axes[1].texts] == [0, -1, row]


def test_notebooks_call_figures_that_there_are():
    rooms = {room.__name__.rpartition(".")[2]: room for room in ROOMS}
    called = 0
    for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb")):
        text = path.read_text()
        room = re.search(r"from diffseg_utils\.figures import (\w+) as figures", text)
        for name in re.findall(r"\bfigures\.(fig_\w+)", text):
            assert hasattr(rooms[room[1]], name), f"{path.name}: figures.{name}"
            called += 1
    assert called > 20


def test_a_rule_with_the_votes_of_another_says_so():
    scores = {"majority": 50.0, "mean": 50.5, "k chosen": 50.5, "most_certain": 50.5}
    gain = {"difference": 0.5, "low": 0.1, "high": 0.9}
    gains = {"mean": gain, "k chosen": dict(gain), "most_certain": {**gain, "low": -0.2}}
    left = votes.fig_rule_scores([49.0], scores, gains).axes[0]
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names[2:] == ["mean", "k chosen\n(same as mean)", "most certain"]
