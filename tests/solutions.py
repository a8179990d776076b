"""The solutions of a notebook's exercises, as cells that run after it."""

import re

import nbformat


def solutions(path):
    """The code of the solutions of a notebook, one text each."""
    cells = nbformat.read(path, 4).cells
    folded = [cell for cell in cells if "solution" in cell.metadata.get("tags", [])]
    return [re.search(r"```python\n(.*?)\n```", cell.source, re.DOTALL)[1] for cell in folded]


def write_solved(path, target):
    """Write the notebook with its solutions as last cells."""
    notebook = nbformat.read(path, 4)
    for number, code in enumerate(solutions(path), 1):
        notebook.cells.append(nbformat.v4.new_code_cell(code, id=f"solved-{number}"))
    nbformat.write(notebook, target)


def assert_solved(executed, notebook):
    """Every solution of `notebook` was executed, and shows something."""
    solved = [c for c in nbformat.read(executed, 4).cells if c.id.startswith("solved-")]
    assert len(solved) == len(solutions(notebook)) > 0
    for cell in solved:
        assert cell.outputs, f"{executed}: {cell.id} shows nothing"
