"""What needs what, and what is current: on a copy of the project, with notebooks that are only
pretended to be executed.
"""

import ast
import json
import os
import re
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import diffseg

from diffseg_utils.files import atomic
from diffseg_utils.presets import DATASETS, RECIPES
from diffseg_utils.runs import places, records
from diffseg_utils.runs import run as names
from diffseg_utils.runs.clean import delete, unneeded
from diffseg_utils.runs.launch import launch, survey
from diffseg_utils.runs.lock import only_driver
from diffseg_utils.runs.preflight import Room, room_for
from diffseg_utils.runs.progress import Forecast, Lines, clock
from diffseg_utils.runs.records import Checksums
from diffseg_utils.runs.run import Run, code_cells
from diffseg_utils.runs.stages import (
    EVIDENCE,
    FEATURES,
    FIGURES,
    HELPS,
    STAGES,
    TRAINING,
    VOTING,
    picture,
    plan,
)

ROOT = Path(__file__).parents[1]
ALL = [FEATURES, TRAINING, VOTING, EVIDENCE, HELPS, FIGURES]
ROOM = Room(slots=2, threads=1, memory=100.0)


class Pretend:
    """A place where a notebook is made by writing its files, whose content is
    `versions[notebook]`.
    """

    def __init__(self, jobs):
        self.jobs = {str(job.executed): job for job in jobs}
        self.versions = Counter()
        self.made, self.tasks = [], []
        self.broken = {}  # label: sentence
        self.meanwhile = {}  # notebook: function
        self.lock, self.now, self.most = threading.Lock(), set(), 0

    def make(self, task):
        job = self.jobs[task["arguments"][1]]
        with self.lock:
            self.made.append(job.label)
            self.tasks.append(task)
            self.now.add(job)
            self.most = max(self.most, len(self.now))
            gpus = [t["environment"].get("CUDA_VISIBLE_DEVICES") for t in self.running()]
            assert len(gpus) == len(set(gpus)) or gpus[0] is None
        time.sleep(0.01)
        self.meanwhile.get(job.stage.notebook, lambda: None)()
        if job.label not in self.broken:
            for path in job.outputs:
                file = path / "train" / "map.bin" if path.name == "features" else path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{path.name} of {job.label}: {self.versions[job.stage.notebook]}")
        with self.lock:
            self.now.discard(job)
        return {"error": self.broken.get(job.label), "seconds": 0.01}

    def running(self):
        return [task for task in self.tasks if self.jobs[task["arguments"][1]] in self.now]

    def stop(self):
        pass


class House:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder, monkeypatch, notebooks=ALL):
        self.folder, self.notebooks = folder, notebooks
        skip = shutil.ignore_patterns("weights", "__pycache__")
        shutil.copytree(ROOT / "diffseg_utils", folder / "diffseg_utils", ignore=skip)
        shutil.copytree(ROOT / "notebooks", folder / "notebooks")
        self.settle(folder, monkeypatch)

    def settle(self, folder, monkeypatch):
        self.folder = folder
        for module in (names, records, places):
            monkeypatch.setattr(module, "PACKAGE", folder / "diffseg_utils")

    def plan(self, *runs, extra=None):
        return plan(runs or [Run("mini_smoke")], self.notebooks, {"seeds": "0"} | (extra or {}))

    def make(self, *runs, place=None, room=ROOM, prepare=lambda place: None, extra=None):
        """Launch all; returns the place and the failures."""
        jobs = self.plan(*runs, extra=extra)
        place = place or Pretend(jobs)
        prepare(place)
        checksums = Checksums(next(iter(jobs)).run.runs_root)
        expected = dict.fromkeys(jobs, 1.0)
        place.failures = launch(
            jobs,
            place,
            checksums,
            room,
            memory_of=lambda job: 1.0,
            expected=expected,
            echo=lambda _: None,
        )
        return place

    def states(self, *runs, verify=False, extra=None):
        """{notebook: state} of what is not kept."""
        jobs = self.plan(*runs, extra=extra)
        found = survey(jobs, Checksums(next(iter(jobs)).run.runs_root, verify))
        return {job.stage.notebook: state for job, (state, _) in found.items() if state != "keep"}

    def reasons(self, *runs):
        jobs = self.plan(*runs)
        found = survey(jobs, Checksums(next(iter(jobs)).run.runs_root))
        return {
            job.stage.notebook: words for job, (state, words) in found.items() if state == "make"
        }

    def append(self, file, text="\n# a comment\n"):
        with open(self.folder / file, "a") as opened:
            opened.write(text)

    def edit_cell(self, notebook, change, kind="code", tag=None):
        path = self.folder / "notebooks" / f"{notebook}.ipynb"
        content = json.loads(path.read_text())
        cells = [cell for cell in content["cells"] if cell["cell_type"] == kind]
        cell = next(cell for cell in cells if tag in cell["metadata"].get("tags", [None]))
        cell["source"] = "".join(cell["source"]) + change
        path.write_text(json.dumps(content))


