"""A folder of odd photographs by every command, from new to overlays, in a path with spaces."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import diffseg
from own_folders import SIZES, disc
from PIL import Image

from diffseg_utils.data import checksum, samples
from diffseg_utils.evaluation import load_results, load_scores
from diffseg_utils.own import label
from diffseg_utils.own.folder import preset_of
from diffseg_utils.own.label import label_folder
from diffseg_utils.own.labeller import Engine, Sizes, label_at, labeller_of, load_labeller
from diffseg_utils.presets import DATASETS


def odd_photographs(folder):
    """Seven images of other sizes and kinds; four have a mask, in four kinds of file."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the left when it was stored
    for i, ending in enumerate(("png", "jpg", "tif", "png", "webp", "jpg", "png")):
        image, mask = disc(i)
        if i == 1:
            Image.fromarray(np.rot90(image)).save(folder / "images" / f"i{i}.{ending}", exif=exif)
        elif i == 2:
            grey = image[..., 0].astype(np.uint16) * 16
            Image.fromarray(grey).save(folder / "images" / f"i{i}.{ending}")
        elif i == 3:
            Image.fromarray(image).quantize(64).save(folder / "images" / f"i{i}.{ending}")
        else:
            Image.fromarray(image).save(folder / "images" / f"i{i}.{ending}")
        if i == 0:
            np.save(folder / "masks" / f"i{i}.npy", mask.astype(np.int32))
        elif i == 1:
            Image.fromarray(mask).save(folder / "masks" / f"i{i}.tif")
        elif i == 2:
            palette = Image.fromarray(mask)
            palette.putpalette([0, 0, 0, 255, 0, 0])
            palette.save(folder / "masks" / f"i{i}.png")
        elif i == 3:
            Image.fromarray(mask).save(folder / "masks" / f"i{i}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder that holds "my photographs" and results/, after `new` and `run`."""
    place = tmp_path_factory.mktemp("with spaces")
    folder = place / "my photographs"
    done = diffseg("new", folder, "--classes", "background, disc")
    assert done.exit_code == 0, done.output
    odd_photographs(folder)
    file = folder / "dataset.yml"
    text = file.read_text()
    small = {
        "longer_side: 256": "longer_side: 64",
        "epochs: 100": "epochs: 1",
        "folds: 5": "folds: 2",
        "recipe: tuned": "recipe: published",
        "range_16_bit: [0, 65535]": "range_16_bit: [0, 4095]",
    }
    for usual, tiny in small.items():
        assert usual in text
        text = text.replace(usual, tiny)
    file.write_text(text)
    done = diffseg("run", file, "--results", place / "results", "--jobs", 1)
    assert done.exit_code == 0, done.output
    (place / "said.txt").write_text(done.output)
    return place


def test_run_leaves_what_a_run_leaves(place):
    folder = place / "results" / "my_photographs"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "01_feature_extraction.ipynb",
        "seed0/02_classifier_training.ipynb",
        "seed0/03_voting_analysis.ipynb",
        "seed0/history.csv",
        "seed0/patches.csv",
        "seed0/run.json",
        "seed0/scores.npz",
    }
    run = json.loads((folder / "seed0" / "run.json").read_text())
    assert run["dataset"] == "my_photographs" and run["backbone"] == "photo"
    assert str(place) not in json.dumps(run["preset"])
    [result] = load_results(place / "results").values()
    assert result.preset.own and result.recipe == "published"
    table = pd.read_csv(place / "results" / "table1.csv")
    assert "own images" in table.block.values


def test_scores_come_from_folds_and_padding_is_not_counted(place):
    scores = load_scores(place / "results" / "my_photographs" / "seed0" / "scores.npz")
    assert scores.images("test") == ["i0", "i1", "i2", "i3"]
    assert scores.images("validation") == ["i0", "i2"], "the first fold chooses k"
    pixels = scores.of("test").counts.sum(("truth", "predicted")).values[0]
    sizes = [SIZES[i] for i in range(4)]
    expected = [round(64 * h / max(h, w)) * round(64 * w / max(h, w)) for h, w in sizes]
    assert (pixels == expected).all()
    assert scores.miou().sel(rule="mean").item() > 60


def test_the_user_hears_what_patches_reach(place):
    said = (place / "said.txt").read_text()
    line = said.strip().splitlines()[-1]
    assert line.startswith("my_photographs, 2 folds: features ") and "raw 5 x 5 patches" in line
    assert "better than patches" in line
    table = pd.read_csv(place / "results" / "my_photographs" / "seed0" / "patches.csv", index_col=0)
    scores = load_scores(place / "results" / "my_photographs" / "seed0" / "scores.npz")
    assert table.miou["features"] == pytest.approx(
        scores.miou().sel(rule="majority").item(), rel=1e-4
    )


