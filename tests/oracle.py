"""The published procedure restated plainly, without the package: what its fast code is compared
with.

Baranchuk et al., "Label-Efficient Semantic Segmentation with Diffusion Models": one image, one
step, one classifier at a time.
"""

import torch
import torch.nn.functional as F
from torch import nn


def pixel_features(unet, diffusion, image, steps, blocks, draw_noise, size):
    """[D, size, size] of one image [1, 3, S, S]: for each step, for each decoder block, the
    up-sampled output.
    """
    features = []
    for step in steps:
        t = torch.tensor([step])
        outputs = block_outputs(unet, diffusion.q_sample(image, t, noise=draw_noise()), t)
        features += [
            F.interpolate(outputs[b], size=(size, size), mode="bilinear")[0] for b in blocks
        ]
    return torch.cat(features)


def block_outputs(unet, noised, t):
    """What every decoder block returns for a noised image."""
    outputs = []
    hooks = [
        block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        for block in unet.output_blocks
    ]
    with torch.no_grad():
        unet(noised, t)
    for hook in hooks:
        hook.remove()
    return outputs


def classifier(n_features, widths, n_classes):
    """One pixel classifier."""
    h1, h2 = widths
    return nn.Sequential(
        nn.Linear(n_features, h1),
        nn.ReLU(),
        nn.BatchNorm1d(h1),
        nn.Linear(h1, h2),
        nn.ReLU(),
        nn.BatchNorm1d(h2),
        nn.Linear(h2, n_classes),
    )


def train(net, x, y, shuffle, epochs=100, batch=64):
    """Train `net` on features x [P, D] and classes y [P]; shuffle(epoch) is the order of pixels.
    Returns the batch losses.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    net.train()
    losses, best_loss, break_count = [], 10_000_000, 0
    for epoch in range(epochs):
        order = shuffle(epoch)
        for start in range(0, len(y) - batch + 1, batch):  # drop_last
            chosen = order[start : start + batch]
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(net(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if epoch > 3:
                if loss.item() < best_loss:
                    best_loss = loss.item()
                    break_count = 0
                else:
                    break_count += 1
                if break_count > 50:
                    return losses
    return losses


def hard_vote(logits):
    """The class most members chose, [P] of [N, P, C]; ties go to the lowest id."""
    return torch.mode(logits.argmax(-1), dim=0).values


def uncertainty(logits):
    """Mean Jensen-Shannon divergence of the 10 % most disputed pixels of one image [N, P, C]."""
    q = logits.softmax(-1)
    divergence = entropy(q.mean(0)) - entropy(q).mean(0)
    return divergence.sort().values[-int(len(divergence) / 10) :].mean().item()


def entropy(q):
    return -(q * q.log()).sum(-1)


def mean_iou(predictions, truths, n_classes, ignore_label):
    """0..1: intersections and unions summed over images; pixels of ignored truth are not masked."""
    ious = []
    for c in range(n_classes):
        if c == ignore_label:
            continue
        intersection = sum(((p == c) & (t == c)).sum().item() for p, t in zip(predictions, truths))
        union = sum(((p == c) | (t == c)).sum().item() for p, t in zip(predictions, truths))
        ious.append(intersection / (union + 1e-8))
    return sum(ious) / len(ious)


def without_tiny_regions(label, n_classes, ignore_label):
    """A copy of `label` with classes of fewer than 20 pixels ignored."""
    label = label.copy()
    for c in range(n_classes):
        if 0 < (label == c).sum() < 20:
            label[label == c] = ignore_label
    return label
