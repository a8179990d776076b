"""dataset.yml: a folder of images and masks as a Preset, and what can be wrong with its text.

    my_cells/
        dataset.yml     the names of the classes; everything else has a default
        images/         PNG, JPEG, WebP or TIFF, of any size
        masks/          of some of the images: the same name, .png, .tif or .npy

Nothing but names and sizes is read here; pixels are the work of images.py.
"""

import difflib
import re
from dataclasses import asdict, dataclass, fields
from math import ceil
from pathlib import Path
from typing import ClassVar

import yaml
from PIL import Image

from ..presets import BACKBONES, DATASETS, PADDING, RECIPES, Preset, choose

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
MASKS = (".png", ".tif", ".tiff", ".npy")
IGNORE = "ignore"  # what the YAML calls pixels that are neither trained on nor scored
MOST_CLASSES = PADDING - 1
RESERVED = ("figures", "pretraining", "locks", "slurm")  # folders beside those of datasets
HERE = "."  # the folder of dataset.yml itself

# What dataset.yml may say, and what holds where it says nothing.
DEFAULTS = {
    "name": None,  # the folder's name
    "classes": None,
    "backbone": "photo",
    "steps": None,  # the backbone's own
    "blocks": None,
    "recipe": "tuned",
    "longer_side": 256,
    "tile": None,
    "overlap": 32,
    "folds": 5,
    "epochs": 100,
    "validation": None,
    "test": None,
    "ignore": 255,
    "unlabelled": None,
    "values": None,
    "colours": None,
    "range_16_bit": [0, 65535],
}


@dataclass(frozen=True)
class OwnPreset(Preset):
    """Somebody's own dataset: a Preset whose images and masks lie in one folder."""

    own: ClassVar[bool] = True

    path: str = ""  # of dataset.yml; it does not decide results
    recipe: str = DEFAULTS["recipe"]
    n_folds: int = 0  # 0 where there is a folder of test images
    longer_side: int = 256  # images are resized to it; 0 keeps their size
    tile: int = 0  # side of the squares that an image is cut into; 0 does not cut
    overlap: int = 0  # of neighbouring tiles, in pixels
    steps: tuple = ()  # at which the denoiser is read; () takes the backbone's own
    blocks: tuple = ()
    unlabelled: bool = False  # 0 in a mask is no class, and classes are counted from 1
    values: tuple = ()  # pairs: a value in a mask and the class id that it means
    colours: tuple = ()  # pairs: (red, green, blue) in a mask and the class id that it means
    range_16_bit: tuple = (0, 65535)  # values of 16-bit images that become black and white
    n_parts: tuple = ()  # tiles of each training image

    def stored_splits(self):
        """The splits that have images of their own; in folds the test images are the training's."""
        splits = super().stored_splits()
        return [split for split in splits if not (self.n_folds and split == "test")]

    def described(self):
        """All that decides results, by name and value; not where the folder lies."""
        return {name: value for name, value in asdict(self).items() if name != "path"}

    @property
    def file(self):
        """dataset.yml"""
        return Path(self.path)

    @property
    def folder(self):
        """The folder of dataset.yml, which holds images/ and masks/."""
        return self.file.parent

    def folds(self, n_folds=None):
        """The fold of each training sample, a list; the tiles of an image share a fold."""
        n_folds = min(n_folds or self.n_folds, len(self.n_parts))
        found = [i % n_folds for i, parts in enumerate(self.n_parts) for _ in range(parts)]
        return found[: self.counts["train"]]


# ---- finding a dataset --------------------------------------------------------------------------


def preset_of(dataset):
    """The Preset of a name in DATASETS, or of the path of a dataset.yml or of its folder.

    ValueError or FileNotFoundError says what is wrong with it.
    """
    if dataset in DATASETS:
        return DATASETS[dataset]
    if names_a_file(dataset):
        return read_folder(dataset)
    raise ValueError(
        f"unknown dataset {dataset!r}; choose from {', '.join(DATASETS)}, "
        "or give the path of a dataset.yml"
    )


def names_a_file(dataset):
    """Whether a dataset is a path: it ends as a dataset.yml does, has a "/", or is a folder."""
    return names_a_yaml(dataset) or len(Path(dataset).parts) > 1 or Path(dataset or "-").is_dir()


def names_a_yaml(path):
    """Whether a path ends as a dataset.yml does."""
    return Path(path).suffix in (".yml", ".yaml")


