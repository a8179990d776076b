"""Decoder feature maps at native resolution; features of pixels are interpolated on demand.

Shapes: B images, maps [B, h, w, c] of one decoder block at one step each, D features (the c of all
maps together), P pixels of a label map of `size` x `size`.
"""

import hashlib
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .backbone import check_taps
from .files import atomic, read_json, replace_folder, sha256, write_json

DTYPES = {"float16": torch.float16, "float32": torch.float32}
AGAIN = "run 01_feature_extraction again"


class FeatureMaps:
    """The maps [B, h, w, c] of B images, for each step one map per block, in that order.

    Together they hold the D features of every pixel. The tensor [D, size, size] of the published
    code is `upsampled(image, size)`; everything else works without it.
    """

    def __init__(self, maps):
        self.maps = list(maps)

    @property
    def n_features(self):
        """D, the features of one pixel."""
        return sum(m.shape[-1] for m in self.maps)

    @property
    def n_images(self):
        """B."""
        return len(self.maps[0])

    @property
    def device(self):
        """The device that holds the maps."""
        return self.maps[0].device

    @property
    def nbytes(self):
        """Bytes of all maps."""
        return sum(m.numel() * m.element_size() for m in self.maps)

    def __getitem__(self, images):
        """FeatureMaps of some images: a number, a slice, an index tensor or a bool mask.

        The image axis stays: maps[3] holds one image.
        """
        if isinstance(images, Integral):
            place = range(self.n_images)[images]  # raises IndexError; -1 is the last one
            images = slice(place, place + 1)
        return FeatureMaps(m[images] for m in self.maps)

    def pick(self, maps):
        """FeatureMaps of the same images with only the maps at positions `maps`, in that order."""
        return FeatureMaps(self.maps[k] for k in maps)

    def join(self, other):
        """FeatureMaps of these images followed by the images of `other`."""
        return FeatureMaps(torch.cat(pair) for pair in zip(self.maps, other.maps, strict=True))

    def to(self, device=None, dtype=None):
        """FeatureMaps on another device or of another dtype; maps that have both stay."""
        return FeatureMaps(m.to(device, dtype) for m in self.maps)

    def at(self, image, y, x, size, out=None):
        """The features [P, D] float32 of pixels (y, x) of a label map of `size` x `size`.

        image: a number, or a LongTensor [P]; y, x: LongTensors [P]. out: a tensor to write into.
        Bilinear with clamped borders, which equals up-sampling the maps (align_corners=False) and
        then indexing them.
        """
        device = self.device
        y, x = torch.as_tensor(y, device=device), torch.as_tensor(x, device=device)
        image = torch.as_tensor(image, device=device).expand_as(y)
        if out is None:
            out = torch.empty(len(y), self.n_features, device=device)
        corners = {}  # many maps share a resolution, and then their corners
        start = 0
        for m in self.maps:
            _, h, w, c = m.shape
            if (h, w) not in corners:
                corners[h, w] = _corners(image, y, x, size, h, w)
            cells, weights = corners[h, w]
            out[:, start : start + c] = _interpolate(m.reshape(-1, c), cells, weights)
            start += c
        return out

    def upsampled(self, image, size):
        """The published tensor [D, size, size] float32 of one image, for teaching and tests."""
        layers = []
        for m in self.maps:
            channels_first = m[image].float().permute(2, 0, 1)  # (c, h, w)
            up = F.interpolate(channels_first[None], (size, size), mode="bilinear")
            layers.append(up[0])  # (c, size, size)
        return torch.cat(layers)

    def save(self, path):
        """Write the maps into folder `path`: one raw file per map, and meta.json."""
        with atomic(path) as folder, _Writer(folder) as writer:
            writer.append(self.maps)

    @classmethod
    def load(cls, path, verify=True):
        """FeatureMaps whose maps are memory-mapped files of folder `path`.

        verify: compare the sha256 of every file. FileNotFoundError if there are no maps,
        ValueError if a file is not what was written.
        """
        path = Path(path)
        if not (path / "meta.json").exists():
            raise FileNotFoundError(
                f"{path}: no feature maps here; run 01_feature_extraction first"
            )
        try:
            meta = read_json(path / "meta.json")
        except ValueError:
            raise ValueError(f"{path / 'meta.json'}: not readable; {AGAIN}") from None
        dtype = DTYPES[meta["dtype"]]
        return cls(_mapped(path, entry, dtype, verify) for entry in meta["maps"])


