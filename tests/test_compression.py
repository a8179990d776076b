"""The tuned recipe's pool and components: who is drawn, what is kept, and that the result is an ordinary ensemble."""

import pytest
import torch
from torch.testing import assert_close

from diffseg_utils.classifiers import PixelEnsemble
from diffseg_utils.compression import compress, draw_pool, expand


@pytest.fixture
def features():
    """[2000, 6]: two strong directions with other means and units, and a little noise."""
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(2000, 2, generator=g)
    mixed = hidden @ torch.tensor([[1.0, 2, 0, 1, 0, 1], [0, 1, 3, 0, 1, -1]]) + 0.01 * torch.randn(
        2000, 6, generator=g
    )
    return mixed * torch.tensor([1.0, 10, 100, 0.1, 1, 1]) + torch.arange(6)


@pytest.mark.parametrize(
    "balance, share", [(0.0, 0.99), (0.5, 99**0.5 / (1 + 99**0.5)), (1.0, 0.5)]
)
def test_the_pool_favours_rare_classes_by_its_power(balance, share):
    targets = torch.tensor([4] * 9900 + [2] * 100)
    pool = draw_pool(targets, 20_000, balance, torch.Generator().manual_seed(0))
    assert pool.shape == (20_000,) and pool.min() >= 0 and pool.max() < 10_000
    assert (targets[pool] == 4).double().mean().item() == pytest.approx(share, abs=0.015)
    assert len(pool[targets[pool] == 2].unique()) > 60, "within a class any pixel may come"


@pytest.mark.parametrize("whitening, ratio", [(0.0, None), (0.5, 0.5), (1.0, 0.0)])
def test_components_are_uncorrelated_and_keep_what_there_is(features, whitening, ratio):
    kept, mean, basis = compress(lambda index: features[index], torch.arange(2000), 2, whitening, 0)
    assert_close(kept, (features - mean) @ basis)
    assert kept.mean(0).abs().max() < 1e-4 and torch.corrcoef(kept.T)[0, 1].abs() < 1e-3
    spread = kept.std(0)
    plain = compress(lambda index: features[index], torch.arange(2000), 2, 0.0, 0)[0].std(0)
    if ratio is not None:
        assert_close(
            (spread[0] / spread[1]).log(), (plain[0] / plain[1]).log() * ratio, atol=1e-3, rtol=0
        )
    scaled = (features - features.mean(0)) / features.std(0)
    lost = scaled - kept @ torch.linalg.lstsq(kept, scaled).solution
    assert lost.pow(2).mean() < 0.01, "two components hold what two directions made"


def test_more_components_than_features_are_all_of_them(features):
    assert compress(lambda index: features[index], torch.arange(2000), 256, 0.5, 0)[0].shape == (
        2000,
        6,
    )


def test_the_expanded_ensemble_answers_the_same_on_all_features(features):
    kept, mean, basis = compress(lambda index: features[index], torch.arange(2000), 2, 0.5, 0)
    small = PixelEnsemble(3, 2, 4, (8, 5), torch.Generator().manual_seed(1)).eval()
    for p in small.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    full = expand(small, mean, basis)
    assert (full.n_features, full.n_classes, full.widths, full.training) == (6, 4, (8, 5), False)
    assert_close(
        full.member_logits(features[:50]), small.member_logits(kept[:50]), atol=1e-4, rtol=1e-4
    )