def file_of(dataset):
    """Absolute path of the dataset.yml that a path names; FileNotFoundError if none is there."""
    path = Path(dataset).absolute()
    file = path if names_a_yaml(path) else path / "dataset.yml"
    if not file.exists():
        raise FileNotFoundError(
            f'{file}: no such file; `diffseg new FOLDER --classes "a, b, c"` writes one'
        )
    return file


def preset_from(described):
    """The Preset of what `described()` has said, as it stands in run.json."""
    known = {field.name for field in fields(Preset)}
    return (Preset if described.keys() <= known else OwnPreset)(**described)


# ---- reading dataset.yml ------------------------------------------------------------------------


def read_folder(dataset):
    """The OwnPreset of a dataset.yml, or of its folder; ValueError names file and value."""
    file = file_of(dataset)
    said = _read_yaml(file)
    classes = class_names(file, said["classes"])
    name = said["name"] or plain_name(file.parent.name)
    _check_name(file, name)
    folders = {"train": HERE, "validation": said["validation"], "test": said["test"]}
    pairs = {split: _pairs(file, folder) for split, folder in folders.items() if folder}
    n_folds = 0 if said["test"] else _folds(file, said["folds"], len(pairs["train"]))
    ignore = _integer(file, "ignore", said["ignore"], 0, 255)
    if ignore == PADDING:
        raise ValueError(
            f"{file}: ignore: {PADDING} means padding; choose another value, such as 255"
        )
    longer_side, tile, overlap = _sizes(file, said)
    how = {"longer_side": longer_side, "tile": tile, "overlap": overlap}
    n_parts = {
        split: tuple(_number_of_parts(image, **how) for image, _ in found)
        for split, found in pairs.items()
    }
    counts = {split: sum(n_parts.get(split, ())) for split in folders}
    if n_folds:
        counts["test"] = counts["train"]
        folders["test"] = HERE
    return OwnPreset(
        name=name,
        title=name,
        classes=classes,
        counts=counts,
        backbone=_backbone(file, said["backbone"]),
        ignore_label=ignore,
        label_size=tile or longer_side,
        folders=tuple((split, folder) for split, folder in folders.items() if folder),
        path=str(file),
        recipe=_choice(file, "recipe", said["recipe"], RECIPES),
        epochs=_integer(file, "epochs", said["epochs"], 1, 1000),
        n_folds=n_folds,
        **how,
        steps=_integers(file, "steps", said["steps"]),
        blocks=_integers(file, "blocks", said["blocks"]),
        unlabelled=_unlabelled(file, said["unlabelled"]),
        values=_values(file, said["values"], classes, ignore),
        colours=_colours(file, said["colours"], classes, ignore),
        range_16_bit=_range(file, said["range_16_bit"]),
        n_parts=n_parts["train"],
    )


def _read_yaml(file):
    """What the file says, with defaults where it says nothing; ValueError for an unknown key."""
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not a text in UTF-8 ({error.reason}); save it as such") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ValueError(f"{file}{where}: not valid YAML ({problem})") from None
    if not isinstance(said, dict):
        raise ValueError(f"{file}: holds no keys; at least `classes: [a, b, c]` is needed")
    for key in said:
        if key not in DEFAULTS:
            raise ValueError(f"{file}: unknown key {key!r}; {nearest(key, DEFAULTS)}")
    return DEFAULTS | {key: value for key, value in said.items() if value is not None}


