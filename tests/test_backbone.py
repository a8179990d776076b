"""The frozen denoiser: what is loaded, what is refused, where it is cut, how it is noised."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import oracle
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from diffseg_utils.backbone import (
    Tap,
    anatomy,
    create,
    load_backbone,
    shared_noise,
    weights_of,
)
from diffseg_utils.data import to_input
from diffseg_utils.presets import BACKBONES


@pytest.fixture
def write(tmp_path, tiny_spec, tiny_weights):
    """write(state=..., **changes of the .json): the path of a .json beside its weights."""

    def write(state=tiny_weights, checkpoint="unet.pt", drop=(), **changes):
        if checkpoint.endswith(".pt"):
            torch.save(state, tmp_path / checkpoint)
        else:
            save_file(state, tmp_path / checkpoint)
        spec = {**tiny_spec, "checkpoint": checkpoint, **changes}
        (tmp_path / "own.json").write_text(
            json.dumps({key: value for key, value in spec.items() if key not in drop})
        )
        return str(tmp_path / "own.json")

    return write


@pytest.fixture(scope="module")
def whole(tiny_spec, tiny_weights):
    """(The network as guided-diffusion made it, with nothing cut; its diffusion)."""
    model, diffusion = create(tiny_spec["flags"])
    model.load_state_dict(tiny_weights)
    return model.eval(), diffusion


@pytest.fixture(scope="module")
def noised():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


# ---- what it computes ---------------------------------------------------------------------------


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_the_cut_network_gives_the_activations_of_the_whole(write, whole, noised, last):
    backbone = load_backbone(write(blocks=list(range(last + 1))))
    assert len(backbone.model.output_blocks) == last + 1
    t = torch.full((2,), 150)
    expected = oracle.block_outputs(whole[0], noised, t)
    with Tap(backbone.model, backbone.blocks) as activations, torch.no_grad():
        backbone.model(noised, t)
    assert_close(activations, expected[: last + 1], atol=1e-5, rtol=0)


def test_a_call_noises_and_reads_blocks_in_the_order_asked_for(tiny, whole, noised):
    x, noise = noised.clamp(-1, 1), shared_noise(32, seed=4)
    t = torch.full((2,), 250)
    share = (
        torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).neg().add(1).cumprod(0)[250].float()
    )  # linear schedule
    expected = oracle.block_outputs(whole[0], share.sqrt() * x + (1 - share).sqrt() * noise, t)
    assert_close(tiny(x, 250, noise, [3, 0]), [expected[3], expected[0]], atol=1e-4, rtol=0)


def test_safetensors_and_pt_give_the_same(write, noised):
    a, b = (
        load_backbone(write(checkpoint=name))(noised, 50, shared_noise(32))
        for name in ("unet.pt", "unet.safetensors")
    )
    assert_close(a, b, atol=0, rtol=0)


def test_float16_weights_load_as_float32(write, tiny_weights):
    backbone = load_backbone(
        write({name: w.half() for name, w in tiny_weights.items()}, "unet.safetensors")
    )
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}


def test_weights_are_frozen_and_dropout_is_off(tiny):
    assert not any(p.requires_grad for p in tiny.model.parameters())
    assert not any(module.training for module in tiny.model.modules())


def test_the_tap_removes_its_hooks(tiny, noised):
    before = sum(len(module._forward_hooks) for module in tiny.model.modules())
    tiny(noised, 50, shared_noise(32))
    with pytest.raises(RuntimeError, match="interrupted"), Tap(tiny.model, [0]):
        raise RuntimeError("interrupted")
    assert sum(len(module._forward_hooks) for module in tiny.model.modules()) == before == 0


def test_shared_noise_depends_on_its_seed_alone():
    assert shared_noise(8).shape == (1, 3, 8, 8)
    torch.manual_seed(99)
    assert torch.equal(shared_noise(8), shared_noise(8, seed=0))
    assert not torch.equal(shared_noise(8), shared_noise(8, seed=1))


def test_random_weights_are_reproducible_and_need_no_checkpoint(write, tmp_path, noised):
    path = write()
    (tmp_path / "unet.pt").unlink()
    state = torch.random.get_rng_state()
    a, b, c = (
        load_backbone(path, random_weights=seed)(noised, 50, shared_noise(32)) for seed in (0, 0, 1)
    )
    assert_close(a, b, atol=0, rtol=0)
    assert not torch.equal(a[0], c[0])
    assert all(m.std() > 1e-2 for m in a), "something passes through the network"
    assert torch.equal(torch.random.get_rng_state(), state), "no global state"


def test_a_denoiser_trained_on_photographs(beside):
    backbone = load_backbone(str(beside("backbones") / "photo64.json"))
    gradient = torch.arange(64).mul(4).expand(3, 64, 64).permute(1, 2, 0).byte().numpy()
    outputs = backbone(to_input(gradient, 64)[None], 50, shared_noise(64))
    assert [m.shape[2] for m in outputs] == [16, 32, 32, 64, 64]
    assert all(torch.isfinite(m).all() for m in outputs)


# ---- what it refuses ----------------------------------------------------------------------------


def refusal(error, *args, **kw):
    """The sentence with which load_backbone refuses."""
    with pytest.raises(error) as caught:
        load_backbone(*args, **kw)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["unet.pt", "unet.safetensors"])
@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_truncated_checkpoint(write, tmp_path, name, share):
    path = write(checkpoint=name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    sentence = refusal(ValueError, path)
    assert name in sentence
    assert "truncated" in sentence


def test_missing_keys_are_named(write, tiny_weights):
    sentence = refusal(
        ValueError,
        write({k: v for k, v in tiny_weights.items() if k not in ("out.0.weight", "out.0.bias")}),
    )
    assert "unet.pt: 2 missing keys of 144, such as out.0.bias, out.0.weight" in sentence


def test_unexpected_keys_are_named(write, tiny_weights):
    assert "1 unexpected keys of 144, such as label_emb.weight" in refusal(
        ValueError, write({**tiny_weights, "label_emb.weight": torch.zeros(3)})
    )


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"num_res_blocks": 2}, "with the flag num_res_blocks: 1 it fits"),
        ({"num_channels": 64}, "with the flag num_channels: 32 it fits"),
        ({"learn_sigma": False}, "with the flag learn_sigma: True it fits"),
        ({"use_scale_shift_norm": False}, "with the flag use_scale_shift_norm: True it fits"),
        ({"resblock_updown": False}, "with the flag resblock_updown: True it fits"),
        (
            {"learn_sigma": False, "num_res_blocks": 2},
            "with the flag num_res_blocks: 1 it fits better",
        ),
    ],
)
def test_the_flag_that_likely_differs_is_named(write, tiny_spec, flags, words):
    sentence = refusal(ValueError, write(flags={**tiny_spec["flags"], **flags}))
    assert sentence.endswith(words), sentence


def test_class_conditional_networks_are_refused(write, tiny_spec, tiny_weights):
    """They want a class at every call."""
    flags = tiny_spec["flags"] | {"class_cond": True}
    weights = tiny_weights | {"label_emb.weight": torch.zeros(1000, 128)}
    path = write(weights, flags=flags)
    words = "own.json: flags: class_cond: true; class-conditional networks are not read"
    for read in (load_backbone, anatomy, weights_of):
        with pytest.raises(ValueError, match=words):
            read(path)
    assert refusal(ValueError, path, random_weights=0).endswith(words)
    with pytest.raises(ValueError, match="class-conditional networks are not read"):
        create(flags)

    sentence = refusal(ValueError, write(weights))  # the flags say that it is unconditional
    assert "unet.pt: 1 unexpected keys of 144, such as label_emb.weight; this is not" in sentence
    assert sentence.endswith("it is class-conditional, and class-conditional networks are not read")
    assert "with the flag" not in sentence, "with class_cond: true it is not read either"


def test_a_file_of_something_else_names_no_flag(write):
    sentence = refusal(ValueError, write({"weight": torch.zeros(3)}))
    assert sentence.endswith("own.json'"), "no flag explains it"


def test_models_of_diffusers_are_refused_in_one_sentence(write, tiny_weights, tmp_path):
    words = "a model of diffusers, which is not read; convert its U-Net to a guided-diffusion"
    sentence = refusal(ValueError, write({"conv_in.weight": torch.zeros(3), **tiny_weights}))
    assert f"unet.pt: {words}" in sentence
    folder = tmp_path / "ddpm-cat"
    folder.mkdir()
    (folder / "config.json").write_text('{"_class_name": "UNet2DModel", "sample_size": 32}')
    assert f"ddpm-cat: {words}" in refusal(ValueError, str(folder))
    assert f"config.json: {words}" in refusal(ValueError, str(folder / "config.json"))


def test_rescaled_timesteps_are_honoured(write, tiny_spec, whole, noised):
    """A network of improved-diffusion: 4000 steps, of which it is told from 0 to 1000."""
    flags = tiny_spec["flags"] | {"diffusion_steps": 4000, "sigma_small": False}
    plain = load_backbone(write(flags=flags))
    rescaled = load_backbone(write(flags={**flags, "rescale_timesteps": True}))
    x, noise = noised.clamp(-1, 1), shared_noise(32)
    t = torch.full((2,), 600)
    seen = rescaled.diffusion.q_sample(x, t, noise=noise.expand_as(x))
    expected = oracle.block_outputs(whole[0], seen, torch.full((2,), 150.0))
    assert_close(rescaled(x, 600, noise), [expected[b] for b in rescaled.blocks])
    assert not torch.equal(plain(x, 600, noise)[0], rescaled(x, 600, noise)[0])


@pytest.mark.parametrize("name", ["lsun_bedroom", "ffhq", "lsun_cat", "lsun_horse", "imagenet"])
def test_the_official_networks_have_the_published_shape(name):
    """566 tensors, 552,814,086 weights, 8448 features at the published steps and blocks."""
    with torch.device("meta"):
        model, _ = create(BACKBONES[name]["flags"])
    assert len(model.state_dict()) == 566
    assert sum(p.numel() for p in model.parameters()) == 552_814_086
    n_features, _, n_bytes = anatomy(name)
    assert (n_features, n_bytes) == (8448, 4 * 552_814_086)


def test_another_architecture(write, tiny_spec):
    assert "missing keys" in refusal(
        ValueError, write(flags={**tiny_spec["flags"], "num_res_blocks": 2})
    )
    sentence = refusal(ValueError, write(flags={**tiny_spec["flags"], "num_channels": 64}))
    assert (
        "tensors of another shape, such as time_embed.0.weight (128, 32) instead of (256, 64)"
        in sentence
    )


def test_what_is_not_a_state_dict(write, tiny_weights):
    assert "holds a list" in refusal(ValueError, write([1, 2]))
    assert "'state_dict'" in refusal(ValueError, write({"state_dict": tiny_weights, "epoch": 3}))


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pickled_code_is_not_executed(write, tmp_path):
    trace = tmp_path / "executed"
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists(), "the file is dangerous"
    trace.unlink()
    assert "no pickled code is executed" in refusal(ValueError, write({"weight": Malicious(trace)}))
    assert not trace.exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"flags": {"image_size": 32, "num_chanels": 32}},
            "unknown guided-diffusion flag 'num_chanels'; choose from image_size, ",
        ),
        ({"steps": [50, 1000]}, "own.json: step 1000 is outside 0..999"),
        ({"steps": [-1]}, "step -1 is outside 0..999"),
        ({"blocks": [4]}, "own.json: decoder block 4 does not exist; choose from 0..3"),
        ({"blocks": []}, "at least one step and one decoder block"),
        (
            {"drop": ["blocks"]},
            "own.json: 'blocks' is missing; "
            "a backbone file has flags, checkpoint, steps and blocks",
        ),
    ],
)
def test_mistakes_in_a_backbone_file(write, changes, message):
    assert message in refusal(ValueError, write(**changes))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 50}, "steps: 50; a list of whole numbers is needed, such as [50, 150]"),
        ({"steps": "50 150"}, 'steps: "50 150"; a list of whole numbers is needed'),
        ({"steps": [50.5]}, "steps: [50.5]; a list of whole numbers is needed"),
        ({"blocks": ["2"]}, 'blocks: ["2"]; a list of whole numbers is needed'),
        ({"blocks": [True]}, "blocks: [true]; a list of whole numbers is needed"),
        ({"checkpoint": None}, "checkpoint: null; the name of a file is needed"),
        ({"flags": ["image_size", 32]}, 'flags: ["image_size", 32]; an object is needed'),
        ({"flags": {"num_channels": 32}}, "flags: 'image_size' is missing; a whole number is"),
    ],
)
def test_values_of_another_type_in_a_backbone_file(write, changes, message):
    path = Path(write())
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert f"own.json: {message}" in refusal(ValueError, str(path))


@pytest.mark.parametrize(
    "flag, value, message",
    [
        ("attention_resolutions", [16, 8], '[16, 8]; text in quotes is needed, such as "16,8"'),
        ("image_size", "32", '"32"; a whole number is needed'),
        ("num_channels", 32.5, "32.5; a whole number is needed"),
        ("num_res_blocks", True, "true; a whole number is needed"),
        ("dropout", None, "null; a number is needed"),
        ("learn_sigma", "False", '"False"; true or false is needed'),
        ("channel_mult", [1] * 100, "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...; text in quotes"),
    ],
)
def test_flags_of_another_type(write, tiny_spec, flag, value, message):
    sentence = refusal(ValueError, write(flags=tiny_spec["flags"] | {flag: value}))
    assert f"own.json: flags: {flag}: {message}" in sentence


def test_a_number_of_a_flag_may_be_whole(write, tiny_spec):
    assert load_backbone(write(flags=tiny_spec["flags"] | {"dropout": 0})).blocks == [0, 1, 3]


@pytest.mark.parametrize("content", ["3", "null", '["flags"]', '"_class_name"'])
def test_a_backbone_file_that_holds_no_object(write, content):
    path = Path(write())
    path.write_text(content)
    assert refusal(ValueError, str(path)).endswith(
        f"own.json: holds {content}; an object with flags, checkpoint, steps and blocks is needed"
    )


def test_files_that_are_not_there(write, tmp_path):
    path = write()
    (tmp_path / "unet.pt").unlink()
    assert "unet.pt: the checkpoint of backbone" in refusal(FileNotFoundError, path)
    assert "diffseg fetch" in refusal(FileNotFoundError, "lsun_cat", data=tmp_path)
    assert "no such backbone file; choose from lsun_bedroom," in refusal(
        FileNotFoundError, str(tmp_path / "none.json")
    )
    (tmp_path / "own.json").write_text("{flags}")
    assert "own.json: not valid JSON" in refusal(ValueError, path)


def test_unknown_names_come_with_the_choices(tiny_json):
    assert "unknown backbone 'lsun_dog'; choose from lsun_bedroom, ffhq," in refusal(
        ValueError, "lsun_dog"
    )
    assert "unknown precision 'int8'; choose from auto, float32, " in refusal(
        ValueError, tiny_json, precision="int8"
    )
    assert load_backbone(tiny_json, precision="auto").precision == "float32"
    assert "float16 needs a CUDA device, not cpu" in refusal(
        ValueError, tiny_json, precision="float16"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there(tiny_json):
    assert "device 'cuda' is not available" in refusal(ValueError, tiny_json, "cuda")


def test_importing_it_warns_of_nothing():
    subprocess.run(
        [sys.executable, "-W", "error", "-c", "import diffseg_utils.backbone"], check=True
    )