@pytest.fixture
def house(tmp_path, monkeypatch):
    return House(tmp_path / "a project", monkeypatch)


# ---- the table -----------------------------------------------------------------------------------
# ---------------------

# These name files, are counted by value, only show, or are used where a person asks for it.
NEUTRAL = {
    "files",
    "presets",
    "runs",
    "figures",
    "official",
    "evaluation/tables",
    "evaluation/page",
}
IMPORTED_BY_RUN = {
    "stream": {"data", "features", "backbone"},
    "samples": {"data"},
    "maps": {"features"},
    "ensemble": {"classifiers"},
    "scores": {"evaluation/scores", "evaluation/significance"},
}
ON_IMPORT = {  # what evaluation/__init__ imports
    "evaluation/scores",
    "evaluation/results",
    "evaluation/significance",
}


def modules_imported(source, module=""):
    """The package's modules that Python text imports, as stages name them.

    module: that of the text. A folder stands for all of its files, but those of evaluation/ and
    own/ are named one by one.
    """
    found = set()
    folder, slash, _ = module.partition("/")
    inside = folder if slash and folder in ("evaluation", "own") else ""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):  # of a Run, which imports modules when it is called
            found |= IMPORTED_BY_RUN.get(getattr(node.func, "attr", ""), set())
        if not isinstance(node, ast.ImportFrom):
            continue
        name = node.module or ""
        aliases = [alias.name for alias in node.names]
        if name.startswith("diffseg_utils"):
            name = name.removeprefix("diffseg_utils").strip(".")
        elif node.level == 0:
            continue
        elif node.level == 1 and inside:
            name = f"{inside}.{name}".strip(".")
        elif node.level == 1 and module:
            continue  # inside the same folder
        if name == "" and "evaluation" in aliases:
            found |= ON_IMPORT
        elif name == "":
            found |= set(aliases)
        elif name == "evaluation":
            files = [f"evaluation/{alias}" for alias in aliases]
            found |= ON_IMPORT | {file for file in files if records.module_files(file)[0].exists()}
        elif name.startswith("evaluation."):
            found |= ON_IMPORT | {name.replace(".", "/")}
        elif name.startswith("own."):
            found |= {"own", name.replace(".", "/")}
        else:
            found.add(name.split(".")[0])
    return found


def closure(modules, into_own=False):
    """The modules, and all that they import.

    into_own: name the files of own/ one by one, too, and follow what they import.
    """
    found, new = set(), set(modules)
    while new:
        name = new.pop()
        if name.startswith("own/") and not into_own:
            continue
        found.add(name)
        if name in NEUTRAL:
            continue
        for file in records.module_files(name):
            module = name if "/" in name or file.parent.name == name else ""
            new |= modules_imported(file.read_text(), module) - found
    return found


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.notebook)
def test_every_module_of_a_notebook_stands_in_its_row(stage):
    source = "\n".join(
        "".join(c["source"]) for c in code_cells(names.notebook_path(stage.notebook))
    )
    known = {*stage.computes, *stage.shows, *NEUTRAL}
    into_own = any(name.startswith("own/") for name in stage.computes)
    imported = closure(modules_imported(source), into_own)
    assert imported <= known, f"not in the row of {stage.notebook}: {sorted(imported - known)}"
    unused = {*stage.computes, *stage.shows} - imported - NEUTRAL
    assert not unused, f"in the row of {stage.notebook}, but not imported: {sorted(unused)}"
    assert not set(stage.computes) & set(stage.shows)
    assert not set(stage.computes) & NEUTRAL, "what only shows makes nothing stale"


def leaves_of(stage):
    return stage.leaves + stage.own_leaves


