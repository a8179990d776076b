"""Features against pixels, and checkpoints: only what is missing is measured, on no test image."""

import numpy as np
import pandas as pd
import pytest

from diffseg_utils import comparisons
from diffseg_utils.backbone import load_backbone
from diffseg_utils.presets import DATASETS

SMOKE = DATASETS["mini_smoke"]


def test_a_patch_holds_the_colours_around_a_pixel_and_its_position():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[2, 3] = 255, 0, 255
    maps = comparisons.patches([picture], 8)
    assert maps.n_features == 77 and maps.maps[0].shape == (1, 8, 8, 77)
    at = maps.maps[0][0]
    red, green, blue = at[2, 3, :75].view(3, 5, 5)
    assert red[2, 2] == 1 and green[2, 2] == -1 and blue[2, 2] == 1
    assert (red == 1).sum() == 1
    assert at[1, 1, :25].view(5, 5)[3, 4] == 1, "one row below and two columns to the right"
    assert at[0, 0, 75:].tolist() == [-1, -1] and at[7, 0, 75:].tolist() == [1, -1]


def test_features_beat_pixels_and_random_weights():
    untrained = load_backbone("mini", random_weights=0)
    done = []
    found = comparisons.compare_descriptions(
        load_backbone("mini"), untrained, SMOKE, report=lambda *a: done.append(a)
    )
    found = found.set_index("description")
    assert found.miou["denoiser"] > found.miou.drop("denoiser").max() + 5
    gains = found.miou["denoiser"] - found.miou
    np.testing.assert_allclose(found.difference, gains, atol=1e-9)
    assert (found.images == 3).all() and found.difference["denoiser"] == 0
    assert done == [(1, 3), (2, 3), (3, 3)]


@pytest.fixture
def measured(monkeypatch):
    """(images seen by random weights or not, dataset) of everything that is measured."""
    seen = []

    def ask(rounds, preset, device):
        seen.append((rounds, preset.name))
        right = np.array([[6, 2], [2, 6], [0, 0]])
        wrong = np.array([[4, 4], [4, 4], [0, 0]])
        return np.stack([wrong if rounds == "random" else right] * 3)

    def by_map(backbone, rounds, preset, device):
        return pd.DataFrame({"step": [50], "block": [2], "miou": [40.0]})

    def load(backbone, device, random_weights, data):
        return "random" if random_weights == 0 else backbone

    monkeypatch.setattr(comparisons, "load_backbone", load)
    monkeypatch.setattr(comparisons, "describe", lambda backbone: {"steps": [50]})
    monkeypatch.setattr(comparisons, "folds", lambda backbone, preset, root: backbone)
    monkeypatch.setattr(comparisons, "score_folds", ask)
    monkeypatch.setattr(comparisons, "score_each_map", by_map)
    return seen


def test_only_missing_rows_are_measured(measured, tmp_path):
    def measure(checkpoints):
        measured.clear()
        comparisons.measure_checkpoints(checkpoints, ["mini_smoke"], 0, tmp_path, "own")
        return list(measured)

    checkpoints = {0: "a.json", 10: "ten.json"}
    assert measure(checkpoints) == [("random", "mini_smoke"), ("ten.json", "mini_smoke")]
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(files) == {"own_curve.csv", "own_maps.csv", "own_gain.csv"}
    assert measure(checkpoints) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files

    longer = checkpoints | {20: "twenty.json"}
    assert ("ten.json", "mini_smoke") not in measure(longer), "its row is there"
    curve = pd.read_csv(tmp_path / "own_curve.csv")
    assert curve.images.tolist() == [0, 10, 20]
    gain = pd.read_csv(tmp_path / "own_gain.csv")
    assert gain.after.tolist() == [10, 20] and (gain.difference > 0).all()


