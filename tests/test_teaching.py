"""What students get: the core notebooks without solutions, and a cell that checks first."""

import json

import nbformat
import pytest

from diffseg_utils.teaching import CHECK, class_copies


def test_copies_have_no_solutions_and_a_check_of_the_installation(tmp_path):
    written = class_copies(tmp_path / "class")
    assert [path.name[:2] for path in written] == ["00", "01", "02", "03", "04"]
    for path in written:
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        first, *others = notebook.cells
        assert first.source == CHECK.strip()
        assert not any("solution" in cell.metadata.get("tags", []) for cell in others)
        assert "Solution of exercise" not in path.read_text()
        assert any(cell.id == "exercise-1" for cell in others), "exercises stay"
    again = [path.read_bytes() for path in class_copies(tmp_path / "class")]
    assert again == [path.read_bytes() for path in written]


def test_only_solutions_are_missing(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("# Why?", id="title"),
        nbformat.v4.new_markdown_cell("6", id="solution-1", metadata={"tags": ["solution"]}),
        nbformat.v4.new_code_cell("6 * 7", id="code"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "00_one.ipynb")
    (path,) = class_copies(tmp_path / "class", tmp_path)
    ids = [cell["id"] for cell in json.loads(path.read_text())["cells"]]
    assert ids == ["check-installation", "title", "code"]


def test_the_check_says_ready_or_what_is_missing(capsys):
    exec(CHECK, {})
    assert capsys.readouterr().out.startswith("ready: ")
    with pytest.raises(ImportError, match="not installed: no_such_package"):
        exec(CHECK.replace('"torch"', '"no_such_package"'), {})
