"""What the published code left behind: its classifiers, evaluated by every rule without training;
its checkpoints.
"""

import json
import re
import weakref
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from conftest import diffseg

from diffseg_utils import backbone
from diffseg_utils.backbone import anatomy, load_backbone, shared_noise
from diffseg_utils.classifiers import PixelEnsemble
from diffseg_utils.data import labels_of, samples, to_input
from diffseg_utils.evaluation import Prediction
from diffseg_utils.features import extract
from diffseg_utils.official import vote as official_vote
from diffseg_utils.official.classifiers import fitting_presets
from diffseg_utils.presets import DATASETS
from diffseg_utils.runs import Run
from diffseg_utils.runs.records import Checksums, fingerprint, finish
from diffseg_utils.runs.stages import FEATURES, Job
from diffseg_utils.training import train

SMOKE = DATASETS["mini_smoke"]
ORDER = (("0", "weight0", "bias0"), ("3", "weight1", "bias1"), ("6", "weight2", "bias2"))


def publish(ensemble, folder):
    """model_<i>.pth of every member as the published code saves it; odd ones without "module.",
    as third parties do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(ensemble.n_members):
        t, state = {name: value[i] for name, value in ensemble.state_dict().items()}, {}
        for layer, weight, bias in ORDER:
            state |= {f"{layer}.weight": t[weight].T, f"{layer}.bias": t[bias]}
        for layer, k in (("2", 0), ("5", 1)):
            state |= {
                f"{layer}.weight": t[f"scale{k}"],
                f"{layer}.bias": t[f"shift{k}"],
                f"{layer}.running_mean": t[f"mean{k}"],
                f"{layer}.running_var": t[f"var{k}"],
                f"{layer}.num_batches_tracked": torch.tensor(9),
            }
        prefix = "layers." if i % 2 else "module.layers."
        state = {prefix + name: value.clone() for name, value in state.items()}
        torch.save({"model_state_dict": state}, folder / f"model_{i}.pth")


@pytest.fixture(scope="module")
def mini():
    return load_backbone("mini")


@pytest.fixture(scope="module")
def classifiers(mini, tmp_path_factory):
    """A folder of three classifiers, trained on two painted images, as published."""
    images = [sample.image for sample in samples(SMOKE.resized(train=2), "train")]
    maps = extract(mini, torch.stack([to_input(image, 64) for image in images]), shared_noise(64))
    ensemble, _ = train(maps, labels_of(SMOKE.resized(train=2), "train"), 4, 255, 3, epochs=1)
    folder = tmp_path_factory.mktemp("published") / "50_150_250_2_3_4_5_6"
    publish(ensemble, folder)
    return folder


@pytest.fixture(scope="module")
def plain(mini, classifiers):
    """({name: hard vote [64, 64]} of the test images, their labels), all computed by the oracle."""
    members = []
    for i in range(3):
        members.append(oracle.classifier(1056, (128, 32), 4).eval())
        state = torch.load(classifiers / f"model_{i}.pth", weights_only=True)["model_state_dict"]
        members[i].load_state_dict({name.split("layers.")[1]: t for name, t in state.items()})
    votes, noise, tests = {}, shared_noise(64), list(samples(SMOKE, "test"))
    for sample in tests:
        x = (
            oracle.pixel_features(
                mini.model,
                mini.diffusion,
                to_input(sample.image, 64)[None],
                mini.steps,
                mini.blocks,
                lambda: noise,
                64,
            )
            .flatten(1)
            .T
        )
        with torch.no_grad():
            votes[sample.name] = (
                oracle.hard_vote(torch.stack([net(x) for net in members])).view(64, 64).numpy()
            )
    return votes, [sample.label for sample in tests]


@pytest.fixture(scope="module")
def voted(classifiers, plain, tmp_path_factory):
    """(What `diffseg vote` printed, the folder of its votes); predictions/ beside the classifiers
    has two of three images.
    """
    predictions = classifiers.parent / "predictions"
    predictions.mkdir()
    for name, labels in list(plain[0].items())[:2]:
        np.save(predictions / f"{name}.npy", labels)
    labels.flat[:41] = (labels.flat[:41] + 1) % 4  # 41 of 8192 pixels differ
    np.save(predictions / f"{name}.npy", labels)
    labels.flat[:41] = (labels.flat[:41] - 1) % 4
    folder = tmp_path_factory.mktemp("voted")
    done = diffseg(
        "vote",
        "mini_smoke",
        "--classifiers",
        classifiers,
        "--device",
        "cpu",
        "--results",
        folder / "results",
        "--votes",
        folder / "votes",
    )
    assert done.exit_code == 0, done.output
    return done.stdout, folder / "votes"


# ---- diffseg vote -------------------------------------------------------------------------------


def test_saved_votes_are_the_oracles(voted, plain):
    assert {file.name for file in voted[1].iterdir()} == {f"{name}.npy" for name in plain[0]}
    for name, expected in plain[0].items():
        found = np.load(voted[1] / f"{name}.npy")
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, expected)
        assert len(np.unique(found)) > 1, "not a constant"


def test_every_rule_has_its_row(voted, plain):
    lines = [line for line in voted[0].splitlines() if line.startswith("| ")]
    rows = {line.split("|")[1].strip(): re.sub(" +", " ", line) for line in lines}
    miou = 100 * oracle.mean_iou(list(plain[0].values()), plain[1], 4, 255)
    assert miou > 30, "the classifiers have learned"
    assert rows.pop("majority").startswith(f"| majority | {miou:.2f} | | ")
    assert (
        set(rows) >= {"rule", "mean", "geometric mean", "most certain", "entropy-weighted, k = 1"}
        and len(rows) == 7
    )
    assert any(
        re.fullmatch(r"entropy-weighted, k = \S+, chosen on validation", name) for name in rows
    )
    gain = r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]"
    assert all(
        len(re.findall(gain, row)) == (0 if name == "rule" or "member" in name else 2)
        for name, row in rows.items()
    )


def test_noise_and_fit_are_said(voted):
    assert voted[0].startswith(
        "3 classifiers for mini_smoke, 3 test images; "
        "noise: one tensor for all images and steps, seed 0, cpu generator; U-Net in float32\n"
    )


def test_agreement_with_the_archives_own_predictions(voted):
    assert f"{100 * (1 - 41 / 8192):.4f} % of the pixels of 2 images have the class of " in voted[0]


def test_features_of_a_run_are_used_if_current(classifiers, voted, mini, tmp_path, monkeypatch):
    run = Run("mini_smoke", results=str(tmp_path / "results"), device="cpu")
    for split in ("validation", "test"):
        images = torch.stack([to_input(sample.image, 64) for sample in samples(SMOKE, split)])
        extract(mini, images, shared_noise(64), store=run.path("features") / split)
    job = Job.of(FEATURES, run, {})
    job.executed.parent.mkdir(parents=True)
    job.executed.write_text("{}")
    checksums = Checksums(run.runs_root)
    now = fingerprint(job, checksums)
    finish(job, now, checksums, 1.0, {"noise": "as written here"})

    def refuse(*args, **kw):
        raise ValueError("the U-Net was asked")

    monkeypatch.setattr(backbone, "load_backbone", refuse)
    own = tmp_path / "ensemble.safetensors"  # as a run leaves them
    PixelEnsemble.from_published(classifiers).save(own)
    ask = (
        "vote",
        "mini_smoke",
        "--classifiers",
        own,
        "--device",
        "cpu",
        "--results",
        tmp_path / "results",
    )
    done = diffseg(*ask)
    table = [line for line in voted[0].splitlines() if line.startswith("|")]
    assert (
        done.exit_code == 0
        and [line for line in done.stdout.splitlines() if line.startswith("|")] == table
    )
    assert "noise: as written here (" in done.stdout
    now["values"]["backbone"]["weights"] = "of another network"
    finish(job, now, checksums, 1.0, {"noise": "as written here"})
    assert "the U-Net was asked" in diffseg(*ask).output, "features of something else are not taken"


def test_k_is_chosen_on_validation_by_hand():
    """A certain member says 1, two hesitant ones 0. H = .0560 and .5004: 1 wins if .98 exp(.4444
    k) > 1.2, from k = .456 on.
    """
    probs = torch.tensor([[0.01, 0.99], [0.8, 0.2], [0.8, 0.2]])[:, :, None, None]
    for truth, k in ((1, "0.5"), (0, "0")):  # the smallest of the grid that is right
        predictions = [Prediction("a", {0: probs}, np.array([[truth]]))]
        preset = SimpleNamespace(classes=("a", "b"), n_classes=2, ignore_label=255)
        rule = official_vote._chosen_on_validation(predictions, preset)["k chosen"]
        assert rule.label == f"entropy-weighted, k = {k}, chosen on validation"
        assert rule(probs).argmax() == truth


def test_without_a_validation_split_no_k_is_chosen(tmp_path):
    run = SimpleNamespace(preset=DATASETS["cat_15"], data_root=tmp_path)
    assert not official_vote._is_there(run, "validation") and official_vote._is_there(run, "test")
    (tmp_path / "datasets" / "cat_15" / "ddpm").mkdir(parents=True)
    assert official_vote._is_there(run, "validation")
    assert not official_vote._is_there(
        SimpleNamespace(preset=DATASETS["celeba_19"], data_root=tmp_path), "validation"
    )


# ---- what fits ----------------------------------------------------------------------------------


def test_the_official_network_is_known_without_its_weights():
    assert anatomy("lsun_cat") == (8448, 48 * 2**20, 2_211_256_344)


@pytest.mark.parametrize(
    "n_features, n_classes, widths, fits",
    [
        (8448, 15, (128, 32), ["cat_15"]),
        (8448, 34, (256, 128), ["ffhq_34"]),
        (8448, 34, (128, 32), []),
        (1056, 15, (128, 32), []),
        (1056, 10, (128, 32), ["mini_ffhq", "mini_cat"]),
        (8448, 2, (128, 32), []),
    ],
)
def test_presets_that_fit(n_features, n_classes, widths, fits):
    assert fitting_presets(PixelEnsemble(1, n_features, n_classes, widths)) == fits


@pytest.fixture(scope="module")
def cat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cat")
    publish(PixelEnsemble(1, 8448, 15).eval(), folder)
    return folder


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["horse_21"],
            [
                "15 classes, 8448 features and widths 128, 32 fit cat_15, "
                "not horse_21 on backbone lsun_horse (21 "
            ],
        ),
        (
            ["mini_cat"],
            [
                "fit cat_15, not mini_cat on backbone mini "
                "(10 classes, 1056 features and widths 128, 32)"
            ],
        ),
        (
            ["cat_15", "--data", "/nonexistent"],
            ["/nonexistent/datasets/cat_15/real/test", "diffseg fetch cat_15"],
        ),
        (["dog_3"], ["unknown dataset 'dog_3'", "cat_15"]),
        (["cat_15", "--backbone", "dog.json"], ["dog.json: no such backbone file"]),
    ],
)
def test_mistakes_are_one_clear_sentence(cat, arguments, words, tmp_path):
    done = diffseg("vote", *arguments, "--classifiers", cat, "--results", tmp_path / "results")
    assert done.exit_code == 1 and len(done.output.strip().splitlines()) == 1, done.output
    for word in words:
        assert word in done.output


def test_a_folder_that_is_not_there(tmp_path):
    done = diffseg("vote", "mini_smoke", "--classifiers", tmp_path / "none", "--results", tmp_path)
    assert done.exit_code == 1 and "none: no such folder of pixel classifiers" in done.output


@pytest.mark.parametrize(
    "content, message",
    [
        (
            np.zeros((2, 2), np.uint8),
            r"a\.npy: a vote of shape \(2, 2\); the labels have \(64, 64\)",
        ),
        (np.array([None]), r"a\.npy: not a readable \.npy vote"),
    ],
)
def test_predictions_that_cannot_be_compared(tmp_path, content, message):
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        official_vote._prediction(tmp_path / "a.npy", (64, 64))


# ---- checkpoints --------------------------------------------------------------------------------


def test_weights_are_mapped_not_copied_and_those_of_unused_blocks_are_dropped(
    tiny_spec, tiny_weights, tmp_path, monkeypatch
):
    torch.save(tiny_weights, tmp_path / "unet.pt")
    (tmp_path / "own.json").write_text(
        json.dumps({**tiny_spec, "checkpoint": "unet.pt", "blocks": [0]})
    )
    read, place, load = {}, {}, torch.load

    def watched(*args, **kw):
        state = load(*args, **kw)
        read.update({name: weakref.ref(t) for name, t in state.items()})
        place.update({name: t.data_ptr() for name, t in state.items()})
        return state

    monkeypatch.setattr(torch, "load", watched)
    kept = load_backbone(str(tmp_path / "own.json")).model.state_dict()
    unused = {name for name in read if re.match(r"output_blocks\.[123]|out\.", name)}
    assert unused and kept.keys() == read.keys() - unused
    assert {name: t.data_ptr() for name, t in kept.items()} == {
        name: place[name] for name in kept
    }, "still the file's own bytes"
    assert not any(read[name]() is not None for name in unused), "nobody holds what is not used"