def test_another_recipe_makes_new_rows(measured, tmp_path, monkeypatch):
    def measure(recipe):
        monkeypatch.setattr(comparisons, "RECIPE", recipe)
        comparisons.measure_checkpoints(both, ["mini_smoke"], 0, tmp_path, "own")
        return pd.read_csv(tmp_path / "own_curve.csv").scored.tolist()

    both = {0: "a.json", 10: "ten.json"}
    short, long = ["short; noise steps 50"] * 2, ["long; noise steps 50"] * 2
    assert measure("short") == short
    assert measure("long") == short + long
    assert measure("short") == short + long


def test_nothing_to_measure_writes_nothing(measured, tmp_path):
    comparisons.measure_checkpoints({}, ["mini_smoke"], 0, tmp_path / "none", "own")
    assert not (tmp_path / "none").exists()


def test_a_choice_that_fails_on_one_dataset_is_not_measured_on_the_next(monkeypatch, tmp_path):
    asked = []

    def compare(backbone, preset, choices, base, root, device):
        asked.append((preset.name, list(choices)))
        low = {"today": 0.0, "good": 0.2, "bad": -0.1}
        return pd.DataFrame([{"choice": name, "low": low[name]} for name in choices])

    monkeypatch.setattr(comparisons, "load_backbone", lambda *a, **k: None)
    monkeypatch.setattr(comparisons, "compare_choices", compare)
    choices = {"today": 1, "good": 2, "bad": 3}

    def measure(datasets):
        asked.clear()
        file = tmp_path / "choices.csv"
        return comparisons.measure_choices("mini", datasets, 10, choices, "today", file)

    found = measure(["mini_cat", "mini_horse"])
    assert asked == [("mini_cat", ["today", "good", "bad"]), ("mini_horse", ["today", "good"])]
    assert len(found) == 5 and (found.seen == 10).all()
    assert len(measure(["mini_cat", "mini_horse"])) == 5 and asked == []
    measure(["mini_ffhq", "mini_cat"])
    assert asked == [("mini_ffhq", ["today", "good"])], "what failed before fails no more"


@pytest.fixture
def measure_recipes(monkeypatch, tmp_path):
    """measure(datasets, names, could_be): (what was asked for, the names in the table)."""
    asked = []

    def compare(backbone, preset, recipes, seeds, base, **how):
        asked.append((preset.name, list(recipes)))
        low = {name: -0.1 if name == "worse" else 0.1 for name in recipes}
        return pd.DataFrame([{"recipe": name, "low": low[name]} for name in recipes])

    monkeypatch.setattr(comparisons, "load_backbone", lambda *a: None)
    monkeypatch.setattr(comparisons, "compare_recipes", compare)

    def measure(datasets, names, could_be=()):
        asked.clear()
        presets, recipes = {name: DATASETS[name] for name in datasets}, {name: {} for name in names}
        table = comparisons.measure_recipes(
            "mini", presets, recipes, "tuned", tmp_path / "r.csv", could_be, seeds=[0]
        )
        return list(asked), table.recipe.tolist()

    return measure


def test_only_missing_recipes_are_measured_beside_the_base(measure_recipes):
    names = ["tuned", "longer"]
    assert measure_recipes(["mini_cat"], names) == ([("mini_cat", names)], names)
    names = ["tuned", "longer", "wider"]
    assert measure_recipes(["mini_cat"], names) == ([("mini_cat", ["tuned", "wider"])], names)
    assert measure_recipes(["mini_cat"], names) == ([], names)


def test_a_recipe_that_failed_and_could_be_one_is_not_measured_on_the_next(measure_recipes):
    names = ["tuned", "better", "worse"]
    asked, found = measure_recipes(["mini_cat", "mini_horse"], names, could_be=["better", "worse"])
    assert asked == [("mini_cat", names), ("mini_horse", ["tuned", "better"])]
    assert found == [*names, "tuned", "better"]
    asked, _ = measure_recipes(["mini_cat", "mini_horse"], names)
    assert asked == [("mini_horse", ["tuned", "worse"])], "it only shows what a part is worth"
