"""Pixel classifiers: N small MLPs as one batched module, trained together, applied to native feature maps."""

import os
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .compression import CHUNK, compress, draw_pool, expand
from .features import FeatureMaps, interpolation
from .presets import RECIPES, choose

FAST_BYTES = 2**30  # what training may keep for faster gathers: wide maps, and features of pixels
BAND_BYTES, COLUMNS = (
    2**26,
    32,
)  # hidden activations of a band of label rows; columns of a tile of it


def published_widths(n_classes):
    """(h1, h2): (128, 32) below 30 class ids, (256, 128) from there on."""
    return (128, 32) if n_classes < 30 else (256, 128)


class PixelEnsemble(nn.Module):
    """N classifiers Linear-ReLU-BatchNorm-Linear-ReLU-BatchNorm-Linear; every parameter carries a first axis N."""

    def __init__(self, n_members, n_features, n_classes, widths=None, generator=None):
        super().__init__()
        sizes = (n_features, *(widths or published_widths(n_classes)), n_classes)
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            weight = torch.empty(n_members, fan_in, fan_out).normal_(0, 0.02, generator=generator)
            self.register_parameter(f"weight{i}", nn.Parameter(weight))  # (N, in, out)
            self.register_parameter(f"bias{i}", nn.Parameter(torch.zeros(n_members, fan_out)))
            if i < 2:
                self.register_parameter(f"scale{i}", nn.Parameter(torch.ones(n_members, fan_out)))
                self.register_parameter(f"shift{i}", nn.Parameter(torch.zeros(n_members, fan_out)))
                self.register_buffer(f"mean{i}", torch.zeros(n_members, fan_out))
                self.register_buffer(f"var{i}", torch.ones(n_members, fan_out))

    n_members = property(lambda self: self.weight0.shape[0])
    n_features = property(lambda self: self.weight0.shape[1])
    n_classes = property(lambda self: self.weight2.shape[2])
    widths = property(lambda self: (self.weight0.shape[2], self.weight1.shape[2]))

    def forward(self, x):
        """Logits [N, P, C] of features x [N, P, D], a batch of its own for every member."""
        return self.rest(self.first(x))

    def first(self, x):
        """Output [N, P, h1] of the first linear layer, which holds nearly all weights."""
        return torch.bmm(x, self.weight0).add_(self.bias0[:, None])  # a tenth faster than baddbmm

    def rest(self, x):
        """Logits [N, P, C] of the first layer's output [N, P, h1]."""
        x = self._batch_norm(x.relu(), 0)
        x = self._batch_norm(torch.baddbmm(self.bias1[:, None], x, self.weight1).relu(), 1)
        return torch.baddbmm(self.bias2[:, None], x, self.weight2)

    def member_logits(self, features):
        """Logits [N, P, C] of features [P, D]: the plain definition."""
        return self(features[None].expand(self.n_members, -1, -1))

    @torch.no_grad()
    def probabilities(self, maps, image, size, rows=None):
        """Class distributions [N, C, b - a, size] of label rows (a, b) of an image, all rows by default.

        The first layer is linear and its input is an interpolation, whose weights sum to one: so it is applied to the
        native maps, and h1 hidden channels are up-sampled instead of D features. Works in bands: bounded memory.
        """
        a, b = rows or (0, size)
        if not 0 <= a < b <= size:
            raise ValueError(f"rows {rows} are not within the {size} rows of the label map")
        if maps.n_features != self.n_features:
            raise ValueError(
                f"these maps have {maps.n_features} features, the classifiers expect {self.n_features}"
            )
        out = torch.empty(self.n_members, self.n_classes, b - a, size, device=self.weight0.device)
        layers, height = (
            self._without_norms(),
            max(1, BAND_BYTES // (4 * size * self.bias0.numel())),
        )
        for top in range(a, b, height):
            bottom = min(top + height, b)
            out[:, :, top - a : bottom - a] = self._band(maps, image, size, top, bottom, layers)
        return out

    def save(self, path):
        """Write safetensors to `path` (through a temporary name)."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.contiguous() for name, t in self.state_dict().items()}, f"{path}.tmp")
        os.replace(f"{path}.tmp", path)

    @classmethod
    def load(cls, path):
        """The ensemble in safetensors file `path`; FileNotFoundError or ValueError names the file."""
        if not Path(path).exists():
            raise FileNotFoundError(
                f"{path}: no classifiers here; run 02_classifier_training first"
            )
        try:
            with safe_open(path, "pt") as file:
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return cls._from_state(state)
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise ValueError(
                f"{path}: not an ensemble of pixel classifiers ({str(error).splitlines()[0]})"
            ) from None

    @classmethod
    def from_published(cls, source):
        """Read model_<number>.pth of the published code: a folder, or a list of files; "module." prefixes may be absent.

        FileNotFoundError or ValueError names the file and what is wrong with it.
        """
        from .official.classifiers import read_published

        return cls._from_state(read_published(source))

    @classmethod
    def _from_state(cls, state):
        n, d, h1 = state["weight0"].shape
        _, h2, c = state["weight2"].shape
        ensemble = cls(n, d, c, (h1, h2))
        ensemble.load_state_dict(state)
        return ensemble.eval()

    def _batch_norm(self, x, i):
        """Batch norm of each member's own batch, as BatchNorm1d over N * h channels."""
        n, p, h = x.shape
        channels = x.transpose(0, 1).reshape(p, n * h)
        flat = [getattr(self, f"{name}{i}").view(-1) for name in ("mean", "var", "scale", "shift")]
        return F.batch_norm(channels, *flat, training=self.training).view(p, n, h).transpose(0, 1)

    def _without_norms(self):
        """Second and third layer, (weight, bias) each, with the (frozen) batch norm before it folded in."""
        layers = []
        for i in (0, 1):
            mean, var, scale, shift = (
                getattr(self, f"{name}{i}") for name in ("mean", "var", "scale", "shift")
            )
            weight, bias = getattr(self, f"weight{i + 1}"), getattr(self, f"bias{i + 1}")
            scale = scale / (var + 1e-5).sqrt()
            layers.append(
                (
                    scale[:, :, None] * weight,
                    torch.baddbmm(bias[:, None], (shift - mean * scale)[:, None], weight),
                )
            )
        return layers

    def _band(self, maps, image, size, a, b, layers):
        """Distributions [N, C, b - a, size] of label rows a..b."""
        parts = self._native(maps, image, size, a, b)
        return torch.cat(
            [
                self._tile(parts, size, c, min(c + COLUMNS, size), layers)
                for c in range(0, size, COLUMNS)
            ],
            3,
        )

    def _native(self, maps, image, size, a, b):
        """First layer at native width, [b - a, w, N * h1] for each resolution; they add up to the output in label rows a..b."""
        n, h1 = self.bias0.shape
        device, bias, groups, start = self.weight0.device, self.bias0.view(-1), {}, 0
        for m in maps.maps:
            _, h, w, c = m.shape
            groups.setdefault((h, w), []).append((m, slice(start, start + c)))
            start += c
        parts = []
        for (h, w), group in groups.items():  # one product a resolution
            first, rows = interpolation(size, h, a, b)  # (b - a, native rows)
            cells = torch.cat(
                [
                    m[image, first : first + rows.shape[1]].to(device, torch.float32)
                    for m, _ in group
                ],
                2,
            )
            weight = (
                torch.cat([self.weight0[:, taken] for _, taken in group], 1)
                .permute(1, 0, 2)
                .reshape(cells.shape[2], n * h1)
            )
            part = torch.addmm(
                bias if not parts else bias.new_zeros(()), cells.flatten(0, 1), weight
            ).view(-1, w, n * h1)
            parts.append(
                part[: b - a]
                if h == size
                else (rows.to(device) @ part.flatten(1)).view(b - a, w, n * h1)
            )
        return parts

    def _tile(self, parts, size, c, d, layers):
        """Distributions [N, C, rows, d - c] of label columns c..d."""
        n, h1 = self.bias0.shape
        taken = [interpolation(size, part.shape[1], c, d) for part in parts]
        cells = torch.cat(
            [
                part[:, first : first + weights.shape[1]]
                for part, (first, weights) in zip(parts, taken)
            ],
            1,
        )
        x = (
            torch.cat([weights for _, weights in taken], 1).to(cells) @ cells
        )  # (rows, d - c, N * h1)
        x = x.relu_().view(-1, n, h1).transpose(0, 1)  # (N, P, h1)
        (weight1, bias1), (weight2, bias2) = layers
        x = torch.baddbmm(bias2, torch.baddbmm(bias1, x, weight1).relu_(), weight2)  # (N, P, C)
        return x.softmax(2).transpose(1, 2).reshape(n, -1, cells.shape[0], d - c)


def _rows(maps, pixels, size):
    """rows(index, out): features [len(index), D] of some `pixels` [P, 3] (image, y, x), interpolated before if that is little."""
    maps = FeatureMaps([m.float() for m in maps.maps]) if maps.nbytes < FAST_BYTES else maps
    if 4 * len(pixels) * maps.n_features > FAST_BYTES:
        return lambda index, out=None: maps.at(*pixels[index].unbind(1), size, out)
    features = torch.empty(len(pixels), maps.n_features)
    for part, out in zip(pixels.split(CHUNK), features.split(CHUNK)):
        maps.at(*part.unbind(1), size, out)
    return partial(_select, features)


def _select(features, index, out=None):
    return torch.index_select(features, 0, index, out=out)


def train(
    maps,
    labels,
    n_classes,
    ignore_label,
    n_members=10,
    recipe="published",
    seed=0,
    checkpoint=None,
    *,
    widths=None,
    epochs=100,
    device="cpu",
    save_every=60.0,
    report=None,
):
    """Train N members on all labelled pixels; returns (PixelEnsemble in eval mode, history DataFrame: member, step, loss).

    maps: FeatureMaps of B images; labels: int64 [B, H, W]. recipe "published": Baranchuk et al. to the letter, a member
    that met its stop rule leaves the batch; "tuned": principal components of a pool of pixels; or a dict like those of
    presets.RECIPES. checkpoint: a file that lets an interrupted training go on to the same result. report(step, n_steps) is
    called now and then. ValueError for an unknown recipe, labels of another shape, or fewer labelled pixels than one batch.
    """
    from .training import fit

    labels = torch.as_tensor(labels)
    if labels.dim() != 3 or labels.shape[1] != labels.shape[2] or len(labels) != maps.n_images:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} do not fit {maps.n_images} images of square size"
        )
    known = recipe if isinstance(recipe, dict) else choose("recipe", recipe, RECIPES)
    scored = (labels >= 0) & (labels < n_classes) & (labels != ignore_label)
    pixels = scored.nonzero()  # (P, 3): image, y, x
    if len(pixels) < known["batch"]:
        raise ValueError(
            f"{len(pixels)} labelled pixels are fewer than one batch of {known['batch']}"
        )
    generator, targets, size = torch.Generator().manual_seed(seed), labels[scored], labels.shape[1]
    if pooled := "pool" in known:
        pool = draw_pool(targets, known["pool"], known["balance"], generator)
        features, mean, basis = compress(
            lambda index: maps.at(*pixels[index].unbind(1), size),
            pool,
            known["components"],
            known["whitening"],
            seed,
        )
        rows, targets, n_features = partial(_select, features), targets[pool], features.shape[1]
    else:
        rows, n_features = _rows(maps, pixels, size), maps.n_features
    ensemble = PixelEnsemble(n_members, n_features, n_classes, widths, generator).to(device)
    ensemble, history = fit(
        ensemble, (rows, targets), known, seed, epochs, checkpoint, save_every, report
    )
    return (expand(ensemble, mean, basis) if pooled else ensemble), history