def test_every_notebook_has_a_row_and_every_file_one_maker():
    assert sorted(STAGES) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    made = Counter(name for stage in STAGES.values() for name in leaves_of(stage))
    assert set(made.values()) == {1} and set(made) == set(names.PATHS)
    read = {name for stage in STAGES.values() for name in stage.reads + stage.own_reads}
    assert read <= set(made)


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.notebook)
def test_names_of_files_and_parameters_fit_the_scope_of_a_stage(stage):
    known = names.parameters_of(names.notebook_path(stage.notebook))
    assert stage.command in ("run", "evidence", "figures", "notebook")
    assert stage.reads_from != "all seeds" or "seeds" in known
    assert stage.scope != "recipe" or "recipe" in known
    fields = {
        "run": {"{name}", "{setting}"},
        "recipe": {"{name}", "{variant}"},
        "dataset": {"{name}"},
        "project": set(),
    }[stage.scope]
    for name in stage.leaves:
        found = set(re.findall(r"{\w+}", names.PATHS[name])) - {"{results}", "{data}"}
        assert found == fields, name


def test_the_picture_of_the_table_stands_in_the_readme_of_notebooks():
    text = (ROOT / "notebooks" / "README.md").read_text()
    assert f"```mermaid\n{picture()}\n```" in text, "put the output of runs.stages.picture() there"


def test_a_plan_is_in_order_and_shares_what_seeds_share():
    runs = [Run("mini_smoke", seed) for seed in (0, 1)]
    jobs = plan(runs, [VOTING, EVIDENCE, HELPS, FIGURES], {"seeds": "0 1"})
    made = [job.label for job in jobs]
    assert Counter(job.stage.notebook for job in jobs) == {
        FEATURES: 1,
        TRAINING: 3,  # both seeds, and seed 0 by the other recipe
        VOTING: 2,
        EVIDENCE: 1,
        HELPS: 1,
        FIGURES: 1,
    }
    for job, needed in jobs.items():
        assert all(made.index(other.label) < made.index(job.label) for other in needed)


# ---- what is current
# --------------------------------------------------------------------------------------------------


def test_all_is_made_once(house):
    assert set(house.states().values()) == {"make"} and len(house.states()) == len(ALL)
    place = house.make()
    assert [label.split()[-1] for label in place.made[:2]] == [FEATURES, TRAINING]
    assert house.states() == {} and house.states(verify=True) == {}
    assert house.make().made == []


VOTES = {VOTING: "make", EVIDENCE: "make", HELPS: "make", FIGURES: "follow"}
MEMBERS = {TRAINING: "make", **VOTES}


@pytest.mark.parametrize(
    "file, expected",
    [
        ("diffseg_utils/figures/style.py", {}),
        ("diffseg_utils/runs/progress.py", {}),
        ("diffseg_utils/evaluation/tables.py", {}),
        ("diffseg_utils/presets.py", {}),
        ("diffseg_utils/scenes/cat.py", {}),
        ("README.md", {}),
        ("diffseg_utils/voting.py", VOTES),
        ("diffseg_utils/metrics.py", {**VOTES, FIGURES: "make"}),
        ("diffseg_utils/classifiers.py", MEMBERS),
        ("diffseg_utils/training.py", {**MEMBERS, EVIDENCE: "follow"}),
        ("diffseg_utils/evaluation/evidence.py", {EVIDENCE: "make", FIGURES: "follow"}),
        (
            "diffseg_utils/evaluation/observers.py",
            {VOTING: "make", EVIDENCE: "make", FIGURES: "follow"},
        ),
        ("diffseg_utils/evaluation/significance.py", {**VOTES, FIGURES: "make"}),
        ("diffseg_utils/features.py", {FEATURES: "make", **MEMBERS}),
        ("diffseg_utils/scenes/horse.py", {FEATURES: "make", **MEMBERS}),
        ("diffseg_utils/backbone.py", {FEATURES: "make", TRAINING: "follow", **VOTES}),
    ],
)
def test_a_changed_file_makes_stale_what_it_decides(house, file, expected):
    house.make()
    house.append(file)
    assert house.states() == expected
    for notebook, reason in house.reasons().items():
        assert reason == f"{file.removeprefix('diffseg_utils/')} changed", notebook


