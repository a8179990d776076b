"""How useful a denoiser is: nobody is asked about an image it learnt from, and no test image
takes part.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from diffseg_utils.backbone import load_backbone
from diffseg_utils.evaluation import held_out
from diffseg_utils.evaluation.significance import paired_bootstrap
from diffseg_utils.metrics import mean_iou
from diffseg_utils.presets import DATASETS

SMOKE = DATASETS["mini_smoke"]
CAT = DATASETS["cat_15"].resized(train=7)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Seven images of one colour and one class each; no test images at all."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "datasets" / "cat_15" / "real" / "train"
    folder.mkdir(parents=True)
    for i in range(7):
        Image.fromarray(np.full((256, 256, 3), 30 * i, np.uint8)).save(folder / f"{i}.png")
        label = np.full((256, 256), i)
        label[0, :5] = 7  # a tiny region: ignored where it is learnt from, asked where it is asked
        np.save(folder / f"{i}.npy", label)
    return root


def test_folds_ask_every_training_image_once_by_others(tiny, root):
    asked = held_out.folds(tiny, CAT, root, 3)
    assert [labels.amax((1, 2)).max().item() for _, labels, _, _ in asked] == [255] * 3
    ids = [(labels[:, -1, 0].tolist(), truths[:, -1, 0].tolist()) for _, labels, _, truths in asked]
    assert ids == [([1, 2, 4, 5], [0, 3, 6]), ([0, 2, 3, 5, 6], [1, 4]), ([0, 1, 3, 4, 6], [2, 5])]
    assert all(
        (truths[:, 0, :5] == 7).all() and (labels[:, 0, :5] == 255).all()
        for _, labels, _, truths in asked
    )
    for maps, labels, others, truths in asked:
        assert maps.n_images == len(labels) and others.n_images == len(truths)
    whole = torch.cat([others.maps[0] for _, _, others, _ in asked])
    assert len(whole.flatten(1).unique(dim=0)) == 7, "each image has its own maps"
    assert torch.equal(asked[1][2].maps[0][0], asked[0][0].maps[0][0]), "maps follow their labels"


def test_painted_data_is_asked_on_its_validation_split(monkeypatch):
    splits = []
    monkeypatch.setattr(
        held_out, "_maps", lambda backbone, preset, split, root: splits.append(split)
    )
    [(_, labels, _, truths)] = held_out.folds(None, SMOKE)
    assert splits == ["train", "validation"]
    assert (len(labels), len(truths)) == (SMOKE.counts["train"], SMOKE.counts["validation"])


@pytest.fixture(scope="module")
def smoke():
    backbone = load_backbone("mini")
    return backbone, held_out.folds(backbone, SMOKE)


def test_features_answer_better_than_chance(smoke):
    found = held_out.score_folds(smoke[1], SMOKE, 2)
    assert found.shape == (SMOKE.counts["validation"], SMOKE.n_classes + 1, SMOKE.n_classes)
    assert (found.sum((1, 2)) == 64 * 64).all()
    assert mean_iou(found.sum(0), SMOKE.ignore_label) > 0.4, "four classes by chance: under 0.2"


def test_every_map_is_asked_alone(smoke, monkeypatch):
    seen = []

    def score_folds(folds, preset, n_members, seed, device):
        [(maps, _, others, _)] = folds
        seen.append((maps.maps[0], others.maps[0], n_members))
        return np.ones((2, SMOKE.n_classes + 1, SMOKE.n_classes), int)

    monkeypatch.setattr(held_out, "score_folds", score_folds)
    backbone, folds = smoke
    table = held_out.score_each_map(backbone, folds, SMOKE)
    assert list(zip(table.step, table.block)) == [
        (s, b) for s in backbone.steps for b in backbone.blocks
    ]
    assert all(
        a is m and b is o and n == 1
        for (a, b, n), m, o in zip(seen, folds[0][0].maps, folds[0][2].maps, strict=True)
    )


def test_spread_is_that_of_redrawn_images():
    """Half of 40 images all right, half all wrong: pixel counts are equal, so the mIoU is p / (2
    - p) of two classes.
    """
    right, wrong = np.array([[8, 0], [0, 8], [0, 0]]), np.array([[0, 8], [8, 0], [0, 0]])
    images = np.stack([right, wrong] * 20)
    p = np.random.default_rng(1).binomial(40, 0.5, 20_000) / 40
    assert held_out.standard_error(images, 255) == pytest.approx(
        100 * (p / (2 - p)).std(), rel=0.08
    )
    same = np.stack([right] * 5)
    assert held_out.standard_error(same, 255) < 1e-9
    gain = paired_bootstrap(images, same[[0] * 40], 255)
    assert gain["difference"] < 0
