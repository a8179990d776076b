"""The frozen denoiser: load and check a guided-diffusion U-Net, cut it, and noise images.

It is cut after the last decoder block that is read. Shapes: B images [B, 3, S, S] in [-1, 1].
"""

import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .files import read_json, sha256
from .own.folder import names_a_yaml, preset_of
from .presets import BACKBONES

with warnings.catch_warnings():  # two decorators of its nn.py use the old spelling of torch.amp
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.cuda.amp.*")
    from guided_diffusion import script_util

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
ONLY_FOR_SAMPLING = ("sigma_small",)  # a flag of improved-diffusion that guided-diffusion dropped
CONVERT = (
    "a model of diffusers, which is not read; convert its U-Net to a guided-diffusion checkpoint "
    "(a .pt or .safetensors file of its tensors, under the names of guided-diffusion's UNetModel) "
    "and write a .json with flags, checkpoint, steps and blocks beside it"
)
CLASS_CONDITIONAL = "class-conditional networks are not read"  # they want a class at every call


@dataclass
class Backbone:
    """A frozen U-Net that ends after the last block read, and the forward process it learned."""

    name: str
    model: nn.Module
    diffusion: object  # of guided-diffusion: q_sample, num_timesteps
    flags: dict
    steps: list  # at which images are noised and maps are read
    blocks: list  # of the decoder, from which maps are read
    precision: str
    device: torch.device

    @property
    def image_size(self):
        """S, the side of an image in pixels."""
        return self.flags["image_size"]

    def __call__(self, images, step, noise, blocks=None):
        """Activations [B, c, h, w], one per block, of images noised to `step` with `noise`.

        noise: [1, 3, S, S] or [B, 3, S, S]. blocks: None takes those of the backbone.
        """
        if blocks is None:
            blocks = self.blocks
        t = torch.full((len(images),), step, device=self.device)  # (B,)
        noised = self.diffusion.q_sample(images, t, noise=noise.expand_as(images))
        if self.flags.get("rescale_timesteps"):  # such a network counts from 0 to 1000
            t = t.float() * (1000 / self.diffusion.num_timesteps)
        with torch.no_grad(), Tap(self.model, blocks) as activations:
            self.model(noised, t)
        return activations


class Tap:
    """Context manager that yields a list, which receives the outputs of decoder blocks, in order.

    The hooks on the model are removed at the end.
    """

    def __init__(self, model, blocks):
        self.modules = [model.output_blocks[b] for b in blocks]
        self.hooks = []

    def __enter__(self):
        activations = [None] * len(self.modules)

        def keep_as(k):
            def hook(module, inputs, output):
                activations[k] = output

            return hook

        for k, module in enumerate(self.modules):
            self.hooks.append(module.register_forward_hook(keep_as(k)))
        return activations

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


# ---- what a backbone is -------------------------------------------------------------------------


def create(flags):
    """(U-Net, diffusion) of guided-diffusion.

    ValueError names a flag that it does not have; it is also raised for a class-conditional one.
    """
    known = script_util.model_and_diffusion_defaults()
    flags = {flag: value for flag, value in flags.items() if flag not in ONLY_FOR_SAMPLING}
    unknown = [flag for flag in flags if flag not in known]
    if unknown:
        raise ValueError(
            f"unknown guided-diffusion flag {unknown[0]!r}; choose from {', '.join(known)}"
        )
    if flags.get("class_cond"):
        raise ValueError(f"flag class_cond: {CLASS_CONDITIONAL}")
    return script_util.create_model_and_diffusion(**{**known, **flags, "use_fp16": False})


def describe(backbone):
    """The description of a backbone: a dict with flags, checkpoint, steps and blocks.

    backbone: a name in BACKBONES, a .json file beside its weights, or somebody's own dataset.yml,
    which names a backbone and may state other steps and blocks. ValueError or FileNotFoundError for
    a name that is unknown and for a file that is absent, incomplete or wrong.
    """
    if backbone in BACKBONES:
        return dict(BACKBONES[backbone])
    if names_a_yaml(backbone):
        preset = preset_of(backbone)
        stated = {"steps": list(preset.steps), "blocks": list(preset.blocks)}
        return describe(preset.backbone) | {key: found for key, found in stated.items() if found}
    choices = f"choose from {', '.join(BACKBONES)}, or give a .json file"
    path = Path(backbone)
    if any((path / name).exists() for name in ("model_index.json", "config.json", "unet")):
        raise ValueError(f"{path}: {CONVERT}")
    if path.suffix != ".json":
        raise ValueError(f"unknown backbone {str(backbone)!r}; {choices}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such backbone file; {choices}")
    spec = read_json(path)
    _check_description(path, spec)
    spec["checkpoint"] = str(path.parent / spec["checkpoint"])
    return spec


