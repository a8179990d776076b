"""The frozen denoiser: load and check a guided-diffusion U-Net, cut it after the last block that is read, noise images."""

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .presets import BACKBONES

with warnings.catch_warnings():  # two decorators of its nn.py use the old spelling of torch.amp
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.cuda.amp.*")
    from guided_diffusion import script_util

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass
class Backbone:
    """A frozen U-Net that ends after the last block read, and the forward process it was trained with."""

    name: str
    model: nn.Module
    diffusion: object
    flags: dict
    steps: list
    blocks: list
    precision: str
    device: torch.device

    @property
    def image_size(self):
        return self.flags["image_size"]

    def __call__(self, images, step, noise, blocks=None):
        """Activations, one [B, c, h, w] a block, for `images` [B, 3, S, S] in [-1, 1] noised to `step` with `noise`."""
        t = torch.full((len(images),), step, device=self.device)
        noised = self.diffusion.q_sample(images, t, noise=noise.expand_as(images))
        with (
            torch.no_grad(),
            Tap(self.model, self.blocks if blocks is None else blocks) as activations,
        ):
            self.model(noised, t)
        return activations


class Tap:
    """Context manager: a list that receives the outputs of decoder blocks, in the order given; its hooks leave with it."""

    def __init__(self, model, blocks):
        self.modules = [model.output_blocks[b] for b in blocks]

    def __enter__(self):
        activations = [None] * len(self.modules)
        self.hooks = [
            module.register_forward_hook(lambda m, i, out, k=k: activations.__setitem__(k, out))
            for k, module in enumerate(self.modules)
        ]
        return activations

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def create(flags):
    """(U-Net, diffusion) of guided-diffusion for `flags`; ValueError names a flag it does not have."""
    known = script_util.model_and_diffusion_defaults()
    unknown = [flag for flag in flags if flag not in known]
    if unknown:
        raise ValueError(
            f"unknown guided-diffusion flag {unknown[0]!r}; choose from {', '.join(known)}"
        )
    return script_util.create_model_and_diffusion(**{**known, **flags, "use_fp16": False})


def describe(backbone):
    """The description (flags, checkpoint, steps, blocks) of a name in BACKBONES or of a .json file beside its weights."""
    if backbone in BACKBONES:
        return dict(BACKBONES[backbone])
    path = Path(backbone)
    if path.suffix != ".json":
        raise ValueError(
            f"unknown backbone {str(backbone)!r}; choose from {', '.join(BACKBONES)}, or give a .json file"
        )
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such backbone file; choose from {', '.join(BACKBONES)}, or give a .json file"
        )
    try:
        spec = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
    missing = [key for key in ("flags", "checkpoint", "steps", "blocks") if key not in spec]
    if missing:
        raise ValueError(
            f"{path}: {missing[0]!r} is missing; a backbone file has flags, checkpoint, steps and blocks"
        )
    spec["checkpoint"] = str(path.parent / spec["checkpoint"])
    return spec


def checkpoint_path(backbone, data="data"):
    """Where the weights of `backbone` lie; official checkpoints are looked for in `data`/checkpoints."""
    checkpoint = Path(describe(backbone)["checkpoint"])
    return (
        checkpoint
        if checkpoint.is_absolute() or backbone not in BACKBONES
        else Path(data) / "checkpoints" / checkpoint
    )


def load_backbone(backbone, device="cpu", precision="float32", *, data="data", random_weights=None):
    """Load, check and freeze a denoiser; returns a Backbone.

    backbone: a name in BACKBONES or a .json file. precision: float32, float16 (the model's own conversion, CUDA only, as
    published), bfloat16 (convolutions only, any device; slow where it is not native) or auto (float16 on CUDA, else float32).
    random_weights: a seed, to take an untrained network instead of the checkpoint.
    FileNotFoundError: no checkpoint. ValueError: another architecture, a damaged file, impossible steps or blocks.
    """
    device = torch.device(device)
    if precision == "auto":
        precision = "float16" if device.type == "cuda" else "float32"
    _check_device(device, precision)
    spec = describe(backbone)
    with torch.device("meta"):
        model, diffusion = create(spec["flags"])
    check_taps(
        spec["steps"], spec["blocks"], diffusion.num_timesteps, len(model.output_blocks), backbone
    )
    if random_weights is None:
        path = checkpoint_path(backbone, data)
        state = _checked_state(path, model, backbone)
        if "sha256" in spec and hashlib.sha256(path.read_bytes()).hexdigest() != spec["sha256"]:
            raise ValueError(
                f"{path}: its sha256 is not the one of backbone {backbone!r}; restore the file from the repository"
            )
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_weights)
            state = _untrained(spec["flags"]).state_dict()
    _cut(model, max(spec["blocks"]))
    kept = {name: state[name].float() for name in model.state_dict()}
    model.load_state_dict(kept, assign=True)
    model.eval().requires_grad_(False).to(device)
    if precision == "float16":
        model.convert_to_fp16()
    if precision == "bfloat16":
        for part in (model.input_blocks, model.middle_block, model.output_blocks):
            part.apply(_to_bfloat16)
        model.to(memory_format=torch.channels_last)
    model.dtype = torch.float16 if precision == "float16" else torch.float32
    return Backbone(
        str(backbone),
        model,
        diffusion,
        spec["flags"],
        list(spec["steps"]),
        list(spec["blocks"]),
        precision,
        device,
    )


