"""Masks from the files of annotation tools: COCO (CVAT, Label Studio, ...) and labelme.

Both describe shapes on images. A mask is drawn for every image that has a shape; pixels in no shape
are background, or ignored if no class is called so. Nothing is written before all is checked.
"""

import base64
import io
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image, ImageDraw

from ..files import atomic, read_json
from .folder import class_names, nearest
from .new import new

BACKGROUND = "background"
IGNORE = 255


def new_from(folder, source, classes=None):
    """A new folder with a mask for each annotated image; returns {stem: shapes drawn}.

    source: a .json of COCO, or a folder of labelme's files. classes: None takes "background" and
    the labels that are found. ValueError names the file, the value and the choices; then nothing is
    written.
    """
    source = Path(source)
    images = read_labelme(source) if source.is_dir() else read_coco(source)
    if not images:
        raise ValueError(f"{source}: no shape on any image; draw some")
    found = list(dict.fromkeys(label for image in images for label in image["labels"]))
    named = classes or [BACKGROUND, *(name for name in found if name != BACKGROUND)]
    classes = class_names(Path(folder) / "dataset.yml", named)
    for image in images:
        for label in image["labels"]:
            if label not in classes:
                raise ValueError(f"{image['file']}: no class {label!r}; {nearest(label, classes)}")
    _check_stems(images)
    masks = Path(folder) / "masks"
    for image in images:
        if (masks / f"{image['stem']}.png").exists():
            raise ValueError(f"{masks / image['stem']}.png: there already; choose another folder")
    new(folder, classes)
    for image in images:
        mask = _drawn(image, classes)
        with atomic(masks / f"{image['stem']}.png") as temporary:
            write_palette(mask, temporary, len(classes))
    return {image["stem"]: len(image["labels"]) for image in images}


def _check_stems(images):
    known = {}
    for image in images:
        if image["stem"] in known:
            raise ValueError(
                f"{image['file']}: two images are called {image['stem']!r} but for their folder "
                "or ending; rename one of them"
            )
        known[image["stem"]] = image


def _drawn(image, classes):
    """The mask uint8 [H, W] of an image: its shapes in order, later ones on top."""
    background = classes.index(BACKGROUND) if BACKGROUND in classes else IGNORE
    mask = np.full((image["height"], image["width"]), background, np.uint8)
    for label, shape in zip(image["labels"], image["shapes"]):
        mask[shape()] = classes.index(label)
    return mask


def write_palette(label, path, n_classes):
    """Write a label uint8 [H, W] as a PNG of ids with a palette of class colours."""
    from ..figures.style import IGNORED, class_colours

    palette = np.full((256, 3), IGNORED, np.uint8)
    palette[:n_classes] = class_colours(n_classes)
    image = Image.fromarray(label.astype(np.uint8))
    image.putpalette(palette.ravel().tolist())
    image.save(path, "PNG", optimize=True)


def _values(where, entry, *keys):
    """The values of some keys of a dict; ValueError if it has not all of them."""
    for key in keys:
        if key not in entry:
            raise ValueError(f"{where} has no {key!r}: {str(entry)[:80]}")
    return [entry[key] for key in keys]


def _stem(name):
    """The stem of an image's file name, as written on any system."""
    return PurePosixPath(PureWindowsPath(str(name)).as_posix()).stem


