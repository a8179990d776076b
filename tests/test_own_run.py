"""A folder of odd photographs by every command, from new to overlays, in a path with spaces."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import diffseg
from own_folders import SIZES, disc
from PIL import Image

from diffseg_utils.data import identity, samples
from diffseg_utils.evaluation import load_scores
from diffseg_utils.evaluation.scores import load_results
from diffseg_utils.own.folder import preset_of
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
        "seed0_tuned/02_classifier_training.ipynb",
        "seed0_tuned/03_voting_analysis.ipynb",
        "seed0_tuned/history.csv",
        "seed0_tuned/patches.csv",
        "seed0_tuned/run.json",
        "seed0_tuned/scores.npz",
    }
    run = json.loads((folder / "seed0_tuned" / "run.json").read_text())
    assert run["dataset"] == "my_photographs" and run["backbone"] == "photo"
    assert str(place) not in json.dumps(run["preset"])
    [result] = load_results(place / "results").values()
    assert result.preset.own and result.recipe == "tuned"
    table = pd.read_csv(place / "results" / "table1.csv")
    assert "own images" in table.block.values


def test_scores_come_from_folds_and_padding_is_not_counted(place):
    scores = load_scores(place / "results" / "my_photographs" / "seed0_tuned" / "scores.npz")
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
    table = pd.read_csv(
        place / "results" / "my_photographs" / "seed0_tuned" / "patches.csv", index_col=0
    )
    scores = load_scores(place / "results" / "my_photographs" / "seed0_tuned" / "scores.npz")
    assert table.miou["features"] == pytest.approx(
        scores.miou().sel(rule="majority").item(), rel=1e-4
    )


def test_a_second_run_keeps_everything_also_by_another_spelling(place, monkeypatch):
    results = ("--results", place / "results")
    monkeypatch.chdir(place)
    assert diffseg("run", "my photographs", *results, "--dry-run").stdout == "nothing to do\n"


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
    assert identity(pictures[True]) == identity(pictures[False])
    shared = ("classes", "ignore_label", "label_size", "backbone", "recipe", "n_folds", "epochs")
    for name in shared:
        assert getattr(own, name) == getattr(preset, name)
    assert replace(own, path="").described()["backbone"] == "lsun_cat"
