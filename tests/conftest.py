"""What several test files share: one thread, the small U-Net of the goldens, and real material that
may lie beside the clone.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = (
    "1"  # of kernels, too: several processes, whose threads would wait for each other
)

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from diffseg_utils.__main__ import main
from diffseg_utils.backbone import create, load_backbone
from diffseg_utils.presets import DATASETS

PUBLISHED_SMALL = Path(__file__).parent / "fixtures" / "published_small"
BESIDE = (
    Path(__file__).parents[2] / "shared"
)  # no part of the project; tests that use it are skipped where it is not


LONG = ("notebooks", "changes", "own_run", "tour", "crashes", "saved_notebooks", "own_example")


def pytest_collection_modifyitems(items):
    """The longest files first: all others fit beside them."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def descriptions(path):
    """The alt texts of all pictures in the page that nbconvert makes of a notebook."""
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(path))
    return [image["alt"] for image in BeautifulSoup(page, "html.parser").find_all("img")]


def diffseg(*arguments):
    """The command line in this process: .exit_code, .stdout, .stderr, .output (both),
    .exception.
    """
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture(scope="session")
def beside():
    """beside("goldens"): that path, or the test is skipped."""

    def find(name):
        if not (BESIDE / name).exists():
            pytest.skip(f"{name} does not lie beside this clone")
        return BESIDE / name

    return find


@pytest.fixture(scope="session")
def tiny_spec():
    """{"flags", "checkpoint", "steps", "blocks"} of a 32 px U-Net of 0.8 M parameters."""
    return json.loads((PUBLISHED_SMALL / "unet.json").read_text())


@pytest.fixture(scope="session")
def tiny_weights(tiny_spec):
    """The state dict of the goldens' U-Net, drawn again as fixtures/published_small/README.txt
    says.
    """
    generator = torch.Generator().manual_seed(7)
    state = {}
    for name, p in create(tiny_spec["flags"])[0].state_dict().items():
        z = torch.randn(p.shape, generator=generator)
        if p.dim() > 1:
            state[name] = z * (1.2 / p[0].numel() ** 0.5)
        else:
            state[name] = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
    return state


@pytest.fixture(scope="session")
def tiny_json(tiny_spec, tiny_weights, tmp_path_factory):
    """The .json of that U-Net beside its weights."""
    folder = tmp_path_factory.mktemp("tiny")
    save_file(tiny_weights, folder / tiny_spec["checkpoint"])
    (folder / "tiny.json").write_text(json.dumps(tiny_spec))
    return str(folder / "tiny.json")


@pytest.fixture(scope="session")
def tiny(tiny_json):
    """The loaded Backbone; tests must not change it."""
    return load_backbone(tiny_json)


@pytest.fixture
def results_of(tmp_path):
    """results_of(scores, name, seed): leaves them below tmp_path, as a run that has ended."""

    def leave(scores, name, seed, recipe="published", **facts):
        variant = "" if recipe == "published" else f"_{recipe}"
        folder = tmp_path / name / f"seed{seed}{variant}"
        scores.save(folder / "scores.npz")
        preset = asdict(DATASETS[name.split("@")[0]])
        run = {"seed": seed, "recipe": recipe, "preset": preset, "checkpoint_sha256": "one"}
        (folder / "run.json").write_text(json.dumps(run | facts))
        return folder

    return leave