def test_equal_bytes_make_nothing_stale(house):
    house.make()
    house.append("diffseg_utils/backbone.py")
    made = house.make().made
    assert {label.split()[-1] for label in made} == {FEATURES, VOTING, EVIDENCE, HELPS}
    house.append("diffseg_utils/backbone.py")

    def other_features(place):
        place.versions[FEATURES] = 1

    place = house.make(prepare=other_features)
    assert {label.split()[-1] for label in place.made} == {*ALL} - {FIGURES}


def test_prose_and_cells_that_draw_do_not_count_but_code_does(house):
    house.edit_cell(VOTING, "x = 1\n", tag=None)
    house.make()
    house.edit_cell(VOTING, "More words.", kind="markdown")
    assert house.states() == {}
    house.edit_cell(TRAINING, "\n# another title", tag="figure")
    assert house.states() == {}
    house.edit_cell(VOTING, "# a comment for the reader", tag="parameters")
    assert house.states() == {}, "parameters count by value"
    house.edit_cell(VOTING, "\n0")
    assert house.states() == {VOTING: "make", EVIDENCE: "follow", FIGURES: "follow"}
    assert house.reasons() == {VOTING: "the notebook's code changed"}


def test_a_new_dataset_or_recipe_touches_no_other(house, monkeypatch):
    house.make()
    monkeypatch.setitem(DATASETS, "another", DATASETS["mini_cat"])
    assert house.states() == {}
    monkeypatch.setitem(RECIPES, "another", RECIPES["tuned"])
    assert house.states() == {}


def test_a_number_of_the_recipe_counts_by_name(house, monkeypatch):
    house.make()
    monkeypatch.setitem(RECIPES, "published", RECIPES["published"] | {"rate": 2e-3})
    states = house.states()
    assert states[TRAINING] == states[VOTING] == "make" and FEATURES not in states
    assert house.reasons()[TRAINING] == "recipe: rate changed"


def test_parameters_count_by_name_and_value(house):
    house.make()
    states = house.states(extra={"k": 2.0})
    assert states == {VOTING: "make", EVIDENCE: "follow", FIGURES: "follow"}


def test_weights_count_by_content(house, monkeypatch, tmp_path):
    house.make()
    other = tmp_path / "other.safetensors"
    other.write_text("other weights")
    described, _ = records.backbone_of(Run("mini_smoke"))
    monkeypatch.setattr(records, "backbone_of", lambda run: (described, other))
    assert house.states()[FEATURES] == "make" and house.states()[TRAINING] == "follow"
    assert house.reasons()[FEATURES] == "backbone: weights changed"


def test_times_and_places_do_not_count(house, monkeypatch, tmp_path):
    house.make()
    for path in house.folder.rglob("*"):
        os.utime(path)
    assert house.states() == {}, "touched, as by a checkout of another branch and back"
    shutil.copytree(house.folder, tmp_path / "copied")
    house.settle(tmp_path / "copied", monkeypatch)
    assert house.states() == {}
    shutil.move(tmp_path / "copied", tmp_path / "moved")
    house.settle(tmp_path / "moved", monkeypatch)
    assert house.states() == {}
    shutil.rmtree(house.folder / "data")
    assert set(house.states()) == set(ALL), "committed results, no data/: a fresh clone"


