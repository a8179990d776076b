"""The published procedure that 06 measures against: the same results as oracle and package."""

import oracle
import torch
from torch.testing import assert_close

from diffseg_utils.backbone import load_backbone, shared_noise
from diffseg_utils.classifiers import PixelEnsemble
from diffseg_utils.features import extract
from diffseg_utils.official import procedure


def test_features_are_those_of_the_oracle_and_of_ours():
    backbone = load_backbone("mini")
    noise = shared_noise(64)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    network, diffusion = procedure.whole_network(backbone)
    assert len(network.output_blocks) > len(backbone.model.output_blocks), "it is not cut"
    maps = procedure.read_maps(network, diffusion, image, noise, backbone.steps, backbone.blocks)
    found = procedure.pixel_features(maps, 64)  # (P, D)

    how = backbone.steps, backbone.blocks, lambda: noise, 64
    expected = oracle.pixel_features(network, diffusion, image, *how)  # (D, 64, 64)
    assert_close(found, expected.flatten(1).T)
    ours = extract(backbone, image, noise).upsampled(0, 64)
    assert_close(found, ours.flatten(1).T, atol=1e-4, rtol=1e-4)


def test_classifiers_are_read_by_the_package(tmp_path):
    torch.manual_seed(0)
    members = procedure.classifiers(3, 8, 4)
    procedure.save_classifiers(members, tmp_path)
    ensemble = PixelEnsemble.from_published(tmp_path)
    pixels = torch.randn(5, 8)
    expected = ensemble.member_logits(pixels).softmax(2)  # (N, P, C)
    assert_close(procedure.probabilities(members, pixels), expected)


def test_a_training_step_moves_every_member():
    torch.manual_seed(0)
    members = procedure.classifiers(2, 8, 4)
    before = [member[0].weight.detach().clone() for member in members]
    procedure.training_steps(members, torch.randn(100, 8), torch.randint(4, (100,)), 1)
    assert all(not torch.equal(m[0].weight, w) for m, w in zip(members, before))
