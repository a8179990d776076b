"""Masks from COCO and labelme files, written here as the documented formats say."""

import base64
import io
import json

import numpy as np
import pytest
from conftest import diffseg
from own_folders import disc, make_folder
from PIL import Image

from diffseg_utils.own.annotations import new_from
from diffseg_utils.own.folder import DEFAULTS, preset_of
from diffseg_utils.own.images import read_mask

BOX = [[2, 1, 7, 1, 7, 4, 2, 4]]  # x and y of a rectangle


def coco(**changes):
    """What CVAT and Label Studio export: two images of 10 x 8 pixels, three annotations."""
    content = {
        "info": {"description": "export"},
        "licenses": [],
        "categories": [
            {"id": 1, "name": "cell", "supercategory": ""},
            {"id": 7, "name": "nucleus", "supercategory": "cell"},
        ],
        "images": [
            {"id": 3, "file_name": "slide 1.tif", "width": 10, "height": 8},
            {"id": 4, "file_name": "sub\\slide2.tif", "width": 10, "height": 8},
            {"id": 5, "file_name": "empty.tif", "width": 10, "height": 8},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 7, "segmentation": [[4, 2, 5, 2, 5, 3, 4, 3]],
             "area": 2, "bbox": [4, 2, 1, 1], "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 1, "segmentation": BOX, "area": 15,
             "bbox": [2, 1, 5, 3], "iscrowd": 0},
            {"id": 3, "image_id": 4, "category_id": 1, "iscrowd": 1, "area": 8,
             "segmentation": {"size": [8, 10], "counts": [16, 8, 56]}},
        ],
    }  # fmt: skip
    return content | changes


def labelme(name="a.jpg", shapes=()):
    """What labelme saves beside an image of 10 x 8 pixels."""
    shapes = shapes or [shape("cell", "polygon", [[2, 1], [7, 1], [7, 4], [2, 4]])]
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": 8,
        "imageWidth": 10,
    }


def shape(label, kind, points, **more):
    described = {"label": label, "points": points, "group_id": None, "shape_type": kind}
    return described | {"flags": {}} | more


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def mask(folder, stem):
    image = Image.open(folder / "masks" / f"{stem}.png")
    assert image.mode == "P"
    return np.asarray(image)


def expected_box():
    found = np.zeros((8, 10), np.uint8)
    found[1:5, 2:8] = 1
    return found


def test_coco(tmp_path):
    file = write(tmp_path / "annotations.json", coco())
    done = diffseg("new", tmp_path / "my cells", "--from", file)
    assert done.exit_code == 0 and "2 masks drawn" in done.output, done.output
    text = (tmp_path / "my cells" / "dataset.yml").read_text()
    assert "classes:\n  - background\n  - cell\n  - nucleus\n" in text
    assert all(f"\n{key}:" in text for key in DEFAULTS)
    first = expected_box()
    first[2:4, 4:6] = 2
    assert (mask(tmp_path / "my cells", "slide 1") == first).all(), "small shapes lie on large ones"
    second = np.zeros((8, 10), np.uint8)
    second[:, 2] = 1
    assert (mask(tmp_path / "my cells", "slide2") == second).all()
    assert not (tmp_path / "my cells" / "masks" / "empty.png").exists(), "an unlabelled image"


def test_compressed_run_lengths_of_coco(tmp_path):
    """The string is what pycocotools writes for the box."""
    segmentation = {"size": [8, 10], "counts": "a044000000000?"}
    annotation = {"id": 1, "image_id": 3, "category_id": 1, "segmentation": segmentation}
    file = write(tmp_path / "a.json", coco(annotations=[annotation]))
    new_from(tmp_path / "f", file)
    assert (mask(tmp_path / "f", "slide 1") == expected_box()).all()
    segmentation["counts"] = "a0 4"
    file = write(tmp_path / "a.json", coco(annotations=[annotation]))
    with pytest.raises(ValueError, match="' ' is no letter of a compressed mask"):
        new_from(tmp_path / "g", file)
    segmentation["counts"] = "a0"
    file = write(tmp_path / "a.json", coco(annotations=[annotation]))
    with pytest.raises(ValueError, match="run lengths of 17 pixels, not 80"):
        new_from(tmp_path / "g", file)


