"""The painted scenes: deterministic, of disjoint splits, with exact labels of every class."""

import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from diffseg_utils.data import samples
from diffseg_utils.presets import DATASETS
from diffseg_utils.scenes import FAMILIES, SPLITS, paint

PAINTED = {preset.painted: preset for preset in DATASETS.values() if preset.painted}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def train(family):
    """[(image, label)] of the training split."""
    return [paint(family, "train", i) for i in range(PAINTED[family].counts["train"])]


def test_an_image_and_its_label(family, train):
    for image, label in train:
        assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
        assert (label.shape, label.dtype) == ((64, 64), np.int64)
        assert image.std() > 10, "something is to be seen"
        assert len(np.unique(label)) >= 3
        assert 0 <= label.min() <= label.max() < PAINTED[family].n_classes


def test_every_class_is_present_in_the_training_split(family, train):
    present = np.unique([label for _, label in train])
    assert present.tolist() == list(range(PAINTED[family].n_classes))


def test_class_names_are_those_of_the_preset(family):
    assert list(import_module(f"diffseg_utils.scenes.{family}").NAMES) == list(
        PAINTED[family].classes
    )


def test_a_scene_is_deterministic(family, train):
    np.random.seed(5)  # noqa: NPY002 (the global state must not matter)
    for index in (3, 0):
        again = paint(family, "train", index)
        np.testing.assert_array_equal(again[0], train[index][0])
        np.testing.assert_array_equal(again[1], train[index][1])


def test_splits_and_indices_differ(family):
    images = [paint(family, split, index)[0].tobytes() for split in SPLITS for index in range(3)]
    assert len(set(images)) == len(images)


def test_labels_vary_in_shape(family, train):
    maps = np.stack([label for _, label in train])
    agreement = np.mean([np.mean(a == b) for a, b in pairwise(maps)])
    assert agreement < 0.9


def test_each_family_has_a_seed_of_its_own():
    seeds = {name: import_module(f"diffseg_utils.scenes.{name}").SEED for name in FAMILIES}
    assert len(set(seeds.values())) == len(FAMILIES)
    of_results = {"bedroom": 0, "ffhq": 1, "cat": 2, "horse": 3, "smoke": 4}
    assert seeds | of_results == seeds, "the pictures that results/ was made with"


def test_unknown_names():
    with pytest.raises(ValueError, match="dog"):
        paint("dog", "train", 0)
    with pytest.raises(ValueError, match="tset"):
        paint("cat", "tset", 0)


def test_no_split_of_a_dataset_is_the_one_for_pretraining():
    assert all("pretrain" not in preset.counts for preset in DATASETS.values())
    source = (Path(__file__).parents[1] / "diffseg_utils" / "pretraining.py").read_text()
    assert re.findall(r'paint\(family, "(\w+)"', source) == ["pretrain"]


def test_any_number_of_images_on_request():
    """The first images stay the same when more are asked for."""
    few, many = DATASETS["mini_smoke"], DATASETS["mini_smoke"].resized(test=12)
    assert len(list(samples(many, "test"))) == 12 and many.counts["train"] == few.counts["train"]
    for a, b in zip(samples(few, "test"), samples(many, "test")):
        assert (a.image == b.image).all() and (a.label == b.label).all()
