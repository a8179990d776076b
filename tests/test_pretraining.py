"""Training a denoiser: it goes on after an interruption as if nothing had happened, and what it
writes can be loaded.
"""

import gzip
import json
import lzma
import os
import re
import tarfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from own_folders import disc, make_folder, write_yaml
from PIL import Image
from torch.testing import assert_close

from diffseg_utils import comparisons, pretraining
from diffseg_utils.backbone import load_backbone, native_bfloat16, weights_of
from diffseg_utils.pretraining import (
    Settings,
    images_of,
    painted_images,
    photographs,
    pretrain,
    save_weights,
    train_checkpoints,
)
from diffseg_utils.scenes import paint

FLAGS = dict(
    image_size=8,
    num_channels=32,
    channel_mult="1",
    num_res_blocks=1,
    attention_resolutions="8",
    learn_sigma=False,
    diffusion_steps=1000,
    noise_schedule="linear",
)
SPEC = dict(flags=FLAGS, steps=[50], blocks=[0, 1])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)


@pytest.fixture
def short(images, tmp_path):
    """short(**settings): three steps of four images."""

    def short(state=tmp_path / "state.pt", **settings):
        settings = Settings(batch=4, **settings)
        return pretrain(FLAGS, images, 12, state, None, settings, log_every=1, save_every=-1)

    return short


@pytest.mark.parametrize("interrupt", [1, 2])
def test_an_interrupted_training_goes_on_to_the_same_weights(
    short, tmp_path, monkeypatch, interrupt
):
    expected, expected_log = short(tmp_path / "whole.pt")
    steps, batch = [], pretraining._batch

    def failing(images, size, step, *rest):
        steps.append(step)
        if steps == list(range(interrupt + 1)):
            raise KeyboardInterrupt
        return batch(images, size, step, *rest)

    monkeypatch.setattr(pretraining, "_batch", failing)
    with pytest.raises(KeyboardInterrupt):
        short()
    weights, log = short()
    assert steps == [*range(interrupt + 1), *range(interrupt, 3)], "it does go on where it was"
    assert_close(weights, expected, atol=0, rtol=0)
    assert log[["images", "loss"]].equals(expected_log[["images", "loss"]])
    assert log.images.tolist() == [4, 8, 12]


def test_weights_move_and_depend_on_the_seed(short, tmp_path):
    a, b, again = (short(tmp_path / f"{i}.pt", seed=seed)[0] for i, seed in enumerate((0, 1, 0)))
    assert_close(a, again, atol=0, rtol=0)
    assert not torch.equal(a["input_blocks.0.0.weight"], b["input_blocks.0.0.weight"])


def test_a_finished_training_is_not_repeated(short, monkeypatch):
    expected, _ = short()
    monkeypatch.setattr(pretraining, "_batch", None)
    assert_close(short()[0], expected, atol=0, rtol=0)


def test_a_finished_training_can_be_made_longer(images, short, tmp_path):
    expected, _ = short(tmp_path / "whole.pt")
    settings = Settings(batch=4)
    pretrain(FLAGS, images, 8, tmp_path / "state.pt", None, settings, log_every=1)
    weights, log = short()
    assert_close(weights, expected, atol=0, rtol=0)
    assert log.images.tolist() == [4, 8, 12]


OTHER_PIXEL = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)  # as `images`
OTHER_PIXEL[-1, -1, -1, -1] ^= 1


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"flags": FLAGS | {"dropout": 0.5}}, "flag dropout differs"),
        ({"flags": {f: FLAGS[f] for f in FLAGS if f != "learn_sigma"}}, "flag learn_sigma differs"),
        ({"settings": Settings(batch=5)}, "batch differs"),
        ({"settings": Settings(batch=4, rate=1e-3, focus=(20, 350))}, "rate, focus differ"),
        ({"images": OTHER_PIXEL}, "set of images differs"),
        ({"images": OTHER_PIXEL[:8]}, "set of images differs"),
        ({"n_images": 12, "start": None}, "start differs"),
    ],
)
def test_the_state_of_another_training_is_refused(images, tmp_path, changes, what):
    start, _ = pretrain(FLAGS, images, 4, tmp_path / "start.pt", None, Settings(batch=4))
    state = tmp_path / "own.pt"
    first = dict(
        flags=FLAGS, images=images, n_images=8, state=state, start=start, settings=Settings(batch=4)
    )
    expected, _ = pretrain(**first)
    with pytest.raises(ValueError) as caught:
        pretrain(**first | changes)
    assert str(caught.value) == (
        f"{state}: the state of another training (its {what}); choose another output or delete it"
    )
    assert_close(pretrain(**first)[0], expected, atol=0, rtol=0)


