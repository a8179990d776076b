"""Less to train on: a pool of pixels that favours rare classes, and the principal components of its features."""

import torch

FITTED, CHUNK = 10_000, 8192  # pixels that the components are fitted to; pixels gathered at a time


def draw_pool(targets, size, balance, generator):
    """LongTensor [size] of pixels, with replacement; a class of m pixels has m ** (1 - balance) shares in them."""
    counts = torch.bincount(targets).double()
    chances = (counts[targets] ** -balance).cumsum(0)
    return torch.searchsorted(
        chances, chances[-1] * torch.rand(size, generator=generator, dtype=torch.double)
    )


def compress(rows, pool, n_components, whitening, seed):
    """(features [P, K] of the pool, mean [D], basis [D, K]) with features = (rows - mean) @ basis.

    rows(index) gives features [len(index), D]. Every feature is scaled to unit variance; of the principal components the first
    K are kept, with a standard deviation that is a power of their own: 1 for whitening 0, none for whitening 1.
    """
    from sklearn.decomposition import (
        PCA,
    )  # takes as long to load as torch, and only this recipe asks for it

    sample = rows(pool[:FITTED])
    mean, scale = sample.mean(0), sample.std(0) + 1e-6
    n_components = min(n_components, *sample.shape)
    pca = PCA(n_components, svd_solver="randomized", iterated_power=2, random_state=seed)
    pca.fit(((sample - mean) / scale).numpy())
    spread = torch.from_numpy(pca.explained_variance_).sqrt().clamp(min=1e-6)
    basis = torch.from_numpy(pca.components_).T / spread**whitening / scale[:, None]
    return torch.cat([(rows(part) - mean) @ basis for part in pool.split(CHUNK)]), mean, basis


def expand(ensemble, mean, basis):
    """The PixelEnsemble on all D features that does what `ensemble` does on the K components: the basis joins the first layer."""
    state = ensemble.state_dict()
    weight = basis.to(state["weight0"]) @ state["weight0"]  # (N, D, h1)
    state["bias0"] = state["bias0"] - mean.to(weight) @ weight
    return type(ensemble)._from_state(state | {"weight0": weight})
