"""Training a small unconditional DDPM: guided-diffusion's network and loss, EMA weights, resumable to the step."""

import io
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from .backbone import create, native_bfloat16
from .data import IMAGES, read_image, to_input


def painted_images(n_per_family, families):
    """uint8 [n, 64, 64, 3]: scenes of the split "pretrain", which no dataset uses; families take turns."""
    from .scenes import paint

    return np.stack(
        [paint(family, "pretrain", i)[0] for i in range(n_per_family) for family in families]
    )


def images_of(sources, size, families, n_per_family):
    """uint8 [n, size, size, 3]: "painted" scenes of `families`, or the photographs of all `sources` (spaces between them)."""
    if sources == "painted":
        return painted_images(n_per_family, list(families))
    return np.concatenate([photographs(source, size) for source in sources.split()])


def photographs(source, size=64):
    """uint8 [n, size, size, 3]: the images of a folder or a tar archive, in plain string order of their names.

    FileNotFoundError: no such source. ValueError names an archive or an image that is not readable or not square.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or archive of images")
    try:
        images = [
            _resized(image, size)
            for image in (_folder(source) if source.is_dir() else _archive(source))
        ]
    except tarfile.TarError as error:
        raise ValueError(f"{source}: not a readable archive ({error})") from None
    if not images:
        raise ValueError(f"{source}: holds no image ({', '.join(IMAGES)})")
    return np.stack(images)


def _folder(source):
    for path in sorted(
        (path for path in source.rglob("*") if path.suffix.lower() in IMAGES), key=str
    ):
        yield read_image(path)


def _archive(source):
    with tarfile.open(source) as tar:
        for member in sorted(
            (m for m in tar if Path(m.name).suffix.lower() in IMAGES), key=lambda m: m.name
        ):
            yield read_image(io.BytesIO(tar.extractfile(member).read()), f"{source}:{member.name}")


def pretrain(
    flags,
    images,
    n_images,
    state,
    start=None,
    keep=(),
    minutes=None,
    batch=16,
    rate=2e-4,
    decay=0.9995,
    warmup=200,
    seed=0,
    device="cpu",
    save_every=300.0,
    log_every=100,
    report=None,
):
    """Train a U-Net with `flags` on `images` (uint8 [M, S, S, 3]) until it has seen `n_images`; returns (EMA weights, log).

    Everything random depends on (seed, step) alone and `state` (a file) keeps weights, EMA, optimiser and log, so a
    training that was interrupted goes on to the same numbers, and one that has ended can be made longer: after `warmup`
    steps the rate is constant. start: weights to begin with. keep: numbers of images at which the EMA is also written,
    as <state>_<images>.safetensors. minutes: end earlier after so long. AdamW; bf16 autocast where the device computes in it.
    """
    torch.manual_seed(seed)
    model, diffusion = create(flags)
    if start:
        model.load_state_dict(start)
    half = native_bfloat16(device)
    model.to(device, memory_format=torch.channels_last if half else torch.contiguous_format).train()
    ema = {name: p.detach().clone() for name, p in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    step, log = 0, []
    if Path(state).exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        ema, step, log = saved["ema"], saved["step"], saved["log"]
    losses, n_steps, seconds = [], n_images // batch, log[-1][2] if log else 0.0
    began = last_save = time.monotonic()
    while step < n_steps:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / warmup)
        x, t, noise = (
            tensor.to(device)
            for tensor in _batch(images, batch, step, seed, diffusion.num_timesteps)
        )
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            loss = diffusion.training_losses(model, x, t, noise=noise)["loss"].mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step += 1
        with torch.no_grad():
            share = 1 - min(decay, (1 + step) / (10 + step))
            for name, p in model.state_dict().items():
                ema[name].lerp_(p, share)
        losses.append(loss.item())
        if any(step == seen // batch for seen in keep):
            save_weights(ema, f"{Path(state).with_suffix('')}_{step * batch}.safetensors")
        if step % log_every == 0 or step == n_steps:
            now = time.monotonic()
            log.append([step * batch, float(np.mean(losses)), seconds + now - began])
            losses = []
            if report:
                report(*log[-1][:2])
            over = step == n_steps or (minutes is not None and now - began > 60 * minutes)
            if over or now - last_save > save_every:
                _save_state(state, model, ema, optimiser, step, log)
                last_save = now
            if over:
                break
    return ema, pd.DataFrame(log, columns=["images", "loss", "seconds"])


def save_weights(weights, path):
    """Write `weights` as float16 safetensors."""
    save_file({name: w.half().contiguous().cpu() for name, w in weights.items()}, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


def _batch(images, batch, step, seed, n_timesteps):
    """(x in [-1, 1], t, noise) of one step: a shuffled pass over the images, half of them mirrored."""
    if len(images) < batch:
        raise ValueError(f"{len(images)} images are fewer than one batch of {batch}")
    epoch, place = divmod(step * batch, len(images) - len(images) % batch)
    order = np.random.default_rng([seed, 0, epoch]).permutation(len(images))[place : place + batch]
    rng = np.random.default_rng([seed, 1, step])
    x = images[order].astype(np.float32) / 127.5 - 1
    mirrored = rng.random(batch) < 0.5
    x[mirrored] = x[mirrored, :, ::-1]
    t = torch.from_numpy(rng.integers(0, n_timesteps, batch))
    x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    return x, t, torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))


def _resized(image, size):
    """uint8 [size, size, 3] of a square image."""
    return (
        ((to_input(image, size).permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    )


def _save_state(path, model, ema, optimiser, step, log):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        dict(
            model=model.state_dict(), ema=ema, optimiser=optimiser.state_dict(), step=step, log=log
        ),
        f"{path}.tmp",
    )
    os.replace(f"{path}.tmp", path)