def test_a_start_with_other_weights_is_another_training(images, tmp_path):
    rest = Settings(batch=4)
    start, _ = pretrain(FLAGS, images, 4, tmp_path / "start.pt", None, rest)
    moved = {name: weight.clone() for name, weight in start.items()}
    moved["out.2.bias"][0] += 1e-3
    pretrain(FLAGS, images, 8, tmp_path / "own.pt", start, rest)
    pretrain(FLAGS, images, 8, tmp_path / "own.pt", dict(reversed(start.items())), rest)
    with pytest.raises(ValueError, match=r"own\.pt: .* another training \(its start differs\);"):
        pretrain(FLAGS, images, 8, tmp_path / "own.pt", moved, rest)


def test_a_state_that_does_not_say_of_which_training_it_is(short, tmp_path):
    short()
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    del saved["decided_by"]
    torch.save(saved, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt: .* an earlier version of this kit wrote it"):
        short()


def test_a_training_of_less_than_one_batch_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match="n_images is 9, less than one batch of 10 images"):
        train_checkpoints(SPEC, images, 9, tmp_path / "own", tmp_path)
    with pytest.raises(ValueError, match="n_images is 3, less than one batch of 4 images"):
        pretrain(FLAGS, images, 3, tmp_path / "own.pt", None, Settings(batch=4))
    assert not list(tmp_path.iterdir()), "nothing was written"


