"""Training a small unconditional DDPM: guided-diffusion's network and loss, EMA weights, resumable to the step."""
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from .diffusion import create


def painted_images(n_per_family, families, size=64):
    """uint8 [n, size, size, 3]: scenes of the split "pretrain", which no dataset uses; families take turns."""
    from .scenes import paint
    return np.stack([paint(family, "pretrain", i)[0] for i in range(n_per_family) for family in families])


def pretrain(flags, images, n_images, state, batch=16, rate=4e-4, decay=0.999, warmup=100, seed=0, device="cpu",
             save_every=300.0, log_every=100, report=None):
    """Train a U-Net with `flags` on `images` (uint8 [M, S, S, 3]) until it has seen `n_images`; returns (EMA weights, log).

    Everything random depends on (seed, step) alone and `state` (a file) keeps weights, EMA, optimiser and log, so a
    training that was interrupted goes on to the same numbers. AdamW, learning rate falling linearly to zero, bf16 autocast.
    """
    torch.manual_seed(seed)
    model, diffusion = create(flags)
    model.to(device).train()
    ema = {name: p.detach().clone() for name, p in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    step, log, last_save = 0, [], time.monotonic()
    if Path(state).exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        ema, step, log = saved["ema"], saved["step"], saved["log"]
    losses, n_steps = [], n_images // batch
    while step < n_steps:
        lr = rate * min(1, (step + 1) / warmup) * (1 - step / n_steps)
        for group in optimiser.param_groups:
            group["lr"] = lr
        x, t, noise = (tensor.to(device) for tensor in _batch(images, batch, step, seed, diffusion.num_timesteps))
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss = diffusion.training_losses(model, x, t, noise=noise)["loss"].mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step += 1
        with torch.no_grad():
            for name, p in model.state_dict().items():
                ema[name].lerp_(p, 1 - min(decay, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if step % log_every == 0 or step == n_steps:
            log.append([step * batch, float(np.mean(losses))])
            losses = []
            if report:
                report(*log[-1])
            if time.monotonic() - last_save > save_every or step == n_steps:
                _save_state(state, model, ema, optimiser, step, log)
                last_save = time.monotonic()
    return ema, pd.DataFrame(log, columns=["images", "loss"])


def save_weights(weights, path):
    """Write `weights` as float16 safetensors."""
    save_file({name: w.half().contiguous().cpu() for name, w in weights.items()}, path)


def _batch(images, batch, step, seed, n_timesteps):
    """(x in [-1, 1], t, noise) of one step: a shuffled pass over the images, half of them mirrored."""
    epoch, place = divmod(step * batch, len(images) - len(images) % batch)
    order = np.random.default_rng([seed, 0, epoch]).permutation(len(images))[place:place + batch]
    rng = np.random.default_rng([seed, 1, step])
    x = images[order].astype(np.float32) / 127.5 - 1
    mirrored = rng.random(batch) < 0.5
    x[mirrored] = x[mirrored, :, ::-1]
    t = torch.from_numpy(rng.integers(0, n_timesteps, batch))
    x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    return x, t, torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))


def _save_state(path, model, ema, optimiser, step, log):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(model=model.state_dict(), ema=ema, optimiser=optimiser.state_dict(), step=step, log=log), f"{path}.tmp")
    os.replace(f"{path}.tmp", path)
