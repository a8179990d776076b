"""The published procedure in plain code, as slow and as large as it is: 06 measures against it.

The network runs to its end. Every map that is read is up-sampled to the size of the labels and
concatenated. Each classifier is a module of its own; all of them see every pixel of that tensor,
and one is trained after the other (Baranchuk et al., "Label-Efficient Semantic Segmentation with
Diffusion Models"). Shapes: N members, P pixels, D features, C classes.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ..backbone import Tap, create
from ..classifiers import published_widths


def whole_network(backbone):
    """(U-Net, diffusion) of a Backbone without the cut.

    What the Backbone has kept shares its weights; the rest is as guided-diffusion makes it, which
    takes the same time.
    """
    network, diffusion = create(backbone.flags)
    network.load_state_dict(backbone.model.state_dict(), strict=False, assign=True)
    return network.to(backbone.device).eval(), diffusion


def read_maps(network, diffusion, image, noise, steps, blocks):
    """The maps [1, c, h, w] of one image [1, 3, S, S]: for each step one per decoder block."""
    maps = []
    for step in steps:
        t = torch.tensor([step], device=image.device)
        noised = diffusion.q_sample(image, t, noise)
        with torch.no_grad(), Tap(network, blocks) as outputs:
            network(noised, t)
        maps += outputs
    return maps


def pixel_features(maps, size):
    """The features [P, D] of all pixels of a label map of `size` x `size`, in float32."""
    layers = []
    for m in maps:
        up = F.interpolate(m.float(), (size, size), mode="bilinear")  # (1, c, size, size)
        layers.append(up[0])
    return torch.cat(layers).flatten(1).T  # (P, D)


def classifiers(n_members, n_features, n_classes):
    """N pixel classifiers, a list of modules in eval mode; seed torch before."""
    h1, h2 = published_widths(n_classes)
    members = []
    for _ in range(n_members):
        member = nn.Sequential(
            nn.Linear(n_features, h1),
            nn.ReLU(),
            nn.BatchNorm1d(h1),
            nn.Linear(h1, h2),
            nn.ReLU(),
            nn.BatchNorm1d(h2),
            nn.Linear(h2, n_classes),
        )
        members.append(member.eval())
    return members


def save_classifiers(members, folder):
    """Write the files model_<number>.pth of the published code."""
    for number, member in enumerate(members):
        state = nn.ModuleDict({"layers": member}).state_dict()
        torch.save({"model_state_dict": state}, folder / f"model_{number}.pth")


def probabilities(members, pixels):
    """Class distributions [N, P, C] of features `pixels` [P, D], one member after the other."""
    with torch.no_grad():
        return torch.stack([member(pixels).softmax(1) for member in members])


def training_steps(members, pixels, classes, n_steps):
    """n_steps batches of 64 pixels for every member; pixels: [P, D], classes: [P]."""
    optimisers = [torch.optim.Adam(member.train().parameters(), lr=1e-3) for member in members]
    for _ in range(n_steps):
        for member, optimiser in zip(members, optimisers):
            chosen = torch.randint(len(pixels), (64,), device=pixels.device)
            optimiser.zero_grad()
            loss = F.cross_entropy(member(pixels[chosen]), classes[chosen])
            loss.backward()
            optimiser.step()
            loss.item()  # the stop rule looks at every loss
