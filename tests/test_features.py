"""Native feature maps: what at() reads, what extract() computes, what lies on disk."""

import json
import os
import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import oracle
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffseg_utils.backbone import load_backbone, shared_noise
from diffseg_utils.data import batches, labels_of, samples
from diffseg_utils.features import FeatureMaps, extract
from diffseg_utils.files import sha256
from diffseg_utils.presets import DATASETS
from diffseg_utils.training import train
from diffseg_utils.voting import vote

SIZES = (5, 8, 16, 20, 32, 50)  # below, equal to and above the 8, 16 and 32 cells of the maps
D = 480  # of the tiny backbone


def random_maps(dtype=torch.float32, n_images=3):
    g = torch.Generator().manual_seed(0)
    return FeatureMaps(
        torch.randn(n_images, h, h, c, generator=g).to(dtype)
        for h, c in ((8, 5), (16, 3), (16, 2), (32, 1))
    )


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def extracted(tiny, images):
    return extract(tiny, images, shared_noise(32))


# ---- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", SIZES)
def test_at_equals_upsampling_and_indexing(size, dtype):
    maps = random_maps(dtype)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    y, x = y.flatten(), x.flatten()
    for image in range(3):
        expected = maps.upsampled(image, size)
        assert expected.shape == (11, size, size)
        found = maps.at(image, y, x, size)
        assert found.dtype == torch.float32
        assert_close(found, expected[:, y, x].T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", SIZES)
def test_at_reads_pixels_of_several_images(size, dtype):
    maps = random_maps(dtype)
    g = torch.Generator().manual_seed(size)
    image, y, x = torch.randint(3, (40,), generator=g), *torch.randint(size, (2, 40), generator=g)
    expected = torch.stack([maps.upsampled(i, size) for i in range(3)])[image, :, y, x]
    assert_close(maps.at(image, y, x, size), expected, atol=1e-5, rtol=0)


def test_sizes_are_derived():
    maps = random_maps(torch.float16)
    assert (maps.n_images, maps.n_features) == (3, 11)
    assert maps.nbytes == 2 * 3 * (64 * 5 + 256 * 5 + 1024)


# ---- choosing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "images, places",
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(0), [0]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        (torch.tensor([2, 0, 2]), [2, 0, 2]),
        ([1, 0], [1, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (np.array([False, False, True]), [2]),
    ],
)
def test_images_are_chosen_and_their_axis_stays(images, places):
    maps = random_maps(torch.float16)
    chosen = maps[images]
    assert chosen.n_images == len(places)
    for found, m in zip(chosen.maps, maps.maps, strict=True):
        assert torch.equal(found, torch.stack([m[i] for i in places]))


def test_a_number_or_a_slice_of_images_is_a_view():
    maps = random_maps()
    assert maps[1].maps[0].data_ptr() == maps.maps[0][1].data_ptr()
    assert maps[1:].maps[0].data_ptr() == maps.maps[0][1].data_ptr()


def test_images_that_do_not_exist():
    for image in (3, -4):
        with pytest.raises(IndexError):
            random_maps()[image]


def test_a_loop_visits_every_image_once():
    maps = random_maps()
    one_by_one = list(maps)
    assert [one.n_images for one in one_by_one] == [1, 1, 1]
    assert torch.equal(torch.cat([one.maps[0] for one in one_by_one]), maps.maps[0])


def test_maps_are_picked_in_the_order_asked_for():
    maps = random_maps()
    picked = maps.pick([3, 0])
    assert (picked.n_images, picked.n_features) == (3, 6)
    assert picked.maps[0] is maps.maps[3] and picked.maps[1] is maps.maps[0]
    assert maps.pick(range(4)).n_features == maps.n_features


def test_joined_maps_hold_the_images_of_both():
    maps = random_maps()
    assert_close(maps[:1].join(maps[1:]).maps, maps.maps, atol=0, rtol=0)
    assert maps.join(maps[:2]).n_images == 5
    with pytest.raises(ValueError, match="shorter"):
        maps.join(maps.pick([0]))


def test_maps_change_their_dtype_or_stay():
    maps = random_maps(torch.float16)
    assert maps.to("cpu").maps[0] is maps.maps[0]
    full = maps.to("cpu", torch.float32)
    assert_close(full.maps, [m.float() for m in maps.maps], atol=0, rtol=0)
    assert full.nbytes == 2 * maps.nbytes and maps.maps[0].dtype == torch.float16


# ---- extracting ---------------------------------------------------------------------------------


def test_extract_equals_the_oracle_with_shared_noise(tiny, images, extracted):
    noise = shared_noise(32)
    for i in range(3):
        expected = oracle.pixel_features(
            tiny.model,
            tiny.diffusion,
            images[i : i + 1],
            tiny.steps,
            tiny.blocks,
            lambda: noise,
            48,
        )
        assert_close(extracted.upsampled(i, 48), expected, atol=1e-4, rtol=0)


def test_fresh_noise_is_drawn_for_each_image_and_in_it_for_each_step(tiny, images):
    ours = extract(tiny, images, generator=torch.Generator().manual_seed(5))
    stream = torch.Generator().manual_seed(5)
    for i in range(3):
        expected = oracle.pixel_features(
            tiny.model,
            tiny.diffusion,
            images[i : i + 1],
            tiny.steps,
            tiny.blocks,
            lambda: torch.randn(1, 3, 32, 32, generator=stream),
            32,
        )
        assert_close(ours.upsampled(i, 32), expected, atol=1e-4, rtol=0)


def test_fresh_noise_does_not_depend_on_the_batches(tiny, images):
    ours = [
        extract(tiny, images, generator=torch.Generator().manual_seed(5), batch=batch).maps
        for batch in (3, 1)
    ]
    assert_close(*ours, atol=1e-4, rtol=0)


def test_maps_are_step_major_and_block_minor(tiny, images, extracted):
    steps, blocks = [250, 50], [3, 0]
    maps = extract(tiny, images, shared_noise(32), steps, blocks).maps
    places = [
        3 * tiny.steps.index(step) + tiny.blocks.index(block) for step in steps for block in blocks
    ]
    assert places == [8, 6, 2, 0]
    assert_close(maps, [extracted.maps[k] for k in places], atol=1e-4, rtol=0)
    assert [m.shape[1:3] for m in extracted.maps[:3]] == [
        (16, 16),
        (32, 32),
        (32, 32),
    ]  # native resolution
    assert extracted.n_features == D


def test_a_tensor_and_an_iterable_of_batches_give_the_same(tiny, images, extracted):
    generator = (images[i:j] for i, j in ((0, 1), (1, 3)))
    assert_close(extract(tiny, generator, shared_noise(32)).maps, extracted.maps, atol=1e-4, rtol=0)
    assert_close(
        extract(tiny, images, shared_noise(32), batch=2).maps, extracted.maps, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_streaming_to_a_store_equals_memory(tiny, images, extracted, tmp_path, dtype):
    stored = extract(
        tiny, images.split(1), shared_noise(32), store=tmp_path / "features", dtype=dtype
    )
    expected = extract(tiny, images.split(1), shared_noise(32), dtype=dtype)
    assert stored.maps[0].dtype == expected.maps[0].dtype == (dtype or torch.float32)
    assert_close(stored.maps, expected.maps, atol=0, rtol=0)
    assert_close(FeatureMaps.load(tmp_path / "features").maps, expected.maps, atol=0, rtol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_bfloat16_features_are_near(tiny_json, images, extracted):
    half = extract(load_backbone(tiny_json, precision="bfloat16"), images, shared_noise(32))
    for a, b in zip(half.maps, extracted.maps):
        assert 1e-4 < (a.float() - b).norm() / b.norm() < 1.5e-2


@pytest.mark.parametrize("name", ["bedroom_28", "ffhq_34", "cat_15", "horse_21"])
def test_bfloat16_leaves_99_of_100_labels_of_photographs(beside, name):
    preset, root, path = (
        DATASETS[name],
        beside("benchmark"),
        str(beside("backbones") / "photo64.json"),
    )

    def maps(split, n_images, precision="float32"):
        images = [sample.image for sample in islice(samples(preset, split, root), n_images)]
        return extract(
            load_backbone(path, precision=precision), batches(images, 64), shared_noise(64)
        )

    labels = labels_of(preset, "train", root)[:5]
    ensemble, _ = train(
        maps("train", 5), labels, preset.n_classes, preset.ignore_label, recipe="tuned"
    )
    full, half = (
        [vote(ensemble.probabilities(found, i, preset.label_size), "majority") for i in range(4)]
        for found in (maps("test", 4), maps("test", 4, "bfloat16"))
    )
    same = (torch.stack(full) == torch.stack(half)).float().mean()
    assert 0.99 <= same < 1, f"{name}: {same:.2%} of the labels are the same"


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps, blocks, message",
    [
        ([50, 1000], None, r"step 1000 is outside 0\.\.999"),
        ([-1], None, r"step -1 is outside 0\.\.999"),
        (None, [0, 4], r"decoder block 4 does not exist; choose from 0\.\.3"),
        (None, [-1], "decoder block -1 does not exist"),
    ],
)
def test_steps_and_blocks_that_do_not_exist(tiny, images, tmp_path, steps, blocks, message):
    with pytest.raises(ValueError, match=message):
        extract(tiny, images, shared_noise(32), steps, blocks, store=tmp_path / "features")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("none", [[], torch.empty(0, 3, 32, 32)])
def test_no_images(tiny, tmp_path, none):
    with pytest.raises(ValueError, match="no images"):
        extract(tiny, none, shared_noise(32), store=tmp_path / "features")
    assert not list(tmp_path.iterdir())


def test_an_image_that_fails_midway_leaves_nothing(tiny, images, tmp_path):
    def failing():
        yield images[:1]
        assert len(list(tmp_path.iterdir())) == 1, "it does stream"
        raise ValueError("cat_7.png: not square")

    with pytest.raises(ValueError, match=r"cat_7\.png"):
        extract(tiny, failing(), shared_noise(32), store=tmp_path / "features")
    assert not list(tmp_path.iterdir())


def test_a_failure_keeps_the_features_of_an_earlier_run(tiny, images, tmp_path):
    extract(tiny, images[:1], shared_noise(32), store=tmp_path / "features")
    with pytest.raises(ValueError, match="non-finite"):
        extract(tiny, images * torch.nan, shared_noise(32), store=tmp_path / "features")
    assert FeatureMaps.load(tmp_path / "features").n_images == 1


def test_non_finite_features_name_their_place(tiny, images):
    class Broken(nn.Module):
        """Overflows in decoder block 0 at step 250 for the third image."""

        def __init__(self):
            super().__init__()
            self.output_blocks = nn.ModuleList([nn.Identity(), nn.Identity()])

        def forward(self, x, t):
            third = len(x) == 1  # batches of two
            self.output_blocks[0](x / 0 if third and t[0] == 250 else x)
            self.output_blocks[1](x)

    broken = replace(tiny, model=Broken(), name="broken.json", blocks=[0, 1])
    with pytest.raises(
        ValueError,
        match=r"broken\.json: non-finite features in images 2\.\.2, step 250, decoder block 0",
    ):
        extract(broken, images, shared_noise(32), batch=2)


# ---- on disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_save_and_load(tmp_path, dtype):
    maps = random_maps(dtype)
    maps.save(tmp_path / "deep" / "features")
    loaded = FeatureMaps.load(tmp_path / "deep" / "features")
    assert_close(loaded.maps, maps.maps, atol=0, rtol=0)
    assert loaded.maps[0].dtype == dtype
    y = torch.arange(9)
    assert_close(loaded.at(2, y, y, 9), maps.at(2, y, y, 9), atol=0, rtol=0)


def test_saving_again_replaces(tmp_path):
    random_maps(n_images=3).save(tmp_path / "features")
    random_maps(n_images=1).save(tmp_path / "features")
    assert FeatureMaps.load(tmp_path / "features").n_images == 1
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def flip_a_byte(folder):
    file = folder / "map_02.bin"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)


def cut_short(folder):
    file = folder / "map_02.bin"
    file.write_bytes(file.read_bytes()[:-2])


def cut_meta_short(folder):
    (folder / "meta.json").write_text((folder / "meta.json").read_text()[:50])


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (flip_a_byte, ValueError, r"map_02\.bin: its content is not what was written"),
        (cut_short, ValueError, r"map_02\.bin: missing or of another size"),
        (lambda folder: (folder / "map_02.bin").unlink(), ValueError, r"map_02\.bin: missing"),
        (
            lambda folder: (folder / "meta.json").unlink(),
            FileNotFoundError,
            "run 01_feature_extraction",
        ),
        (cut_meta_short, ValueError, r"meta\.json"),
    ],
)
def test_damaged_files_are_refused(tmp_path, damage, error, message):
    folder = tmp_path / "features"
    random_maps().save(folder)
    damage(folder)
    with pytest.raises(error, match=message):
        FeatureMaps.load(folder)


