"""Training a small unconditional DDPM: guided-diffusion's network and loss, and averaged weights.

An interrupted training goes on to the same numbers.
"""

import hashlib
import io
import lzma
import math
import tarfile
import time
import zlib
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

from .backbone import create, describe, native_bfloat16, weights_of
from .data import IMAGES, read_image, to_input
from .files import atomic, write_json
from .own.folder import fitted, image_files, names_a_yaml, preset_of
from .own.images import cut, parts_of, read_picture, resize_picture

# ---- images -------------------------------------------------------------------------------------


def images_of(sources, size, families, n_per_family):
    """uint8 [M, size, size, 3] of what one trains on.

    sources: "painted" for scenes of `families`, the path of somebody's own dataset.yml, or folders
    and archives of photographs, with spaces between them.
    """
    if sources == "painted":
        return painted_images(n_per_family, list(families))
    if names_a_yaml(sources):
        return own_images(preset_of(sources), size)
    return np.concatenate([photographs(source, size) for source in sources.split()])


def painted_images(n_per_family, families):
    """uint8 [M, 64, 64, 3]: scenes of the split "pretrain", which no dataset uses.

    The families take turns.
    """
    from .scenes import paint

    images = []
    for i in range(n_per_family):
        for family in families:
            image, _ = paint(family, "pretrain", i)
            images.append(image)
    return np.stack(images)


def own_images(preset, size):
    """uint8 [M, size, size, 3]: all images of somebody's own folder, with a mask or without.

    Each as the denoiser sees it: one square, or its tiles. Masks are not read.
    """
    squares = []
    for path in image_files(preset.folder).values():
        picture = read_picture(path, preset.range_16_bit)  # (H, W, 3)
        fitting = fitted(*picture.shape[:2], preset.longer_side)
        picture = resize_picture(picture, fitting)
        for part in parts_of(fitting, preset):
            squares.append(_resized(cut(picture, part, preset.label_size), size))
    return np.stack(squares)


def photographs(source, size=64):
    """uint8 [M, size, size, 3]: the images of a folder or tar archive, in string order of names.

    FileNotFoundError: no such source. ValueError names an archive or an image that is not readable
    or not square.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or archive of images")
    read = _images_of_folder if source.is_dir() else _images_of_archive
    images = [_resized(image, size) for image in read(source)]
    if not images:
        raise ValueError(f"{source}: holds no image ({', '.join(IMAGES)})")
    return np.stack(images)


def _images_of_folder(folder):
    """Yield the images of a folder and of the folders in it."""
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGES]
    for path in sorted(paths, key=str):
        if not path.is_dir():
            yield read_image(path)


# What reading a damaged archive raises. OSError: for a wrong checksum of gzip. KeyError: for a link
# to a file that is not there.
DAMAGED_ARCHIVE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, KeyError)


def _images_of_archive(archive):
    """Yield the images of a tar archive; ValueError if it is damaged."""
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if Path(m.name).suffix.lower() in IMAGES]
            for member in sorted(members, key=lambda m: m.name):
                file = tar.extractfile(member)
                if file is None:
                    continue  # a folder
                yield read_image(io.BytesIO(file.read()), f"{archive}:{member.name}")
    except DAMAGED_ARCHIVE as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise ValueError(f"{archive}: not a readable archive ({reason})") from None


def _resized(image, size):
    """uint8 [size, size, 3] of a square image uint8 [S, S, 3]."""
    pixels = to_input(image, size).permute(1, 2, 0).clamp(-1, 1)  # (size, size, 3)
    return ((pixels + 1) * 127.5).round().byte().numpy()


# ---- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What decides the weights, together with network and images."""

    batch: int = 16
    rate: float = 2e-4  # of AdamW
    warmup: int = 200  # steps in which the rate grows
    final: float = 1.0  # share of the rate that is left at the end of a cosine; 1 keeps it constant
    beta2: float = 0.999  # of AdamW
    clip: float = float("inf")  # largest norm of a gradient
    decay: float = 0.9995  # of the exponential moving average (EMA) of the weights, per step
    focus: tuple | None = None  # (first, last): half of the noise steps are drawn from these
    seed: int = 0