def _polygons(polygons, height, width):
    """bool [H, W]: inside any of the polygons, lists of (x, y)."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for points in polygons:
        draw.polygon(points, fill=1, outline=1)
    return np.asarray(canvas)


# ---- COCO ---------------------------------------------------------------------------------------


def read_coco(file):
    """The annotated images of a COCO .json: dicts with stem, height, width, labels, shapes, file.

    Large shapes come first, so that small ones lie on top of them.
    """
    content = read_json(file)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(part not in content for part in parts):
        raise ValueError(f"{file}: not a COCO file; it needs {', '.join(parts)}")
    names = {}
    for category in content["categories"]:
        number, name = _values(f"{file}: a category", category, "id", "name")
        names[number] = str(name).strip()
    images = {}
    for entry in content["images"]:
        keys = ("id", "file_name", "height", "width")
        number, name, height, width = _values(f"{file}: an image", entry, *keys)
        images[number] = {
            "stem": _stem(name),
            "height": height,
            "width": width,
            "labels": [],
            "shapes": [],
            "file": file,
        }
    annotations = sorted(content["annotations"], key=lambda a: -a.get("area", 0))
    for annotation in annotations:
        where = f"{file}: annotation {annotation.get('id')}"
        number, category = _values(where, annotation, "image_id", "category_id")
        if number not in images:
            raise ValueError(f"{where}: no image {number}")
        if category not in names:
            raise ValueError(
                f"{where}: no category {category}; choose from {', '.join(map(str, names))}"
            )
        image = images[number]
        shape = _coco_shape(where, annotation.get("segmentation"), image["height"], image["width"])
        image["labels"].append(names[category])
        image["shapes"].append(shape)
    return [image for image in images.values() if image["labels"]]


def _coco_shape(where, segmentation, height, width):
    """A function that draws a segmentation: bool [H, W]."""
    if not segmentation:
        raise ValueError(f"{where}: no segmentation, only a box; export polygons or masks")
    if isinstance(segmentation, dict):
        counts, size = _values(f"{where}: its segmentation", segmentation, "counts", "size")
        if list(size) != [height, width]:
            raise ValueError(f"{where}: a mask of {size}, the image has {[height, width]}")
        if isinstance(counts, str):
            counts = _unpacked(where, counts)
        if sum(counts) != height * width:
            raise ValueError(f"{where}: run lengths of {sum(counts)} pixels, not {height * width}")
        return lambda: _run_lengths(counts, height, width)
    polygons = []
    for flat in segmentation:
        if len(flat) < 6 or len(flat) % 2:
            raise ValueError(f"{where}: a polygon of {len(flat)} numbers; x and y of three or more")
        polygons.append(list(zip(flat[::2], flat[1::2])))
    return lambda: _polygons(polygons, height, width)


def _run_lengths(counts, height, width):
    """bool [H, W] of lengths of runs, column by column, the first one outside."""
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _unpacked(where, text):
    """The run lengths in a compressed string of COCO.

    A number is written in groups of five bits, the lowest first, each as a letter from "0" on. Bit
    32 of a letter says that the number goes on, bit 16 of the last one that it is negative. From
    the fourth number on, the difference from the one before the last is written.
    """
    counts, value, shift = [], 0, 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64:
            raise ValueError(f"{where}: {letter!r} is no letter of a compressed mask")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value, shift = 0, 0
    return counts


# ---- labelme ------------------------------------------------------------------------------------


def read_labelme(folder):
    """The annotated images of a folder of labelme's .json files, as of read_coco, in file order."""
    files = sorted(Path(folder).glob("*.json"))
    if not files:
        raise ValueError(f"{folder}: no .json files of labelme here")
    found = []
    for file in files:
        content = read_json(file)
        if not isinstance(content, dict) or "shapes" not in content:
            raise ValueError(f"{file}: not a file of labelme; it has no 'shapes'")
        height, width = content.get("imageHeight"), content.get("imageWidth")
        if not height or not width:
            raise ValueError(f"{file}: imageHeight and imageWidth are missing; save it again")
        shapes = content["shapes"]
        if not shapes:
            continue
        for shape in shapes:
            _values(f"{file}: a shape", shape, "label", "points")
        found.append(
            {
                "stem": _stem(content.get("imagePath") or file.name),
                "height": height,
                "width": width,
                "labels": [str(shape["label"]).strip() for shape in shapes],
                "shapes": [_labelme_shape(file, shape, height, width) for shape in shapes],
                "file": file,
            }
        )
    return found


def _labelme_shape(file, shape, height, width):
    """A function that draws a shape: bool [H, W]."""
    kind = shape.get("shape_type") or "polygon"
    points = [tuple(point) for point in shape["points"]]
    if kind == "polygon" and len(points) > 2:
        return lambda: _polygons([points], height, width)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        return lambda: _polygons([corners], height, width)
    if kind == "circle" and len(points) == 2:
        return lambda: _disc(*points, height, width)
    if kind == "mask" and shape.get("mask"):
        return lambda: _pasted(file, shape["mask"], points[0], height, width)
    raise ValueError(
        f"{file}: shape {kind!r} of {len(points)} points, labelled {shape['label']!r}, "
        "covers no pixels; choose from polygon, rectangle, circle, mask"
    )


def _disc(centre, edge, height, width):
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(edge[0] - centre[0], edge[1] - centre[1])
    return np.hypot(x - centre[0], y - centre[1]) <= radius


def _pasted(file, text, corner, height, width):
    """bool [H, W] of a small PNG in base64 whose upper left corner is at (x, y)."""
    try:
        small = np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) > 0
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: a mask that cannot be read ({error})") from None
    left, top = round(corner[0]), round(corner[1])
    mask = np.zeros((height, width), bool)
    target = mask[top : top + small.shape[0], left : left + small.shape[1]]
    target |= small[: target.shape[0], : target.shape[1]]
    return mask
