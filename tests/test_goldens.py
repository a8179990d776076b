"""What the published code produced comes out of the public API: features, logits, votes,
uncertainty, mIoU.

"fixture": the reduced copy in fixtures/published_small, in every clone; "full": all of it, where it
lies beside the clone.
"""

import json
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from conftest import PUBLISHED_SMALL
from torch.testing import assert_close

from diffseg_utils.backbone import load_backbone, shared_noise
from diffseg_utils.classifiers import PixelEnsemble, published_widths
from diffseg_utils.data import ignore_tiny_regions, to_input
from diffseg_utils.features import extract
from diffseg_utils.metrics import confusion, iou, mean_iou
from diffseg_utils.voting import image_uncertainty, majority, vote

C, IGNORE, SIZE = 6, 255, 32


@pytest.fixture(scope="module", params=["fixture", "full"])
def golden(request, tmp_path_factory):
    """Published numbers by name, and `backbone` and `classifiers` as files."""
    if request.param == "fixture":
        with np.load(PUBLISHED_SMALL / "numbers.npz") as file:
            return SimpleNamespace(
                **file,
                backbone=request.getfixturevalue("tiny_json"),
                classifiers=PUBLISHED_SMALL / "classifiers",
            )
    folder = request.getfixturevalue("beside")("goldens")
    spec = json.loads((folder / "published_small.json").read_text()) | {
        "checkpoint": str(folder / "published_small_unet.pt")
    }
    backbone = tmp_path_factory.mktemp("full") / "unet.json"
    backbone.write_text(json.dumps(spec))
    with np.load(folder / "published_small.npz") as file:
        numbers = dict(file)
    numbers["features"] = numbers["features"].reshape(3, -1, SIZE * SIZE)
    return SimpleNamespace(
        **numbers,
        pixels=np.arange(SIZE * SIZE),
        backbone=str(backbone),
        classifiers=folder / "published_small_classifiers",
    )


@pytest.fixture(scope="module")
def maps(golden):
    images = torch.stack([to_input(image, SIZE) for image in golden.images])
    return extract(load_backbone(golden.backbone), images, shared_noise(SIZE))


@pytest.fixture(scope="module")
def probs(golden, maps):
    """[3, N, C, H, W]."""
    ensemble = PixelEnsemble.from_published(golden.classifiers)
    return torch.stack([ensemble.probabilities(maps, image, SIZE) for image in range(3)])


@pytest.fixture(scope="module")
def confusions(golden, probs):
    return sum(confusion(vote(q, "majority"), label, C) for q, label in zip(probs, golden.labels))


def test_the_weights_drawn_again_have_the_sums_of_the_original(tiny_weights):
    with np.load(PUBLISHED_SMALL / "numbers.npz") as file:
        sums = np.array([float(w.double().sum()) for w in tiny_weights.values()])
        np.testing.assert_allclose(sums, file["weight_sums"], atol=1e-4)


def test_the_weights_drawn_again_are_those_of_the_original_file(tiny_weights, beside):
    original = torch.load(beside("goldens") / "published_small_unet.pt", weights_only=True)
    assert_close(tiny_weights, original, atol=0, rtol=0)


def test_noise(golden):
    assert_close(shared_noise(SIZE), torch.from_numpy(golden.noise), atol=1e-6, rtol=0)


def test_features_of_pixels(golden, maps):
    y, x = (
        torch.from_numpy(golden.pixels).div(SIZE, rounding_mode="floor"),
        torch.from_numpy(golden.pixels) % SIZE,
    )
    for image, published in enumerate(golden.features):
        assert_close(maps.at(image, y, x, SIZE).T, torch.from_numpy(published), atol=1e-4, rtol=0)


def test_features_of_whole_images(golden, maps):
    for image, published in enumerate(golden.features):
        ours = maps.upsampled(image, SIZE).flatten(1)[:, golden.pixels]
        assert_close(ours, torch.from_numpy(published), atol=1e-4, rtol=0)


def test_logits(golden):
    ensemble = PixelEnsemble.from_published(golden.classifiers)
    for features, published in zip(golden.features, golden.logits):
        assert_close(
            ensemble.member_logits(torch.from_numpy(features).T),
            torch.from_numpy(published),
            atol=1e-3,
            rtol=0,
        )


def test_probabilities_from_native_maps(golden, probs):
    for q, published in zip(probs, golden.logits):
        expected = torch.from_numpy(published).softmax(-1).transpose(1, 2)
        assert_close(q.flatten(2)[..., golden.pixels], expected, atol=1e-4, rtol=0)


def test_votes(golden, probs):
    for q, published in zip(probs, golden.majority):
        assert_close(vote(q, "majority"), torch.from_numpy(published).long(), atol=0, rtol=0)
        assert_close(majority(q).argmax(0), torch.from_numpy(published).long(), atol=0, rtol=0)


def test_uncertainty(golden, probs):
    assert [image_uncertainty(q) for q in probs] == pytest.approx(
        list(golden.uncertainty), abs=1e-4
    )


def test_miou(golden, confusions):
    assert mean_iou(confusions, IGNORE) == pytest.approx(float(golden.miou), abs=1e-6)
    assert [float(f"{value:.4g}") for value in iou(confusions, IGNORE)] == list(
        golden.iou
    )  # rounded to four digits there


