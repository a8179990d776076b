"""Training of a PixelEnsemble: recipes, the loop, checkpoints, the compression of features.

Every member sees the pixels in its own order. All members are trained together, one batched step
at a time. Shapes: N members, P pixels, b pixels of a batch, D features, K components, C classes.
"""

import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from .classifiers import PixelEnsemble
from .files import atomic
from .presets import RECIPES, choose

FAST_BYTES = 2**30  # what may be kept for faster reading: float32 maps, and features of pixels
GATHER_BYTES = 2**24  # of features that are read at once, for several steps
CHUNK = 8192  # pixels that are interpolated at a time
FITTED = 10_000  # pixels to which the principal components are fitted
REPEATED = 3  # so often, on average, a pixel may be in the pool: few labels make a small pool

# Moments below TINY have no effect. They are set to zero every SWEEP steps, before they become
# denormal numbers.
TINY = 1e-36
SWEEP = 40


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
    """Train N members on all labelled pixels; returns (PixelEnsemble in eval mode, history).

    maps: FeatureMaps of B images. labels: int64 [B, H, W] with H = W. Pixels of `ignore_label`,
    and of ids outside 0..C-1, are left out. history: a DataFrame with member, step and loss.
    recipe: "published", as in Baranchuk et al., where from the fifth epoch on a member stops after
    51 batches without a new lowest loss; "tuned", on the principal components of a class-balanced
    subset of pixels; or a dict like those in presets.RECIPES. checkpoint: a file, written every
    `save_every` seconds, from which an interrupted training goes on to the same result.
    report(step, n_steps) is called about once a second. ValueError for an unknown recipe, labels of
    another shape, or fewer labelled pixels than one batch.
    """
    labels = torch.as_tensor(labels)
    _check_labels(labels, maps)
    if not isinstance(recipe, dict):
        recipe = choose("recipe", recipe, RECIPES)
    scored = (labels >= 0) & (labels < n_classes) & (labels != ignore_label)
    pixels = scored.nonzero()  # (P, 3): image, y, x
    targets = labels[scored]  # (P,)
    size = labels.shape[1]
    if len(pixels) < recipe["batch"]:
        raise ValueError(
            f"{len(pixels)} labelled pixels are fewer than one batch of {recipe['batch']}"
        )

    generator = torch.Generator().manual_seed(seed)
    maps = where_they_fit(maps, device)
    compressed = "pool" in recipe
    if compressed:
        pool_size = min(recipe["pool"], REPEATED * len(targets))
        pool = draw_pool(targets, pool_size, recipe["balance"], generator)  # (P',)
        features, mean, basis = compress(
            read_from_maps(maps, pixels, size),
            pool,
            recipe["components"],
            recipe["whitening"],
            seed,
        )
        read, n_features = read_from_memory(features), features.shape[1]
        targets = targets[pool]
    else:
        read, n_features = fast_reader(maps, pixels, size), maps.n_features

    widths = widths or recipe.get("widths")
    ensemble = PixelEnsemble(n_members, n_features, n_classes, widths, generator).to(device)
    ensemble, history = fit(
        ensemble, read, targets, recipe, seed, epochs, checkpoint, save_every, report
    )
    if compressed:
        ensemble = expand(ensemble, mean, basis)
    return ensemble, history


def _check_labels(labels, maps):
    """ValueError unless labels are [B, H, H] for the B images of `maps`."""
    square = labels.dim() == 3 and labels.shape[1] == labels.shape[2]
    if not square or len(labels) != maps.n_images:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} do not fit "
            f"{maps.n_images} images of square size"
        )


# ---- reading features of pixels -----------------------------------------------------------------
#
# A reader is a function read(index, out=None) -> features [len(index), D], written into `out`.


def fast_reader(maps, pixels, size):
    """A reader of `pixels` [P, 3]: interpolated once, in advance, if the result fits in memory."""
    if maps.nbytes < FAST_BYTES:
        maps = maps.to(dtype=torch.float32)
    read = read_from_maps(maps, pixels, size)
    if 4 * len(pixels) * maps.n_features > FAST_BYTES:
        return read
    features = torch.empty(len(pixels), maps.n_features, device=maps.device)  # (P, D)
    for index, out in zip(torch.arange(len(pixels)).split(CHUNK), features.split(CHUNK)):
        read(index, out)
    return read_from_memory(features)


