"""Small folders of own images for the tests: a coloured disc on noise, and its mask."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = ((90, 140), (140, 90), (64, 64), (100, 61), (33, 99))  # height, width


def disc(index, size=None):
    """(image uint8 [H, W, 3], mask uint8 [H, W] of 0 and 1)."""
    height, width = size or SIZES[index % len(SIZES)]
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    centre = rng.uniform(0.35, 0.65, 2) * (height, width)
    inside = np.hypot(y - centre[0], x - centre[1]) < 0.3 * min(height, width)
    colours = np.where(inside[..., None], (200, 80, 60), (40, 90, 60))
    image = colours + rng.normal(0, 15, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8), inside.astype(np.uint8)


def make_folder(root, n_images=3, n_masks=3, size=None, text=""):
    """A folder with images i0.png, i1.png, ..., masks of the first ones, and a dataset.yml."""
    root = Path(root)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for i in range(n_images):
        image, mask = disc(i, size)
        Image.fromarray(image).save(root / "images" / f"i{i}.png")
        if i < n_masks:
            Image.fromarray(mask).save(root / "masks" / f"i{i}.png")
    write_yaml(root, text)
    return root


def write_yaml(root, text="", classes="[background, disc]", longer_side=64):
    """Write dataset.yml: classes, a small longer side, and more lines."""
    lines = f"classes: {classes}\nlonger_side: {longer_side}\nepochs: 1\n{text}\n"
    (Path(root) / "dataset.yml").write_text(lines)
