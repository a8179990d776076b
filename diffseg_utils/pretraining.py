"""Training a small unconditional DDPM: guided-diffusion's network and loss, and averaged weights.

An interrupted training goes on to the same numbers.
"""

import io
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from .backbone import create, describe, native_bfloat16, weights_of
from .data import IMAGES, read_image, to_input
from .files import atomic, write_json

# ---- images -------------------------------------------------------------------------------------


def images_of(sources, size, families, n_per_family):
    """uint8 [M, size, size, 3] of what one trains on.

    sources: "painted" for scenes of `families`, or folders and archives of photographs, with
    spaces between them.
    """
    if sources == "painted":
        return painted_images(n_per_family, list(families))
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


def photographs(source, size=64):
    """uint8 [M, size, size, 3]: the images of a folder or tar archive, in string order of names.

    FileNotFoundError: no such source. ValueError names an archive or an image that is not readable
    or not square.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or archive of images")
    read = _images_of_folder if source.is_dir() else _images_of_archive
    try:
        images = [_resized(image, size) for image in read(source)]
    except tarfile.TarError as error:
        raise ValueError(f"{source}: not a readable archive ({error})") from None
    if not images:
        raise ValueError(f"{source}: holds no image ({', '.join(IMAGES)})")
    return np.stack(images)


def _images_of_folder(folder):
    """Yield the images of a folder and of the folders in it."""
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGES]
    for path in sorted(paths, key=str):
        yield read_image(path)


def _images_of_archive(archive):
    """Yield the images of a tar archive."""
    with tarfile.open(archive) as tar:
        members = [m for m in tar if Path(m.name).suffix.lower() in IMAGES]
        for member in sorted(members, key=lambda m: m.name):
            content = io.BytesIO(tar.extractfile(member).read())
            yield read_image(content, f"{archive}:{member.name}")


def _resized(image, size):
    """uint8 [size, size, 3] of a square image uint8 [S, S, 3]."""
    pixels = to_input(image, size).permute(1, 2, 0).clamp(-1, 1)  # (size, size, 3)
    return ((pixels + 1) * 127.5).round().byte().numpy()


# ---- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What decides the weights, together with network and images."""

    batch: int = 16
    rate: float = 2e-4  # of AdamW, constant after the warm-up
    warmup: int = 200  # steps in which the rate grows
    decay: float = 0.9995  # of the exponential moving average (EMA) of the weights, per step
    seed: int = 0


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

    keep: numbers of images at which the EMA is also written to <state>_<images>.safetensors.
    minutes: stop earlier after so long. report(images, loss) is called at every row of the log.
    """
    settings = settings or Settings()
    training = _Pretraining(flags, start, settings, device)
    if Path(state).exists():
        training.restore(state)
    n_steps = n_images // settings.batch
    kept_steps = {seen // settings.batch for seen in keep}
    seconds_before = training.log[-1][2] if training.log else 0.0
    began = last_save = time.monotonic()
    losses = []  # since the last row of the log
    while training.step < n_steps:
        losses.append(training.update(images))
        seen = training.step * settings.batch
        if training.step in kept_steps:
            save_weights(training.ema, f"{Path(state).with_suffix('')}_{seen}.safetensors")
        last = training.step == n_steps
        if training.step % log_every and not last:
            continue
        now = time.monotonic()
        loss = float(np.mean(losses))
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


KEPT = tuple(10_000 * 2**i for i in range(8))  # images seen at which a checkpoint is kept


def train_checkpoints(
    spec, images, n_images, output, records, start="", *, minutes=None, device="cpu", report=None
):
    """Train a denoiser with the settings of 07; returns {images seen: .json of the backbone}.

    spec: a description of a backbone, of which flags, steps and blocks are used. images: uint8
    [M, S, S, 3]. n_images: to see in this training. output: weights, state and checkpoints get this
    path as their beginning. records: the folder of <name>_log.csv. start: a backbone to begin with;
    the images that it has seen count. minutes: stop earlier after so long. report(done, total).
    """
    output, records = Path(output), Path(records)
    output.parent.mkdir(parents=True, exist_ok=True)
    before = images_seen(start) if start else 0
    kept = [n for n in KEPT if n < n_images]
    ema, log = pretrain(
        spec["flags"],
        images,
        n_images,
        output.with_suffix(".pt"),
        weights_of(start) if start else None,
        Settings(rate=3e-4 if start else 2e-4, seed=int(bool(start))),
        keep=kept,
        minutes=minutes,
        device=device,
        report=lambda seen, loss: report(seen, n_images) if report else None,
    )
    save_weights(ema, output.with_suffix(".safetensors"))
    _save_log(log, records, output.name, start, before)

    names = {n: f"{output.name}_{n}" for n in kept}
    names[int(log.images.iloc[-1])] = output.name
    found = {}
    for n, name in names.items():
        checkpoint = output.with_name(f"{name}.safetensors")
        if not checkpoint.exists():
            continue  # the training ended earlier
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

    def __init__(self, flags, start, settings, device):
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
            self.model.parameters(), lr=settings.rate, weight_decay=0.0, fused=True
        )
        self.step = 0
        self.log = []  # [images, loss, seconds]

    def update(self, images):
        """One step on the next batch of `images` [M, S, S, 3]; returns its loss, a float."""
        s = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = s.rate * min(1, (self.step + 1) / s.warmup)
        batch = _batch(images, s.batch, self.step, s.seed, self.diffusion.num_timesteps)
        x, t, noise = (tensor.to(self.device) for tensor in batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            losses = self.diffusion.training_losses(self.model, x, t, noise=noise)
            loss = losses["loss"].mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self._average()
        return loss.item()

    @torch.no_grad()
    def _average(self):
        """Move the EMA towards the weights; faster in the first steps, as their average."""
        decay = min(self.settings.decay, (1 + self.step) / (10 + self.step))
        for name, p in self.model.state_dict().items():
            self.ema[name].lerp_(p, 1 - decay)

    def save(self, path):
        """Write everything that an interrupted training needs to go on."""
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "log": self.log,
        }
        with atomic(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path):
        """Go on from a file that `save` wrote."""
        saved = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.ema = saved["ema"]
        self.step = saved["step"]
        self.log = saved["log"]


def _batch(images, batch, step, seed, n_timesteps):
    """(x [b, 3, S, S] in [-1, 1], t [b], noise [b, 3, S, S]) of one step.

    Shuffled passes over the images, half of which are mirrored. ValueError for fewer images than
    one batch.
    """
    if len(images) < batch:
        raise ValueError(f"{len(images)} images are fewer than one batch of {batch}")
    per_epoch = len(images) - len(images) % batch  # images; what fills no batch is left out
    epoch, place = divmod(step * batch, per_epoch)
    shuffled = np.random.default_rng([seed, 0, epoch]).permutation(len(images))
    chosen = shuffled[place : place + batch]
    rng = np.random.default_rng([seed, 1, step])
    x = images[chosen].astype(np.float32) / 127.5 - 1  # (b, S, S, 3)
    mirrored = rng.random(batch) < 0.5
    x[mirrored] = x[mirrored, :, ::-1]
    x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    t = torch.from_numpy(rng.integers(0, n_timesteps, batch))
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    return x, t, noise


def save_weights(weights, path):
    """Write weights, {name: tensor}, to a .safetensors file in float16."""
    halves = {name: w.half().contiguous().cpu() for name, w in weights.items()}
    with atomic(path) as temporary:
        save_file(halves, temporary)
