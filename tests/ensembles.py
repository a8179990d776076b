"""Small ensembles and maps of random numbers, and an ensemble's member as a published network."""

import oracle
import torch
from torch.testing import assert_close

from diffseg_utils.classifiers import PixelEnsemble
from diffseg_utils.features import FeatureMaps


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_ensemble(n_members=3, n_features=9, n_classes=5, widths=(16, 8)):
    """Weights, norms and statistics of a size at which every one of them matters."""
    ensemble = PixelEnsemble(n_members, n_features, n_classes, widths)
    with torch.no_grad():
        for i, (name, t) in enumerate(ensemble.state_dict().items()):
            z = normal(*t.shape, seed=i)
            t.copy_(
                z.abs() + 0.5
                if name.startswith("var")
                else z / t.shape[1] ** 0.5
                if name.startswith("weight")
                else z
            )
    return ensemble.eval()


def random_maps(n_images=2, dtype=torch.float32):
    shapes = ((4, 3), (8, 2), (16, 3), (16, 1))
    return FeatureMaps(normal(n_images, h, h, c, seed=h + c).to(dtype) for h, c in shapes)


def as_sequential(ensemble, member):
    """The member as a published classifier."""
    net = oracle.classifier(ensemble.n_features, ensemble.widths, ensemble.n_classes).to(
        ensemble.weight0
    )
    t = {name: value[member] for name, value in ensemble.state_dict().items()}
    with torch.no_grad():
        for i, (linear, norm) in enumerate(((0, 2), (3, 5), (6, None))):
            net[linear].weight.copy_(t[f"weight{i}"].T)
            net[linear].bias.copy_(t[f"bias{i}"])
            if norm:
                net[norm].weight.copy_(t[f"scale{i}"])
                net[norm].bias.copy_(t[f"shift{i}"])
                net[norm].running_mean.copy_(t[f"mean{i}"])
                net[norm].running_var.copy_(t[f"var{i}"])
    return net.eval()


def assert_same_member(ensemble, member, net, **tolerance):
    """All weights and statistics of a trained member are those of `net`."""
    found, expected = (dict(n.state_dict()) for n in (as_sequential(ensemble, member), net))
    for state in (found, expected):
        state.pop("2.num_batches_tracked"), state.pop("5.num_batches_tracked")
    assert_close(found, expected, **tolerance)
