"""Combinations on simulated members whose faults are known."""

import numpy as np
import pytest
import torch

from diffseg_utils.fitted_rules import dawid_skene, stacking
from diffseg_utils.voting import majority, vote


def answers(reliability, truth, seed=0):
    """One-hot probs [N, C, P]: where c is true, member n answers l with reliability[n, c, l]."""
    rng = np.random.default_rng(seed)
    chosen = (
        reliability.cumsum(2)[:, truth] > rng.random((len(reliability), len(truth), 1))
    ).argmax(2)  # (N, P)
    return torch.tensor(np.eye(reliability.shape[1])[chosen], dtype=torch.float32).transpose(1, 2)


# two members that see everything, three that take class 2 for class 1 most of the time: the
# majority errs on class 2
GOOD = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
BLIND = np.array([[0.7, 0.15, 0.15], [0.15, 0.8, 0.05], [0.1, 0.7, 0.2]])
MEMBERS = np.stack([GOOD, GOOD, BLIND, BLIND, BLIND])
TRUTH = np.random.default_rng(1).choice(3, 6000, p=[0.5, 0.3, 0.2])


@pytest.mark.parametrize("truth", [None, TRUTH])
def test_dawid_skene_recovers_the_members_and_beats_the_majority(truth):
    probs = answers(MEMBERS, TRUTH)
    rule = dawid_skene(probs, truth)
    assert rule.keywords["reliability"].numpy() == pytest.approx(MEMBERS, abs=0.04)
    assert rule.keywords["prior"].tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.02)
    fresh = answers(MEMBERS, TRUTH, seed=2)
    right, wanted = [(vote(fresh, r).numpy() == TRUTH).mean() for r in (rule, majority)]
    assert right > wanted + 0.04


def test_dawid_skene_of_one_pixel_by_hand():
    # counted from 8 pixels a class, smoothing 1: a member that is always right has 9 of 10, the
    # prior is even
    probs, truth = torch.eye(2).repeat(1, 8)[None], torch.arange(2).repeat(8)
    rule = dawid_skene(probs, truth)
    assert rule.keywords["reliability"][0].tolist() == [
        pytest.approx([0.9, 0.1]),
        pytest.approx([0.1, 0.9]),
    ]
    soft = torch.tensor([0.75, 0.25]).reshape(1, 2, 1, 1)
    odds = 9**0.75 / 9**0.25  # (0.9 / 0.1)^(3/4) (0.1 / 0.9)^(1/4)
    assert rule(soft).flatten().tolist() == pytest.approx([odds / (1 + odds), 1 / (1 + odds)])


def noisy_members(n_pixels, seed):
    """(probs [3, 4, P], truth): two timid members with something to say, and a certain one that
    knows nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(4, (n_pixels,), generator=generator)
    signal = torch.nn.functional.one_hot(truth, 4).T.float() + torch.randn(
        2, 4, n_pixels, generator=generator
    )
    noise = 6 * torch.randn(1, 4, n_pixels, generator=generator)
    return torch.softmax(torch.cat([signal, noise]), 1), truth


def test_stacking_learns_to_ignore_noise():
    rule = stacking(*noisy_members(3000, 0), strength=1.0)
    weight = abs(rule.keywords["model"].coef_).reshape(4, 3, 4).mean((0, 2))  # of each member
    assert weight[2] < 0.1 * weight[:2].min()
    probs, truth = noisy_members(3000, 1)
    alone = vote(probs[:2], "geometric_mean")  # the best there is: the two others, in logits
    right = lambda labels: (labels == truth).float().mean().item()
    assert right(vote(probs, rule)) == pytest.approx(right(alone), abs=0.01)
    assert right(alone) > right(vote(probs, "mean")) + 0.1


@pytest.mark.parametrize("fit", [dawid_skene, stacking])
def test_pixels_keep_their_shape_and_ignored_ones_are_left_out(fit):
    probs, truth = noisy_members(600, 0)
    truth[truth == 3] = 255  # class 3 is never seen
    rule = fit(probs.reshape(3, 4, 20, 30), truth.reshape(20, 30).numpy())
    masked = fit(probs[..., truth < 255], truth[truth < 255])
    found = rule(probs.reshape(3, 4, 20, 30))
    assert found.shape == (4, 20, 30) and found.dtype == torch.float32
    assert torch.allclose(found.sum(0), torch.ones(20, 30), atol=1e-5)
    assert torch.equal(found.flatten(1), masked(probs))
    assert found[3].mean() < 0.05