def where_they_fit(maps, device):
    """The maps on a GPU, if they take at most half of its free memory; otherwise as they are."""
    device = torch.device(device)
    if device.type == "cuda" and maps.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        return maps.to(device)
    return maps


def read_from_maps(maps, pixels, size):
    """A reader that interpolates at every call; pixels [P, 3] are (image, y, x) at label `size`."""

    def read(index, out=None):
        image, y, x = pixels[index].unbind(1)
        return maps.at(image, y, x, size, out)

    return read


def read_from_memory(features):
    """A reader of the rows of `features` [P, D]."""

    def read(index, out=None):
        return torch.index_select(features, 0, index.to(features.device), out=out)

    return read


# ---- the loop -----------------------------------------------------------------------------------


def fit(
    ensemble, read, targets, recipe, seed, epochs, checkpoint=None, save_every=60.0, report=None
):
    """Train `ensemble` on the pixels of `read` with classes targets [P]; the rest as in train.

    recipe: a dict. Returns (the ensemble in eval mode, history).
    """
    per_epoch = len(targets) // recipe["batch"]  # steps; what fills no batch is dropped
    n_steps = min(recipe.get("steps", epochs * per_epoch), epochs * per_epoch)
    expected = _expected_steps(recipe, n_steps, per_epoch)
    log_every = max(1, min(per_epoch, n_steps) // 40)

    of = f"seed {seed}, {n_steps} steps, {len(targets)} pixels, {sorted(recipe.items())}"
    trainer = _Trainer(ensemble, recipe, n_steps, of)
    if checkpoint and Path(checkpoint).exists():
        trainer.restore(checkpoint)
    batches = _Batches(read, targets, recipe["batch"], ensemble, seed)

    last_save = last_report = time.monotonic()
    with _denormals_flushed():
        while trainer.step < n_steps and trainer.alive:
            epoch, place = divmod(trainer.step, per_epoch)
            most = min(per_epoch - place, n_steps - trainer.step)
            x, target = batches.read(trainer.alive, epoch, place, most)  # of several steps
            trainer.take_steps(x, target, epoch, log_every)
            now = time.monotonic()
            if checkpoint and now - last_save > save_every:
                trainer.save(checkpoint)
                last_save = now
            if report and now - last_report > 1:
                # `expected` is a guess: the end is not reported before it is there
                report(min(trainer.step, expected - 1), expected)
                last_report = now
    trainer.retire(keep=[])
    if report:
        report(expected, expected)
    rows = sorted(set(trainer.history))
    return trainer.finished.eval(), pd.DataFrame(rows, columns=["member", "step", "loss"])


def _expected_steps(recipe, n_steps, per_epoch):
    """About how many steps there will be: the last members stop soon after the first."""
    patience = recipe.get("patience", n_steps)
    return min(n_steps, recipe.get("patient_from", 0) * per_epoch + 3 * patience)


@contextmanager
def _denormals_flushed():
    """Context manager: denormal numbers count as zero.

    Adam's moments of dead units fade into denormals, which would make steps twice as slow.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class _Batches:
    """Reads the batches of every member, for several steps at once."""

    def __init__(self, read, targets, batch, ensemble, seed):
        self.read_features, self.targets = read, targets
        self.batch, self.seed = batch, seed
        self.n_features, self.like = ensemble.n_features, ensemble.weight0
        pixels = ensemble.n_members * batch  # of one step
        steps = max(1, GATHER_BYTES // (4 * pixels * self.n_features))
        where = read(torch.arange(1)).device
        self.buffer = torch.empty(steps * pixels, self.n_features, device=where)  # used again

    def read(self, members, epoch, place, most):
        """(x [steps, N, b, D], targets [steps, N, b]) of several steps of `members`.

        From step `place` of the epoch on, as many as fit into the buffer, at most `most`.
        """
        fit_in = len(self.buffer) // (len(members) * self.batch)
        steps = max(1, min(fit_in, most))
        start, end = place * self.batch, (place + steps) * self.batch
        shuffles = [_shuffle(len(self.targets), self.seed, m, epoch) for m in members]
        order = torch.stack([shuffle[start:end] for shuffle in shuffles])  # (N, steps * b)
        order = order.view(len(members), steps, self.batch)
        order = order.transpose(0, 1).long()  # (steps, N, b)
        x = self.read_features(order.flatten(), self.buffer[: order.numel()])
        x = x.view(*order.shape, self.n_features).to(self.like)
        return x, self.targets[order].to(self.like.device)


@lru_cache(maxsize=32)  # one epoch of all members; those of the next epoch replace them
def _shuffle(n, seed, member, epoch):
    """The order int32 [n] in which a member sees its n pixels in an epoch."""
    words = np.random.SeedSequence([seed, member, epoch]).generate_state(2)
    generator = torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
    return torch.randperm(n, generator=generator).int()


class _Trainer:
    """The members still in training (live), their optimiser, and the members that have finished.

    alive: the numbers of the live members; position i of the live batch is member alive[i].
    of: what is trained, in words; a checkpoint of something else is refused.
    """

    def __init__(self, ensemble, recipe, n_steps, of):
        self.recipe, self.of = recipe, of
        n = ensemble.n_members
        self.live = ensemble.train()
        sizes = (n, ensemble.n_features, ensemble.n_classes, ensemble.widths)
        self.finished = PixelEnsemble(*sizes).to(ensemble.weight0)
        self.alive = list(range(n))
        self.best = [float("inf")] * n  # of each member, the best batch loss that counts
        self.waits = [0] * n  # batches since then
        self.step = 0
        self.history = []  # (member, step, loss)
        make_optimiser = getattr(torch.optim, recipe["optimiser"])
        self.optimiser = make_optimiser(self.live.parameters(), lr=recipe["rate"], fused=True)
        self.schedule = None
        if "steps" in recipe:
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimiser, recipe["rate"], n_steps
            )
        self.n_steps = n_steps

    def take_steps(self, x, target, epoch, log_every):
        """Steps on x [steps, N, b, D] and target [steps, N, b], until all members have stopped."""
        for k in range(len(x)):
            losses = self.update(x[k], target[k])
            if self.step % log_every == 0 or self.step == self.n_steps:
                self._note(losses, range(len(losses)))
            keep = self.stop_rule(losses, epoch)
            if len(keep) < len(self.alive):
                self._note(losses, [i for i in range(len(losses)) if i not in keep])
                self.retire(keep)
                x, target = x[:, keep], target[:, keep]
            if not self.alive:
                return

    def _note(self, losses, positions):
        """Put the losses at these positions of the live batch into the history."""
        self.history += [(self.alive[i], self.step, losses[i]) for i in positions]

    def update(self, x, target):
        """One step of every live member on its own batch, x [N, b, D] and target [N, b].

        Returns their losses, a list of N floats.
        """
        with torch.no_grad():
            hidden = self.live.first(x)  # (N, b, h1)
        logits = self.live.rest(hidden.requires_grad_())  # (N, b, C)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")  # (N * b,)
        loss = loss.view(target.shape).mean(1)  # (N,)
        for p in self.live.parameters():
            if p is not self.live.weight0:
                p.grad = None
        loss.sum().backward()  # no parameter is shared, so each member gets its own gradient
        self._first_gradient(x, hidden.grad)
        self.optimiser.step()
        if self.schedule:
            self.schedule.step()
        self.step += 1
        if self.step % SWEEP == 0:
            self._zero_tiny_moments()
        return loss.tolist()

    def _first_gradient(self, x, of_output):
        """The gradient of the first layer, from that of its output [N, b, h1].

        It is written into the same memory at every step, because getting new memory from the
        operating system takes longer than the product.
        """
        weight = self.live.weight0
        if weight.grad is None:
            weight.grad = torch.empty_like(weight)
        torch.bmm(x.transpose(1, 2), of_output, out=weight.grad)
        self.live.bias0.grad = of_output.sum(1)

    def _zero_tiny_moments(self):
        """Set the fading moments of dead units to zero.

        The flushing of denormals works in the main thread only, not in the threads that help it.
        """
        for state in self.optimiser.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                F.hardshrink(state[name], TINY, out=state[name])

    def stop_rule(self, losses, epoch):
        """Positions of the members that go on.

        As published: from epoch `patient_from` on, a member stops when its batch loss has not gone
        below its best for more than `patience` batches in a row.
        """
        if epoch < self.recipe.get("patient_from", np.inf):
            return list(range(len(self.alive)))
        for member, loss in zip(self.alive, losses):
            if loss < self.best[member]:
                self.best[member] = loss
                self.waits[member] = 0
            else:
                self.waits[member] += 1
        patience = self.recipe["patience"]
        return [i for i, member in enumerate(self.alive) if self.waits[member] <= patience]

    def retire(self, keep):
        """Freeze the members that are not at positions `keep`, and take them out of the batch."""
        gone = [i for i in range(len(self.alive)) if i not in keep]
        members = [self.alive[i] for i in gone]
        finished, live = self.finished.state_dict(), self.live.state_dict()
        with torch.no_grad():
            for name in finished:
                finished[name][members] = live[name][gone]
        self._narrow(keep)
        self.alive = [self.alive[i] for i in keep]

    def _narrow(self, keep):
        """Keep only the members at positions `keep` in the live batch and in the optimiser."""
        for p in self.live.parameters():
            p.grad = None
            p.data = p.data[keep]
            state = self.optimiser.state[p]
            for name, value in state.items():
                if value.dim():  # moments; the step counter is a scalar
                    state[name] = value[keep]
        for name, buffer in list(self.live.named_buffers()):
            setattr(self.live, name, buffer[keep])

    # ---- checkpoints ------------------------------------------------------------------------

    def save(self, path):
        """Write everything that an interrupted training needs to go on."""
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
        with atomic(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path):
        """Go on from a checkpoint; ValueError if it belongs to another training."""
        saved = torch.load(path, map_location=self.live.weight0.device, weights_only=True)
        same_shapes = _shapes(saved["finished"]) == _shapes(self.finished.state_dict())
        if saved.get("of") != self.of or not same_shapes:
            raise ValueError(
                f"{path}: this checkpoint belongs to another training ({saved.get('of')}); "
                "delete it to start anew"
            )
        self._narrow(saved["alive"])
        self.live.load_state_dict(saved["live"])
        self.finished.load_state_dict(saved["finished"])
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.schedule:
            self.schedule.load_state_dict(saved["schedule"])
        self.alive = saved["alive"]
        self.best = saved["best"]
        self.waits = saved["waits"]
        self.step = saved["step"]
        self.history = saved["history"]


def _shapes(state):
    """{name: shape} of a state dict."""
    return {name: tuple(t.shape) for name, t in state.items()}


# ---- the compression of features ----------------------------------------------------------------


def draw_pool(targets, size, balance, generator):
    """A class-balanced sample: LongTensor [size] of pixel numbers, drawn with replacement.

    A class of m pixels is drawn in proportion to m ** (1 - balance): balance 0 keeps the
    proportions of the classes, 1 draws all classes equally often.
    """
    counts = torch.bincount(targets).double()  # (C,)
    chances = (counts[targets] ** -balance).cumsum(0)  # (P,)
    drawn = torch.rand(size, generator=generator, dtype=torch.double)
    return torch.searchsorted(chances, chances[-1] * drawn)


def compress(read, pool, n_components, whitening, seed):
    """(features [P', K] of the pixels `pool` [P'], mean [D], basis [D, K]).

    features = (read(pool) - mean) @ basis: every feature is scaled to unit variance, and the first
    K principal components are kept, each divided by its standard deviation to the power of
    `whitening`. 0 keeps their spread, 1 makes all spreads equal.
    """
    # Takes as long to load as torch, and only the tuned recipe needs it.
    from sklearn.decomposition import PCA

    sample = read(pool[:FITTED])  # (n, D)
    mean = sample.mean(0)
    scale = sample.std(0) + 1e-6
    n_components = min(n_components, *sample.shape)
    pca = PCA(n_components, svd_solver="randomized", iterated_power=2, random_state=seed)
    pca.fit(((sample - mean) / scale).cpu().numpy())
    deviation = torch.from_numpy(pca.explained_variance_).sqrt().clamp(min=1e-6)  # (K,)
    basis = torch.from_numpy(pca.components_).T / deviation**whitening  # (D, K)
    basis = basis.to(scale.device) / scale[:, None]
    features = torch.cat([(read(part) - mean) @ basis for part in pool.split(CHUNK)])
    return features, mean, basis


def expand(ensemble, mean, basis):
    """The PixelEnsemble that does on all D features what `ensemble` does on K components.

    The basis [D, K] and the mean [D] become part of the first layer.
    """
    state = ensemble.state_dict()
    weight = basis.to(state["weight0"]) @ state["weight0"]  # (N, D, h1)
    bias = state["bias0"] - mean.to(weight) @ weight  # (N, h1)
    return PixelEnsemble.from_state({**state, "weight0": weight, "bias0": bias})