def nearest(name, known):
    """'did you mean ...?' with the nearest of the known names, or all of them."""
    close = difflib.get_close_matches(str(name), [str(word) for word in known], 1, 0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose from {', '.join(map(str, known))}"


def plain_name(text):
    """A name for folders and tables: letters, digits, '_', '-' and '.' stay, others become '_'."""
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("_.") or "own"


def _check_name(file, name):
    if name in RESERVED:
        raise ValueError(f"{file}: name: {name!r} is a folder of the kit; choose another name")
    if name in DATASETS:
        raise ValueError(f"{file}: name: {name!r} is a dataset of this kit; choose another name")
    if name != plain_name(str(name)):
        raise ValueError(
            f"{file}: name: {name!r}; letters, digits, '_', '-' and '.' are possible, "
            f"such as {plain_name(str(name))!r}"
        )


def class_names(file, classes):
    """The names of the classes, a tuple; ValueError begins with `file`."""
    if isinstance(classes, str):
        classes = classes.split(",")
    if not isinstance(classes, list) or not classes:
        raise ValueError(f"{file}: classes: no names; write `classes: [background, cell]`")
    for name in classes:
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise ValueError(f"{file}: classes: {name!r} is read as no name; put it into quotes")
    names = tuple(str(name).strip() for name in classes)
    for name in names:
        if not name or name == IGNORE:
            raise ValueError(f"{file}: classes: {name!r} cannot be the name of a class")
        if names.count(name) > 1:
            raise ValueError(f"{file}: classes: {name!r} stands there twice")
    if not 2 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{file}: classes: {len(names)} of them; 2 to {MOST_CLASSES} are possible")
    return names


def _backbone(file, backbone):
    """A name in BACKBONES, or the absolute path of a .json."""
    if str(backbone).endswith(".json"):
        return str(file.parent / backbone)
    return _choice(file, "backbone", backbone, BACKBONES)


def _choice(file, key, value, known):
    try:
        choose(key, value, known)
    except (ValueError, TypeError):
        raise ValueError(f"{file}: {key}: {value!r}; {nearest(value, known)}") from None
    return value


def _integer(file, key, value, low, high):
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{file}: {key}: {value!r}; a whole number from {low} to {high} is needed")
    return value


def _integers(file, key, values):
    """A tuple of whole numbers; () for none."""
    if values is None:
        return ()
    if not isinstance(values, list) or not values:
        raise ValueError(f"{file}: {key}: {values!r}; a list is needed, such as `{key}: [5, 6, 7]`")
    return tuple(_integer(file, key, value, 0, 100_000) for value in values)


def _sizes(file, said):
    """(longer side or 0 for the original size, tile or 0, overlap)."""
    tile = said["tile"]
    if tile:
        tile = _integer(file, "tile", tile, 32, 1024)
        overlap = _integer(file, "overlap", said["overlap"], 0, tile // 2)
    longer_side = said["longer_side"]
    if longer_side == "original":
        if not tile:
            raise ValueError(
                f"{file}: longer_side: original needs tiles of one size; add `tile: 256`"
            )
        return 0, tile, overlap
    most = 65536 if tile else 1024
    longer_side = _integer(file, "longer_side", longer_side, 32, most)
    return (longer_side, tile, overlap) if tile else (longer_side, 0, 0)


def _folds(file, folds, n_images):
    """The number of folds, at most one per image."""
    _integer(file, "folds", folds, 2, 100)
    if n_images < 2:
        raise ValueError(
            f"{file}: {n_images} image with a mask; two are needed to score by folds, "
            "or a folder of test images (`test: FOLDER`)"
        )
    return min(folds, n_images)


def _unlabelled(file, unlabelled):
    if unlabelled not in (None, IGNORE):
        raise ValueError(
            f"{file}: unlabelled: {unlabelled!r}; write `unlabelled: ignore`, or nothing"
        )
    return unlabelled == IGNORE


def _values(file, values, classes, ignore):
    """((value, class id), ...) of the YAML's {value: class}."""
    if not values:
        return ()
    _check_mapping(file, "values", values, "{0: background, 255: cell}")
    for value in values:
        _integer(file, "values", value, 0, 65535)
    return tuple((v, _id_of(file, "values", name, classes, ignore)) for v, name in values.items())


def _colours(file, colours, classes, ignore):
    """(((red, green, blue), class id), ...) of the YAML's {class: colour}."""
    if not colours:
        return ()
    _check_mapping(file, "colours", colours, '{background: "#000000", cell: "#ff0000"}')
    found = {}
    for name, colour in colours.items():
        found[_rgb(file, colour)] = _id_of(file, "colours", name, classes, ignore)
    if len(found) < len(colours):
        raise ValueError(f"{file}: colours: two classes have the same colour")
    return tuple(found.items())


def _check_mapping(file, key, mapping, example):
    if not isinstance(mapping, dict):
        raise ValueError(f"{file}: {key}: {mapping!r}; write it as {key}: {example}")


def _id_of(file, key, name, classes, ignore):
    if name == IGNORE:
        return ignore
    if name not in classes:
        raise ValueError(f"{file}: {key}: no class {name!r}; {nearest(name, (*classes, IGNORE))}")
    return classes.index(name)


def _rgb(file, colour):
    """(red, green, blue) of "#rrggbb" or [red, green, blue]."""
    if isinstance(colour, str) and re.fullmatch("#[0-9a-fA-F]{6}", colour):
        return tuple(bytes.fromhex(colour[1:]))
    if isinstance(colour, list) and len(colour) == 3:
        return tuple(_integer(file, "colours", part, 0, 255) for part in colour)
    raise ValueError(f'{file}: colours: {colour!r}; write a colour as "#ff0000" or [255, 0, 0]')


def _range(file, values):
    """(black, white) of 16-bit images."""
    pair = _integers(file, "range_16_bit", values)
    if len(pair) != 2 or not pair[0] < pair[1] <= 65535:
        raise ValueError(
            f"{file}: range_16_bit: {values!r}; two values are needed, such as [0, 4095]"
        )
    return pair


# ---- files of a folder --------------------------------------------------------------------------


def image_files(folder):
    """{stem: path} of the images of a folder that holds images/, in string order of the names.

    FileNotFoundError or ValueError: no images/, nothing in it, or two files of one stem.
    """
    found = files_by_stem(Path(folder) / "images", IMAGE_SUFFIXES)
    if not found:
        raise ValueError(
            f"{Path(folder) / 'images'}: no images here; {_endings(IMAGE_SUFFIXES)} are read"
        )
    return found


def mask_files(folder):
    """{stem: path} of the masks of a folder that holds masks/."""
    return files_by_stem(Path(folder) / "masks", MASKS)


def pairs_of(preset, split):
    """[(image, mask), ...] of a split, paths in string order."""
    return _pairs(preset.file, dict(preset.folders)[split])


def unmasked(preset):
    """The paths of the images without a mask: what a label is wanted for."""
    masks = mask_files(preset.folder)
    return [path for stem, path in image_files(preset.folder).items() if stem not in masks]


def _pairs(file, name):
    """[(image, mask), ...] of the folder `name` beside dataset.yml."""
    folder = file.parent / str(name)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; {file} names it")
    images, masks = image_files(folder), mask_files(folder)
    for stem, mask in masks.items():
        if stem not in images:
            raise ValueError(
                f"{mask}: a mask for no image; {folder / 'images'} holds no file "
                f"{stem!r} of another ending: {nearest(stem, list(images)[:20])}"
            )
    if not masks:
        raise ValueError(
            f"{folder / 'masks'}: no masks here; draw some, with the names of their images "
            f"({_endings(MASKS)})"
        )
    return [(images[stem], masks[stem]) for stem in images if stem in masks]


def files_by_stem(folder, endings):
    """{stem: path} of the files of a folder, in string order; ValueError for two of one stem."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; `diffseg new` makes it")
    paths = [p for p in folder.iterdir() if p.suffix.lower() in endings and p.name[0] != "."]
    found = {}
    for path in sorted(paths, key=str):
        if path.stem in found:
            raise ValueError(
                f"{path}: {found[path.stem].name} has the same name but for its ending; "
                "rename one of them"
            )
        found[path.stem] = path
    return found


def _endings(endings):
    return ", ".join(endings)


# ---- how an image is cut ------------------------------------------------------------------------


def fitted(height, width, longer_side):
    """(height, width) of an image whose longer side is `longer_side`; 0 keeps its size."""
    if not longer_side:
        return height, width
    scale = longer_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def starts(length, tile, overlap):
    """Where tiles begin that cover `length` pixels, evenly spread; neighbours share `overlap`."""
    if not tile or length <= tile:
        return [0]
    n = ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (n - 1)) for i in range(n)]


def size_of(path):
    """(height, width) of an image file after its EXIF rotation; no pixel is read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.format == "TIFF":  # newer versions of pillow have turned its size already
                width, height = image.tag_v2[256], image.tag_v2[257]
            # Of a PNG without the entry, pillow would read all pixels to look for it at the end.
            has_entry = image.format != "PNG" or "exif" in image.info
            turned = has_entry and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a readable image ({reason})") from None
    return (width, height) if turned else (height, width)


def _number_of_parts(path, longer_side, tile, overlap):
    """Samples that an image becomes; its size is looked at only if it is cut into tiles."""
    if not tile:
        return 1
    height, width = fitted(*size_of(path), longer_side)
    return len(starts(height, tile, overlap)) * len(starts(width, tile, overlap))