# How the shipped `mini` was trained: large batches, and half of the noise steps where features
# are read.
ON_GPU = Settings(
    batch=256, rate=8e-4, final=0.02, beta2=0.99, clip=1.0, decay=0.998, focus=(20, 350)
)


def pretrain(
    flags,
    images,
    n_images,
    state,
    start=None,
    settings=None,
    *,
    keep=(),
    minutes=None,
    device="cpu",
    save_every=300.0,
    log_every=100,
    report=None,
):
    """Train a U-Net on `images` until it has seen `n_images`; returns (EMA weights, log).

    flags: of guided-diffusion. images: uint8 [M, S, S, 3]. start: weights to begin with. settings:
    Settings. log: a DataFrame with images, loss and seconds, a row every `log_every` steps.

    Everything random depends on the seed and the step alone, and the file `state` keeps weights,
    EMA, optimiser and log, saved every `save_every` seconds. So an interrupted training goes on to
    the same numbers, and a finished one can be made longer.

    keep: numbers of images; when so many have been seen, in whole batches, the EMA is also written
    beside `state`, to <state without .pt>_<images seen>.safetensors. minutes: stop earlier after so
    long. report(images, loss) is called at every row of the log.

    ValueError: fewer images to see than one batch, or `state` is that of a training with other
    flags, settings, images or weights to begin with.
    """
    state, settings = Path(state), settings or Settings()
    n_steps = steps_of(n_images, settings.batch)
    if not n_steps:
        raise ValueError(f"n_images is {n_images}, less than one batch of {settings.batch} images")
    training = _Pretraining(flags, images, start, settings, device)
    if state.exists():
        training.restore(state)
    kept_steps = {steps_of(n, settings.batch) for n in keep}
    seconds_before = training.log[-1][2] if training.log else 0.0
    began = last_save = time.monotonic()
    losses = []  # since the last row of the log
    while training.step < n_steps:
        losses.append(training.update(images, training.step / n_steps))
        seen = training.step * settings.batch
        if training.step in kept_steps:
            name = f"{state.name.removesuffix('.pt')}_{seen}.safetensors"
            save_weights(training.ema, state.with_name(name))
        last = training.step == n_steps
        if training.step % log_every and not last:
            continue
        now = time.monotonic()
        loss = float(torch.stack(losses).mean())
        training.log.append([seen, loss, seconds_before + now - began])
        losses = []
        if report:
            report(seen, loss)
        out_of_time = minutes is not None and now - began > 60 * minutes
        if last or out_of_time or now - last_save > save_every:
            training.save(state)
            last_save = now
        if out_of_time:
            break
    return training.ema, pd.DataFrame(training.log, columns=["images", "loss", "seconds"])


def steps_of(n_images, batch):
    """The steps in which a training sees `n_images`; what fills no batch is left out."""
    return n_images // batch


# Images seen at which a checkpoint is kept, or the whole batches below.
KEPT = tuple(10_000 * 2**i for i in range(8))