def test_a_second_run_keeps_everything_also_by_another_spelling(place, monkeypatch):
    results = ("--results", place / "results")
    monkeypatch.chdir(place)
    assert diffseg("run", "my photographs", *results, "--dry-run").stdout == "nothing to do\n"


# ---- label --------------------------------------------------------------------------------------


SETTING = ("results", "my_photographs", "seed0")
UNLABELLED = ["i4", "i5", "i6"]


def contents(predictions):
    """{name: bytes} of everything a person sees in a folder of predictions."""
    files = [path for path in predictions.rglob("*") if path.is_file()]
    seen = [path for path in files if not path.relative_to(predictions).parts[0].startswith(".")]
    return {path.relative_to(predictions).as_posix(): path.read_bytes() for path in seen}


@pytest.fixture(scope="module")
def labelled(place):
    """The folder after `label`, by two processes."""
    folder = place / "my photographs"
    before = {path.name for path in (folder / "masks").iterdir()}
    done = diffseg("label", folder, "--run", place.joinpath(*SETTING), "--jobs", 2)
    assert done.exit_code == 0, done.output
    assert "3 images, 3 labelled now" in done.stdout and "seconds an image" in done.stdout
    assert {path.name for path in (folder / "masks").iterdir()} == before, "masks are not touched"
    return folder / "predictions"


def test_labels_have_the_size_of_the_images_and_name_classes(labelled):
    assert set(contents(labelled)) == {
        *(f"labels/{stem}.png" for stem in UNLABELLED),
        *(f"overlays/{stem}.jpg" for stem in UNLABELLED),
        "uncertainty.csv",
        "least_certain.png",
        "index.html",
    }
    for i, stem in enumerate(UNLABELLED, 4):
        _, truth = disc(i)
        image = Image.open(labelled / "labels" / f"{stem}.png")
        assert image.mode == "P"
        label = np.asarray(image)
        assert label.shape == truth.shape and label.max() <= 1
        assert (label == truth).mean() > 0.8


def test_the_least_certain_comes_first(labelled):
    table = pd.read_csv(labelled / "uncertainty.csv")
    assert sorted(table.image) == ["i4.webp", "i5.jpg", "i6.png"]
    assert table.uncertainty.is_monotonic_decreasing and (table.uncertainty > 0).all()
    page = (labelled / "index.html").read_text()
    places = [page.index(f"overlays/{name.split('.')[0]}.jpg") for name in table.image]
    assert places == sorted(places)


def test_bytes_do_not_depend_on_shards_or_interruptions(labelled, place, tmp_path):
    labeller = labeller_of(place.joinpath(*SETTING))
    copy = tmp_path / "copy"
    shutil.copytree(labelled.parent / "images", copy / "images")
    shutil.copytree(labelled.parent / "masks", copy / "masks")
    label_folder(copy, labeller, shards=3)
    assert contents(copy / "predictions") == contents(labelled)
    (copy / "predictions" / "labels" / "i5.png").unlink()  # as if it had been interrupted there
    n_images, n_made, _ = label_folder(copy, labeller)
    assert (n_images, n_made) == (3, 1)
    assert contents(copy / "predictions") == contents(labelled)
    Image.fromarray(disc(1)[0]).save(copy / "images" / "i6.png")
    assert label_folder(copy, labeller)[1] == 1, "another image of the same name"


def test_no_more_shards_than_images_and_progress_begins_at_nothing(
    labelled, place, tmp_path, monkeypatch
):
    shutil.copytree(labelled, tmp_path / "predictions")  # the rows of another labeller
    for name in ("i4.webp", "i5.jpg"):
        shutil.copy(labelled.parent / "images" / name, tmp_path)
    labeller = labeller_of(place.joinpath(*SETTING))
    labeller.k = 7.0
    begun = []

    def work(plan, shard, shards, report):
        rows = {path.stem for path in (tmp_path / "predictions" / ".rows").iterdir()}
        begun.append((shard, shards, rows & {"i4", "i5"}))
        return real(plan, shard, shards, report)

    real = label.work
    monkeypatch.setattr(label, "work", work)
    assert label_folder(tmp_path, labeller, shards=64, device="auto")[1] == 2
    assert begun[0] == (0, 2, set()) and len(begun) == 2


def test_a_shard_elsewhere_finds_a_backbone_that_was_named_from_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert label._absolute("z/my.json") == str(tmp_path / "z" / "my.json")
    assert label._absolute("photo") == "photo"


