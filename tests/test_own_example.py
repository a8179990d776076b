"""The example of a folder of own images, and the notebook that goes through it."""

from pathlib import Path

import numpy as np
import pandas as pd
from conftest import descriptions
from solutions import assert_solved, write_solved

from diffseg_utils.own.example import CLASSES, SIZES, paint_example, write_example
from diffseg_utils.own.folder import read_folder, unmasked
from diffseg_utils.own.images import read_all
from diffseg_utils.own.new import new
from diffseg_utils.runs.execute import execute

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "05_own_images.ipynb"


def test_the_example_is_a_folder_without_a_problem(tmp_path):
    new(tmp_path / "horses", CLASSES)
    stems = write_example(tmp_path / "horses")
    preset = read_folder(tmp_path / "horses")
    assert len(stems) == 12 and len(preset.n_parts) == 6 and len(unmasked(preset)) == 6
    pixels = np.zeros(len(CLASSES), int)
    for _, _, _, found in read_all(preset):
        pixels += found  # a ValueError would stand here for a mask with a problem
    assert (pixels > 0).all(), "the masks show every class"


def test_paintings_have_odd_sizes_and_exact_labels():
    for i, size in enumerate(SIZES):
        image, label = paint_example(i)
        assert image.shape == (*size, 3) and label.shape == size
        assert label.max() < len(CLASSES)
        again, _ = paint_example(i)
        assert (image == again).all()
    assert any(h > w for h, w in SIZES) and any(h < w for h, w in SIZES)


def test_the_notebook_and_its_solutions_go_from_new_to_overlays(tmp_path):
    few = {
        "n_images": 8,
        "n_masks": 4,
        "n_members": 2,
        "n_folds": 2,
        "epochs": 1,
        "results": str(tmp_path / "results"),
    }
    write_solved(NOTEBOOK, tmp_path / "solved.ipynb")
    execute(tmp_path / "solved.ipynb", tmp_path / "own.ipynb", few)
    text = (tmp_path / "own.ipynb").read_text()
    assert "Warning" not in text and "Nothing is wrong." in text
    assert text.count(str(tmp_path)) == 1, "only the parameter names a folder of this machine"
    assert not (tmp_path / "results").exists(), "results/ is written by `diffseg` alone"
    folder = tmp_path / "data" / "exploring" / "own_images" / "horses"
    table = pd.read_csv(folder / "predictions" / "uncertainty.csv")
    assert len(table) == 4 and table.uncertainty.is_monotonic_decreasing
    overlays = {path.stem for path in (folder / "predictions" / "overlays").iterdir()}
    assert overlays == {Path(name).stem for name in table.image}
    assert_solved(tmp_path / "own.ipynb", NOTEBOOK)
    told = descriptions(tmp_path / "own.ipynb")
    assert len(told) >= 4 and all(alt.endswith(".") for alt in told)