def train_checkpoints(
    spec, images, n_images, output, records, start="", *, minutes=None, device="cpu", report=None
):
    """Train a denoiser; returns {images seen: .json of the backbone}, of all that were kept.

    On a GPU with the settings ON_GPU, on a CPU in small batches at a constant rate. A batch has no
    more images than there are.

    spec: a description of a backbone, of which flags, steps and blocks are used. images: uint8
    [M, S, S, 3]. n_images: to see in this training. output: weights, state and checkpoints get this
    path as their beginning. records: the folder of <name>_log.csv. start: a backbone to begin with;
    the images that it has seen count. minutes: stop earlier after so long. report(done, total).

    ValueError: see `pretrain`.
    """
    output, records = Path(output), Path(records)
    output.parent.mkdir(parents=True, exist_ok=True)
    before = images_seen(start) if start else 0
    settings = Settings(rate=3e-4 if start else 2e-4, seed=int(bool(start)))
    if torch.device(device).type == "cuda":
        settings = replace(ON_GPU, seed=settings.seed)
    batch = min(settings.batch, len(images))
    settings = replace(settings, batch=batch)
    total = steps_of(n_images, batch) * batch
    kept = [steps_of(n, batch) * batch for n in KEPT]
    ema, log = pretrain(
        spec["flags"],
        images,
        n_images,
        output.with_name(f"{output.name}.pt"),
        weights_of(start) if start else None,
        settings,
        keep=[n for n in kept if n < total],
        minutes=minutes,
        device=device,
        report=lambda seen, loss: report(seen, n_images) if report else None,
    )
    save_weights(ema, output.with_name(f"{output.name}.safetensors"))
    _save_log(log, records, output.name, start, before)

    seen = int(log.images.iloc[-1])
    names = {n: f"{output.name}_{n}" for n in kept if 0 < n < seen}
    names[seen] = output.name
    found = {}
    for n, name in names.items():
        checkpoint = output.with_name(f"{name}.safetensors")
        if not checkpoint.exists():
            continue  # this was once the end of the training, which was made longer
        described = {key: spec[key] for key in ("flags", "steps", "blocks")}
        described |= {"checkpoint": checkpoint.name, "images": before + n}
        write_json(output.with_name(f"{name}.json"), described)
        found[before + n] = str(output.with_name(f"{name}.json"))
    return found


def images_seen(backbone):
    """How many images these weights have seen; ValueError if their description does not say."""
    seen = describe(backbone).get("images")
    if not seen:
        raise ValueError(
            f"{backbone}: the number of images that these weights have seen is missing; "
            'add it to the file as "images"'
        )
    return seen


def _save_log(log, records, name, start, before):
    """Write <name>_log.csv, the log of `start` in front if there is one."""
    log = log.assign(images=log.images + before)
    earlier = records / f"{Path(start).stem}_log.csv"
    if start and earlier.exists():
        log = pd.concat([pd.read_csv(earlier).query("images <= @before"), log])
    with atomic(records / f"{name}_log.csv") as partial:
        log[["images", "loss"]].round(5).to_csv(partial, index=False)


