"""A new folder for own images: images/, masks/, and a dataset.yml in which every default stands."""

from pathlib import Path

import yaml

from ..files import atomic
from ..presets import BACKBONES, RECIPES
from .folder import DEFAULTS, class_names, plain_name

TEXT = """\
# A dataset of your own images. Only `classes` is needed; every other line is its default.
# `diffseg check {quoted}` says what is wrong, and how long a run takes.

name: {name}  # of the results' folders

# The classes, in the order of their ids: 0, 1, 2, ...
classes:
{classes}

# ---- the denoiser ----

# What photo knows: {photo}. It is small and ships with the kit.
# For photographs of anything else: `backbone: imagenet`, after `diffseg fetch imagenet`
# (a download of 2.2 GB; about 20 seconds an image on two cores, a fraction of one on a GPU).
# Also possible: {others},
# or the path of a .json beside its weights.
backbone: photo
steps: null  # at which images are noised and read; null takes the backbone's own: [50, 150, 250]
blocks: null  # of the decoder that are read; `diffseg sweep {quoted}` proposes some

# ---- training and scoring ----

recipe: tuned  # {recipes}
epochs: 100  # at most
folds: 5  # all masked images train; scores come from folds of them
validation: null  # a folder beside this file, with images/ and masks/, on which k is chosen
test: null  # such a folder of test images; then there are no folds

# ---- sizes ----

longer_side: 256  # images are resized to it, and padded to a square; `original` keeps their size
tile: null  # 256 cuts larger images into squares of 256 pixels; then raise longer_side
overlap: 32  # pixels that neighbouring tiles share

# ---- what masks hold ----

ignore: 255  # the value of pixels that are not trained on, and have no class to be scored by
unlabelled: null  # `ignore` for scribbles: 0 is unlabelled, and 1 is the first class
values: null  # where masks hold other values than ids, such as {{0: {first}, 255: {last}}}
colours: null  # where masks are colour images, such as {{{first}: "#000000", {last}: "#ff0000"}}

# ---- what images hold ----

range_16_bit: [0, 65535]  # values of 16-bit images that become black and white
"""


def new(folder, classes):
    """Make `folder` with images/, masks/ and dataset.yml for some classes; returns the YAML's path.

    ValueError if a dataset.yml is there already, or for names that cannot be classes.
    """
    folder = Path(folder)
    file = folder / "dataset.yml"
    if file.exists():
        raise ValueError(f"{file}: there already; edit it, or choose another folder")
    text = yaml_of(folder, classes)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with atomic(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


def yaml_of(folder, classes):
    """The text of a dataset.yml with all defaults; ValueError for names that cannot be classes."""
    names = class_names(Path(folder) / "dataset.yml", list(classes))
    text = TEXT.format(
        quoted=f'"{folder}"' if " " in str(folder) else folder,
        name=_quoted(plain_name(Path(folder).absolute().name)),
        classes="\n".join(f"  - {_quoted(name)}" for name in names),
        photo=BACKBONES["photo"]["knows"],
        others=", ".join(name for name in BACKBONES if name not in ("photo", "imagenet")),
        recipes=" or ".join(reversed(RECIPES)),
        first=_quoted(names[0]),
        last=_quoted(names[-1]),
    )
    assert yaml.safe_load(text).keys() == DEFAULTS.keys()
    return text


def _quoted(name):
    """A name as YAML needs it: in quotes if it would be read as something else."""
    return yaml.safe_dump(name, default_flow_style=True, width=1000).split("\n")[0]