def _check_description(path, spec):
    """ValueError if `spec`, the content of the file `path`, does not describe a backbone."""
    if not isinstance(spec, dict):
        raise ValueError(
            f"{path}: holds {_shown(spec)}; "
            "an object with flags, checkpoint, steps and blocks is needed"
        )
    if "_class_name" in spec:
        raise ValueError(f"{path}: {CONVERT}")
    missing = [key for key in ("flags", "checkpoint", "steps", "blocks") if key not in spec]
    if missing:
        raise ValueError(
            f"{path}: {missing[0]!r} is missing; "
            "a backbone file has flags, checkpoint, steps and blocks"
        )
    for key in ("steps", "blocks"):
        numbers = spec[key]
        if not isinstance(numbers, list) or any(type(number) is not int for number in numbers):
            raise ValueError(
                f"{path}: {key}: {_shown(numbers)}; "
                "a list of whole numbers is needed, such as [50, 150]"
            )
    checkpoint = spec["checkpoint"]
    if not isinstance(checkpoint, str):
        raise ValueError(
            f"{path}: checkpoint: {_shown(checkpoint)}; the name of a file is needed, "
            'such as "unet.pt"'
        )
    _check_flags(path, spec["flags"])


# What a flag has to be, by the type of guided-diffusion's own value.
NEEDED = {
    bool: "true or false is needed",
    int: "a whole number is needed",
    float: "a number is needed",
    str: 'text in quotes is needed, such as "16,8" or "linear"',
}


def _check_flags(path, flags):
    """ValueError if `flags` of the file `path` have another type or are class-conditional."""
    if not isinstance(flags, dict):
        raise ValueError(
            f"{path}: flags: {_shown(flags)}; an object is needed, such as "
            '{"image_size": 64, "num_channels": 32}'
        )
    if "image_size" not in flags:
        raise ValueError(
            f"{path}: flags: 'image_size' is missing; a whole number is needed, such as 64"
        )
    known = script_util.model_and_diffusion_defaults()
    for flag, value in flags.items():
        if flag not in known:
            continue  # `create` refuses it and names the choices
        wanted = type(known[flag])
        allowed = (int, float) if wanted is float else (wanted,)
        if type(value) not in allowed:
            raise ValueError(f"{path}: flags: {flag}: {_shown(value)}; {NEEDED[wanted]}")
    if flags.get("class_cond"):
        raise ValueError(f"{path}: flags: class_cond: true; {CLASS_CONDITIONAL}")