def native_bfloat16(device):
    """Whether `device` computes in bfloat16 itself: a processor that emulates it takes many times as long as for float32."""
    if torch.device(device).type != "cpu":
        return True
    known = getattr(torch.cpu, "get_capabilities", dict)()  # older releases of torch do not say
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def weights_of(backbone, data="data"):
    """The whole state dict of a backbone, checked, in float32: what a training can go on from."""
    with torch.device("meta"):
        model, _ = create(describe(backbone)["flags"])
    return {
        name: t.float()
        for name, t in _checked_state(checkpoint_path(backbone, data), model, backbone).items()
    }


def shared_noise(size, seed=0, device="cpu"):
    """The published noise [1, 3, size, size]: one tensor for all images and steps, from a generator of `device`."""
    return torch.randn(
        1, 3, size, size, generator=torch.Generator(device).manual_seed(seed), device=device
    )


def check_taps(steps, blocks, n_timesteps, n_blocks, where):
    """ValueError if a step or a decoder block does not exist."""
    for step in steps:
        if not 0 <= step < n_timesteps:
            raise ValueError(f"{where}: step {step} is outside 0..{n_timesteps - 1}")
    for block in blocks:
        if not 0 <= block < n_blocks:
            raise ValueError(
                f"{where}: decoder block {block} does not exist; choose from 0..{n_blocks - 1}"
            )
    if not steps or not blocks:
        raise ValueError(f"{where}: at least one step and one decoder block are needed")


def anatomy(backbone):
    """(features of a pixel, bytes of an image's float16 maps, bytes of the whole float32 U-Net); no weights are loaded."""
    spec = describe(backbone)
    return _anatomy(backbone, json.dumps([spec[key] for key in ("flags", "steps", "blocks")]))


@lru_cache
def _anatomy(backbone, spec):
    flags, steps, blocks = json.loads(spec)
    side = flags["image_size"]
    with torch.device("meta"):
        model, diffusion = create(flags)
        check_taps(steps, blocks, diffusion.num_timesteps, len(model.output_blocks), backbone)
        with Tap(model, blocks) as maps:
            model(torch.empty(1, 3, side, side), torch.zeros(1))
    weights = sum(p.numel() for p in model.parameters())
    return (
        len(steps) * sum(m.shape[1] for m in maps),
        2 * len(steps) * sum(m.numel() for m in maps),
        4 * weights,
    )


def _check_device(device, precision):
    """ValueError if this precision or this device is not to be had."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    if precision == "float16" and device.type != "cuda":
        raise ValueError(
            f"precision float16 needs a CUDA device, not {device.type}; choose float32 or bfloat16"
        )
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, True):
        raise ValueError(
            f"device {device.type!r} is not available here; choose from {', '.join(d for d in there if there[d])}"
        )


def _untrained(flags):
    """A U-Net as guided-diffusion initialises it, except that layers it sets to zero are drawn too, or nothing would pass."""
    model, _ = create(flags)
    for p in model.parameters():
        if p.dim() > 1 and not p.any():
            nn.init.kaiming_uniform_(p, a=5**0.5)
    return model


def _to_bfloat16(module):
    """A convolution multiplies in bfloat16; sums, norms and embeddings stay float32, or errors would add up."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        module.to(torch.bfloat16)
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0].bfloat16(),))
        module.register_forward_hook(lambda _, inputs, output: output.float())


def _cut(model, last_block):
    """Keep the decoder up to `last_block`; the forward pass then stops there."""
    model.output_blocks = model.output_blocks[: last_block + 1]
    model.out = nn.Identity()


def _checked_state(path, model, backbone):
    """The tensors of checkpoint `path`, memory-mapped, after a comparison of every key and shape with `model`."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: the checkpoint of backbone {backbone!r} is missing; "
            "`diffseg fetch DATASET` downloads it, or put it there by hand"
        )
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, "cpu", weights_only=True, mmap=True)
        )
    except (
        SafetensorError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        ImportError,
    ) as error:
        raise ValueError(
            f"{path}: cannot be read as a checkpoint ({_first_line(error)}); "
            "is it truncated? delete it and fetch it again"
        ) from None
    except Exception as error:  # torch's own unpickling error is a pickle.UnpicklingError
        raise ValueError(
            f"{path}: not a file of plain weights ({_first_line(error)}); no pickled code is executed"
        ) from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds a {type(state).__name__}, not a state dict of tensors")
    other = [name for name, p in state.items() if not isinstance(p, torch.Tensor)]
    if other:
        raise ValueError(
            f"{path}: {other[0]!r} in it is a {type(state[other[0]]).__name__}; a plain state dict is needed"
        )
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    found = {name: tuple(p.shape) for name, p in state.items()}
    for problem, names in (
        ("missing", wanted.keys() - found.keys()),
        ("unexpected", found.keys() - wanted.keys()),
    ):
        if names:
            raise ValueError(
                f"{path}: {len(names)} {problem} keys of {len(wanted)}, such as {', '.join(sorted(names)[:3])}; "
                f"this is not a checkpoint for the flags of backbone {backbone!r}"
            )
    wrong = [name for name in wanted if wanted[name] != found[name]]
    if wrong:
        raise ValueError(
            f"{path}: {len(wrong)} tensors of another shape, such as {wrong[0]} {found[wrong[0]]} instead of "
            f"{wanted[wrong[0]]}; this is not a checkpoint for the flags of backbone {backbone!r}"
        )
    return state


def _first_line(error):
    return str(error).strip().split("\n")[0][:120]