def test_labelme(tmp_path):
    small = io.BytesIO()
    Image.fromarray(np.array([[0, 255], [255, 255]], np.uint8)).save(small, "PNG")
    shapes = [
        shape("cell", "rectangle", [[2, 1], [7, 4]]),
        shape("hole", "circle", [[5, 3], [5, 4]]),
        shape("dust", "mask", [[8, 6], [9, 7]], mask=base64.b64encode(small.getvalue()).decode()),
    ]
    write(tmp_path / "json" / "a.json", labelme("..\\pictures\\a.jpg", shapes))
    write(tmp_path / "json" / "b.json", labelme("b.jpg"))
    drawn = new_from(tmp_path / "f", tmp_path / "json")
    assert drawn == {"a": 3, "b": 1}
    found = expected_box()
    found[3, 4:7] = found[2:5, 5] = 2
    found[6, 9] = found[7, 8:] = 3
    assert (mask(tmp_path / "f", "a") == found).all()
    assert (mask(tmp_path / "f", "b") == expected_box()).all()


def test_without_a_background_the_rest_is_ignored(tmp_path):
    write(tmp_path / "json" / "a.json", labelme())
    new_from(tmp_path / "f", tmp_path / "json", ["other", "cell"])
    assert (mask(tmp_path / "f", "a") == np.where(expected_box(), 1, 255)).all()


def polygon_of(*numbers):
    return [{"id": 9, "image_id": 3, "category_id": 1, "segmentation": [list(numbers)], "area": 1}]


@pytest.mark.parametrize(
    "content, words",
    [
        ([1], "not a COCO file; it needs images, annotations, categories"),
        (coco(annotations=[]), "no shape on any image"),
        (coco(annotations=polygon_of(1, 2, 3)), "annotation 9: a polygon of 3 numbers"),
        (coco(categories=[{"id": 2, "name": "x"}]), "annotation 2: no category 1; choose from 2"),
        (coco(images=[]), "annotation 2: no image 3"),
        (coco(annotations=[{"id": 1, "image_id": 3, "category_id": 1}]), "only a box"),
    ],
)
def test_mistakes_in_a_coco_file(tmp_path, content, words):
    file = write(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=r"a\.json: ") as caught:
        new_from(tmp_path / "f", file)
    assert words in str(caught.value) and not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    "content, words",
    [
        ({}, "not a file of labelme"),
        (labelme() | {"imageHeight": None}, "imageHeight and imageWidth are missing"),
        (labelme(shapes=[shape("cell", "line", [[1, 1], [2, 2]])]), "shape 'line' of 2 points"),
        (labelme(shapes=[shape("cel", "rectangle", [[1, 1], [2, 2]])]), "did you mean 'cell'?"),
    ],
)
def test_mistakes_in_a_labelme_file(tmp_path, content, words):
    write(tmp_path / "json" / "a.json", content)
    done = diffseg("new", tmp_path / "f", "--from", tmp_path / "json", "--classes", "cell, other")
    assert done.exit_code == 1 and "a.json: " in done.stderr and words in done.stderr
    assert not (tmp_path / "f").exists()


# ---- other tools ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "key", "words"),
    [
        ("images", "height", "an image has no 'height'"),
        ("images", "file_name", "an image has no 'file_name'"),
        ("categories", "name", "a category has no 'name'"),
        ("annotations", "image_id", "annotation 1 has no 'image_id'"),
    ],
)
def test_a_missing_key_of_coco_is_named(tmp_path, part, key, words):
    content = coco()
    del content[part][0][key]
    with pytest.raises(ValueError, match=f"c.json: {words}"):
        new_from(tmp_path / "new", write(tmp_path / "c.json", content))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("key", ["label", "points"])