def test_checksums_are_those_of_files_written_in_several_batches(tiny, images, tmp_path):
    extract(tiny, images.split(1), shared_noise(32), store=tmp_path / "features")
    meta = json.loads((tmp_path / "features" / "meta.json").read_text())
    assert len(meta["maps"]) == len(tiny.steps) * len(tiny.blocks)
    for entry in meta["maps"]:
        assert entry["sha256"] == sha256(tmp_path / "features" / entry["file"])


def test_what_a_folder_says_of_itself(tmp_path):
    random_maps(torch.float16).save(tmp_path / "features")
    meta = json.loads((tmp_path / "features" / "meta.json").read_text())
    assert meta["dtype"] == "float16"
    assert [entry["shape"] for entry in meta["maps"]] == [
        [3, 8, 8, 5],
        [3, 16, 16, 3],
        [3, 16, 16, 2],
        [3, 32, 32, 1],
    ]


def test_an_interrupted_extraction_goes_on_from_its_finished_batches(tiny, images, tmp_path):
    noise, whole, store = shared_noise(32), tmp_path / "whole", tmp_path / "features"
    extract(tiny, images.split(1), noise, store=whole)
    computed = []

    class Counted:
        """The backbone, which counts the images that it is asked for, and can fail."""

        def __init__(self, last):
            self.last = last

        def __getattr__(self, name):
            return getattr(tiny, name)

        def __call__(self, batch, *rest):
            if len(computed) == self.last:
                raise KeyboardInterrupt
            computed.append(batch)
            return tiny(batch, *rest)

    n_steps = len(tiny.steps)
    with pytest.raises(KeyboardInterrupt):
        extract(Counted(n_steps + 1), images.split(1), noise, store=store, resume=True)
    assert not store.exists()
    (partial,) = tmp_path.glob(".features.partial")
    with open(partial / "map_00.bin", "ab") as file:
        file.write(b"half a batch")
    computed.clear()
    extract(Counted(None), images.split(1), noise, store=store, resume=True)
    assert len(computed) == 2 * n_steps, "the first image is not computed again"
    for file in whole.iterdir():
        assert (store / file.name).read_bytes() == file.read_bytes(), file.name
    assert not partial.exists()
    computed.clear()
    extract(Counted(None), images.split(1), noise, store=store, resume=True)
    assert not computed, "what is whole is not computed again"


def test_an_extraction_whose_file_was_cut_begins_anew(tiny, images, tmp_path):
    noise, whole, store = shared_noise(32), tmp_path / "whole", tmp_path / "features"
    extract(tiny, images.split(1), noise, store=whole)
    partial = tmp_path / ".features.partial"
    shutil.copytree(whole, partial)
    meta = json.loads((partial / "meta.json").read_text())
    shapes = [entry["shape"] for entry in meta["maps"]]
    (partial / "done.json").write_text(json.dumps({"dtype": meta["dtype"], "shapes": shapes}))
    os.truncate(partial / "map_01.bin", 100)
    extract(tiny, images.split(1), noise, store=store, resume=True)
    for file in whole.iterdir():
        assert (store / file.name).read_bytes() == file.read_bytes(), file.name


def test_an_extraction_is_resumed_with_store_and_noise_only(tiny, images, tmp_path):
    for missing in ({"noise": None, "store": tmp_path / "x"}, {"noise": shared_noise(32)}):
        with pytest.raises(ValueError, match="with the same noise: give both"):
            extract(tiny, images, resume=True, **missing)
