"""The command line where nothing is made: plans, and mistakes."""
import pytest
from conftest import diffseg


def test_several_seeds(tmp_path):
    planned = diffseg("run", "mini_smoke", "--seeds", "0", "1", "2", "--results", tmp_path, "--dry-run").stdout.splitlines()
    assert len(planned) == 7, "the features do not depend on the seed"
    assert {line.split()[0] for line in planned} == {"mini_smoke", *(f"mini_smoke/seed{k}" for k in range(3))}


@pytest.mark.parametrize("arguments, words", [
    (["run", "hores_21"], ["unknown dataset 'hores_21'", "choose from bedroom_28, ffhq_34"]),
    (["run", "mini_smoke", "-p", "members", "3"], ["unknown notebook parameter 'members'", "choose from"]),
    (["run", "mini_smoke", "--recipe", "secret"], ["unknown recipe 'secret'", "published, tuned"]),
    (["run", "mini_smoke", "--device", "tpu"], ["unknown device 'tpu'", "auto, cpu"]),
    (["run", "mini_smoke", "--backbone", "nowhere.json"], ["nowhere.json", "no such backbone file"]),
    (["run", "mini_smoke", "--backbone", "ffqh"], ["unknown backbone 'ffqh'", "lsun_bedroom"]),
    (["run", "horse_21", "--data", "/nonexistent", "--backbone", "mini"],
     ["/nonexistent/datasets/horse_21", "diffseg fetch horse_21"]),
    (["run", "horse_21", "--data", "/nonexistent"], ["/nonexistent/checkpoints/lsun_horse.pt", "diffseg fetch horse_21"]),
    (["status", "--results", "/nonexistent"], ["/nonexistent", "no results here"]),
])
def test_bad_input_is_one_clear_sentence(arguments, words, tmp_path):
    results = [] if arguments[0] == "status" else ["--results", tmp_path / "results"]
    done = diffseg(*arguments, *results)
    assert done.exit_code and isinstance(done.exception, SystemExit), done.output
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "results").exists(), "nothing half-written"
