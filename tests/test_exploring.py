"""What a person runs by hand never changes results/; what a run holds is a line away."""

import numpy as np
import pytest
import torch
from conftest import diffseg
from ensembles import random_ensemble, random_maps
from test_tables import RULES, some_scores

from diffseg_utils import Run, compare
from diffseg_utils.evaluation import load_results
from diffseg_utils.evaluation.tables import difference_table, results_table, table_1
from diffseg_utils.runs import output_root, to_add_to

FIVE = RULES | {"entropy_weighted": "entropy-weighted, k = 5"}
VOTES = (90, 92, 93, 94, 96)


@pytest.fixture
def run(tmp_path):
    return Run("mini_smoke", seed=2, results=str(tmp_path / "results"))


@pytest.fixture
def by_diffseg(monkeypatch, tmp_path):
    """by_diffseg(): from now on this process is a notebook that `diffseg` has started."""
    return lambda: monkeypatch.setenv("DIFFSEG_UNFINISHED", str(tmp_path / "unfinished"))


# ---- where a notebook writes and reads -----------------------------------------------------------


def test_by_hand_everything_goes_to_data_exploring(run, tmp_path):
    exploring = tmp_path / "data" / "exploring"
    for what in ("scores", "ensemble", "features", "evidence", "page", "costs"):
        assert run.target(what).is_relative_to(exploring)
    assert run.figure("ladder").is_relative_to(exploring)
    assert run.unfinished("02_classifier_training").is_relative_to(exploring)
    assert output_root(run.results) == exploring
    assert run.path("scores") == tmp_path / "results" / "mini_smoke" / "seed2" / "scores.npz"


def test_diffseg_alone_writes_to_results(run, tmp_path, by_diffseg):
    by_diffseg()
    for what in ("scores", "ensemble", "features", "evidence", "page", "costs"):
        assert run.target(what) == run.path(what)
    assert run.figure("ladder").parent == tmp_path / "results" / "figures"
    assert output_root(run.results) == tmp_path / "results"


def test_by_hand_own_files_are_read_first(run, by_diffseg):
    some_scores(VOTES, seed=2).save(run.path("scores"))
    assert run.scores().label("entropy_weighted").endswith("k = 1")
    some_scores(VOTES, seed=2, rules=FIVE).save(run.target("scores"))
    assert run.scores().label("entropy_weighted").endswith("k = 5")
    assert run.reading("scores") == "`data/exploring/mini_smoke/seed2/scores.npz`"
    by_diffseg()
    assert run.scores().label("entropy_weighted").endswith("k = 1")
    assert run.reading("scores") == run.writing("scores")


def test_tables_know_nothing_of_what_was_made_by_hand(run, tmp_path, results_of):
    results_of(some_scores(VOTES), "mini_horse", 0)
    own = Run("mini_horse", results=str(tmp_path / "results"))
    some_scores(VOTES, rules=FIVE).save(own.target("scores"))
    assert "k = 1 minus mean" in results_table(tmp_path)


def test_what_is_added_to_is_a_copy(tmp_path, by_diffseg):
    results = tmp_path / "results"
    (results / "pretraining").mkdir(parents=True)
    (results / "pretraining" / "mini_log.csv").write_text("a")
    (results / "recipes.csv").write_text("b")
    for name, text in (("pretraining/mini_log.csv", "a"), ("recipes.csv", "b")):
        top = to_add_to(name.split("/")[0], str(results))
        assert top.is_relative_to(tmp_path / "data" / "exploring")
        own = tmp_path / "data" / "exploring" / name
        assert own.read_text() == text
        own.write_text("more")
        to_add_to(top.name, str(results))
        assert own.read_text() == "more" and (results / name).read_text() == text
    assert not to_add_to("new.csv", str(results)).exists()
    by_diffseg()
    assert to_add_to("recipes.csv", str(results)) == results / "recipes.csv"


# ---- what a run holds ----------------------------------------------------------------------------


def test_two_rules_are_compared_in_three_lines(run):
    some_scores(VOTES, seed=2).save(run.path("scores"))
    found = compare(run.scores(), "mean", "majority")
    assert found["verdict"] == "gain" and found["n_images"] == 3


def test_a_run_holds_members_maps_and_samples(run):
    maps, ensemble = random_maps(), random_ensemble()
    ensemble.save(run.path("ensemble"))
    maps.save(run.path("features") / "test")
    assert torch.equal(run.maps("test").maps[0], maps.maps[0])
    assert torch.equal(run.ensemble().weight0, ensemble.weight0)
    samples = run.samples("test")
    assert [sample.name for sample in samples] == ["test_000", "test_001", "test_002"]
    assert samples[0].label.dtype == np.int64
    with pytest.raises(ValueError, match="unknown split 'tests'; choose from train, validation"):
        run.maps("tests")


@pytest.mark.parametrize("ask", [Run.scores, Run.ensemble, lambda run: run.maps("test")])
def test_what_is_not_made_yet_names_the_command(ask, tmp_path):
    run = Run("mini_cat", 3, "tuned", results=str(tmp_path))
    words = "not made yet; `diffseg run mini_cat --seeds 3 --recipe tuned --results"
    with pytest.raises(FileNotFoundError, match=words) as error:
        ask(run)
    assert len(str(error.value).splitlines()) == 1
    assert Run("mini_cat").command == "diffseg run mini_cat"


# ---- one k in a table ----------------------------------------------------------------------------


def test_seeds_of_different_k_are_not_pooled(results_of, tmp_path):
    results_of(some_scores(VOTES, seed=0), "mini_horse", 0)
    results_of(some_scores(VOTES, seed=1, rules=FIVE), "mini_horse", 1)
    with pytest.raises(ValueError, match=r"seed0 is .*k = 1, and seed1 is .*k = 5: runs of diff"):
        load_results(tmp_path)


@pytest.mark.parametrize("table", [table_1, difference_table])
def test_a_table_does_not_mix_different_k(table, results_of, tmp_path):
    results_of(some_scores(VOTES), "mini_horse", 0)
    results_of(some_scores(VOTES, rules=FIVE), "mini_cat", 0)
    with pytest.raises(ValueError, match=r"mini_cat is .*k = 5, and mini_horse is .*k = 1"):
        table(load_results(tmp_path))
    with pytest.raises(ValueError, match="a table has one k"):
        results_table(tmp_path)


def test_a_table_says_its_k(results_of, tmp_path):
    results_of(some_scores(VOTES, rules=FIVE), "mini_horse", 0)
    results = load_results(tmp_path)
    assert "k = 5 minus mean" in results_table(tmp_path)
    assert "k = 5 minus majority" in table_1(results).columns
    assert set(difference_table(results).comparison) == {"k = 5 minus majority", "k = 5 minus mean"}


def test_a_run_of_another_k_is_refused_before_it_starts(results_of, tmp_path):
    folder = results_of(some_scores(VOTES), "mini_smoke", 1, parameters={})
    before = (folder / "scores.npz").read_bytes()
    done = diffseg("run", "mini_smoke", "-p", "k", "5", "--results", tmp_path)
    assert done.exit_code and "seed1 was made with k = 1, and k = 5 is asked for" in done.stderr
    assert (folder / "scores.npz").read_bytes() == before
    assert not list(tmp_path.glob("mini_smoke/seed0"))
