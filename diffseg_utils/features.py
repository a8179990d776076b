"""Decoder feature maps at native resolution; pixels of any label size are interpolated on demand."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .backbone import check_taps

DTYPES = {"float16": torch.float16, "float32": torch.float32}


class FeatureMaps:
    """Maps [B, h, w, c] of B images, step-major and block-minor; together the D features of every pixel.

    The published tensor [D, size, size] of an image is `upsampled(image, size)`; everything else works without it.
    """

    def __init__(self, maps):
        self.maps = list(maps)

    @property
    def n_features(self):
        return sum(m.shape[-1] for m in self.maps)

    @property
    def n_images(self):
        return len(self.maps[0])

    @property
    def nbytes(self):
        return sum(m.numel() * m.element_size() for m in self.maps)

    def at(self, image, y, x, size, out=None):
        """[P, D] float32 (`out`): features of pixels (y, x) of a `size` x `size` label map; `image` an int or LongTensor [P].

        Bilinear with clamped borders: equal to up-sampling the maps (align_corners False) and indexing.
        """
        y, x = torch.as_tensor(y), torch.as_tensor(x)
        image = torch.as_tensor(image).expand_as(y)
        corners = {}  # many maps share a resolution, so they share corners
        out = (
            torch.empty(len(y), self.n_features, device=self.maps[0].device) if out is None else out
        )
        start = 0
        for m in self.maps:
            _, h, w, c = m.shape
            if (h, w) not in corners:
                corners[h, w] = _corners(image, y, x, size, h, w)
            out[:, start : start + c] = _interpolate(m.reshape(-1, c), *corners[h, w])
            start += c
        return out

    def upsampled(self, image, size):
        """[D, size, size] float32: the published tensor of one image (for teaching and tests)."""
        return torch.cat(
            [
                F.interpolate(
                    m[image].float().permute(2, 0, 1)[None], (size, size), mode="bilinear"
                )[0]
                for m in self.maps
            ]
        )

    def save(self, path):
        """Write the maps into folder `path`: one raw file a map, and meta.json with shapes and sha256, last."""
        with _Store(path) as store:
            store.append(self.maps)

    @classmethod
    def load(cls, path, verify=True):
        """FeatureMaps on memory-mapped files of folder `path`; ValueError when a file is not what was written."""
        path = Path(path)
        if not (path / "meta.json").exists():
            raise FileNotFoundError(
                f"{path}: no feature maps here; run 01_feature_extraction first"
            )
        try:
            meta = json.loads((path / "meta.json").read_text())
        except ValueError:
            raise ValueError(
                f"{path / 'meta.json'}: not readable; run 01_feature_extraction again"
            ) from None
        maps = []
        for entry in meta["maps"]:
            file, shape, n = path / entry["file"], entry["shape"], int(np.prod(entry["shape"]))
            dtype = DTYPES[meta["dtype"]]
            if not file.exists() or file.stat().st_size != n * dtype.itemsize:
                raise ValueError(
                    f"{file}: missing or of another size than written; run 01_feature_extraction again"
                )
            if verify and _sha256(file) != entry["sha256"]:
                raise ValueError(
                    f"{file}: its content is not what was written; run 01_feature_extraction again"
                )
            maps.append(torch.from_file(str(file), shared=False, size=n, dtype=dtype).view(shape))
        return cls(maps)


def extract(
    backbone,
    images,
    noise=None,
    steps=None,
    blocks=None,
    *,
    store=None,
    dtype=None,
    generator=None,
    batch=4,
):
    """FeatureMaps of `images`: [B, 3, S, S] in [-1, 1], or an iterable of such batches (bounded memory with `store`).

    noise: [1, 3, S, S] for all images and steps; None draws afresh per image and, within it, per step from `generator`.
    dtype: None keeps what the U-Net computed. ValueError for steps or blocks that do not exist and non-finite features.
    """
    steps, blocks = steps or backbone.steps, blocks or backbone.blocks
    check_taps(
        steps,
        blocks,
        backbone.diffusion.num_timesteps,
        len(backbone.model.output_blocks),
        backbone.name,
    )
    parts = [] if store is None else None
    sink = None if store is None else _Store(store)
    try:
        done = 0
        for chunk in (
            images.split(batch) if isinstance(images, torch.Tensor) and len(images) else images
        ):
            maps = _maps(backbone, chunk.to(backbone.device), noise, steps, blocks, generator)
            maps = [m.to("cpu", dtype) for m in maps]
            for k, m in enumerate(maps):
                if not torch.isfinite(m).all():
                    raise ValueError(
                        f"{backbone.name}: non-finite features in images {done}..{done + len(m) - 1}, step "
                        f"{steps[k // len(blocks)]}, decoder block {blocks[k % len(blocks)]}"
                    )
            done += len(chunk)
            sink.append(maps) if sink else parts.append(maps)
        if done == 0:
            raise ValueError(f"{backbone.name}: no images to extract features from")
        if sink:
            sink.close()
    except BaseException:
        if sink:
            sink.discard()
        raise
    return (
        FeatureMaps.load(store, verify=False)
        if sink
        else FeatureMaps([torch.cat(m) for m in zip(*parts, strict=True)])
    )


def _maps(backbone, images, noise, steps, blocks, generator):
    """The maps [B, h, w, c] of one batch."""
    if noise is None:  # the published order: for each image, for each step
        shape = (len(images), len(steps), *images.shape[1:])
        fresh = torch.randn(
            shape, generator=generator, device=generator.device if generator else images.device
        )
    maps = []
    for k, step in enumerate(steps):
        step_noise = fresh[:, k].to(images.device) if noise is None else noise.to(images.device)
        maps += [
            a.permute(0, 2, 3, 1).contiguous() for a in backbone(images, step, step_noise, blocks)
        ]
    return maps


def _corners(image, y, x, size, h, w):
    """Flat indices [P, 4] and weights [P, 4] of the map cells around label pixels; weights None at equal resolution."""
    if (h, w) == (size, size):
        return ((image * h + y) * w + x)[:, None], None
    y0, y1, fy = _neighbours(y, size, h)
    x0, x1, fx = _neighbours(x, size, w)
    top, bottom = (image * h + y0) * w, (image * h + y1) * w
    index = torch.stack([top + x0, top + x1, bottom + x0, bottom + x1], 1)
    weight = torch.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], 1)
    return index, weight


def _interpolate(cells, index, weight):
    """[P, c] float32: weighted sums of rows of `cells` [n, c]; a float16 row is widened before it is weighted."""
    if weight is None:
        return F.embedding(index[:, 0], cells)
    if cells.dtype != torch.float32:
        cells = F.embedding(index.flatten(), cells).float()
        index = torch.arange(index.numel(), device=cells.device).view_as(index)
    return F.embedding_bag(index, cells, per_sample_weights=weight, mode="sum")


def _neighbours(position, size, n):
    """(lower cell, upper cell, share of the upper) of label positions on a map axis of `n` cells."""
    source = ((position + 0.5) * (n / size) - 0.5).clamp(min=0)
    low = source.long()
    return low, (low + 1).clamp(max=n - 1), source - low


def interpolation(size, n, a, b):
    """(first, weights [b - a, cells]): label rows (or columns) a..b of `size` from map cells first, first + 1, ... of `n`."""
    low, high, share = _neighbours(torch.arange(a, b), size, n)
    first, label = int(low[0]), torch.arange(b - a)
    weights = torch.zeros(b - a, int(high[-1]) + 1 - first)
    weights[label, low - first] = 1 - share
    weights[label, high - first] += share
    return first, weights


class _Store:
    """Writes maps batch by batch into a temporary folder, which takes its name only when all is written."""

    def __init__(self, path):
        self.path, self.shapes, self.files = Path(path), None, []
        self.partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        shutil.rmtree(
            self.partial, ignore_errors=True
        )  # of a process that was killed and had our number
        self.partial.mkdir(parents=True)

    def append(self, maps):
        if self.shapes is None:
            self.dtype = torch.float16 if maps[0].dtype == torch.float16 else torch.float32
            self.shapes = [[0, *m.shape[1:]] for m in maps]
            self.files = [open(self.partial / f"map_{k:02d}.bin", "wb") for k in range(len(maps))]  # noqa: SIM115
        for shape, file, m in zip(self.shapes, self.files, maps, strict=True):
            shape[0] += len(m)
            m.to(self.dtype).contiguous().numpy().tofile(file)

    def close(self):
        names = [Path(file.name).name for file in self.files]
        for file in self.files:
            file.close()
        maps = [
            {"file": name, "shape": shape, "sha256": _sha256(self.partial / name)}
            for name, shape in zip(names, self.shapes, strict=True)
        ]
        meta = {"dtype": str(self.dtype).removeprefix("torch."), "maps": maps}
        (self.partial / "meta.json").write_text(json.dumps(meta, indent=1))
        shutil.rmtree(self.path, ignore_errors=True)
        os.replace(self.partial, self.path)

    def discard(self):
        for file in self.files:
            file.close()
        shutil.rmtree(self.partial, ignore_errors=True)

    __enter__ = lambda self: self

    def __exit__(self, kind, *_):
        self.close() if kind is None else self.discard()


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