def extract(
    backbone,
    images,
    noise=None,
    steps=None,
    blocks=None,
    *,
    store=None,
    resume=False,
    dtype=None,
    generator=None,
    batch=4,
):
    """FeatureMaps of `images`: a tensor [B, 3, S, S] in [-1, 1], or an iterable of such batches.

    The maps stay on the device of the backbone, unless `store` writes them to disk.
    noise: [1, 3, S, S] for all images and steps. None draws fresh noise from `generator` for each
    image and, within an image, for each step. steps, blocks: None takes those of the backbone.
    store: a folder to which the maps are written batch by batch, so that memory stays bounded.
    resume: keep the finished batches of an extraction that is interrupted, and go on from those
    that an earlier one of the same images, noise, steps and blocks has left for `store`.
    dtype: None keeps what the U-Net computed. batch: images per pass, if `images` is a tensor.
    ValueError for steps or blocks that do not exist, for no images, for non-finite features, and
    for resuming without `store` and `noise`.
    """
    steps = steps or backbone.steps
    blocks = blocks or backbone.blocks
    n_timesteps = backbone.diffusion.num_timesteps
    n_blocks = len(backbone.model.output_blocks)
    check_taps(steps, blocks, n_timesteps, n_blocks, backbone.name)
    if resume and (store is None or noise is None):
        raise ValueError("an extraction is resumed from a store and with the same noise: give both")
    if resume and (Path(store) / "meta.json").exists():
        return FeatureMaps.load(store)
    if isinstance(images, torch.Tensor) and len(images):
        images = images.split(batch)
    how = (noise, steps, blocks, dtype, generator)
    if store is None:
        found = _maps_of_batches(backbone, images, *how)
        return FeatureMaps(torch.cat(parts) for parts in zip(*found, strict=True))
    with _unfinished(store) if resume else atomic(store) as folder, _Writer(folder) as writer:
        for maps in _maps_of_batches(backbone, images, *how, skip=writer.n_images):
            writer.append(maps)
    return FeatureMaps.load(store, verify=False)


def _maps_of_batches(backbone, batches, noise, steps, blocks, dtype, generator, skip=0):
    """Yield the maps of one batch after another, a list of [b, h, w, c] on the device, checked.

    skip: the first images, a number of whole batches, which are there already.
    """
    done = 0
    for images in batches:
        if done < skip:
            done += len(images)
            continue
        images = images.to(backbone.device)  # (b, 3, S, S)
        maps = _maps_of_batch(backbone, images, noise, steps, blocks, generator)
        maps = [m.to(dtype=dtype) for m in maps]
        for k, m in enumerate(maps):
            if not torch.isfinite(m).all():
                step, block = steps[k // len(blocks)], blocks[k % len(blocks)]
                raise ValueError(
                    f"{backbone.name}: non-finite features in images "
                    f"{done}..{done + len(m) - 1}, step {step}, decoder block {block}"
                )
        done += len(images)
        yield maps
    if done == 0:
        raise ValueError(f"{backbone.name}: no images to extract features from")


def _maps_of_batch(backbone, images, noise, steps, blocks, generator):
    """The maps of images [b, 3, S, S]: for each step one [b, h, w, c] per block."""
    if noise is None:
        # As published, drawn for each image and within it for each step.
        shape = (len(images), len(steps), *images.shape[1:])
        device = generator.device if generator else images.device
        fresh = torch.randn(shape, generator=generator, device=device)  # (b, steps, 3, S, S)
    maps = []
    for k, step in enumerate(steps):
        step_noise = fresh[:, k] if noise is None else noise
        activations = backbone(images, step, step_noise.to(images.device), blocks)
        maps += [a.permute(0, 2, 3, 1).contiguous() for a in activations]
    return maps


# ---- interpolation ------------------------------------------------------------------------------


def interpolation(size, n, a, b):
    """(first, weights [b - a, m]): what label rows a..b of `size` are made of.

    Row i is the sum of weights[i, j] times map row first + j, of a map with `n` rows. The same
    holds for columns.
    """
    low, high, share = _neighbours(torch.arange(a, b), size, n)  # (b - a,) each
    first, last = int(low[0]), int(high[-1])
    weights = torch.zeros(b - a, last - first + 1)
    row = torch.arange(b - a)
    weights[row, low - first] = 1 - share
    weights[row, high - first] += share
    return first, weights


def _neighbours(position, size, n):
    """(lower cell, upper cell, share of the upper): where label positions lie on `n` map cells."""
    source = ((position + 0.5) * (n / size) - 0.5).clamp(min=0)
    low = source.long()
    high = (low + 1).clamp(max=n - 1)
    return low, high, source - low


def _corners(image, y, x, size, h, w):
    """(cells [P, 4], weights [P, 4]): the map cells around label pixels, as flat indices.

    At equal resolution (cells [P, 1], None): the cell itself.
    """
    if (h, w) == (size, size):
        return ((image * h + y) * w + x)[:, None], None
    y0, y1, fy = _neighbours(y, size, h)  # (P,) each
    x0, x1, fx = _neighbours(x, size, w)
    top, bottom = (image * h + y0) * w, (image * h + y1) * w
    cells = torch.stack([top + x0, top + x1, bottom + x0, bottom + x1], 1)
    weights = torch.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], 1)
    return cells, weights