def test_what_is_lost_or_damaged_is_made_again(house):
    house.make()
    ensemble = Run("mini_smoke").path("ensemble")
    ensemble.unlink()
    assert house.reasons() == {TRAINING: "ensemble.safetensors is missing"}
    made = house.make().made
    assert [label.split()[-1] for label in made] == [TRAINING], "equal bytes, so nothing after it"
    before = ensemble.stat()
    ensemble.write_text(ensemble.read_text()[::-1])
    os.utime(ensemble, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert house.states() == {}, "the same size and time: not read again"
    assert house.states(verify=True)[TRAINING] == "make"
    os.utime(ensemble)
    assert house.reasons() == {TRAINING: "ensemble.safetensors is not what was written"}


def test_a_module_edited_meanwhile_makes_its_stage_again(house):
    def edit_meanwhile(place):
        place.meanwhile[VOTING] = lambda: house.append("diffseg_utils/evaluation/calibration.py")

    house.make(prepare=edit_meanwhile)
    assert house.reasons()[VOTING] == "evaluation/calibration.py changed"


def test_unfinished_work_carries_a_fingerprint_and_goes(house):
    seen = []

    house.notebooks = [VOTING]

    def look(place):
        def work():
            folder = Path(place.tasks[-1]["environment"]["DIFFSEG_UNFINISHED"])
            seen.append((folder, folder.is_dir(), sorted(folder.parent.glob(".02*"))))

        place.meanwhile[TRAINING] = work
        place.broken["mini_smoke/seed0 02_classifier_training"] = "interrupted"

    house.make(prepare=look)
    house.make(prepare=look)
    house.append("diffseg_utils/training.py")
    house.make(prepare=look)
    (first, there, _), (second, _, _), (third, _, beside) = seen
    assert there and first == second, "the same work goes on"
    assert third != first and beside == [third], "work of another code is deleted"
    house.make()
    assert not third.exists()


def test_leftovers_of_a_killed_driver_hinder_nobody(house):
    house.make()
    job = next(iter(house.plan()))
    for path in (job.record, job.executed):
        path.with_name(f".{path.stem}.99999{path.suffix}").write_text("half")
    job.record.write_text("{}")
    house.make()
    assert house.states() == {}
    assert not list(house.folder.rglob(".*.99999.*"))


def test_stray_files_and_lost_checksums_do_not_matter(house):
    house.make()
    features = Run("mini_smoke").path("features")
    (features / ".DS_Store").write_text("of a file manager")
    (Run("mini_smoke").runs_root / "checksums.json").write_text("not JSON")
    assert house.states() == {}


# ---- failures, room, locks
# --------------------------------------------------------------------------------------------


def test_a_failure_is_said_and_other_runs_go_on(house):
    def break_one(place):
        place.broken["mini_smoke/seed0 02_classifier_training"] = "ValueError: no pixels"

    runs = [Run("mini_smoke"), Run("mini_horse")]
    place = house.make(*runs, prepare=break_one)
    assert place.failures == ["mini_smoke/seed0 02_classifier_training: ValueError: no pixels"]
    made = {label for label in place.made}
    assert "mini_horse/seed0 03_voting_analysis" in made
    assert "mini_smoke/seed0 03_voting_analysis" not in made
    assert not any(label.endswith(FIGURES) for label in made)
    assert house.make(*runs).failures == [] and house.states(*runs) == {}


def test_results_of_an_earlier_success_stay(house):
    house.make()
    history = Run("mini_smoke").path("history")
    before = history.read_text()
    house.append("diffseg_utils/training.py")

    def break_one(place):
        place.broken["mini_smoke/seed0 02_classifier_training"] = "killed (out of memory?)"

    house.make(prepare=break_one)
    assert history.read_text() == before and house.states()[TRAINING] == "make"


def test_an_unforeseen_error_of_a_stage_is_that_stages(house, monkeypatch):
    whole = records.finish

    def fail(job, *rest):
        if job.label == "mini_smoke/seed0 02_classifier_training":
            raise OSError("no space left on device")
        return whole(job, *rest)

    monkeypatch.setattr(records, "finish", fail)
    place = house.make(Run("mini_smoke"), Run("mini_horse"))
    said = "mini_smoke/seed0 02_classifier_training: no space left on device"
    assert place.failures == [said]
    assert "mini_horse/seed0 03_voting_analysis" in place.made


def test_a_machine_that_sees_other_files_or_code_says_so(house):
    house.make()
    job = next(iter(house.plan()))
    now = records.fingerprint(job, Checksums(job.run.runs_root))
    task = places.task_of(job, now, house.folder, 1, None, 1.0)
    assert places.problem_of(task) is None
    other = task | {"modules": {"features.py": "another checksum"}}
    assert "has another version of features.py" in places.problem_of(other)
    task["environment"]["DIFFSEG_UNFINISHED"] = "/nowhere"
    assert "does not see /nowhere; all machines need the same file" in places.problem_of(task)


def test_memory_and_gpus_limit_how_many_at_once(house):
    runs = [Run("mini_smoke", seed) for seed in range(6)]
    assert house.make(*runs, room=Room(4, 1, memory=100)).most > 1
    shutil.rmtree(house.folder / "data")
    assert house.make(*runs, room=Room(4, 1, memory=1.5)).most == 1, "each needs 1 GB"
    shutil.rmtree(house.folder / "data")
    place = house.make(*runs, room=Room(2, 1, 100, gpus=("3", "5")))
    given = Counter(task["environment"]["CUDA_VISIBLE_DEVICES"] for task in place.tasks)
    assert set(given) == {"3", "5"}  # and never one to two at a time: see Pretend.make


def test_room_on_pretended_machines(house, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    house.notebooks = [VOTING, FIGURES]
    jobs = house.plan(*(Run("mini_smoke", seed) for seed in range(6)))
    room, said = room_for(jobs, there=(8, 64.0, []))
    assert (room.slots, room.threads, said) == (6, 1, "")
    room, said = room_for(jobs, jobs=2, there=(8, 64.0, []))
    assert (room.slots, room.threads) == (2, 4)
    room, said = room_for(jobs, there=(8, 64.0, ["0", "1"]))
    assert (room.slots, room.threads, room.gpus) == (2, 4, ("0", "1"))
    room, said = room_for(jobs, jobs=4, there=(8, 64.0, ["7"]))
    assert room.slots == 1 and said == "GPUs: 1, so 1 at a time"
    room, said = room_for(jobs, there=(8, 3.0, []))
    assert "memory: a stage may need" in said and "3.0 GB are free" in said


def test_a_second_driver_says_who_is_running(tmp_path):
    where = (tmp_path / "results", tmp_path / "data" / "runs")
    said = []
    with only_driver(*where, ["a"]):
        with (
            pytest.raises(
                RuntimeError, match=rf"is being made by process {os.getpid()} on .*since"
            ),
            only_driver(*where, ["b"]),
        ):
            pass
        other = threading.Thread(target=wait_for, args=(tmp_path, said))
        other.start()
        while not said:
            time.sleep(0.01)
        assert f"waiting for process {os.getpid()}" in said[0] and len(said) == 1
        with only_driver(tmp_path / "third", where[1], ["c"]):
            pass  # shares nothing that is being made
    other.join(5)
    assert said[-1] == "mine now"


def wait_for(folder, said):
    with only_driver(folder / "other", folder / "data" / "runs", ["a"], said.append):
        said.append("mine now")


def test_clean_finds_what_no_record_needs(house):
    house.make()
    root = Run("mini_smoke").runs_root
    assert unneeded(root) == {}
    for name in ("old/features/map.bin", "mini_smoke/features/train/stray.bin", "stray.txt"):
        with atomic(root / name) as partial:
            partial.write_text("12345")
    found = unneeded(root)
    expected = {"old": 5, "mini_smoke/features/train/stray.bin": 5, "stray.txt": 5}
    assert found == {root / name: size for name, size in expected.items()}
    delete(found)
    assert unneeded(root) == {} and house.states() == {}


def test_clean_says_before_it_deletes(tmp_path):
    stray = tmp_path / "data" / "runs" / "old" / "map.bin"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(bytes(2_500_000))
    said = diffseg("clean", "--results", tmp_path / "results").output
    assert "2.5 MB that no record needs" in said and stray.exists()
    assert "2.5 MB deleted" in diffseg("clean", "--yes", "--results", tmp_path / "results").output
    assert not stray.exists()


# ---- waiting -------------------------------------------------------------------------------------
# ---------------------


def test_the_forecast_learns_the_speed_of_this_machine():
    """Eight jobs of 60 expected seconds on two slots, on a machine of half the speed: 480 s in
    all.
    """
    jobs = list("abcdefgh")
    forecast = Forecast(dict.fromkeys(jobs, 60.0), slots=2)
    for now in range(90, 450, 10):
        ended = 2 * (now // 120)
        forecast.ended = dict.fromkeys(jobs[:ended], 120.0)
        so_far = now % 120
        running = {job: (so_far, so_far / 120) for job in jobs[ended : ended + 2]}
        to_go = forecast.to_go(running, jobs[ended + 2 :])
        assert 1 / 1.5 < to_go / (480 - now) < 1.5, now


def test_a_log_never_says_that_nothing_is_to_go():
    said = []
    lines = Lines(2, said.append)
    lines.spoke -= 1000
    job = type("Job", (), {"label": "a run 02"})
    lines.update({job: (3.0, None)}, 0.0)
    lines.update({job: (4.0, 0.5)}, 100.0)
    assert len(said) == 1 and "0:01 to go" in said[0], "one line now and then"
    assert clock(3725) == "1:02:05" and clock(59.9) == "0:59"