class _Pretraining:
    """A U-Net in training: its weights, their EMA, the optimiser, the step and the log."""

    def __init__(self, flags, images, start, settings, device):
        self.decided_by = _what_decides(flags, images, start, settings)
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, torch.device(device)
        self.model, self.diffusion = create(flags)
        if start:
            self.model.load_state_dict(start)
        self.half = native_bfloat16(device)
        memory = torch.channels_last if self.half else torch.contiguous_format
        self.model.to(device, memory_format=memory).train()
        self.ema = {name: p.detach().clone() for name, p in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=settings.rate,
            betas=(0.9, settings.beta2),
            weight_decay=0.0,
            fused=True,
        )
        self.step = 0
        self.log = []  # [images, loss, seconds]

    def update(self, images, progress):
        """One step on the next batch of `images` [M, S, S, 3]; returns its loss, a tensor.

        progress: the share of the training that is done, in 0..1.
        """
        s = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(s, self.step, progress)
        x, t, noise = _batch(images, s, self.step, self.diffusion.num_timesteps, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            losses = self.diffusion.training_losses(self.model, x, t, noise=noise)
            loss = losses["loss"].mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if math.isfinite(s.clip):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        self.optimiser.step()
        self.step += 1
        self._average()
        return loss.detach()

    @torch.no_grad()
    def _average(self):
        """Move the EMA towards the weights; faster in the first steps, as their average."""
        decay = min(self.settings.decay, (1 + self.step) / (10 + self.step))
        for name, p in self.model.state_dict().items():
            self.ema[name].lerp_(p, 1 - decay)

    def save(self, path):
        """Write everything that an interrupted training needs to go on."""
        state = {
            "decided_by": self.decided_by,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "log": self.log,
        }
        with atomic(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path):
        """Go on from a file that `save` wrote; ValueError if it is that of another training."""
        saved = torch.load(path, map_location=self.device, weights_only=True)
        _check_same_training(path, self.decided_by, saved.get("decided_by"))
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.ema = saved["ema"]
        self.step = saved["step"]
        self.log = saved["log"]


def _what_decides(flags, images, start, settings):
    """{name: value} of all that decides the weights of a training, except for its length.

    All pixels count, and all weights of `start`: of both it holds the SHA-256.
    """
    named = {f"flag {flag}": value for flag, value in flags.items()}
    named |= asdict(settings)
    named["set of images"] = _checksum({"images": images})
    named["start"] = None
    if start:
        named["start"] = _checksum({name: w.float().cpu().numpy() for name, w in start.items()})
    return named


def _checksum(arrays):
    """The SHA-256 of {name: array}, whatever their order."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _check_same_training(path, now, before):
    """ValueError if the state `path` is of a training that something else has decided.

    now, before: of `_what_decides`; before is None where the state has none.
    """
    if before is None:
        raise ValueError(
            f"{path}: does not say of which training it is the state, because an earlier version "
            "of this kit wrote it; choose another output or delete it"
        )
    different = [name for name in now | before if now.get(name) != before.get(name)]
    if different:
        differ = "differs" if len(different) == 1 else "differ"
        raise ValueError(
            f"{path}: the state of another training (its {', '.join(different)} {differ}); "
            "choose another output or delete it"
        )


def _rate(settings, step, progress):
    """The learning rate of a step: a warm-up, then constant, then a cosine down to `final`.

    The cosine begins when 15 % of the training is done.
    """
    warm = min(1, (step + 1) / settings.warmup)
    falling = max(0, (progress - 0.15) / 0.85)
    cosine = 0.5 * (1 + math.cos(math.pi * falling))
    return settings.rate * warm * (settings.final + (1 - settings.final) * cosine)


def _batch(images, settings, step, n_timesteps, device="cpu"):
    """(x [b, 3, S, S] in [-1, 1], t [b], noise [b, 3, S, S]) of one step, on `device`.

    Shuffled passes over the images, half of which are mirrored. ValueError for fewer images than
    one batch.
    """
    batch, seed = settings.batch, settings.seed
    if len(images) < batch:
        raise ValueError(f"{len(images)} images are fewer than one batch of {batch}")
    per_epoch = len(images) - len(images) % batch  # images; what fills no batch is left out
    epoch, place = divmod(step * batch, per_epoch)
    shuffled = _shuffled(len(images), seed, epoch)
    chosen = shuffled[place : place + batch]
    rng = np.random.default_rng([seed, 1, step])
    mirrored = rng.random(batch) < 0.5
    t = rng.integers(0, n_timesteps, batch)
    if settings.focus:
        first, last = settings.focus
        t = np.where(rng.random(batch) < 0.5, t, rng.integers(first, last + 1, batch))
    x = torch.from_numpy(images[chosen]).to(device).permute(0, 3, 1, 2) / 127.5 - 1
    x = torch.where(torch.from_numpy(mirrored).to(device)[:, None, None, None], x.flip(3), x)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
    noise = torch.randn(x.shape, generator=generator, device=device)
    return x, torch.from_numpy(t).to(device), noise


@lru_cache(maxsize=1)
def _shuffled(n, seed, epoch):
    """The order int64 [n] of the images in one pass."""
    return np.random.default_rng([seed, 0, epoch]).permutation(n)


def save_weights(weights, path):
    """Write weights, {name: tensor}, to a .safetensors file in float16."""
    halves = {name: w.half().contiguous().cpu() for name, w in weights.items()}
    with atomic(path) as temporary:
        save_file(halves, temporary)


def image_strip(path):
    """uint8 [B, S, S, 3] of a file that holds B images side by side."""
    with Image.open(path) as strip:
        pixels = np.asarray(strip.convert("RGB"))  # (S, B * S, 3)
    size = len(pixels)
    return pixels.reshape(size, -1, size, 3).transpose(1, 0, 2, 3)
