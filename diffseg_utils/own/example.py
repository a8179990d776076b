"""A folder to try: painted horses at odd sizes, as if they were somebody's own photographs."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..files import atomic
from ..scenes import FAMILIES, SPLITS, horse
from .annotations import write_palette

# The classes of the example, and the parts of a painted horse that each of them joins.
CLASSES = {
    "background": (horse.BACKGROUND,),
    "head": (horse.HEAD, horse.EAR),
    "body": (horse.NECK, horse.MANE, horse.BARREL, horse.SADDLE),
    "leg": (horse.LEG, horse.HOOF),
    "tail": (horse.TAIL,),
    "person": (horse.PERSON,),
}
# Height and width in pixels of one painting after the other: landscape and portrait.
SIZES = (
    (200, 256),
    (256, 212),
    (181, 256),
    (256, 198),
    (214, 243),
    (192, 250),
    (256, 187),
    (231, 256),
    (205, 256),
    (249, 201),
    (176, 256),
    (223, 219),
)


def paint_example(index):
    """(image uint8 [H, W, 3], label uint8 [H, W]) of a horse: four times the usual size, cropped.

    No dataset of the kit has the same scene.
    """
    rng = np.random.default_rng([FAMILIES.index("horse"), len(SPLITS), index])
    canvas = horse.scene(rng)
    side = len(canvas.rgb)
    height, width = SIZES[index % len(SIZES)]
    top = rng.integers(side - height + 1)
    left = rng.integers(side - width + 1)
    window = np.s_[top : top + height, left : left + width]
    image = (np.clip(canvas.rgb[window], 0, 1) * 255).round().astype(np.uint8)
    return image, _joined(canvas.label[window])


def write_example(folder, n_images=12, n_masks=6):
    """Write the first paintings into images/ and the masks of some of them into masks/.

    folder: as `new` has made it. The paintings with a mask are spread evenly. Returns the stems of
    all.
    """
    folder = Path(folder)
    masked = {i * n_images // n_masks for i in range(n_masks)}
    stems = [f"horse_{i + 1:02d}" for i in range(n_images)]
    for i, stem in enumerate(stems):
        image, label = paint_example(i)
        with atomic(folder / "images" / f"{stem}.png") as temporary:
            Image.fromarray(image).save(temporary, "PNG")
        if i in masked:
            with atomic(folder / "masks" / f"{stem}.png") as temporary:
                write_palette(label, temporary, len(CLASSES))
    return stems


def _joined(parts):
    """Class ids of part ids, both uint8 [H, W]."""
    class_of = np.zeros(len(horse.NAMES), np.uint8)
    for class_id, joined in enumerate(CLASSES.values()):
        class_of[list(joined)] = class_id
    return class_of[parts]
