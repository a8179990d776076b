"""Somebody's own folder as a dataset: what is read, what is refused, and how images are cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from conftest import diffseg
from own_folders import disc, make_folder, write_yaml
from PIL import Image

from diffseg_utils.classifiers import PixelEnsemble
from diffseg_utils.data import labels_of, samples
from diffseg_utils.metrics import confusion, mean_iou
from diffseg_utils.own import images
from diffseg_utils.own.check import report
from diffseg_utils.own.folder import DEFAULTS, preset_from, preset_of, starts, unmasked
from diffseg_utils.own.folds import FoldEnsembles
from diffseg_utils.own.new import new
from diffseg_utils.presets import PADDING
from diffseg_utils.runs import Run, preflight
from diffseg_utils.runs.records import Checksums, fingerprint
from diffseg_utils.runs.stages import FEATURES, TRAINING, Job


@pytest.fixture
def folder(tmp_path):
    """Four images in a path with spaces, three of them with a mask."""
    return make_folder(tmp_path / "my discs", 4, 3)


def refusal(folder):
    """The sentence with which a run of the folder is refused before it starts."""
    with pytest.raises((ValueError, OSError)) as caught:
        images.check_masks(preset_of(str(folder)))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# ---- a folder is a preset -----------------------------------------------------------------------


def test_a_path_to_the_file_or_to_the_folder_names_the_dataset(folder, monkeypatch):
    run = Run(str(folder))
    assert run.name == "my_discs" and run.recipe == "tuned" and run.backbone_used == "photo"
    assert run == Run(str(folder / "dataset.yml"))
    monkeypatch.chdir(folder.parent)
    assert run == Run("my discs"), "a relative path counts from where one is"
    assert run.preset.counts == {"train": 3, "validation": 0, "test": 3}
    assert [path.name for path in unmasked(run.preset)] == ["i3.png"]
    assert Run(str(folder), recipe="published").setting == "seed0"


def test_every_default_is_written_out(tmp_path):
    file = new(tmp_path / "cells", ["background", "cell", "on", "a: b"])
    said = yaml.safe_load(file.read_text())
    assert said.pop("classes") == ["background", "cell", "on", "a: b"]
    assert said.pop("name") == "cells"
    assert said == {k: v for k, v in DEFAULTS.items() if k not in ("name", "classes")}
    assert "imagenet" in file.read_text() and "rooms, faces and cats" in file.read_text()
    with pytest.raises(ValueError, match="there already"):
        new(tmp_path / "cells", ["a", "b"])


def test_it_survives_run_json(folder):
    preset = preset_of(str(folder))
    again = preset_from(preset.described())
    assert again.own and replace(again, path=preset.path) == preset


def test_a_moved_folder_is_the_same_dataset_and_another_pixel_is_not(folder, tmp_path):
    def found(path):
        job = Job.of(TRAINING, Run(str(path), results=str(tmp_path / "results")), {})
        return fingerprint(job, Checksums(tmp_path / "data" / "runs"))

    before = found(folder)
    assert "own/images.py" in before["modules"]
    assert not any(
        "own/" in name
        for name in fingerprint(
            Job.of(FEATURES, Run("mini_smoke", results=str(tmp_path / "results")), {}),
            Checksums(tmp_path / "data" / "runs"),
        )["modules"]
    )
    moved = folder.rename(tmp_path / "my discs 2")
    write_yaml(moved, "name: my_discs")
    assert found(moved) == before
    Image.fromarray(1 - disc(0)[1]).save(moved / "masks" / "i0.png")
    assert found(moved)["values"] != before["values"]


def test_folders_of_test_images_end_the_folds(folder):
    make_folder(folder / "held out", 2, 2)
    write_yaml(folder, "test: held out")
    preset = preset_of(str(folder))
    assert preset.counts == {"train": 3, "validation": 0, "test": 2} and preset.n_folds == 0
    assert [sample.name for sample in samples(preset, "test")] == ["i0", "i1"]


# ---- images become squares ----------------------------------------------------------------------


def test_the_longer_side_is_resized_and_the_rest_is_padded(folder):
    found = list(samples(preset_of(str(folder)), "train"))
    assert [sample.name for sample in found] == ["i0", "i1", "i2"]
    for sample, (height, width) in zip(found, ((41, 64), (64, 41), (64, 64))):
        assert sample.image.shape == (64, 64, 3) and sample.image.dtype == np.uint8
        inside = np.zeros((64, 64), bool)
        inside[:height, :width] = True
        assert ((sample.label != PADDING) == inside).all()
        assert set(np.unique(sample.label[inside])) == {0, 1}
    beside = found[0].image[41:, :]
    assert (beside == found[0].image[18:41][::-1]).all(), "mirrored, no edge for the denoiser"


def test_a_square_of_the_right_size_is_left_alone(folder):
    image, mask = disc(2)
    sample = list(samples(preset_of(str(folder)), "train"))[2]
    assert (sample.image == image).all() and (sample.label == mask).all()


def test_padding_is_neither_trained_on_nor_counted(folder):
    labels = labels_of(preset_of(str(folder)), "train")
    scored = (labels >= 0) & (labels < 2) & (labels != 255)
    assert scored.sum() == 41 * 64 * 2 + 64 * 64
    truth = labels[0].numpy()
    counts = confusion(np.zeros_like(truth), truth, 2)
    assert counts.sum() == 41 * 64
    inside = truth[:41]
    assert (counts == confusion(np.zeros_like(inside), inside, 2)).all()
    everywhere = confusion(np.where(truth == PADDING, 1, truth), truth, 2)
    assert mean_iou(everywhere) == pytest.approx(1), "a class beside the image costs nothing"


def test_tiles_cover_an_image_and_count_every_pixel_once(tmp_path):
    folder = make_folder(tmp_path / "large", 2, 2, size=(70, 150))
    write_yaml(folder, "tile: 64\noverlap: 16", longer_side="original")
    preset = preset_of(str(folder))
    assert preset.n_parts == (6, 6) and preset.counts["train"] == 12
    assert preset.folds() == [0] * 6 + [1] * 6, "the tiles of an image share a fold"
    parts = images.parts_of((70, 150), preset)
    image, mask = disc(0, (70, 150))
    counted = np.zeros((70, 150), int)
    for part, sample in zip(parts, samples(preset, "train")):
        assert sample.name == f"i0_y{part.top}_x{part.left}"
        place = np.s_[part.top : part.top + part.height, part.left : part.left + part.width]
        assert (sample.image[: part.height, : part.width] == image[place]).all()
        known = sample.label != PADDING
        counted[place] += known[: part.height, : part.width]
        assert (sample.label == mask[place])[known[: part.height, : part.width]].all()
    assert (counted == 1).all()


@pytest.mark.parametrize("length", [10, 64, 65, 100, 127, 128, 500])
def test_tiles_begin_evenly_and_overlap(length):
    begins = starts(length, 64, 16)
    assert begins[0] == 0 and begins[-1] + 64 >= length
    assert all(16 <= a + 64 - b <= 64 for a, b in zip(begins, begins[1:]))
    assert starts(length, 0, 0) == [0]


def test_a_label_shrinks_by_area_and_scribbles_stay():
    label = np.zeros((40, 40), np.int64)
    label[:, 20:] = 1
    label[10, 3] = 1
    small = images.resize_label(label, (10, 10))
    assert (small == np.repeat([[0] * 5 + [1] * 5], 10, 0)).all()
    scribble = np.full((40, 40), 255)
    scribble[10, :20] = 1
    assert (images.resize_label(scribble, (10, 10)) == 255).all()
    kept = images.resize_label(np.where(scribble == 255, PADDING, scribble), (10, 10))
    assert (kept[2, :5] == 1).all() and (kept == 1).sum() == 5


# ---- files of every kind ------------------------------------------------------------------------


def test_photographs_of_every_kind(tmp_path):
    image, _ = disc(0)
    grey = image[..., 0]
    files = {"a.png": image, "b.jpg": image, "c.webp": image, "d.tif": image, "g.png": grey}
    for name, pixels in files.items():
        Image.fromarray(pixels).save(tmp_path / name)
        assert images.read_picture(tmp_path / name).shape == (90, 140, 3)
    assert (images.read_picture(tmp_path / "g.png") == grey[..., None]).all()
    Image.fromarray(image).convert("RGBA").save(tmp_path / "h.png")
    assert (images.read_picture(tmp_path / "h.png") == image).all()
    Image.fromarray(image).quantize(16).save(tmp_path / "palette.png")
    assert images.read_picture(tmp_path / "palette.png").shape == (90, 140, 3)


def test_exif_turns_an_image(tmp_path):
    image, _ = disc(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    assert (images.read_picture(tmp_path / "turned.png") == np.rot90(image, -1)).all()
    for ending in ("jpg", "tif"):
        Image.fromarray(image).save(tmp_path / f"turned.{ending}", exif=exif)
    assert images.read_picture(tmp_path / "turned.tif").shape == (140, 90, 3)
    for name in ("turned.png", "turned.jpg", "turned.tif"):
        assert images.look_at(tmp_path / name) == (140, 90, "RGB")


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_is_scaled_as_stated(tmp_path, ending):
    values = np.arange(0, 4096 * 4, 64, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    found = images.read_picture(tmp_path / f"a.{ending}", (0, 4095))[..., 0]
    assert (found == np.clip(np.round(values * (255 / 4095)), 0, 255)).all()
    assert images.read_picture(tmp_path / f"a.{ending}").max() == round(
        int(values.max()) * 255 / 65535
    )


def read(folder, name, values, text="", **how):
    """The label of a mask file that holds `values`."""
    path = folder / "masks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".npy"):
        np.save(path, values)
    else:
        image = values if isinstance(values, Image.Image) else Image.fromarray(values)
        image.save(path, **how)
    write_yaml(folder, text, classes="[sky, tree, road]")
    make_folder_images(folder)
    preset = preset_of(str(folder))
    shape = np.asarray(values).shape[:2]
    return images.read_mask(path, preset, shape)


def make_folder_images(folder):
    (folder / "images").mkdir(exist_ok=True)
    for name in ("m", "m2"):
        Image.fromarray(disc(0)[0]).save(folder / "images" / f"{name}.png")
        mask = folder / "masks" / f"{name}.png"
        if not list((folder / "masks").glob(f"{name}.*")):
            Image.fromarray(disc(0)[1]).save(mask)


IDS = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.npy"])
def test_masks_of_ids(tmp_path, name):
    assert (read(tmp_path, name, IDS) == IDS).all()


def test_masks_of_other_kinds(tmp_path):
    palette = Image.fromarray(IDS)
    palette.putpalette([10, 20, 30] * 256)
    assert (read(tmp_path / "p", "m.png", palette) == IDS).all(), "indices are ids"
    assert (read(tmp_path / "g", "m.png", np.repeat(IDS[..., None], 3, 2)) == IDS).all()
    wide = IDS.astype(np.uint16)
    assert (read(tmp_path / "w", "m.png", wide) == IDS).all()
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255]], np.uint8)
    said = 'colours: {sky: "#000000", tree: [255, 0, 0], road: "#0080ff"}'
    ids = IDS % 255 % 3
    assert (read(tmp_path / "c", "m.png", colours[ids], said) == ids).all()
    values = np.where(ids == 1, 255, 0).astype(np.uint8)
    said = "values: {0: sky, 255: tree}"
    assert (read(tmp_path / "v", "m.png", values, said) == (ids == 1)).all()
    scribble = np.array([[0, 0, 1], [2, 3, 255]], np.uint8)
    expected = [[PADDING, PADDING, 0], [1, 2, 255]]
    assert (read(tmp_path / "s", "m.png", scribble, "unlabelled: ignore") == expected).all()


# ---- bad input: one sentence with file, value and choices, and nothing is written ---------------


def test_a_mask_of_another_size(folder):
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(folder / "masks" / "i1.png")
    assert "masks/i1.png: 7 x 5 pixels, but its image has 90 x 140" in refusal(folder)


def test_a_colour_that_is_not_in_the_yaml(folder):
    write_yaml(folder, 'colours: {background: "#000000", disc: "#ff0000"}')
    for i in range(3):
        mask = disc(i)[1][..., None] * np.array([255, 0, 0], np.uint8)
        mask[2, 3] = (1, 2, 3) if i == 1 else mask[2, 3]
        Image.fromarray(mask).save(folder / "masks" / f"i{i}.png")
    sentence = refusal(folder)
    assert "masks/i1.png: the colour #010203 at row 2, column 3" in sentence
    assert "#000000, #ff0000" in sentence
    write_yaml(folder)
    assert "masks/i0.png: a mask in colours, such as #ff0000" in refusal(folder)


@pytest.mark.parametrize("name", ["2024", "2024-05-01", "yes", "007"])
def test_a_folder_whose_name_yaml_would_take_for_something_else(tmp_path, name):
    new(tmp_path / name, ["background", "disc"])
    make_folder_images(tmp_path / name)
    assert preset_of(str(tmp_path / name)).name == name


def test_a_class_that_is_too_small_to_be_learned_is_said(tmp_path):
    make_folder(tmp_path, size=(512, 512))
    write_yaml(tmp_path, classes="[background, disc, dot]")
    for path in (tmp_path / "masks").iterdir():
        mask = np.array(Image.open(path))
        mask[:8, :8] = 2  # one pixel of a label of 64 x 64
        Image.fromarray(mask).save(path)
    words = "no training pixel of dot (in labels of 64 x 64"
    assert words in preflight.unlearnable(Run(str(tmp_path)))
    done = diffseg("check", tmp_path, "--no-times")
    assert not done.exit_code and words in done.stdout


def test_a_file_that_is_no_utf_8(folder):
    (folder / "dataset.yml").write_bytes("classes: [sky, b\xe4r]".encode("latin-1"))
    assert "dataset.yml: not a text in UTF-8" in refusal(folder)


def test_a_class_without_a_pixel(folder):
    write_yaml(folder, classes="[background, disc, moon]")
    assert "dataset.yml: class 'moon' has no pixel in any mask" in refusal(folder)


def test_a_cmyk_image(folder):
    (folder / "images" / "i1.png").unlink()
    Image.fromarray(disc(1)[0]).convert("CMYK").save(folder / "images" / "i1.jpg")
    assert "images/i1.jpg: a CMYK image; save it as RGB" in refusal(folder)


def test_two_files_of_one_stem(folder):
    Image.fromarray(disc(1)[0]).save(folder / "images" / "i1.jpg")
    assert "images/i1.png: i1.jpg has the same name but for its ending" in refusal(folder)


def test_empty_folders(folder, tmp_path):
    new(tmp_path / "empty", ["a", "b"])
    assert "empty/images: no images here; .png, .jpg" in refusal(tmp_path / "empty")
    for path in (folder / "masks").iterdir():
        path.unlink()
    assert "masks: no masks here; draw some" in refusal(folder)
    assert "nowhere/dataset.yml: no such file; `diffseg new" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "line, words",
    [
        ("clases: [a, b]", "dataset.yml: unknown key 'clases'; did you mean 'classes'?"),
        ("wobble: 3", "unknown key 'wobble'; choose from name, classes, backbone"),
        ("backbone: fhotos", "backbone: 'fhotos'; did you mean 'photo'?"),
        ("recipe: tunned", "recipe: 'tunned'; did you mean 'tuned'?"),
        ("ignore: 254", "ignore: 254 means padding"),
        ("ignore: many", "ignore: 'many'; a whole number from 0 to 255"),
        ("name: figures", "name: 'figures' is a folder of the kit"),
        ("name: cat_15", "name: 'cat_15' is a dataset of this kit"),
        ("name: a/b", "name: 'a/b'; letters, digits"),
        ("unlabelled: 0", "unlabelled: 0; write `unlabelled: ignore`"),
        ("values: {0: background, 255: dics}", "no class 'dics'; did you mean 'disc'?"),
        ("colours: {disc: red}", "colours: 'red'; write a colour as \"#ff0000\""),
        ("folds: 1", "folds: 1; a whole number from 2"),
        ("test: elsewhere", "elsewhere: no such folder"),
        ("tile: 8", "tile: 8; a whole number from 32"),
        ("longer_side: original", "longer_side: original needs tiles"),
        ("range_16_bit: [9, 3]", "range_16_bit: [9, 3]; two values"),
        ("steps: 50", "steps: 50; a list is needed"),
        ("folds: [", "not valid YAML"),
    ],
)
def test_a_typo_in_the_yaml(folder, line, words):
    lines = (folder / "dataset.yml").read_text().splitlines()
    lines = [old for old in lines if old.split(":")[0] != line.split(":")[0]]
    (folder / "dataset.yml").write_text("\n".join([*lines, line]))
    sentence = refusal(folder)
    assert words in sentence and "dataset.yml" in sentence


@pytest.mark.parametrize(
    "classes, words",
    [
        ("[background]", "classes: 1 of them; 2 to 253"),
        ("[a, b, a]", "classes: 'a' stands there twice"),
        ("[yes, no]", "classes: True is read as no name; put it into quotes"),
        ("[ignore, b]", "classes: 'ignore' cannot be the name of a class"),
    ],
)
def test_names_that_are_no_classes(folder, classes, words):
    write_yaml(folder, classes=classes)
    assert words in refusal(folder)


def test_a_mask_for_no_image(folder):
    Image.fromarray(disc(0)[1]).save(folder / "masks" / "i33.png")
    assert "masks/i33.png: a mask for no image" in refusal(folder)


def test_an_id_above_the_number_of_classes(folder):
    mask = disc(1)[1]
    mask[4, 5] = 7
    Image.fromarray(mask).save(folder / "masks" / "i1.png")
    sentence = refusal(folder)
    assert "masks/i1.png: the value 7 at row 4, column 5; the 2 classes are 0..1" in sentence


def test_a_mask_of_0_and_255_only(folder):
    Image.fromarray(255 * disc(1)[1]).save(folder / "masks" / "i1.png")
    sentence = refusal(folder)
    assert "masks/i1.png: it holds only 0 and 255" in sentence
    assert "values: {0: background, 255: disc}" in sentence


def test_files_that_cannot_be_read(folder):
    (folder / "masks" / "i1.png").write_bytes(b"no picture")
    assert "masks/i1.png: not a readable image" in refusal(folder)
    frames = [Image.fromarray(disc(0)[0])] * 2
    frames[0].save(folder / "images" / "i0.tif", save_all=True, append_images=frames[1:])
    (folder / "images" / "i0.png").unlink()
    assert "images/i0.tif: it holds 2 pages" in refusal(folder)


def test_a_bad_folder_is_one_sentence_at_the_command_line_and_nothing_is_written(folder, tmp_path):
    Image.fromarray(255 * disc(1)[1]).save(folder / "masks" / "i1.png")
    before = sorted(folder.rglob("*"))
    for command in ("run", "check"):
        done = diffseg(command, folder, "--results", tmp_path / "results")
        assert done.exit_code == 1 and "i1.png: it holds only 0 and 255" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(folder.rglob("*")) == before and not (tmp_path / "results").exists()


def test_what_needs_test_images_is_refused_in_folds(folder, tmp_path):
    done = diffseg("evidence", folder, "--results", tmp_path / "results")
    assert "dataset.yml: evidence needs test images; name a folder" in done.stderr
    ensemble = tmp_path / "e.safetensors"
    PixelEnsemble(2, 8, 2).save(ensemble)
    done = diffseg("vote", folder, "--classifiers", ensemble)
    assert "dataset.yml: voting needs test images" in done.stderr


# ---- check --------------------------------------------------------------------------------------


def test_check_lists_all_problems_at_once(folder):
    Image.fromarray(255 * disc(1)[1]).save(folder / "masks" / "i1.png")
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(folder / "masks" / "i2.png")
    _, problems = report(preset_of(str(folder)))
    assert len(problems) == 2 and "i1.png" in problems[0] and "i2.png" in problems[1]


def test_check_looks_at_images_without_a_mask_and_at_16_bit(folder):
    Image.fromarray(disc(3)[0]).convert("CMYK").save(folder / "images" / "j.jpg")
    Image.fromarray(np.array([[7, 4000]], np.uint16)).save(folder / "images" / "k.png")
    text, problems = report(preset_of(str(folder)))
    assert len(problems) == 1 and "j.jpg: a CMYK image" in problems[0]
    assert "1 images of 16 bit hold 7 to 4000; range_16_bit [0, 65535]" in text


def test_check_says_what_there_is(folder, tmp_path):
    done = diffseg("check", folder, "--results", tmp_path / "results")
    assert done.exit_code == 0, done.output
    text = done.stdout
    assert "4 images, 3 with a mask, 1 without" in text
    assert "90 x 140 -> 41 x 64, padded to 64 x 64" in text
    assert "class   1 disc" in text and "rooms, faces and cats only" in text
    assert "time here, on cpu: `run` about" in text
    assert np.asarray(Image.open(folder / "check.png")).shape == (256, 768, 3)


# ---- folds --------------------------------------------------------------------------------------


class Knows:
    """An ensemble that answers with its number."""

    n_members = 1

    def __init__(self, number):
        self.number = number

    def probabilities(self, maps, image, size, rows=None):
        return torch.full((1, 2, size, size), float(self.number))


class Maps:
    n_images = 5


def test_each_image_is_asked_of_the_ensemble_that_has_not_seen_it():
    asked = FoldEnsembles([Knows(k) for k in range(2)], [0, 1, 0, 1, 0])
    found = [int(asked.probabilities(Maps, i, 4)[0, 0, 0, 0]) for i in range(5)]
    assert found == [0, 1, 0, 1, 0]
    Maps.n_images = 2
    with pytest.raises(ValueError, match="maps are of 2 images, the folds of 5"):
        asked.probabilities(Maps, 0, 4)