@pytest.mark.parametrize(
    "known, native",
    [({"avx512_bf16": False}, False), ({"amx_bf16": True}, True), ({"bf16": True}, True)],
)
def test_half_precision_only_where_the_processor_has_it(short, monkeypatch, known, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert native_bfloat16("cpu") is native and native_bfloat16("cuda:0")
    seen, conv = set(), torch.nn.functional.conv2d
    monkeypatch.setattr(
        torch.nn.functional,
        "conv2d",
        lambda *a, **k: seen.add(torch.is_autocast_enabled("cpu")) or conv(*a, **k),
    )
    short()
    assert seen == {native}


def test_it_learns(images, tmp_path):
    flat = np.broadcast_to(np.uint8(200), (8, 8, 8, 3))
    settings = Settings(batch=4, rate=2e-3, warmup=5)
    _, log = pretrain(FLAGS, flat, 4 * 60, tmp_path / "state.pt", None, settings, log_every=10)
    assert log.loss.iloc[-1] < 0.5 * log.loss.iloc[0]


def test_what_it_writes_is_a_backbone(short, tmp_path):
    weights, _ = short()
    save_weights(weights, tmp_path / "own.safetensors")
    spec = dict(flags=FLAGS, checkpoint="own.safetensors", steps=[50], blocks=[0, 1])
    (tmp_path / "own.json").write_text(json.dumps(spec))
    whole = weights_of(str(tmp_path / "own.json"))
    assert_close(whole, {k: w.half().float() for k, w in weights.items()}, atol=0, rtol=0)
    model = load_backbone(str(tmp_path / "own.json")).model
    assert_close(
        dict(model.state_dict()),
        {k: weights[k].half().float() for k in model.state_dict()},
        atol=0,
        rtol=0,
    )


def test_checkpoints_are_described_and_their_log_is_kept(images, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "KEPT", (16, 32, 64))
    spec = dict(flags=FLAGS, checkpoint="none", steps=[50], blocks=[0, 1])
    images = np.concatenate([images, images])
    made = train_checkpoints(spec, images, 48, tmp_path / "a" / "own", tmp_path)
    assert {n: path.removeprefix(str(tmp_path / "a")) for n, path in made.items()} == {
        16: "/own_16.json",
        32: "/own_32.json",
        48: "/own.json",
    }
    for n, path in made.items():
        assert pretraining.images_seen(path) == n and load_backbone(path).blocks == [0, 1]
    assert pd.read_csv(tmp_path / "own_log.csv").images.iloc[-1] == 48

    more = train_checkpoints(spec, images, 16, tmp_path / "a" / "more", tmp_path, made[48])
    assert list(more) == [64], "what the first training has seen counts"
    assert pd.read_csv(tmp_path / "more_log.csv").images.tolist() == [48, 64]
    unknown = json.loads((tmp_path / "a" / "own.json").read_text())
    del unknown["images"]
    (tmp_path / "a" / "unknown.json").write_text(json.dumps(unknown))
    with pytest.raises(ValueError, match=r'unknown\.json: the number of images .* as "images"'):
        pretraining.images_seen(str(tmp_path / "a" / "unknown.json"))


@pytest.mark.parametrize(
    "n_images, kept",
    [
        (48, {10: "own_10.json", 30: "own_30.json", 40: "own.json"}),
        (30, {10: "own_10.json", 30: "own.json"}),  # 32 images would be the end
    ],
)
def test_checkpoints_are_kept_where_no_number_of_batches_fits(
    images, tmp_path, monkeypatch, n_images, kept
):
    monkeypatch.setattr(pretraining, "KEPT", (6, 16, 32))
    made = train_checkpoints(SPEC, images, n_images, tmp_path / "own", tmp_path)
    assert made == {seen: str(tmp_path / name) for seen, name in kept.items()}
    for seen, path in made.items():
        assert pretraining.images_seen(path) == seen and load_backbone(path).blocks == [0, 1]
    written = {path.name for path in tmp_path.glob("own*.json")}
    assert written == set(kept.values())
    assert len(list(tmp_path.glob("own*.safetensors"))) == len(kept)


def test_a_checkpoint_of_an_earlier_training_is_not_taken_for_one_of_this(
    images, tmp_path, monkeypatch
):
    monkeypatch.setattr(pretraining, "KEPT", (10, 20))
    monkeypatch.setattr(pretraining, "pretrain", partial(pretrain, log_every=1))
    train_checkpoints(SPEC, images, 30, tmp_path / "own", tmp_path)
    (tmp_path / "own.pt").unlink()
    made = train_checkpoints(SPEC, images[:8], 30, tmp_path / "own", tmp_path, minutes=0)
    assert made == {8: str(tmp_path / "own.json")}, "it ended after one batch"


def test_the_name_of_an_output_may_have_a_dot(images, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "KEPT", (10,))
    made = train_checkpoints(SPEC, images, 20, tmp_path / "v1.2", tmp_path / "records")
    assert made == {10: str(tmp_path / "v1.2_10.json"), 20: str(tmp_path / "v1.2.json")}
    assert {path.name for path in tmp_path.glob("v1*")} == {
        "v1.2.pt",
        "v1.2.safetensors",
        "v1.2.json",
        "v1.2_10.safetensors",
        "v1.2_10.json",
    }
    assert weights_of(made[20]).keys() == weights_of(made[10]).keys()
    train_checkpoints(SPEC, images, 10, tmp_path / "v1.3", tmp_path / "records", made[20])
    assert pd.read_csv(tmp_path / "records" / "v1.3_log.csv").images.tolist() == [20, 30]


def test_batches_visit_every_image_once_an_epoch_and_mirror_half(images):
    numbered = np.zeros((12, 8, 8, 3), np.uint8)
    numbered[:, :, :4] = np.arange(12)[:, None, None, None] + 1  # the left half
    four = Settings(batch=4)
    seen = [pretraining._batch(numbered, four, step, 1000) for step in range(60)]
    epoch = torch.cat([x for x, _, _ in seen[:3]])
    ids = ((epoch.amax((1, 2, 3)) + 1) * 127.5).round().int().tolist()
    assert sorted(ids) == list(range(1, 13))
    mirrored = torch.cat([x[:, 0, 0, 0] for x, _, _ in seen]) == -1
    assert 0.4 < mirrored.float().mean() < 0.6
    t = torch.cat([t for _, t, _ in seen])
    assert 0 <= t.min() < 50 < 950 < t.max() < 1000


def test_half_of_the_noise_steps_can_be_drawn_where_features_are_read(images):
    focused = Settings(batch=10, focus=(20, 350))
    t = torch.cat([pretraining._batch(images, focused, step, 1000)[1] for step in range(300)])
    inside = ((t >= 20) & (t <= 350)).float().mean()
    assert inside == pytest.approx(0.5 + 0.5 * 0.331, abs=0.03)  # 3,000 draws: 3 standard errors
    assert t.min() < 20 and t.max() > 950


def test_the_rate_warms_up_stays_and_falls_along_a_cosine():
    settings = Settings(rate=1.0, warmup=10, final=0.02)
    assert pretraining._rate(settings, 4, 0.01) == 0.5
    assert pretraining._rate(settings, 100, 0.15) == 1
    assert pretraining._rate(settings, 100, 0.575) == pytest.approx(0.51)  # half of the way
    assert pretraining._rate(settings, 100, 1.0) == pytest.approx(0.02)
    assert pretraining._rate(Settings(rate=1.0), 5000, 1.0) == 1


def test_painted_images_take_turns():
    images = painted_images(2, ("cat", "horse"))
    assert images.shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(images[1], paint("horse", "pretrain", 0)[0])
    np.testing.assert_array_equal(images[2], paint("cat", "pretrain", 1)[0])


@pytest.fixture
def photos(tmp_path):
    """A folder of three images, one of them in a folder within, and the same in an archive."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name, grey, size in (("b.png", 200, 8), ("a.jpg", 100, 16), ("more/c.png", 50, 8)):
        Image.fromarray(np.full((size, size, 3), grey, np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(tmp_path / "photos", "photos")
    return tmp_path


@pytest.mark.parametrize("source", ["photos", "photos.tar"])
def test_photographs_in_order_of_their_names_at_one_size(photos, source):
    images = photographs(photos / source, 8)
    assert images.shape == (3, 8, 8, 3) and images.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == [100, 200, 50]


def test_several_sources_follow_one_another(photos):
    images = images_of(f"{photos / 'photos'} {photos / 'photos.tar'}", 8, (), 0)
    assert images[:, 0, 0, 0].tolist() == [100, 200, 50] * 2
    assert images_of("painted", 64, ("cat",), 2).shape == (2, 64, 64, 3)


def test_photographs_that_are_none(photos):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder or archive"):
        photographs(photos / "nowhere")
    (photos / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no image"):
        photographs(photos / "empty")
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(photos / "photos" / "wide.png")
    with pytest.raises(ValueError, match=r"wide\.png: 9 x 8 pixels; images must be square"):
        photographs(photos / "photos")
    (photos / "photos.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"photos\.tar: not a readable archive"):
        photographs(photos / "photos.tar")


@pytest.fixture
def archive(photos):
    """archive(compression): the folder of photographs in a new archive; returns its path."""

    def archive(compression="gz"):
        path = photos / f"photos.tar.{compression}"
        with tarfile.open(path, f"w:{compression}") as tar:
            tar.add(photos / "photos", "photos")
        return path

    return archive


def refused_archive(path):
    """The reason for which an archive is refused, in one sentence."""
    with pytest.raises(ValueError) as caught:
        photographs(path)
    sentence = str(caught.value)
    reason = re.fullmatch(rf"{re.escape(str(path))}: not a readable archive \((.+[^:])\)", sentence)
    assert reason, sentence
    return reason[1]


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
def test_a_truncated_archive(archive, compression):
    path = archive(compression)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused_archive(path)


def test_a_damaged_archive(tmp_path):
    info = tarfile.TarInfo("a.png")
    info.size = 100_000
    content = info.tobuf() + np.random.default_rng(0).bytes(info.size)
    bad = tmp_path / "bad.tar"

    compressor = zlib.compressobj(wbits=31)  # of .gz
    begun = compressor.compress(content[:50_000]) + compressor.flush(zlib.Z_FULL_FLUSH)
    bad.write_bytes(begun + b"\x07" * 100)  # no block begins like this
    assert "invalid block type" in refused_archive(bad)

    bad.write_bytes(gzip.compress(content[:50_000])[:-8] + bytes(8))
    assert "CRC check failed" in refused_archive(bad)

    bad.write_bytes(lzma.compress(content)[:50_000] + b"\xff" * 50_000)
    assert "Corrupt input data" in refused_archive(bad)


@pytest.mark.parametrize("source", ["photos", "photos.tar.gz"])
def test_a_folder_may_be_named_as_an_image(photos, archive, source):
    (photos / "photos" / "aa.png").mkdir()
    archive()
    assert photographs(photos / source, 8)[:, 0, 0, 0].tolist() == [100, 200, 50]


def test_links_in_an_archive(photos, archive):
    os.link(photos / "photos" / "b.png", photos / "photos" / "bb.png")
    assert photographs(archive(), 8)[:, 0, 0, 0].tolist() == [100, 200, 200, 50]
    (photos / "photos" / "d.png").symlink_to("nowhere.png")
    assert "nowhere.png' not found" in refused_archive(archive())


# ---- somebody's own images -----------------------------------------------------------------------


def test_own_images_are_learned_from_with_a_mask_or_without(tmp_path):
    folder = make_folder(tmp_path / "my cells", n_images=4, n_masks=2)
    found = images_of(str(folder / "dataset.yml"), 32, [], 0)
    assert found.shape == (4, 32, 32, 3) and found.dtype == np.uint8
    tiled = make_folder(tmp_path / "tiled", size=(64, 128))
    write_yaml(tiled, "tile: 64\noverlap: 0", longer_side=128)
    squares = images_of(str(tiled / "dataset.yml"), 64, [], 0)
    assert len(squares) == 6, "two tiles of each"
    np.testing.assert_array_equal(squares[1], disc(0, (64, 128))[0][:, 64:])
    with pytest.raises(FileNotFoundError, match=r"dataset.yml: no such file; `diffseg new"):
        images_of(str(tmp_path / "dataset.yml"), 32, [], 0)


def test_a_denoiser_is_trained_further_on_own_images_and_compared_by_folds(
    tiny_json, tmp_path, monkeypatch
):
    folder = make_folder(tmp_path / "my cells", n_images=5, n_masks=4, text="name: cells")
    spec = json.loads(Path(tiny_json).read_text()) | {"images": 100}
    start = Path(tiny_json).with_name("seen.json")
    start.write_text(json.dumps(spec))
    file, records = str(folder / "dataset.yml"), tmp_path / "records"
    pictures = images_of(file, 32, [], 0)
    checkpoints = train_checkpoints(
        spec, pictures, 10, tmp_path / "tuned", records, str(start), device="cpu"
    )
    assert checkpoints == {110: str(tmp_path / "tuned.json")}, "two steps of all five images"
    before, after = (weights_of(x) for x in (str(start), checkpoints[110]))
    assert any((before[key].float() != after[key].float()).any() for key in before)

    def ask(folds, preset, device):
        assert [len(fold.truths) for fold in folds] == [1, 1, 1, 1], "a fold per image"
        shape = (4, preset.n_classes + 1, preset.n_classes)
        return np.ones(shape, int)

    def by_map(backbone, folds, preset, device):
        return pd.DataFrame({"step": [50], "block": [2], "miou": [40.0]})

    monkeypatch.setattr(comparisons, "score_folds", ask)
    monkeypatch.setattr(comparisons, "score_each_map", by_map)
    both = {100: str(start)} | checkpoints
    comparisons.measure_checkpoints(both, [file], 100, records, "tuned")
    gain = pd.read_csv(records / "tuned_gain.csv")
    assert gain.drop(columns="scored").iloc[0].tolist() == ["cells", 100, 110, 0, 0, 0]
    assert pd.read_csv(records / "tuned_curve.csv").dataset.tolist() == ["cells"] * 2
