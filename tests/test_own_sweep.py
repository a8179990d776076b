"""Which steps and blocks: what is proposed, and when the YAML is changed."""

import pandas as pd
import pytest
from conftest import diffseg
from own_folders import make_folder, write_yaml

from diffseg_utils.backbone import checkpoint_path, load_backbone
from diffseg_utils.own.folder import preset_of
from diffseg_utils.own.new import new
from diffseg_utils.own.sweep import OWN, PROPOSED, Sweep, propose, sentence, write_choice
from diffseg_utils.runs import Run

TABLE = pd.DataFrame(
    [(50, 0, 10.0), (50, 1, 60.0), (50, 2, 50.0), (50, 3, 0.0)]
    + [(150, 0, 20.0), (150, 1, 50.0), (150, 2, 70.0), (150, 3, 0.0)]
    + [(250, 0, 40.0), (250, 1, 20.0), (250, 2, 10.0), (250, 3, 30.0)],
    columns=["step", "block", "miou"],
)


def test_the_proposal_by_hand():
    """Means of the better half of the blocks: 55, 60, 35; by block, of two steps: 15, 55, 60, 0."""
    assert propose(TABLE, 2, 2) == ([50, 150], [1, 2])
    assert propose(TABLE, 1, 3) == ([150], [0, 1, 2])


def found(proposed, now):
    choices = {OWN: ([50], [0]), PROPOSED: ([150], [1, 2])}
    rows = [(OWN, now, 0.0, 0.0, 0.0), (PROPOSED, proposed, proposed - now, -1.0, 5.0)]
    compared = pd.DataFrame(rows, columns=["choice", "miou", "difference", "low", "high"])
    return Sweep(TABLE, choices, compared)


def test_the_better_choice_is_the_best(tmp_path):
    assert found(50.0, 40.0).best == ([150], [1, 2])
    assert found(40.0, 50.0).best == ([50], [0])
    run = Run(str(make_folder(tmp_path / "f")))
    text = sentence(run, found(50.0, 40.0))
    assert "steps [150], blocks [1, 2] reach 50.0 %" in text and "not resolved" in text


def test_the_choice_is_written_and_comments_stay(tmp_path):
    file = new(tmp_path / "f", ["background", "disc"])
    make_folder(tmp_path / "other", 2, 2)
    for name in ("images", "masks"):
        (tmp_path / "f" / name).rmdir()
        (tmp_path / "other" / name).rename(tmp_path / "f" / name)
    before = file.read_text()
    preset = write_choice(preset_of(str(file)), [50, 400], [2, 3])
    assert (preset.steps, preset.blocks) == ((50, 400), (2, 3))
    changed = set(file.read_text().splitlines()) ^ set(before.splitlines())
    assert {line.partition(":")[0] for line in changed} == {"steps", "blocks"}
    run = Run(str(file))
    assert run.backbone_used == str(file), "the YAML stands for its backbone"
    backbone = load_backbone(run.backbone_used)
    assert (backbone.steps, backbone.blocks) == ([50, 400], [2, 3])
    assert checkpoint_path(run.backbone_used) == checkpoint_path("photo")
    assert Run(str(file), backbone="mini").backbone_used == "mini"
    write_yaml(tmp_path / "f")
    assert write_choice(preset_of(str(file)), [50], [2]).blocks == (2,)
    write_yaml(tmp_path / "f", "steps:\n  - 50")
    with pytest.raises(ValueError, match="by hand"):
        write_choice(preset_of(str(file)), [50], [2])


def test_from_the_command_line(tmp_path, tiny_json, monkeypatch):
    folder = make_folder(tmp_path / "f", 3, 3, text=f"backbone: {tiny_json}\nfolds: 2")
    before = (folder / "dataset.yml").read_text()
    arguments = ("sweep", folder, "--steps", "50", "--results", tmp_path / "results")
    done = diffseg(*arguments)
    assert done.exit_code == 0, done.output
    assert (folder / "dataset.yml").read_text() == before, "only when asked"
    table = pd.read_csv(tmp_path / "results" / "f" / "sweep.csv")
    assert len(table) == 4 and (tmp_path / "results" / "f" / "sweep.png").exists()
    assert "on held-out training images" in done.stdout
    monkeypatch.setattr("diffseg_utils.own.sweep.sweep", lambda *_: found(50.0, 40.0))
    done = diffseg(*arguments, "--write")
    assert f"written into {folder / 'dataset.yml'}: steps [150], blocks [1, 2]" in done.stdout
    assert preset_of(str(folder)).blocks == (1, 2)


def test_a_step_that_does_not_exist(tmp_path, tiny_json):
    folder = make_folder(tmp_path / "f", 3, 3, text=f"backbone: {tiny_json}")
    wrong = diffseg("sweep", folder, "--steps", "5000", "--results", tmp_path / "results")
    assert "step 5000 is outside 0..999" in wrong.stderr
    assert not (tmp_path / "results").exists()