def test_a_damaged_image_does_not_keep_the_others_from_a_label(place, tmp_path):
    labeller = labeller_of(place.joinpath(*SETTING))
    Image.fromarray(disc(4)[0]).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b\.png: not a readable image"):
        label_folder(tmp_path, labeller)
    assert (tmp_path / "predictions" / "labels" / "a.png").exists()
    assert list(pd.read_csv(tmp_path / "predictions" / "uncertainty.csv").image) == ["a.png"]
    Image.fromarray(disc(4)[0]).convert("CMYK").save(tmp_path / "c.tif")
    with pytest.raises(ValueError, match=r"c\.tif: a CMYK image"):
        label_folder(tmp_path, labeller)


def test_a_labeller_travels(labelled, place, tmp_path):
    file = tmp_path / "discs.safetensors"
    done = diffseg("export", place.joinpath(*SETTING), file)
    assert done.exit_code == 0 and file.exists(), done.output
    loose = tmp_path / "elsewhere"
    loose.mkdir()
    for name in ("i4.webp", "i5.jpg", "i6.png"):
        shutil.copy(labelled.parent / "images" / name, loose)
    done = diffseg("label", loose, "--with", file, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert contents(loose / "predictions") == contents(labelled)
    assert str(place).encode() not in file.read_bytes()
    labeller = load_labeller(file)
    labeller.weights = "0" * 64
    labeller.save(tmp_path / "other.safetensors")
    wrong = diffseg("label", loose, "--with", tmp_path / "other.safetensors", "--jobs", 1)
    assert wrong.exit_code == 1 and "its sha256 is not 000000000000" in wrong.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["label", "F", "--with", "nothing.safetensors"], "no such file; `diffseg export"),
        (["label", "F", "--run", "nowhere"], "no finished run here"),
        (["label", "F", "--run", "a", "--with", "b"], "choose one of them"),
        (["export", "RUN", "file.pt"], "must end with .safetensors"),
    ],
)
def test_mistakes_are_one_sentence(place, tmp_path, arguments, words):
    known = {"F": tmp_path, "RUN": place.joinpath(*SETTING)}
    done = diffseg(*[known.get(word, word) for word in arguments])
    assert done.exit_code and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_tiles_are_averaged_where_they_overlap(place):
    labeller = labeller_of(place.joinpath(*SETTING))
    labeller.sizes = Sizes(64, 0, tile=64, overlap=32)
    engine = Engine(labeller)
    picture, _ = disc(0, (64, 96))
    whole, disputes = engine.predict(picture)
    assert whole.shape == (2, 64, 96) and disputes.shape == (64, 96)
    assert torch.allclose(whole.sum(0), torch.ones(64, 96), atol=1e-5)
    labeller.sizes = Sizes(64, 0, tile=64, overlap=0)
    left, right = (engine.predict(picture[:, a : a + 64])[0] for a in (0, 32))
    assert torch.allclose(whole[:, :, :32], left[:, :, :32], atol=1e-2)
    both = (left[:, :, 32:] + right[:, :, :32]) / 2
    assert torch.allclose(whole[:, :, 32:64], both, atol=1e-2)


def test_a_label_of_another_size_by_hand():
    distribution = torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]])  # (C, 1, 2)
    assert label_at(distribution, (1, 2)).tolist() == [[0, 1]]
    assert label_at(distribution, (2, 4)).tolist() == [[0, 0, 1, 1]] * 2


def test_it_is_the_preset_if_it_says_the_same(beside, tmp_path):
    """cat_15 as if it were somebody's own folder: the same samples, so the same scores."""
    official = beside("benchmark")
    source = official / "datasets" / "cat_15"
    for name, split in ((".", "real/train"), ("chosen", "ddpm"), ("tested", "real/test")):
        target = tmp_path / "cats" / name
        (target / "images").mkdir(parents=True)
        (target / "masks").mkdir()
        for path in (source / split).iterdir():
            kind = "masks" if path.suffix == ".npy" else "images"
            shutil.copy(path, target / kind)
    classes = json.dumps(DATASETS["cat_15"].classes)
    text = f"classes: {classes}\nvalidation: chosen\ntest: tested\nbackbone: lsun_cat\n"
    (tmp_path / "cats" / "dataset.yml").write_text(text + "recipe: published\n")
    own, preset = preset_of(str(tmp_path / "cats")), DATASETS["cat_15"]
    assert own.counts == preset.counts
    pictures = {}
    for one, root in ((own, "data"), (preset, official)):
        pictures[one.own] = {split: list(samples(one, split, root)) for split in one.counts}
    assert checksum(pictures[True]) == checksum(pictures[False])
    shared = ("classes", "ignore_label", "label_size", "backbone", "recipe", "n_folds", "epochs")
    for name in shared:
        assert getattr(own, name) == getattr(preset, name)
    assert replace(own, path="").described()["backbone"] == "lsun_cat"
