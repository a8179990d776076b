"""Pixel classifiers: prediction from native maps, files of our own and of the published code."""

from pathlib import Path

import pytest
import torch
from conftest import PUBLISHED_SMALL
from ensembles import as_sequential, normal, random_ensemble, random_maps
from torch.testing import assert_close

from diffseg_utils.classifiers import PixelEnsemble, published_widths

# ---- prediction ---------------------------------------------------------------------------------


def test_a_member_is_the_published_sequential():
    ensemble, x = random_ensemble(), normal(50, 9)
    for member in range(3):
        assert_close(
            ensemble.member_logits(x)[member],
            as_sequential(ensemble, member)(x),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize("n_members", [1, 10])
@pytest.mark.parametrize(
    "size", [6, 8, 16, 37, 64, 70]
)  # below, equal to, above the maps; 32 rows are a band
def test_probabilities_from_native_maps_equal_the_published_way(size, n_members):
    maps, ensemble = random_maps(), random_ensemble(n_members)
    for image in range(2):
        q = ensemble.probabilities(maps, image, size)
        assert q.shape == (n_members, 5, size, size)
        features = maps.upsampled(image, size).flatten(1).T
        expected = ensemble.member_logits(features).softmax(2).transpose(1, 2).reshape_as(q)
        assert_close(q, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [8, 37, 70])
def test_a_band_of_rows_is_that_part_of_the_image(size):
    maps, ensemble = random_maps(dtype=torch.float16), random_ensemble()
    whole = ensemble.probabilities(maps, 1, size)
    for rows in ((0, 1), (3, 8), (size - 2, size), (0, size)):
        assert_close(
            ensemble.probabilities(maps, 1, size, rows),
            whole[:, :, rows[0] : rows[1]],
            atol=1e-5,
            rtol=0,
        )


def test_wrong_rows_and_wrong_maps_are_refused():
    maps, ensemble = random_maps(), random_ensemble()
    for rows in ((0, 9), (-1, 4), (4, 4), (5, 4)):
        with pytest.raises(ValueError, match="are not within the 8 rows"):
            ensemble.probabilities(maps, 0, 8, rows)
    with pytest.raises(ValueError, match="these maps have 3 features, the classifiers expect 9"):
        ensemble.probabilities(maps.pick([0]), 0, 8)


def test_widths_and_initial_weights_as_published():
    assert [published_widths(c) for c in (2, 29, 30, 34)] == [
        (128, 32),
        (128, 32),
        (256, 128),
        (256, 128),
    ]
    ensemble = PixelEnsemble(4, 300, 34, generator=torch.Generator().manual_seed(0))
    assert (ensemble.n_members, ensemble.n_features, ensemble.n_classes, ensemble.widths) == (
        4,
        300,
        34,
        (256, 128),
    )
    for i in range(3):
        assert getattr(ensemble, f"weight{i}").std().item() == pytest.approx(0.02, rel=0.02)
        assert not getattr(ensemble, f"bias{i}").any()


# ---- files --------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    ensemble = random_ensemble()
    ensemble.save(tmp_path / "deep" / "ensemble.safetensors")
    loaded = PixelEnsemble.load(tmp_path / "deep" / "ensemble.safetensors")
    assert_close(dict(loaded.state_dict()), dict(ensemble.state_dict()), atol=0, rtol=0)
    assert not loaded.training
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["ensemble.safetensors"]


def test_files_that_hold_no_ensemble(tmp_path):
    path = tmp_path / "ensemble.safetensors"
    with pytest.raises(
        FileNotFoundError,
        match=r"ensemble\.safetensors: no classifiers here; run 02_classifier_training",
    ):
        PixelEnsemble.load(path)
    random_ensemble().save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"ensemble\.safetensors: not an ensemble"):
        PixelEnsemble.load(path)


def publish(net, path, prefix="module.layers.", wrapped=True, **changes):
    state = {f"{prefix}{name}": t for name, t in net.state_dict().items()} | changes
    state = {name: t for name, t in state.items() if t is not None}
    torch.save({"model_state_dict": state} if wrapped else state, path)


@pytest.mark.parametrize("prefix", ["module.layers.", "layers."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_published_files_in_numeric_order(tmp_path, prefix, wrapped):
    ensemble = random_ensemble(n_members=11)
    for i in range(11):
        publish(as_sequential(ensemble, i), tmp_path / f"model_{i}.pth", prefix, wrapped)
    (tmp_path / "predictions").mkdir()
    loaded = PixelEnsemble.from_published(tmp_path)
    assert_close(dict(loaded.state_dict()), dict(ensemble.state_dict()), atol=0, rtol=0)
    assert not loaded.training


def test_published_files_by_name():
    files = [PUBLISHED_SMALL / "classifiers" / f"model_{i}.pth" for i in (3, 1)]
    both, one = PixelEnsemble.from_published(files), PixelEnsemble.from_published(str(files[1]))
    assert (both.n_members, both.n_features, both.n_classes, both.widths) == (2, 480, 6, (128, 32))
    assert torch.equal(both.weight0[1], one.weight0[0])
    assert not torch.equal(both.weight0[0], one.weight0[0])


def refusal(source, error=ValueError):
    with pytest.raises(error) as caught:
        PixelEnsemble.from_published(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_published_files_that_are_not_there(tmp_path):
    assert "none: no such folder" in refusal(tmp_path / "none", FileNotFoundError)
    assert "no classifiers model_0.pth, model_1.pth, ... in it; it holds nothing" in refusal(
        tmp_path, FileNotFoundError
    )
    (tmp_path / "model_best.pth").touch()
    assert "it holds model_best.pth" in refusal(tmp_path, FileNotFoundError)
    assert "model_7.pth: no such classifier file" in refusal(
        [tmp_path / "model_7.pth"], FileNotFoundError
    )
    assert "empty list" in refusal([])


def test_published_files_that_are_damaged_or_foreign(tmp_path):
    path, net = tmp_path / "model_0.pth", as_sequential(random_ensemble(), 0)
    publish(net, path, **{"module.layers.3.bias": None})
    assert (
        "model_0.pth: 1 missing keys, such as layers.3.bias; a published classifier has 14 tensors"
        in refusal(tmp_path)
    )
    publish(net, path, **{"module.layers.9.bias": torch.zeros(2)})
    assert "model_0.pth: 1 unexpected keys, such as layers.9.bias" in refusal(tmp_path)
    publish(net, path, **{"module.layers.5.running_mean": torch.zeros(2)})
    assert "model_0.pth: mean of linear layer 2 has shape (2,)" in refusal(tmp_path)
    torch.save({"model_state_dict": {"epoch": 3}}, path)
    assert "model_0.pth: holds no state dict" in refusal(tmp_path)
    publish(net, path)
    path.write_bytes(path.read_bytes()[:-500])
    assert "model_0.pth: not a file of plain weights" in refusal(tmp_path)


def test_members_of_different_shape(tmp_path):
    publish(as_sequential(random_ensemble(), 0), tmp_path / "model_0.pth")
    publish(as_sequential(random_ensemble(n_classes=6), 0), tmp_path / "model_1.pth")
    sentence = refusal(tmp_path)
    assert (
        "model_1.pth: layers 9 -> 16, 16 -> 8, 8 -> 6, "
        "but model_0.pth has layers 9 -> 16, 16 -> 8, 8 -> 5" in sentence
    )


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pickled_code_is_not_executed(tmp_path):
    torch.save({"model_state_dict": Malicious(tmp_path / "executed")}, tmp_path / "model_0.pth")
    assert "no pickled code is executed" in refusal(tmp_path)
    assert not (tmp_path / "executed").exists()
