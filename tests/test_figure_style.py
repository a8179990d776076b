"""What all figures share: one colour a rule, colours of classes, labels at the ends of lines, painted changes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from diffseg_utils.figures import lines, panels, style
from diffseg_utils.presets import DATASETS


def test_labels_at_the_ends_keep_their_order_and_stay_near():
    _, [[axes]] = style.new_figure(5, 3)
    axes.set(xlim=(0, 1), ylim=(0, 10))
    lines.end_labels(
        axes,
        [(1, 5.01, "b", "k"), (1, 5, "a", "k"), (1, 9, "c", "k"), (1, 5.02, "two\nlines", "k")],
        fontsize=9,
    )
    shifts = {t.get_text(): t.xyann[1] for t in axes.texts}
    assert shifts["c"] == pytest.approx(0) and shifts["a"] < shifts["b"] < shifts["two\nlines"]
    assert shifts["b"] - shifts["a"] == pytest.approx(
        1.25 * 9, abs=0.2
    )  # one line of text, in points
    assert shifts["two\nlines"] - shifts["b"] == pytest.approx(1.5 * 1.25 * 9, abs=0.2)
    assert sum(v for k, v in shifts.items() if k != "c") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "name, label, rule",
    [
        ("entropy_weighted, k = 1", "entropy-weighted, k = 1", "entropy_weighted"),
        ("mean", "mean", "mean"),
        ("single member", "single member", "member"),
        ("k chosen", "k chosen", "entropy_weighted"),
        ("pool chosen", "pool chosen", "pool"),
        ("most_certain", "most certain", "most_certain"),
    ],
)
def test_one_colour_a_rule(name, label, rule):
    assert style.look(name) == (label, style.RULES[rule][1])


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="unknown rule 'meanest'; choose from member, majority"):
        style.look("meanest")


def test_classes_have_colours_of_their_own_and_unscored_ones_are_grey():
    for preset in DATASETS.values():
        assert len(np.unique(style.class_colours(preset.n_classes), axis=0)) == preset.n_classes
    grey = style.colour_labels(np.array([[0, 3, 255]]), DATASETS["bedroom_28"])
    assert (grey[0, [0, 2]] == style.IGNORED).all() and (grey[0, 1] != style.IGNORED).any()


def test_verdicts_are_colours():
    colours = lines.verdict_colours(
        pd.DataFrame({"low": [0.1, -0.2, -0.1, np.nan], "high": [0.3, -0.1, 0.1, np.nan]})
    )
    assert list(colours) == [style.REPAIRED, style.BROKEN, style.GREY, style.GREY]


def test_changed_pixels_are_painted_on_the_pale_image_and_unscored_ones_are_not():
    truth, before, after = (
        np.array([[1, 1, 1, 1, 0]]),
        np.array([[2, 1, 2, 1, 2]]),
        np.array([[1, 2, 3, 1, 0]]),
    )
    painted, repaired, broken = panels.paint_changes(
        np.zeros((2, 10, 3)), truth, before, after, ignore_label=0
    )
    assert (repaired, broken) == (1, 1)
    assert [to_hex(c / 255) for c in painted[0]] == [
        style.REPAIRED,
        style.BROKEN,
        style.OTHER,
        "#a0a0a0",
        "#a0a0a0",
    ]
