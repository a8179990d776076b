"""Reading images and labels: order, counts, tiny regions, and one sentence for bad input."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
import torch
from PIL import Image

from diffseg_utils.data import (
    absent_classes,
    batches,
    checksum,
    ignore_tiny_regions,
    labels_of,
    samples,
    to_input,
)
from diffseg_utils.presets import DATASETS, MINI, PAPER, Preset

TOY = Preset(
    "toy", "Toy", ("a", "b", "c"), {"train": 3, "validation": 0, "test": 2}, "mini", label_size=8
)


def picture(index, size=8):
    return np.random.default_rng(index).integers(0, 256, (size, size, 3), np.uint8)


@pytest.fixture
def root(tmp_path):
    """A folder with the dataset toy: four training images (three are used), two test images."""
    for split, names in (("real/train", ("10", "2", "1", "a")), ("real/test", ("x", "y"))):
        folder = tmp_path / "datasets" / "toy" / split
        folder.mkdir(parents=True)
        for index, name in enumerate(names):
            Image.fromarray(picture(index)).save(folder / f"{name}.png")
            np.save(folder / f"{name}.npy", np.full((8, 8), index % 3, np.uint8))
    return tmp_path


def pictures(root):
    return {split: list(samples(TOY, split, root)) for split in ("train", "test")}


@pytest.fixture
def train_folder(root):
    return root / "datasets" / "toy" / "real" / "train"


def refusal(error, root, preset=TOY, split="train"):
    """The sentence with which reading the split is refused."""
    with pytest.raises(error) as caught:
        list(samples(preset, split, root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- good input ---------------------------------------------------------------------------------


def test_the_first_images_in_string_order(root):
    found = list(samples(TOY, "train", root))
    assert [sample.name for sample in found] == ["1", "10", "2"]
    assert [sample.label[0, 0] for sample in found] == [2, 0, 1]
    for sample, index in zip(found, (2, 0, 1)):
        np.testing.assert_array_equal(sample.image, picture(index))
        assert (sample.image.dtype, sample.label.dtype) == (np.uint8, np.int64)


def test_images_to_skip(root):
    rest = replace(
        TOY,
        counts={"train": 3, "validation": 1, "test": 2},
        skip=(("validation", 3),),
        folders=(("train", "real/train"), ("validation", "real/train"), ("test", "real/test")),
    )
    assert [sample.name for sample in samples(rest, "validation", root)] == ["a"]


def test_a_split_without_images_needs_no_folder(root):
    assert list(samples(TOY, "validation", root)) == []


def test_grey_and_transparent_images_become_rgb(root, train_folder):
    Image.fromarray(picture(0)).convert("L").save(train_folder / "1.png")
    Image.fromarray(picture(0)).convert("RGBA").save(train_folder / "10.png")
    assert [sample.image.shape for sample in samples(TOY, "train", root)] == [(8, 8, 3)] * 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_of_any_integer_type(root, train_folder, dtype):
    label = np.array([[0, 1, 2, 255] * 2] * 8, dtype)
    np.save(train_folder / "1.npy", np.asfortranarray(label))
    sample = next(iter(samples(TOY, "train", root)))
    np.testing.assert_array_equal(sample.label, label)
    assert sample.label.dtype == np.int64
    checksum(pictures(root))


def test_tiny_regions_by_hand():
    label = np.zeros((8, 8), np.int64)  # 64 - 19 - 20 - 1 = 24 pixels of class 0
    label.flat[:19] = 1
    label.flat[19:39] = 2
    label.flat[39] = 255
    result = ignore_tiny_regions(label, 3, 255)
    assert [(result == value).sum() for value in (0, 1, 2, 255)] == [24, 0, 20, 20]
    assert (label == 1).sum() == 19, "the input is not changed"
    bedroom = ignore_tiny_regions(label, 3, 0)  # where 0 is the ignored id
    assert [(bedroom == value).sum() for value in (0, 1, 2, 255)] == [43, 0, 20, 1]


def test_tiny_regions_as_published():
    for seed in range(20):
        label = np.random.default_rng(seed).choice(
            7, (12, 12), p=[0.4, 0.2, 0.15, 0.12, 0.08, 0.04, 0.01]
        )
        np.testing.assert_array_equal(
            ignore_tiny_regions(label, 7, 255), oracle.without_tiny_regions(label, 7, 255)
        )


def test_tiny_regions_are_ignored_in_training_only(root):
    for split in ("train", "test"):
        for path in (root / "datasets" / "toy" / "real" / split).glob("*.npy"):
            label = np.zeros((8, 8), np.uint8)
            label[:2, :2] = 2
            np.save(path, label)
    train, test = labels_of(TOY, "train", root), labels_of(TOY, "test", root)
    assert train.shape == (3, 8, 8)
    assert train.unique().tolist() == [0, 255]
    assert test.unique().tolist() == [0, 2]


def test_classes_without_a_training_pixel_are_named():
    labels = torch.tensor([[[0, 255], [0, 2]]])
    assert absent_classes(labels, TOY) == ["b"]
    assert absent_classes(labels, replace(TOY, ignore_label=1)) == []
    assert absent_classes(torch.full((1, 2, 2), 255), TOY) == ["a", "b", "c"]


def test_input_of_a_denoiser():
    image = picture(0, 8)
    same, smaller, larger = (to_input(image, size) for size in (8, 4, 16))
    np.testing.assert_allclose(same.permute(1, 2, 0), image / 127.5 - 1, atol=1e-6)
    averaged = image.reshape(4, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(smaller.permute(1, 2, 0), averaged / 127.5 - 1, atol=1.01 / 127.5)
    assert larger.shape == (3, 16, 16)
    assert all(
        x.dtype == torch.float32 and x.min() >= -1 and x.max() <= 1 for x in (same, smaller, larger)
    )
    assert to_input(np.full((8, 8, 3), 255, np.uint8), 8).eq(1).all()
    assert to_input(np.zeros((8, 8, 3), np.uint8), 16).eq(-1).all()


def test_batches_keep_order_and_the_rest():
    chunks = list(batches((picture(i) for i in range(5)), 8, batch=2))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert torch.equal(torch.cat(chunks), torch.stack([to_input(picture(i), 8) for i in range(5)]))
    assert list(batches([], 8)) == []


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_the_checksum_changes_with_every_byte(root, split, suffix):
    before = checksum(pictures(root))
    assert checksum(pictures(root)) == before
    path = sorted((root / "datasets" / "toy" / "real" / split).glob(f"*{suffix}"))[1]
    if suffix == ".npy":
        label = np.load(path)
        label[7, 7] ^= 1
        np.save(path, label)
    else:
        image = np.array(Image.open(path))
        image[7, 7, 2] ^= 1
        Image.fromarray(image).save(path)
    assert checksum(pictures(root)) != before


def test_the_checksum_changes_with_a_name(root, train_folder):
    before = checksum(pictures(root))
    for suffix in (".png", ".npy"):
        (train_folder / f"1{suffix}").rename(train_folder / f"0{suffix}")
    assert checksum(pictures(root)) != before


# ---- bad input ----------------------------------------------------------------------------------


def test_an_image_that_is_not_square(root, train_folder):
    Image.fromarray(picture(0)[:6]).save(train_folder / "2.png")
    assert "train/2.png: 8 x 6 pixels; images must be square" in refusal(ValueError, root)


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_an_image_that_cannot_be_read(root, train_folder, content):
    path = train_folder / "2.png"
    path.write_bytes(path.read_bytes()[:150] if content == "half" else content)
    assert "train/2.png: not a readable image (" in refusal(ValueError, root)


def test_an_image_without_label(root, train_folder):
    (train_folder / "2.npy").unlink()
    assert "train/2.npy: this image has no label file" in refusal(FileNotFoundError, root)


@pytest.mark.parametrize(
    "label, message",
    [
        (np.zeros((8, 9), np.uint8), "2.npy: a label of shape (8, 9); toy has 8 x 8"),
        (np.zeros((8, 8, 1), np.uint8), "2.npy: a label of shape (8, 8, 1); toy has 8 x 8"),
        (np.zeros((8, 8)), "2.npy: labels are float64; they must be integers"),
        (np.zeros((8, 8), bool), "2.npy: labels are bool; they must be integers"),
        (np.full((8, 8), 3), "2.npy: class id 3 in a dataset of 3 classes (0..2) or ignore 255"),
        (np.full((8, 8), -1), "2.npy: class id -1 in a dataset of 3 classes (0..2) or ignore 255"),
        (np.full((8, 8), 254, np.uint8), "2.npy: class id 254 in a dataset"),
        (
            np.array([{"a": 1}]),
            "2.npy: not a readable .npy label (",
        ),  # a pickle, which is not opened
    ],
)
def test_a_wrong_label(root, train_folder, label, message):
    np.save(train_folder / "2.npy", label)
    assert message in refusal(ValueError, root)


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_truncated_label(root, train_folder, share):
    path = train_folder / "2.npy"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "2.npy: not a readable .npy label (" in refusal(ValueError, root)


@pytest.mark.parametrize(
    "damaged",
    [
        b"'shape': (8, 8, }",  # numpy raises tokenize.TokenError,
        b"'shape': (8, 8), }\n  a\n b",  # IndentationError,
        b"b'shape': (8, 8), }",  # TypeError,
        b"'shape': (999999999999999999, 8)}",  # MemoryError
        b"'shape': (9999999999999999999999999999, 8)}",  # and OverflowError
    ],
)
def test_a_label_with_a_damaged_header(root, train_folder, damaged):
    path = train_folder / "2.npy"
    content, whole = path.read_bytes(), b"'shape': (8, 8), }".ljust(50)
    assert whole in content
    path.write_bytes(content.replace(whole, damaged.ljust(50)))
    assert "2.npy: not a readable .npy label (" in refusal(ValueError, root)


def test_an_archive_in_place_of_a_label(root, train_folder):
    with open(train_folder / "2.npy", "wb") as file:
        np.savez(file, label=np.zeros((8, 8), np.uint8))
    assert "2.npy: not a readable .npy label (" in refusal(ValueError, root)


def test_a_folder_that_is_missing_empty_or_too_small(root, train_folder):
    assert "test: 2 images (.png, .jpg), 5 are needed for the test split of toy" in refusal(
        ValueError, root, replace(TOY, counts={"test": 5}), "test"
    )
    for file in train_folder.iterdir():
        file.unlink()
    assert "train: 0 images (.png, .jpg), 3 are needed for the train split of toy" in refusal(
        ValueError, root
    )
    train_folder.rmdir()
    sentence = refusal(FileNotFoundError, root)
    assert "real/train: no such folder" in sentence
    assert "diffseg fetch toy" in sentence
    assert "--data" in sentence


def test_an_unknown_split(root):
    assert "unknown split 'tset'; choose from train, validation, test" in refusal(
        ValueError, root, split="tset"
    )


# ---- the datasets -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MINI)
def test_painted_datasets_have_the_counts_and_ignored_ids_of_their_models(name):
    mini, real = (
        DATASETS[name],
        DATASETS[
            {
                "mini_bedroom": "bedroom_28",
                "mini_ffhq": "ffhq_34",
                "mini_cat": "cat_15",
                "mini_horse": "horse_21",
            }[name]
        ],
    )
    assert [mini.counts[split] for split in ("train", "test")] == [
        real.counts[split] for split in ("train", "test")
    ]
    assert (mini.counts["validation"], mini.ignore_label) == (20, real.ignore_label)


def test_samples_of_a_painted_dataset():
    smoke = DATASETS["mini_smoke"]
    found = list(samples(smoke, "train", "nowhere"))
    assert [sample.name for sample in found] == ["train_000", "train_001", "train_002", "train_003"]
    assert found[0].image.shape == (64, 64, 3)
    assert labels_of(smoke, "test").shape == (3, 64, 64)
    more = replace(smoke, counts={"train": 6})
    np.testing.assert_array_equal(list(samples(more, "train"))[3].image, found[3].image)


@pytest.mark.parametrize(
    "name, ids", [("bedroom_28", 29), ("ffhq_34", 34), ("cat_15", 15), ("horse_21", 21)]
)
def test_the_real_datasets(beside, name, ids):
    preset, root = DATASETS[name], beside("benchmark")
    assert name in PAPER
    assert preset.n_classes == ids
    for split, count in preset.counts.items():
        found = list(samples(preset, split, root))
        assert len({sample.name for sample in found}) == count
        assert {(sample.image.shape, sample.label.shape) for sample in found} == {
            ((256, 256, 3), (256, 256))
        }
        names = [str(sample.name) for sample in found]
        assert names == sorted(names)
