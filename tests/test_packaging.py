"""The three descriptions of the environment agree, and what must stay light stays light."""

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import diffseg_utils
from diffseg_utils.presets import BACKBONES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_locked_at_a_version_it_allows():
    locked = {canonical(name): version for name, version in LOCK.items()}
    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]:
        wanted = Requirement(line)
        assert canonical(wanted.name) in locked, f"{wanted.name} is not in requirements.lock"
        assert wanted.specifier.contains(locked[canonical(wanted.name)]), (
            f"{wanted} against {locked[canonical(wanted.name)]}"
        )


def test_torch_is_the_tested_version():
    assert LOCK["torch"] == "2.13.0"


def test_environment_yml_installs_the_lock_and_this_package_and_gives_reasons():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    entries = [line for line in lines if line.strip().startswith("- ")]
    assert [e.split("#")[0].strip() for e in entries[-2:]] == ["- -r requirements.lock", "- -e ."]
    assert all("#" in e for e in entries if not e.strip().endswith((":", "pip:"))), (
        "every entry ends with its reason"
    )
    python = next(e for e in entries if "python=" in e).split("python=")[1].split()[0]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)


@pytest.mark.parametrize(
    "heavy, modules",
    [
        ("guided_diffusion", ["voting", "metrics"]),
        (
            "torch",
            [
                "metrics",
                "evaluation",
                "evaluation.tables",
                "runs",
                "runs.records",
                "runs.launch",
                "runs.places",
                "figures.style",
                "figures.features",
                "figures.votes",
                "figures.paper",
            ],
        ),
        ("papermill", ["runs.launch", "runs.places", "__main__"]),
        ("sklearn", ["classifiers", "training", "evaluation.observers"]),
    ],
)
def test_light_modules_do_not_load(heavy, modules):
    code = (
        "import importlib, sys\nfor module in sys.argv[2:]:\n"
        "    importlib.import_module(f'diffseg_utils.{module}')\n"
        "    if sys.argv[1] in sys.modules: sys.exit(f'{module} loads {sys.argv[1]}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, heavy, *modules], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_voting_stands_alone():
    text = (ROOT / "diffseg_utils" / "voting.py").read_text()
    assert "from ." not in text and "diffseg_utils" not in text


def test_every_shipped_network_has_a_model_card_with_its_checksum():
    folder = ROOT / "diffseg_utils" / "weights"
    cards = (folder / "README.md").read_text()
    shipped = sorted(folder.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in shipped) <= 32e6
    for path in shipped:
        card = cards.partition(f"## {path.name}\n")[2].partition("\n## ")[0]
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card, (
            f"{path.name} has another card, or none"
        )
    assert {Path(spec["checkpoint"]) for spec in BACKBONES.values() if "urls" not in spec} == set(
        shipped
    )


def test_the_code_is_formatted_and_checked():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_every_package_is_found_for_a_wheel():
    folders = {path.parent for path in (ROOT / "diffseg_utils").rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders), "packages.find needs it"


def test_the_names_of_the_package_are_there_and_load_when_they_are_asked_for():
    for name in diffseg_utils.__all__:
        assert getattr(diffseg_utils, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        diffseg_utils.nothing  # noqa: B018
    code = "import sys, diffseg_utils; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
