"""The pixel classifiers: N small networks as one batched module, applied to native feature maps.

Shapes: N members, D features, h1 and h2 hidden channels, C classes, P pixels.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .features import interpolation
from .files import atomic

BAND_BYTES = 2**26  # of hidden activations of a band of label rows
TILE_COLUMNS = 32  # label columns of a band that are computed at a time


def published_widths(n_classes):
    """(h1, h2) as published: (128, 32) below 30 classes, (256, 128) from 30 on."""
    return (128, 32) if n_classes < 30 else (256, 128)


class PixelEnsemble(nn.Module):
    """N classifiers Linear-ReLU-BatchNorm-Linear-ReLU-BatchNorm-Linear.

    Every parameter has a first axis N. widths: (h1, h2); None takes published_widths.
    """

    def __init__(self, n_members, n_features, n_classes, widths=None, generator=None):
        super().__init__()
        h1, h2 = widths or published_widths(n_classes)

        def drawn(fan_in, fan_out):
            weight = torch.empty(n_members, fan_in, fan_out)
            return nn.Parameter(weight.normal_(0, 0.02, generator=generator))

        def zeros(width):
            return torch.zeros(n_members, width)

        def ones(width):
            return torch.ones(n_members, width)

        self.weight0 = drawn(n_features, h1)  # (N, D, h1)
        self.bias0 = nn.Parameter(zeros(h1))  # (N, h1)
        self.scale0 = nn.Parameter(ones(h1))  # of the batch norm, with shift, mean and var
        self.shift0 = nn.Parameter(zeros(h1))
        self.register_buffer("mean0", zeros(h1))
        self.register_buffer("var0", ones(h1))

        self.weight1 = drawn(h1, h2)  # (N, h1, h2)
        self.bias1 = nn.Parameter(zeros(h2))
        self.scale1 = nn.Parameter(ones(h2))
        self.shift1 = nn.Parameter(zeros(h2))
        self.register_buffer("mean1", zeros(h2))
        self.register_buffer("var1", ones(h2))

        self.weight2 = drawn(h2, n_classes)  # (N, h2, C)
        self.bias2 = nn.Parameter(zeros(n_classes))

    @property
    def n_members(self):
        """N."""
        return self.weight0.shape[0]

    @property
    def n_features(self):
        """D."""
        return self.weight0.shape[1]

    @property
    def n_classes(self):
        """C."""
        return self.weight2.shape[2]

    @property
    def widths(self):
        """(h1, h2)."""
        return self.weight0.shape[2], self.weight1.shape[2]

    # ---- the plain definition ---------------------------------------------------------------

    def member_logits(self, features):
        """Logits [N, P, C] of features [P, D], which all members read."""
        return self(features[None].expand(self.n_members, -1, -1))

    def forward(self, x):
        """Logits [N, P, C] of features x [N, P, D], other pixels for every member."""
        return self.rest(self.first(x))

    def first(self, x):
        """Output [N, P, h1] of the first linear layer, which holds nearly all weights."""
        return torch.bmm(x, self.weight0).add_(self.bias0[:, None])  # a tenth faster than baddbmm

    def rest(self, x):
        """Logits [N, P, C] of the first layer's output [N, P, h1]."""
        x = self._batch_norm(x.relu(), self.mean0, self.var0, self.scale0, self.shift0)
        x = torch.baddbmm(self.bias1[:, None], x, self.weight1)  # (N, P, h2)
        x = self._batch_norm(x.relu(), self.mean1, self.var1, self.scale1, self.shift1)
        return torch.baddbmm(self.bias2[:, None], x, self.weight2)  # (N, P, C)

    def _batch_norm(self, x, mean, var, scale, shift):
        """Batch norm of x [N, P, h], for each member over its own pixels; updates mean and var."""
        n, p, h = x.shape
        channels = x.transpose(0, 1).reshape(p, n * h)  # BatchNorm1d over N * h channels
        statistics = mean.view(-1), var.view(-1)  # views, so that the buffers are updated
        affine = scale.view(-1), shift.view(-1)
        normed = F.batch_norm(channels, *statistics, *affine, training=self.training)
        return normed.view(p, n, h).transpose(0, 1)

    # ---- whole images -----------------------------------------------------------------------

    @torch.no_grad()
    def probabilities(self, maps, image, size, rows=None):
        """Class distributions [N, C, b - a, size] of label rows (a, b) of an image; None: all rows.

        The first layer is linear, and its input is an interpolation with weights that sum to one.
        So it is applied to the native maps, and its h1 outputs are up-sampled instead of the D
        features. Works on bands of rows and tiles of columns, so that memory stays bounded.
        ValueError for rows outside the label map and for maps with another number of features.
        """
        a, b = rows or (0, size)
        if not 0 <= a < b <= size:
            raise ValueError(f"rows {rows} are not within the {size} rows of the label map")
        if maps.n_features != self.n_features:
            raise ValueError(
                f"these maps have {maps.n_features} features, "
                f"the classifiers expect {self.n_features}"
            )
        layers = self._layers_without_norms()
        row_bytes = 4 * size * self.bias0.numel()
        height = max(1, BAND_BYTES // row_bytes)
        out = torch.empty(self.n_members, self.n_classes, b - a, size, device=self.weight0.device)
        for top in range(a, b, height):
            bottom = min(top + height, b)
            parts = self._first_layer(maps, image, size, top, bottom)
            for left in range(0, size, TILE_COLUMNS):
                right = min(left + TILE_COLUMNS, size)
                tile = self._tile(parts, size, left, right, layers)  # (N, C, rows, columns)
                out[:, :, top - a : bottom - a, left:right] = tile
        return out

    def _layers_without_norms(self):
        """[(weight, bias), (weight, bias)] of the second and third layer, norms folded in."""
        return [
            _folded(self.mean0, self.var0, self.scale0, self.shift0, self.weight1, self.bias1),
            _folded(self.mean1, self.var1, self.scale1, self.shift1, self.weight2, self.bias2),
        ]

    def _first_layer(self, maps, image, size, a, b):
        """The first layer in label rows a..b: one part [b - a, w, N * h1] per native width w.

        Its output is the sum of the parts, after each is up-sampled to `size` columns.
        """
        n, h1 = self.bias0.shape
        device = self.weight0.device
        bias = self.bias0.view(-1)  # (N * h1); added once, to the first part
        parts = []
        for (h, w), group in _by_resolution(maps).items():
            first, rows = interpolation(size, h, a, b)  # rows: (b - a, native rows)
            last = first + rows.shape[1]
            cells = [m[image, first:last].to(device, torch.float32) for m, _ in group]
            cells = torch.cat(cells, 2)  # (native rows, w, D of the group)
            weight = torch.cat([self.weight0[:, taken] for _, taken in group], 1)
            weight = weight.permute(1, 0, 2).reshape(-1, n * h1)  # (D of the group, N * h1)
            part = torch.addmm(bias, cells.flatten(0, 1), weight)
            part = part.view(-1, w, n * h1)  # (native rows, w, N * h1)
            if h == size:  # nothing to interpolate; the last row may be an unused neighbour
                part = part[: b - a]
            else:
                part = (rows.to(device) @ part.flatten(1)).view(b - a, w, n * h1)
            parts.append(part)
            bias = bias.new_zeros(())
        return parts

    def _tile(self, parts, size, c, d, layers):
        """Distributions [N, C, rows, d - c] of label columns c..d from the parts of their rows."""
        n, h1 = self.bias0.shape
        cells, weights = [], []
        for part in parts:
            first, columns = interpolation(size, part.shape[1], c, d)  # (d - c, native columns)
            cells.append(part[:, first : first + columns.shape[1]])
            weights.append(columns)
        cells = torch.cat(cells, 1)  # (rows, native columns of all parts, N * h1)
        weights = torch.cat(weights, 1).to(cells)  # (d - c, native columns of all parts)
        x = weights @ cells  # (rows, d - c, N * h1): up-sampled and summed over the parts
        x = x.relu_().view(-1, n, h1).transpose(0, 1)  # (N, P, h1)
        (weight1, bias1), (weight2, bias2) = layers
        x = torch.baddbmm(bias1, x, weight1).relu_()  # (N, P, h2)
        x = torch.baddbmm(bias2, x, weight2)  # (N, P, C)
        return x.softmax(2).transpose(1, 2).reshape(n, -1, cells.shape[0], d - c)

    # ---- files ------------------------------------------------------------------------------

    def save(self, path):
        """Write the ensemble to a .safetensors file."""
        state = {name: t.contiguous() for name, t in self.state_dict().items()}
        with atomic(path) as temporary:
            save_file(state, temporary)

    @classmethod
    def load(cls, path):
        """The ensemble in a .safetensors file; FileNotFoundError or ValueError names the file."""
        if not Path(path).exists():
            raise FileNotFoundError(
                f"{path}: no classifiers here; run 02_classifier_training first"
            )
        try:
            with safe_open(path, "pt") as file:
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return cls.from_state(state)
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path}: not an ensemble of pixel classifiers ({reason})") from None

    @classmethod
    def from_published(cls, source):
        """The ensemble of the published code's files model_<number>.pth.

        source: a folder, or a list of files. FileNotFoundError or ValueError names the file and
        what is wrong with it.
        """
        from .official.classifiers import read_published

        return cls.from_state(read_published(source))

    @classmethod
    def from_state(cls, state):
        """The ensemble with this state dict, in eval mode; its sizes are read from the weights."""
        n_members, n_features, h1 = state["weight0"].shape
        _, h2, n_classes = state["weight2"].shape
        ensemble = cls(n_members, n_features, n_classes, (h1, h2))
        ensemble.load_state_dict(state)
        return ensemble.eval()


def _folded(mean, var, scale, shift, weight, bias):
    """(weight, bias) of one linear layer that does what a frozen batch norm and a layer do."""
    scale = scale / (var + 1e-5).sqrt()  # (N, h)
    shift = (shift - mean * scale)[:, None]  # (N, 1, h)
    return scale[:, :, None] * weight, torch.baddbmm(bias[:, None], shift, weight)


def _by_resolution(maps):
    """{(h, w): [(map, the slice of its features), ...]}."""
    groups = {}
    start = 0
    for m in maps.maps:
        _, h, w, c = m.shape
        groups.setdefault((h, w), []).append((m, slice(start, start + c)))
        start += c
    return groups
