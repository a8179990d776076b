"""The tour runs on any painted dataset, without a warning."""
from pathlib import Path

from diffseg_utils.notebooks import execute

TOUR = Path(__file__).parents[1] / "notebooks" / "00_tour.ipynb"


def test_tour(tmp_path):
    execute(TOUR, tmp_path / "tour.ipynb", {"dataset": "mini_smoke"})
    assert "Warning" not in (tmp_path / "tour.ipynb").read_text()