def _interpolate(values, cells, weights):
    """[P, c] float32: weighted sums of rows `cells` [P, 4] of `values` [n, c].

    Without weights, the rows `cells` [P, 1] as they are, in the dtype of `values`.

    embedding_bag adds in the dtype of its values. So rows of float16 are read first, made float32,
    and numbered anew.
    """
    if weights is None:
        return F.embedding(cells[:, 0], values)
    if values.dtype != torch.float32:
        values = F.embedding(cells.flatten(), values).float()  # (4 P, c)
        cells = torch.arange(cells.numel(), device=values.device).view_as(cells)
    return F.embedding_bag(cells, values, per_sample_weights=weights, mode="sum")


# ---- files --------------------------------------------------------------------------------------


@contextmanager
def _unfinished(store):
    """A temporary folder like that of `atomic`; after an exception it stays, to go on from."""
    store = Path(store)
    folder = store.with_name(f".{store.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    replace_folder(folder, store)


class _Writer:
    """Context manager that writes maps into a folder, batch by batch, and meta.json last.

    done.json says how many images of each map are whole; with it a writer goes on from a folder
    that another one has left.
    """

    def __init__(self, folder):
        self.folder = folder
        self.files = []
        self.shapes = []
        self.digests = []
        self.dtype = None

    @property
    def n_images(self):
        """How many images are written."""
        return self.shapes[0][0] if self.shapes else 0

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        if (self.folder / "done.json").exists():
            self._go_on(read_json(self.folder / "done.json"))
        return self

    def append(self, maps):
        """Write the maps [b, h, w, c] of one more batch."""
        if not self.files:
            self._begin(maps)
        places = zip(self.files, self.shapes, self.digests, maps, strict=True)
        for file, shape, digest, m in places:
            shape[0] += len(m)
            content = m.to("cpu", self.dtype).contiguous().numpy().tobytes()
            file.write(content)
            file.flush()
            digest.update(content)
        write_json(self.folder / "done.json", {"dtype": self._dtype_name, "shapes": self.shapes})

    def _begin(self, maps):
        """One file per map; all have the dtype of the first map."""
        self.dtype = torch.float16 if maps[0].dtype == torch.float16 else torch.float32
        for k, m in enumerate(maps):
            self.files.append(open(self._path(k), "wb"))  # noqa: SIM115
            self.shapes.append([0, *m.shape[1:]])
            self.digests.append(hashlib.sha256())

    def _go_on(self, done):
        """Open the files of an earlier writer, and cut them after the last whole batch.

        If one is shorter than that (the power failed), everything begins anew.
        """
        dtype = DTYPES[done["dtype"]]
        sizes = [int(np.prod(shape)) * dtype.itemsize for shape in done["shapes"]]  # bytes
        paths = [self._path(k) for k in range(len(sizes))]
        if any(not path.exists() or path.stat().st_size < n for path, n in zip(paths, sizes)):
            return
        self.dtype, self.shapes = dtype, done["shapes"]
        for path, n_bytes in zip(paths, sizes):
            file = open(path, "r+b")  # noqa: SIM115
            file.truncate(n_bytes)
            self.digests.append(hashlib.file_digest(file, "sha256"))  # reads to the end
            self.files.append(file)

    def __exit__(self, exception, *_):
        for file in self.files:
            file.close()
        if exception is None:
            self._write_meta()

    def _write_meta(self):
        """The dtype, and the name, shape and sha256 of every file."""
        maps = []
        for k, (shape, digest) in enumerate(zip(self.shapes, self.digests)):
            name = self._path(k).name
            maps.append({"file": name, "shape": shape, "sha256": digest.hexdigest()})
        write_json(self.folder / "meta.json", {"dtype": self._dtype_name, "maps": maps})
        (self.folder / "done.json").unlink(missing_ok=True)

    def _path(self, k):
        return self.folder / f"map_{k:02d}.bin"

    @property
    def _dtype_name(self):
        return str(self.dtype).removeprefix("torch.")


def _mapped(folder, entry, dtype, verify):
    """One map as a memory-mapped tensor; `entry` is its row in meta.json."""
    file = folder / entry["file"]
    shape = entry["shape"]
    n_values = int(np.prod(shape))
    if not file.exists() or file.stat().st_size != n_values * dtype.itemsize:
        raise ValueError(f"{file}: missing or of another size than written; {AGAIN}")
    if verify and sha256(file) != entry["sha256"]:
        raise ValueError(f"{file}: its content is not what was written; {AGAIN}")
    values = torch.from_file(str(file), shared=False, size=n_values, dtype=dtype)
    return values.view(shape)