def _shown(value):
    """`value` as it stands in a JSON file, 40 characters at most and three dots."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."


def checkpoint_path(backbone, data="data"):
    """Where the weights of `backbone` lie: official ones in `data`/checkpoints."""
    if names_a_yaml(backbone):
        return checkpoint_path(preset_of(backbone).backbone, data)
    checkpoint = Path(describe(backbone)["checkpoint"])
    official = backbone in BACKBONES and not checkpoint.is_absolute()
    return Path(data) / "checkpoints" / checkpoint if official else checkpoint


def anatomy(backbone):
    """(D, bytes of an image's float16 maps, bytes of the whole float32 U-Net).

    D is the number of features of a pixel. No weights are loaded.
    """
    spec = describe(backbone)
    shape = json.dumps([spec[key] for key in ("flags", "steps", "blocks")])
    return _anatomy(backbone, shape)


@lru_cache
def _anatomy(backbone, shape):
    flags, steps, blocks = json.loads(shape)
    side = flags["image_size"]
    with torch.device("meta"):  # tensors that have shapes and no values
        model, diffusion = create(flags)
        check_taps(steps, blocks, diffusion.num_timesteps, len(model.output_blocks), backbone)
        with Tap(model, blocks) as maps:
            model(torch.empty(1, 3, side, side), torch.zeros(1))
    n_features = len(steps) * sum(m.shape[1] for m in maps)
    n_values = len(steps) * sum(m.numel() for m in maps)
    n_weights = sum(p.numel() for p in model.parameters())
    return n_features, 2 * n_values, 4 * n_weights


def check_taps(steps, blocks, n_timesteps, n_blocks, where):
    """ValueError if a step or a decoder block does not exist; `where` begins the message."""
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


def shared_noise(size, seed=0, device="cpu"):
    """The published noise [1, 3, size, size]: one tensor for all images and steps.

    It comes from a generator of `device`; other devices draw other numbers.
    """
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(1, 3, size, size, generator=generator, device=device)


# ---- loading ------------------------------------------------------------------------------------


def load_backbone(
    backbone,
    device="cpu",
    precision="float32",
    *,
    steps=None,
    blocks=None,
    data="data",
    random_weights=None,
):
    """Load, check and freeze a denoiser; returns a Backbone.

    backbone: a name in BACKBONES or a .json file. precision: "float32"; "float16", the model's own
    conversion, as published, on CUDA only; "bfloat16", for convolutions only, on any device, but
    slow where it is emulated; "auto", float16 on CUDA and float32 elsewhere. steps, blocks: None
    takes those of its description; blocks="all" takes every decoder block. data: the folder that
    holds checkpoints/. random_weights: a seed, to take an untrained network.
    FileNotFoundError: no checkpoint. ValueError: another architecture, a damaged file, impossible
    steps or blocks.
    """
    device = torch.device(device)
    if precision == "auto":
        precision = "float16" if device.type == "cuda" else "float32"
    _check_device(device, precision)
    spec = describe(backbone)
    flags = spec["flags"]
    with torch.device("meta"):
        model, diffusion = create(flags)
    steps = list(steps or spec["steps"])
    if blocks == "all":
        blocks = range(len(model.output_blocks))
    blocks = list(blocks or spec["blocks"])
    check_taps(steps, blocks, diffusion.num_timesteps, len(model.output_blocks), backbone)
    if random_weights is None:
        state = _trained_state(backbone, spec, model, data)
    else:
        state = _untrained_state(flags, random_weights)
    _cut(model, max(blocks))
    kept = {name: state[name].float() for name in model.state_dict()}
    model.load_state_dict(kept, assign=True)
    model.eval().requires_grad_(False).to(device)
    _convert(model, precision)
    return Backbone(str(backbone), model, diffusion, flags, steps, blocks, precision, device)


def weights_of(backbone, data="data"):
    """The whole state dict of a backbone in float32, checked: what a training can start from."""
    with torch.device("meta"):
        model, _ = create(describe(backbone)["flags"])
    state = _checked_state(checkpoint_path(backbone, data), model, backbone)
    return {name: t.float() for name, t in state.items()}


def native_bfloat16(device):
    """True if `device` computes in bfloat16 itself.

    A processor that emulates it takes many times as long as for float32.
    """
    if torch.device(device).type != "cpu":
        return True
    # Older releases of torch do not have this function.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _check_device(device, precision):
    """ValueError if this precision or this device is not available."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    if precision == "float16" and device.type != "cuda":
        raise ValueError(
            f"precision float16 needs a CUDA device, not {device.type}; choose float32 or bfloat16"
        )
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, True):
        choices = [name for name in available if available[name]]
        raise ValueError(
            f"device {device.type!r} is not available here; choose from {', '.join(choices)}"
        )


def _trained_state(backbone, spec, model, data):
    """The tensors of the checkpoint; ValueError if its sha256 is not the one in `spec`."""
    path = checkpoint_path(backbone, data)
    state = _checked_state(path, model, backbone)
    if "sha256" in spec and sha256(path) != spec["sha256"]:
        raise ValueError(
            f"{path}: its sha256 is not the one of backbone {backbone!r}; "
            "restore the file from the repository"
        )
    return state


