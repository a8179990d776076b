"""The training loop of a PixelEnsemble: every member on its own shuffle, all members in one batched step."""

import os
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

GATHER_BYTES = 2**24  # features gathered at once; several steps share a gather
TINY, SWEEP = (
    1e-36,
    40,
)  # what falls below TINY is far from mattering and becomes 0, before 40 steps make a denormal of it


def fit(ensemble, data, recipe, seed, epochs, checkpoint, save_every, report):
    """Train `ensemble` by `recipe`; see classifiers.train. data: rows(index, out) -> features [len(index), D], targets [P]."""
    rows, targets = data
    batch, per_epoch = recipe["batch"], len(targets) // recipe["batch"]  # drop_last
    n_steps = min(recipe.get("steps", epochs * per_epoch), epochs * per_epoch)
    of = f"seed {seed}, {n_steps} steps, {len(targets)} pixels, {sorted(recipe.items())}"
    run = _Run(ensemble, recipe, n_steps, of)
    if checkpoint and Path(checkpoint).exists():
        run.restore(checkpoint)
    patience = recipe.get("patience", n_steps)  # members rarely outlive the first stop by much
    expected = min(n_steps, recipe.get("patient_from", 0) * per_epoch + 3 * patience)
    last_save = last_report = time.monotonic()
    torch.set_flush_denormal(
        True
    )  # Adam's moments of dead units fade into denormals: steps twice as slow
    step_rows, n_features = ensemble.n_members * batch, ensemble.n_features
    buffer = torch.empty(
        step_rows * max(1, GATHER_BYTES // (4 * step_rows * n_features)), n_features
    )
    log_every = max(1, min(per_epoch, n_steps) // 40)
    while run.step < n_steps and run.alive:
        epoch, place = divmod(run.step, per_epoch)
        n_ahead = max(
            1, min(len(buffer) // (len(run.alive) * batch), per_epoch - place, n_steps - run.step)
        )
        order = torch.stack(
            [
                _shuffle(len(targets), seed, member, epoch)[
                    place * batch : (place + n_ahead) * batch
                ]
                for member in run.alive
            ]
        )  # (N, steps * batch)
        order = order.view(len(order), n_ahead, batch).transpose(0, 1).long()  # (steps, N, b)
        x = (
            rows(order.flatten(), buffer[: order.numel()])
            .view(*order.shape, n_features)
            .to(ensemble.weight0)
        )
        target = targets[order].to(ensemble.weight0.device)
        for k in range(n_ahead):
            losses = run.update(x[k], target[k])
            if run.step % log_every == 0 or run.step == n_steps:
                run.history += [(member, run.step, loss) for member, loss in zip(run.alive, losses)]
            keep = run.stop_rule(losses, epoch)
            if len(keep) < len(run.alive):
                run.history += [
                    (run.alive[i], run.step, losses[i]) for i in range(len(losses)) if i not in keep
                ]
                run.retire(keep)
                x, target = x[:, keep], target[:, keep]
            if not run.alive:
                break
        now = time.monotonic()
        if checkpoint and now - last_save > save_every:
            run.save(checkpoint)
            last_save = now
        if report and now - last_report > 1:
            report(min(run.step, expected - 1), expected)
            last_report = now
    torch.set_flush_denormal(False)
    run.retire([])
    if report:
        report(expected, expected)
    return run.finished.eval(), pd.DataFrame(
        sorted(set(run.history)), columns=["member", "step", "loss"]
    )


class _Run:
    """The members still in training, their optimiser, and the members that have finished."""

    def __init__(self, ensemble, recipe, n_steps, of):
        self.live, self.recipe, self.of = ensemble.train(), recipe, of
        self.finished = type(ensemble)(
            ensemble.n_members, ensemble.n_features, ensemble.n_classes, ensemble.widths
        )
        self.finished.to(ensemble.weight0)
        self.alive = list(range(ensemble.n_members))
        self.best, self.waits = [float("inf")] * ensemble.n_members, [0] * ensemble.n_members
        self.step, self.history = 0, []
        make = getattr(torch.optim, recipe["optimiser"])
        self.optimiser = make(self.live.parameters(), lr=recipe["rate"], fused=True)
        one_cycle = torch.optim.lr_scheduler.OneCycleLR
        self.schedule = (
            one_cycle(self.optimiser, recipe["rate"], n_steps) if "steps" in recipe else None
        )

    def update(self, x, target):
        """One step of every live member on its own batch; x [N, b, D], target [N, b]. Returns their losses."""
        with torch.no_grad():
            hidden = self.live.first(x)
        logits = self.live.rest(hidden.requires_grad_())
        loss = (
            F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
            .view(target.shape)
            .mean(1)
        )
        for p in self.live.parameters():
            p.grad = p.grad if p is self.live.weight0 else None
        loss.sum().backward()  # members share no parameter: the gradient of the sum is each one's own
        self._first_gradient(x, hidden.grad)
        self.optimiser.step()
        if self.schedule:
            self.schedule.step()
        self.step += 1
        if self.step % SWEEP == 0:
            self._sweep()
        return loss.tolist()

    def _sweep(self):
        """Zero for the moments of dead units that fade: flushing denormals reaches the main thread only, not its helpers."""
        for state in self.optimiser.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                F.hardshrink(state[name], TINY, out=state[name])

    def _first_gradient(self, x, of_output):
        """Gradient of the first layer, into the same memory at every step: to map fresh pages takes longer than the product."""
        weight = self.live.weight0
        weight.grad = torch.empty_like(weight) if weight.grad is None else weight.grad
        torch.bmm(x.transpose(1, 2), of_output, out=weight.grad)
        self.live.bias0.grad = of_output.sum(1)

    def stop_rule(self, losses, epoch):
        """Positions of the members that go on: published, a batch loss must go below the best once in 51 batches."""
        if epoch < self.recipe.get("patient_from", np.inf):
            return list(range(len(self.alive)))
        for member, loss in zip(self.alive, losses):
            better = loss < self.best[member]
            self.waits[member] = 0 if better else self.waits[member] + 1
            self.best[member] = min(loss, self.best[member])
        return [
            i
            for i, member in enumerate(self.alive)
            if self.waits[member] <= self.recipe["patience"]
        ]

    def retire(self, keep):
        """Freeze the members that are not at positions `keep`: weights, statistics and optimiser state leave the batch."""
        gone = [i for i in range(len(self.alive)) if i not in keep]
        ids = [self.alive[i] for i in gone]
        with torch.no_grad():
            for kept, live in zip(
                self.finished.state_dict().values(), self.live.state_dict().values()
            ):
                kept[ids] = live[gone]
        self._narrow(keep)
        self.alive = [self.alive[i] for i in keep]

    def save(self, path):
        """Write all that an interrupted training needs (through a temporary name)."""
        state = {
            "of": self.of,
            "live": self.live.state_dict(),
            "finished": self.finished.state_dict(),
            "alive": self.alive,
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "waits": self.waits,
            "step": self.step,
            "history": self.history,
            "schedule": self.schedule.state_dict() if self.schedule else None,
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, f"{path}.tmp")
        os.replace(f"{path}.tmp", path)

    def restore(self, path):
        """Go on from `path`; ValueError if it belongs to another training."""
        saved = torch.load(path, map_location=self.live.weight0.device, weights_only=True)
        wanted = {name: tuple(t.shape) for name, t in self.finished.state_dict().items()}
        if (
            saved.get("of") != self.of
            or {name: tuple(t.shape) for name, t in saved["finished"].items()} != wanted
        ):
            raise ValueError(
                f"{path}: this checkpoint belongs to another training ({saved.get('of')}); delete it to start anew"
            )
        self._narrow(saved["alive"])
        self.live.load_state_dict(saved["live"])
        self.finished.load_state_dict(saved["finished"])
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.schedule:
            self.schedule.load_state_dict(saved["schedule"])
        self.alive, self.best, self.waits = saved["alive"], saved["best"], saved["waits"]
        self.step, self.history = saved["step"], saved["history"]

    def _narrow(self, keep):
        """Keep only the members at positions `keep` in the live batch and in the optimiser."""
        for p in self.live.parameters():
            p.grad = None
            p.data = p.data[keep]
            for name, value in self.optimiser.state[p].items():
                if value.dim():
                    self.optimiser.state[p][name] = value[keep]
        for name, buffer in list(self.live.named_buffers()):
            setattr(self.live, name, buffer[keep])


@lru_cache(maxsize=32)  # one epoch of all members; the next epoch pushes them out
def _shuffle(n, seed, member, epoch):
    """The order in which a member sees its n pixels in an epoch."""
    words = np.random.SeedSequence([seed, member, epoch]).generate_state(2)
    generator = torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
    return torch.randperm(n, generator=generator).int()