def test_train_labels(golden):
    for label, published in zip(golden.labels, golden.train_labels):
        np.testing.assert_array_equal(
            ignore_tiny_regions(label.astype(np.int64), C, IGNORE), published
        )


def test_the_oracle_agrees_with_the_published_code(golden):
    """So that the oracle may stand in for it elsewhere."""
    images = torch.stack([to_input(image, SIZE) for image in golden.images])
    backbone = load_backbone(golden.backbone)
    features = oracle.pixel_features(
        backbone.model,
        backbone.diffusion,
        images[:1],
        backbone.steps,
        backbone.blocks,
        lambda: torch.from_numpy(golden.noise),
        SIZE,
    )
    assert_close(
        features.flatten(1)[:, golden.pixels],
        torch.from_numpy(golden.features[0]),
        atol=1e-4,
        rtol=0,
    )
    logits = torch.from_numpy(golden.logits)
    for i, published in enumerate(golden.majority):
        assert torch.equal(
            oracle.hard_vote(logits[i]), torch.from_numpy(published.flatten()[golden.pixels]).long()
        )
        if len(golden.pixels) == SIZE * SIZE:
            assert oracle.uncertainty(logits[i]) == pytest.approx(golden.uncertainty[i], abs=1e-6)
    assert oracle.mean_iou(golden.majority, golden.labels, C, IGNORE) == pytest.approx(
        float(golden.miou), abs=1e-9
    )
    for label, published in zip(golden.labels, golden.train_labels):
        np.testing.assert_array_equal(oracle.without_tiny_regions(label, C, IGNORE), published)


# ---- the whole procedure where the goldens are silent, against the oracle
# -----------------------------------------------


@pytest.mark.parametrize(
    "classes, ignore, steps, blocks, fresh",
    [
        (34, 255, [50, 150, 250], [0, 1, 3], False),  # the wide head
        (
            29,
            0,
            [50, 150, 250],
            [0, 1, 3],
            False,
        ),  # an ignored id among the classes, as in bedroom_28
        (6, 255, [600, 10], [3, 0], False),  # other steps and blocks, in no order
        (34, 0, [250, 50], [2], True),  # the published code's other mode: noise drawn afresh
    ],
)
def test_everything_equals_the_oracle(tiny, tmp_path, classes, ignore, steps, blocks, fresh):
    """Two images of 32 pixels, labels of 24: features, logits, hard votes, uncertainty, mIoU."""
    size, g = 24, torch.Generator().manual_seed(classes)
    images = torch.rand(2, 3, SIZE, SIZE, generator=g) * 2 - 1
    labels = torch.randint(classes, (2, size, size), generator=g)
    labels[torch.rand(labels.shape, generator=g) < 0.1] = ignore
    noise, ours, theirs = shared_noise(SIZE), *(torch.Generator().manual_seed(11) for _ in range(2))
    maps = extract(tiny, images, None if fresh else noise, steps, blocks, generator=ours)
    widths = (256, 128) if classes == 34 else (128, 32)
    members = [random_classifier(widths, maps.n_features, classes, g) for _ in range(3)]
    for i, net in enumerate(members):
        torch.save(
            {
                "model_state_dict": {
                    f"module.layers.{name}": t for name, t in net.state_dict().items()
                }
            },
            tmp_path / f"model_{i}.pth",
        )
    ensemble, predictions, total = PixelEnsemble.from_published(tmp_path), [], 0
    assert ensemble.widths == widths == published_widths(classes)
    for i, label in enumerate(labels):
        draw = lambda: torch.randn(1, 3, SIZE, SIZE, generator=theirs) if fresh else noise
        features = oracle.pixel_features(
            tiny.model, tiny.diffusion, images[i : i + 1], steps, blocks, draw, size
        )
        assert_close(maps.upsampled(i, size), features, atol=1e-4, rtol=0)
        with torch.no_grad():
            logits = torch.stack([net(features.flatten(1).T) for net in members])
            assert_close(
                ensemble.member_logits(maps.upsampled(i, size).flatten(1).T),
                logits,
                atol=1e-3,
                rtol=0,
            )
        q = ensemble.probabilities(maps, i, size)
        predictions.append(vote(q, "majority"))
        assert torch.equal(predictions[i].flatten(), oracle.hard_vote(logits))
        assert len(predictions[i].unique()) > 2, "a vote between several classes"
        assert image_uncertainty(q) == pytest.approx(oracle.uncertainty(logits), abs=1e-4)
        total = total + confusion(predictions[i], label, classes)
    assert mean_iou(total, ignore) == pytest.approx(
        oracle.mean_iou(predictions, labels, classes, ignore), abs=1e-6
    )


def random_classifier(widths, n_features, n_classes, generator):
    """A plain classifier in eval mode in which every weight and statistic matters."""
    net = oracle.classifier(n_features, widths, n_classes).eval()
    for name, t in net.state_dict().items():
        if t.is_floating_point():
            z = torch.randn(t.shape, generator=generator)
            t.copy_(
                z / t.shape[1] ** 0.5
                if t.dim() == 2
                else 0.5 + z.abs()
                if name.endswith("running_var")
                else z
            )
    return net
