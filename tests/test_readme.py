"""What the README shows is what the files say."""

import json
import re
from pathlib import Path

import pytest
from conftest import diffseg

from diffseg_utils.presets import RECIPES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "command", [["status"], ["status", "--evidence"], ["status", "--costs"]], ids=" ".join
)
def test_tables_are_printed_from_the_files(command):
    printed = diffseg(*command)
    assert printed.exit_code == 0, printed.output
    assert printed.output.strip() in README, (
        f"run `diffseg {' '.join(command)}` and put its table into README.md"
    )


def test_intervals_in_prose_stand_in_the_tables_of_either_recipe():
    interval = re.compile(r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]")
    prose = interval.findall(
        "\n".join(line for line in README.splitlines() if not line.startswith("|"))
    )
    tables = [
        diffseg("status", *table, "--recipe", recipe).output
        for table in ([], ["--evidence"], ["--training"])
        for recipe in RECIPES
    ]
    assert prose and not set(prose) - set(interval.findall("\n".join(tables)))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_table_of_notebooks_names_each_with_its_question(path):
    question = (
        "".join(json.loads(path.read_text())["cells"][0]["source"])
        .splitlines()[0]
        .removeprefix("# ")
    )
    assert f"| [{path.stem}](notebooks/{path.name}) | {question} |" in README


def test_results_hold_no_notebook_or_picture_of_a_real_dataset():
    for folder in (ROOT / "results").iterdir():
        if folder.is_dir() and not folder.name.startswith("mini_"):
            shown = [
                p.name for p in folder.rglob("*") if p.suffix in (".ipynb", ".png", ".jpg", ".pdf")
            ]
            tracked = [
                name for name in shown if folder.name != "figures" and not name.endswith(".ipynb")
            ]
            assert not tracked, f"{folder.name}: {tracked}"


def test_committed_notebooks_are_small():
    assert not [p for p in (ROOT / "results").rglob("*.ipynb") if p.stat().st_size > 1_000_000]
