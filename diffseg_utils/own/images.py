"""Images and masks of somebody's own folder, as the denoiser and the classifiers need them.

An image of any size becomes squares of S x S pixels: one, whose longer side is S and whose rest is
padded, or several tiles. Pixels of the squares that lie beside the image have the label PADDING.
Shapes: H x W image, h x w image after resizing.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ..data import Sample
from ..presets import PADDING
from .folder import fitted, pairs_of, size_of, starts

# Palette (its indices are ids), grey and black-and-white files hold ids; others hold colours.
IDS = ("1", "L", "P", "LA", "I", "I;16", "I;16B", "I;16L")
GREY_16 = ("I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class Part:
    """A square of an image: where it lies, how much of it is image, and which part of it counts.

    Tiles overlap. A pixel counts in one of them, the one in whose middle it is.
    """

    name: str  # added to the name of the image
    top: int
    left: int
    height: int  # of the image inside the square, from its upper left corner
    width: int
    rows: slice  # that count, within the square
    columns: slice


# ---- samples ------------------------------------------------------------------------------------


def samples_of(preset, split):
    """Yield the Samples of a split, in order, one image at a time: its square or its tiles."""
    for image_path, mask_path in pairs_of(preset, split):
        yield from samples_of_pair(image_path, mask_path, preset)


def samples_of_pair(image_path, mask_path, preset):
    """The Samples of one image with its mask, a list."""
    picture = read_picture(image_path, preset.range_16_bit)  # (H, W, 3)
    label = read_mask(mask_path, preset, picture.shape[:2])  # (H, W)
    size = fitted(*picture.shape[:2], preset.longer_side)  # (h, w)
    picture = resize_picture(picture, size)
    label = resize_label(label, size)
    found = []
    for part in parts_of(size, preset):
        square = cut_label(label, part, preset.label_size)
        found.append(
            Sample(image_path.stem + part.name, cut(picture, part, preset.label_size), square)
        )
    return found


def parts_of(size, preset):
    """The Parts of an image of size (h, w): one, or its tiles from left to right, row by row."""
    height, width = size
    side = preset.label_size
    found = []
    for top, rows in _tiles(height, preset):
        for left, columns in _tiles(width, preset):
            name = f"_y{top}_x{left}" if preset.tile else ""
            inside = min(side, height - top), min(side, width - left)
            found.append(Part(name, top, left, *inside, rows, columns))
    return found


def _tiles(length, preset):
    """[(where a tile begins, slice of it that counts), ...] along one axis."""
    side = preset.label_size
    begins = starts(length, preset.tile, preset.overlap)
    middles = [(a + side + b) // 2 for a, b in zip(begins, begins[1:])]
    edges = [0, *middles, max(length, side)]
    return [(a, slice(low - a, high - a)) for a, low, high in zip(begins, edges, edges[1:])]


def cut(picture, part, side):
    """The square [side, side, 3] of a part; beside the image it is mirrored."""
    inside = picture[part.top : part.top + part.height, part.left : part.left + part.width]
    beside = ((0, side - part.height), (0, side - part.width), (0, 0))
    return np.pad(inside, beside, mode="symmetric")


def cut_label(label, part, side):
    """The label [side, side] of a part; PADDING beside the image and where another tile counts."""
    square = np.full((side, side), PADDING, np.int64)
    inside = label[part.top : part.top + part.height, part.left : part.left + part.width]
    square[: part.height, : part.width] = inside
    counts = np.zeros((side, side), bool)
    counts[part.rows, part.columns] = True
    return np.where(counts, square, PADDING)


# ---- reading images -----------------------------------------------------------------------------


def read_picture(path, range_16_bit=(0, 65535)):
    """uint8 [H, W, 3] of an image file, turned as its EXIF entry says; alpha is dropped.

    range_16_bit: values of a grey 16-bit image that become black and white. ValueError names the
    file and what is wrong with it.
    """
    image = _opened(path)
    _check_mode(path, image)
    if image.mode in GREY_16:
        values = np.asarray(ImageOps.exif_transpose(image)).astype(np.float64)
        low, high = range_16_bit
        grey = ((values - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    if _has_16_bit_colours(image) and tuple(range_16_bit) != (0, 65535):
        raise ValueError(
            f"{path}: a colour image of 16 bit, to which range_16_bit {list(range_16_bit)} does "
            "not apply; save it with 8 bit, or take range_16_bit: [0, 65535]"
        )
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def look_at(path):
    """(height, width, mode) of an image file; no pixel is read.

    ValueError for a file that read_picture refuses, as far as that can be told from its header.
    """
    size = size_of(path)
    with Image.open(path) as image:
        _check_mode(path, image)
        _check_pages(path, image)
        return *size, image.mode


def range_of(path):
    """(lowest, highest) value of an image of one channel."""
    return _opened(path).getextrema()


def _check_mode(path, image):
    if image.mode == "CMYK":
        raise ValueError(f"{path}: a CMYK image; save it as RGB")
    if image.mode == "F":
        raise ValueError(f"{path}: an image of floating-point numbers; save it with 8 or 16 bit")


def _check_pages(path, image):
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # some phones add a second picture to a photograph
        raise ValueError(f"{path}: it holds {pages} pages; save each as a file of its own")


def _opened(path):
    """The image in a file, all of it read; ValueError if it cannot be, or if it has pages."""
    try:
        with Image.open(path) as image:
            _check_pages(path, image)
            how = image.tile[0].args if image.tile else ""
            image.load()
    except Exception as error:  # pillow raises many kinds, also for files that are too large
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if reason.startswith(str(path)):
            raise
        raise ValueError(f"{path}: not a readable image ({reason})") from None
    image.info["read as"] = how if isinstance(how, str) else str(how[0] if how else "")
    return image


def _has_16_bit_colours(image):
    """Whether pillow drops the lower eight bits of each colour, as it does with 16-bit files."""
    return ";16" in image.info["read as"]


def resize_picture(picture, size):
    """[h, w, 3] of a picture [H, W, 3]: averaged when it shrinks, bicubic when it grows."""
    if picture.shape[:2] == size:
        return picture
    method = Image.BOX if picture.shape[0] > size[0] else Image.BICUBIC
    return np.asarray(Image.fromarray(picture).resize(size[::-1], method))


# ---- reading masks ------------------------------------------------------------------------------


def read_mask(path, preset, shape):
    """int64 [H, W] of class ids and the ignore label, of a mask for an image of `shape` (H, W).

    Unlabelled pixels between scribbles are PADDING.
    ValueError names the file, the value and the choices.
    """
    values = _values_of(path, preset)
    if values.shape != tuple(shape):
        height, width = values.shape
        raise ValueError(
            f"{path}: {width} x {height} pixels, but its image has {shape[1]} x {shape[0]} "
            "(as its EXIF entry turns it); draw the mask on the image as it is"
        )
    if preset.colours:
        return values  # class ids already
    if preset.values:
        return _mapped(path, values, dict(preset.values), "values")
    if preset.unlabelled:
        unlabelled, ignored = values == 0, values == preset.ignore_label
        label = np.where(unlabelled | ignored, preset.ignore_label, values - 1)
        return np.where(unlabelled, PADDING, _checked(path, label, preset, 1))
    present = set(np.unique(values).tolist())
    if 255 in present and present <= {0, 255}:
        raise ValueError(
            f"{path}: it holds only 0 and 255, and {preset.ignore_label} means ignore; say what "
            f"they are with `values: {{0: {preset.classes[0]}, 255: {preset.classes[-1]}}}`"
        )
    return _checked(path, values, preset, 0)


def _values_of(path, preset):
    """Integers [H, W] of a mask file; of a colour image, the ids of its colours."""
    if path.suffix == ".npy":
        return _array_of(path)
    image = _opened(path)
    if image.mode not in (*IDS, "RGB", "RGBA"):
        raise ValueError(f"{path}: a mask of mode {image.mode}; palette, grey or RGB is needed")
    if preset.colours and image.mode in ("P", "RGB", "RGBA"):
        return _ids_of_colours(path, np.asarray(image.convert("RGB")), preset)
    if image.mode in IDS:
        values = np.asarray(image).astype(np.int64)
        return values[..., 0] if image.mode == "LA" else values
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    if (pixels != pixels[..., :1]).any():
        y, x = np.argwhere((pixels != pixels[..., :1]).any(2))[0]
        raise ValueError(
            f"{path}: a mask in colours, such as {_hex(pixels[y, x])} at row {y}, column {x}; "
            "give the colour of each class under `colours:`"
        )
    return pixels[..., 0]


def _array_of(path):
    try:
        with open(path, "rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a readable .npy mask ({reason})") from None
    if values.dtype.kind not in "uib" or values.ndim != 2:
        raise ValueError(
            f"{path}: {values.dtype} of shape {values.shape}; integers [height, width] are needed"
        )
    return values.astype(np.int64)


def _ids_of_colours(path, pixels, preset):
    """Class ids [H, W] of colours [H, W, 3]."""
    packed = _packed(pixels.astype(np.int64))  # (H, W)
    known = {int(_packed(np.array(rgb))): class_id for rgb, class_id in preset.colours}
    found = np.unique(packed)
    for colour in found.tolist():
        if colour not in known:
            y, x = np.argwhere(packed == colour)[0]
            choices = ", ".join(_hex(rgb) for rgb, _ in preset.colours)
            raise ValueError(
                f"{path}: the colour {_hex(pixels[y, x])} at row {y}, column {x} is not among "
                f"the colours of {preset.file.name}: {choices}"
            )
    return _looked_up(packed, known)


def _packed(rgb):
    """One number for red, green and blue: [..., 3] -> [...]."""
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


def _hex(rgb):
    return "#" + "".join(f"{int(part):02x}" for part in rgb)


def _mapped(path, values, meaning, key):
    """values [H, W] replaced by what they mean; ValueError for one that has no meaning."""
    for value in np.unique(values).tolist():
        if value not in meaning:
            raise ValueError(
                f"{path}: the value {value} is not among `{key}:`; "
                f"choose from {', '.join(map(str, meaning))}"
            )
    return _looked_up(values, meaning)


def _looked_up(values, meaning):
    """values with each one replaced by meaning[value]."""
    present, place = np.unique(values, return_inverse=True)
    table = np.array([meaning[value] for value in present.tolist()], np.int64)
    return table[place].reshape(values.shape)


def _checked(path, label, preset, first):
    """The label, if it holds class ids and the ignore label only; in the file from `first` on."""
    wrong = (label < 0) | (label >= preset.n_classes)
    wrong &= label != preset.ignore_label
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        last = preset.n_classes - 1 + first
        raise ValueError(
            f"{path}: the value {label[y, x] + first} at row {y}, column {x}; the "
            f"{preset.n_classes} classes are {first}..{last}, and {preset.ignore_label} is ignored"
        )
    return label


def resize_label(label, size):
    """[h, w] of a label [H, W]: the class that covers most of each new pixel.

    Of equal shares the lowest id wins. Any labelled pixel counts more than all unlabelled ones
    (PADDING), so that a thin scribble stays.
    """
    if label.shape == size:
        return label
    best = np.zeros(size, np.float32)
    found = np.full(size, PADDING, np.int64)
    for value in np.unique(label).tolist():
        if value == PADDING:
            continue
        covered = Image.fromarray((label == value).astype(np.float32))
        share = np.asarray(covered.resize(size[::-1], Image.BOX))  # (h, w)
        wins = share > best
        best[wins], found[wins] = share[wins], value
    return found


# ---- all of a folder ----------------------------------------------------------------------------


def read_all(preset):
    """Yield (split, image path, its size (H, W), pixels of each class [C], or what is wrong).

    Every image with a mask is read; what is wrong is a ValueError.
    """
    for split in preset.stored_splits():
        for image_path, mask_path in pairs_of(preset, split):
            try:
                shape = read_picture(image_path, preset.range_16_bit).shape[:2]
                label = read_mask(mask_path, preset, shape)
            except ValueError as error:
                yield split, image_path, None, error
                continue
            known = label[(label >= 0) & (label < preset.n_classes)]
            yield split, image_path, shape, np.bincount(known, minlength=preset.n_classes)


def check_masks(preset):
    """Read every image and mask once.

    ValueError for the first that is wrong, and for a class without a pixel to learn from.
    """
    pixels = np.zeros(preset.n_classes, np.int64)
    for split, _, _, found in read_all(preset):
        if isinstance(found, ValueError):
            raise found
        if split == "train":
            pixels += found
    check_classes(preset, pixels)


def check_classes(preset, pixels):
    """ValueError if a class, but for an ignored one, has no pixel in any mask to learn from."""
    for i, (name, count) in enumerate(zip(preset.classes, pixels)):
        if count == 0 and i != preset.ignore_label:
            raise ValueError(
                f"{preset.file}: class {name!r} has no pixel in any mask of "
                f"{preset.folder / 'masks'}; draw it in one of them, or take it out of `classes:`"
            )
