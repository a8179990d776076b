"""A notebook that JupyterLab or VS Code has saved looks unchanged to git, and makes no stage stale."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffseg_utils.runs.records import code_of
from diffseg_utils.runs.saved import after_save

ROOT = Path(__file__).parents[1]
OUTPUT = {"name": "stdout", "output_type": "stream", "text": ["1\n"]}


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A repository with the notebooks, whose filter was set up as make does it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Makefile", ".gitattributes"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    git(folder, "init", "-q")
    python = f"PYTHON_OF_FILTER={sys.executable}"
    subprocess.run(["make", "-s", "filter", python], cwd=folder, check=True)
    git(folder, "add", "-A")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    git(folder, *author, "commit", "-q", "-m", "notebooks")
    return folder


def run_and_saved(notebook, editor):
    """What an editor has made of a notebook, whose cells were run."""
    names = {"JupyterLab": "Python 3 (ipykernel)", "VS Code": ".venv"}
    notebook["metadata"]["kernelspec"]["display_name"] = names[editor]
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}
    if editor == "VS Code":
        notebook["metadata"]["vscode"] = {"interpreter": {"hash": "1"}}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 1
            cell["outputs"] = [OUTPUT]
            cell["metadata"]["execution"] = {"iopub.status.busy": "now"}
        if editor == "VS Code":
            cell["metadata"]["vscode"] = {"languageId": "python"}
            cell["source"] = "".join(cell["source"])
    return notebook


def test_what_is_committed_passes_the_filter_as_it_is(clone):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        kept = git(clone, "show", f"HEAD:notebooks/{path.name}")
        assert kept == path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("editor, indent", [("JupyterLab", 1), ("VS Code", 2)])
def test_a_saved_notebook_is_no_change(clone, editor, indent):
    path = clone / "notebooks" / "03_voting_analysis.ipynb"
    before, code = path.read_text(encoding="utf-8"), code_of(path)
    saved = run_and_saved(json.loads(before), editor)
    path.write_text(json.dumps(saved, indent=indent), encoding="utf-8")
    assert git(clone, "diff") == ""
    after_save({"type": "notebook"}, str(path), None)
    assert git(clone, "status", "--porcelain") == ""
    assert code_of(path) == code, "no stage is stale"
    path.write_text(before, encoding="utf-8")
    after_save({"type": "notebook"}, str(path), None)


def test_what_a_person_changed_is_a_change_and_is_not_added(clone):
    path = clone / "notebooks" / "03_voting_analysis.ipynb"
    before = path.read_text(encoding="utf-8")
    saved = run_and_saved(json.loads(before), "JupyterLab")
    saved["cells"][0]["source"] = "# Another title?"
    path.write_text(json.dumps(saved), encoding="utf-8")
    after_save({"type": "notebook"}, str(path), None)
    assert git(clone, "status", "--porcelain") == " M notebooks/03_voting_analysis.ipynb\n"
    added = [line for line in git(clone, "diff").splitlines() if line.startswith("+ ")]
    assert added == ['+    "# Another title?"']
    path.write_text(before, encoding="utf-8")
    own = path.with_name("own.ipynb")
    own.write_text(before, encoding="utf-8")
    after_save({"type": "notebook"}, str(own), None)
    assert git(clone, "status", "--porcelain") == "?? notebooks/own.ipynb\n"