def _untrained_state(flags, seed):
    """The tensors of a U-Net as guided-diffusion initialises it.

    Layers that it sets to zero are drawn too, because nothing would pass through them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, _ = create(flags)
        for p in model.parameters():
            if p.dim() > 1 and not p.any():
                nn.init.kaiming_uniform_(p, a=5**0.5)
        return model.state_dict()


def _cut(model, last_block):
    """Keep the decoder up to `last_block`; the forward pass then stops there."""
    model.output_blocks = model.output_blocks[: last_block + 1]
    model.out = nn.Identity()


def _convert(model, precision):
    """Let `model` compute in `precision`."""
    if precision == "float16":
        model.convert_to_fp16()
    if precision == "bfloat16":
        for part in (model.input_blocks, model.middle_block, model.output_blocks):
            part.apply(_to_bfloat16)
        model.to(memory_format=torch.channels_last)
    model.dtype = torch.float16 if precision == "float16" else torch.float32


def _to_bfloat16(module):
    """Let a convolution multiply in bfloat16.

    Sums, norms and embeddings stay float32, because their errors would add up.
    """

    def convert_inputs(module, inputs):
        return (inputs[0].bfloat16(),)

    def convert_output(module, inputs, output):
        return output.float()

    if isinstance(module, nn.Conv1d | nn.Conv2d):
        module.to(torch.bfloat16)
        module.register_forward_pre_hook(convert_inputs)
        module.register_forward_hook(convert_output)


# ---- checkpoints --------------------------------------------------------------------------------


def _checked_state(path, model, backbone):
    """The tensors of checkpoint `path`, memory-mapped; every key and shape is that of `model`."""
    state = _read_checkpoint(path, backbone)
    if isinstance(state, dict) and "conv_in.weight" in state:
        raise ValueError(f"{path}: {CONVERT}")
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds a {type(state).__name__}, not a state dict of tensors")
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{path}: {name!r} in it is a {type(value).__name__}; a plain state dict is needed"
            )
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    found = {name: tuple(p.shape) for name, p in state.items()}
    no_match = f"this is not a checkpoint for the flags of backbone {backbone!r}"
    if wanted != found:
        no_match += _likely_flag(describe(backbone)["flags"], wanted, found)
    missing, unexpected = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    for problem, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            examples = ", ".join(sorted(names)[:3])
            raise ValueError(
                f"{path}: {len(names)} {problem} keys of {len(wanted)}, such as {examples}; "
                f"{no_match}"
            )
    wrong = [name for name in wanted if wanted[name] != found[name]]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{path}: {len(wrong)} tensors of another shape, such as {first} {found[first]} "
            f"instead of {wanted[first]}; {no_match}"
        )
    return state


# Values of the flags that decide the names and shapes of the tensors.
POSSIBLE = {
    "learn_sigma": (True, False),
    "resblock_updown": (True, False),
    "use_scale_shift_norm": (True, False),
    "num_res_blocks": (1, 2, 3, 4),
    "num_channels": (32, 64, 96, 128, 160, 192, 256, 320),
    "attention_resolutions": ("", "8", "16", "16,8", "32,16", "32,16,8", "64,32,16,8"),
    "channel_mult": ("1,2,2", "1,2,4", "1,2,2,2", "1,2,3,4", "1,1,2,2,4,4", "1,1,2,3,4"),
    "image_size": (32, 64, 128, 256, 512),
}


def _likely_flag(flags, wanted, found):
    """In words, the change of one flag with which most tensors fit; "" if none helps.

    For a class-conditional checkpoint, in words that it is not read. wanted, found: {name: shape}
    of the network and of the file. Networks are made without memory.
    """
    least, words = _n_differences(wanted, found), ""
    if not wanted.keys() & found.keys():  # it is something else
        return words
    if "label_emb.weight" in found:
        return f"; it is class-conditional, and {CLASS_CONDITIONAL}"
    for flag, values in POSSIBLE.items():
        for value in values:
            try:
                with torch.device("meta"):
                    model, _ = create(flags | {flag: value})
            except (ValueError, RuntimeError, AssertionError, ZeroDivisionError):
                continue  # not a network, such as one with an odd number of channels
            shapes = {name: tuple(p.shape) for name, p in model.state_dict().items()}
            n_differences = _n_differences(shapes, found)
            if n_differences < least:
                fits = "it fits" if n_differences == 0 else "it fits better"
                least, words = n_differences, f"; with the flag {flag}: {value!r} {fits}"
    return words


def _n_differences(wanted, found):
    """How many tensors are missing, unexpected or of another shape."""
    return len(set(wanted.items()) ^ set(found.items()))


def _read_checkpoint(path, backbone):
    """What the file holds; FileNotFoundError or ValueError if it cannot be read."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: the checkpoint of backbone {backbone!r} is missing; "
            "`diffseg fetch DATASET` downloads it, or put it there by hand"
        )
    unreadable = (
        SafetensorError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        ImportError,
    )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, "cpu", weights_only=True, mmap=True)
    except unreadable as error:
        raise ValueError(
            f"{path}: cannot be read as a checkpoint ({_first_line(error)}); "
            "is it truncated? delete it and fetch it again"
        ) from None
    except Exception as error:  # torch's own unpickling error is a pickle.UnpicklingError
        raise ValueError(
            f"{path}: not a file of plain weights ({_first_line(error)}); "
            "no pickled code is executed"
        ) from None


def _first_line(error):
    return str(error).strip().split("\n")[0][:120]