def test_a_missing_key_of_labelme_is_named(tmp_path, key):
    content = labelme()
    del content["shapes"][0][key]
    write(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=f"a.json: a shape has no '{key}'"):
        new_from(tmp_path / "new", tmp_path)


def test_blanks_around_a_label_do_not_count(tmp_path):
    rectangle = [[2, 1], [7, 4]]
    shapes = [shape("cell ", "rectangle", rectangle), shape("cell", "rectangle", rectangle)]
    write(tmp_path / "a.json", labelme(shapes=shapes))
    new_from(tmp_path / "new", tmp_path)
    assert "cell" in (tmp_path / "new" / "dataset.yml").read_text()


def test_coco_of_roboflow_has_a_category_that_no_shape_has(tmp_path):
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "cell", "supercategory": "cells"},
    ]
    images = [{"id": 3, "file_name": "a_jpg.rf.0f3c.jpg", "width": 10, "height": 8}]
    annotation = {"id": 1, "image_id": 3, "category_id": 1, "segmentation": BOX, "area": 15}
    content = coco(categories=categories, images=images, annotations=[annotation])
    new_from(tmp_path / "f", write(tmp_path / "_annotations.coco.json", content))
    assert (mask(tmp_path / "f", "a_jpg.rf.0f3c") == expected_box()).all()
    assert "- cells\n" not in (tmp_path / "f" / "dataset.yml").read_text()


@pytest.mark.parametrize(
    ("tool", "name", "save"),
    [
        ("ImageJ, 8 bit", "i0.tif", lambda ids: Image.fromarray(ids.astype(np.uint8))),
        ("ImageJ and QuPath, 16 bit", "i0.tif", lambda ids: Image.fromarray(ids.astype("<u2"))),
        ("napari, 32 bit", "i0.tif", lambda ids: Image.fromarray(ids.astype(np.int32))),
        ("QuPath, 8 bit", "i0.png", lambda ids: Image.fromarray(ids.astype(np.uint8))),
        ("napari, 64 bit", "i0.npy", None),
    ],
)
def test_label_images_fit_as_they_are(tmp_path, tool, name, save):
    folder = make_folder(tmp_path, n_masks=2)
    ids = disc(0)[1]
    (folder / "masks" / "i0.png").unlink()
    if save is None:
        np.save(folder / "masks" / name, ids.astype(np.int64))
    else:
        how = {"compression": "tiff_adobe_deflate"} if name.endswith("tif") else {}
        save(ids).save(folder / "masks" / name, **how)
    preset = preset_of(str(folder))
    assert (read_mask(folder / "masks" / name, preset, ids.shape) == ids).all(), tool


def test_a_label_image_of_floating_point_numbers_is_refused(tmp_path):
    preset = preset_of(str(make_folder(tmp_path)))
    ids = disc(0)[1]
    Image.fromarray(ids.astype(np.float32)).save(tmp_path / "m.tif")
    with pytest.raises(ValueError, match=r"m.tif: a mask of mode F; palette, grey or RGB"):
        read_mask(tmp_path / "m.tif", preset, ids.shape)


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_masks_of_cvat_need_the_colours_of_its_labelmap(tmp_path, mode):
    text = "colours: {background: [0, 0, 0], disc: [250, 50, 83]}"
    folder = make_folder(tmp_path, text=text)
    ids = disc(0)[1]
    pixels = np.array([[0, 0, 0], [250, 50, 83]], np.uint8)[ids]
    file = folder / "masks" / "i0.png"
    image = Image.fromarray(pixels)
    (image.quantize(2) if mode == "P" else image).save(file)
    assert (read_mask(file, preset_of(str(folder)), ids.shape) == ids).all()
