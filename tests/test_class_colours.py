"""Colour-blind readers can tell the classes apart: CIEDE2000 between simulated colours."""

from itertools import combinations

import numpy as np
import pytest

from diffseg_utils.figures.style import IGNORED, class_colours
from diffseg_utils.presets import DATASETS

# Machado, Oliveira and Fernandes (2009), severity 1: linear sRGB as the reader sees it
VISION = {
    "full": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ = np.array(  # of linear sRGB
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65


def lab_seen(rgb, vision):
    """CIELAB [..., 3] of colours uint8 [..., 3], as a reader with this vision sees them."""
    rgb = np.asarray(rgb, float) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ VISION[vision].T).clip(0, 1)
    ratio = seen @ XYZ.T / WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def ciede2000(one, other):
    """The difference of two colours in CIELAB, after Sharma, Wu and Dalal (2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    grey = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(grey**7 / (grey**7 + 25**7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1 = np.degrees(np.arctan2(b1, stretch * a1)) % 360
    h2 = np.degrees(np.arctan2(b2, stretch * a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    middle = (lightness - 50) ** 2
    d_l = (l2 - l1) / (1 + 0.015 * middle / np.sqrt(20 + middle))
    d_c = (c2 - c1) / (1 + 0.045 * chroma)
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * weight)
    angle = np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2)))
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25**7)) * np.sin(angle)
    return np.sqrt(d_l**2 + d_c**2 + d_h**2 + rotation * d_c * d_h)


@pytest.mark.parametrize(
    "one, other, difference",
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_difference_is_that_of_the_published_examples(one, other, difference):
    assert ciede2000(one, other) == pytest.approx(difference, abs=1e-4)
    assert ciede2000(other, one) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("name", DATASETS)
def test_any_two_classes_can_be_told_apart(name, vision):
    """Any two, so also those that touch; pixels that are not scored are one more class."""
    preset = DATASETS[name]
    colours = np.vstack([class_colours(preset.n_classes), IGNORED])
    seen = lab_seen(colours, vision)
    names = [*preset.classes, "ignored"]
    differences = {
        (names[i], names[j]): ciede2000(seen[i], seen[j])
        for i, j in combinations(range(len(names)), 2)
    }
    alike = {pair: round(d, 1) for pair, d in differences.items() if d < 10}
    assert not alike


def test_a_dataset_with_more_classes_than_colours_still_has_one_for_each():
    assert len(np.unique(class_colours(60), axis=0)) == 60
