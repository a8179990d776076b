"""What needs what: one table of stages, and the plan of stages that some runs need."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..presets import MINI
from .run import PATHS, Run, notebook_path, parameters_of

FEATURES = "01_feature_extraction"
TRAINING = "02_classifier_training"
VOTING = "03_voting_analysis"
EVIDENCE = "09_evidence"
HELPS = "10_what_helps"
FIGURES = "04_figure_reproduction"
BOTH = ("published", "tuned")  # recipes that 10 compares

# What a stage is made for, where its executed notebook lies, and the fields of a Run that it
# depends on.
SCOPES = {
    "run": ("{name}/{setting}/{stage}", ("dataset", "backbone", "seed", "recipe")),
    "recipe": ("{name}/{stage}{variant}", ("dataset", "backbone", "recipe")),
    "dataset": ("{name}/{stage}", ("dataset", "backbone")),
    "project": ("{stage}", ()),
}


@dataclass(frozen=True)
class Stage:
    """A notebook that leaves something behind: a row of the table below.

    Files are named as in run.PATHS, modules as their files in the package.
    """

    notebook: str
    # What it is made for: a name in SCOPES.
    scope: str
    # Files of other stages that it reads, and files that it writes beside its executed copy.
    reads: tuple
    leaves: tuple
    # Modules that decide what it leaves: a change makes it stale. Modules that only show
    # something: a change makes nothing stale.
    computes: tuple
    shows: tuple
    # Values of presets.py that count: names in records.SETTINGS.
    settings: tuple
    # What it reads and leaves beside these for somebody's own dataset.
    own_reads: tuple = ()
    own_leaves: tuple = ()
    # The runs whose files it reads: this run, all seeds, both recipes, all runs on disk.
    reads_from: str = "this run"
    # The command that makes it: run, evidence, figures or notebook.
    command: str = "notebook"
    # Minutes for a painted dataset on one core, until a record knows better.
    minutes: float = 1.0
    # GB, with a small network.
    memory: float = 1.0


IMAGES = ("data", "scenes", "own")
DENOISER = ("backbone", "features", *IMAGES)
MEMBERS = ("classifiers", "training", "features")
COUNTING = ("voting", "metrics")
SCORES = (  # comparing what was counted
    "evaluation/scores",
    "evaluation/packing",
    "evaluation/results",
    "evaluation/significance",
    "metrics",
)
OBSERVERS = ("evaluation/observers", "evaluation/calibration", "evaluation/boundaries", "voting")
HELD_OUT = ("evaluation/held_out", *SCORES)
OWN_FOLDER = (  # making, checking and labelling a folder of own images
    "own/annotations",
    "own/check",
    "own/example",
    "own/folder",
    "own/folds",
    "own/images",
    "own/label",
    "own/labeller",
    "own/new",
    "own/overview",
    "own/patches",
    "comparisons",
)

STAGES = {
    stage.notebook: stage
    for stage in (
        Stage(
            "00_tour",
            scope="project",
            reads=(),
            leaves=(),
            computes=(*DENOISER, *MEMBERS, *COUNTING, *SCORES),
            shows=("figures",),
            settings=(),
        ),
        Stage(
            FEATURES,
            scope="dataset",
            reads=(),
            leaves=("features",),
            computes=DENOISER,
            shows=("metrics", "figures"),
            settings=("preset", "backbone"),
            command="run",
            minutes=0.5,
        ),
        Stage(
            TRAINING,
            scope="run",
            reads=("features",),
            leaves=("history", "ensemble"),
            own_leaves=("folds",),
            computes=(*MEMBERS, *IMAGES),
            shows=("backbone", *SCORES, *OBSERVERS, "figures"),
            settings=("preset", "recipe"),
            command="run",
            minutes=1.4,
        ),
        Stage(
            VOTING,
            scope="run",
            reads=("features", "ensemble"),
            leaves=("scores", "examples", "manifest"),
            own_reads=("folds",),
            own_leaves=("patches",),
            computes=(
                *SCORES,
                *OBSERVERS,
                "evaluation/choice",
                "evaluation/held_out",
                "evaluation/examples",
                *MEMBERS,
                "backbone",
                *IMAGES,
            ),
            shows=("figures", "explorer"),
            settings=("preset", "recipe", "ks"),
            command="run",
            minutes=0.3,
        ),
        Stage(
            EVIDENCE,
            scope="recipe",
            reads=("features", "ensemble", "scores"),
            reads_from="all seeds",
            leaves=("evidence", "evidence table"),
            computes=(
                *SCORES,
                *OBSERVERS,
                "evaluation/evidence",
                "evaluation/choice",
                "classifiers",
                *DENOISER,
            ),
            shows=("figures",),
            settings=("preset", "backbone"),
            command="evidence",
            minutes=10.0,
        ),
        Stage(
            HELPS,
            scope="dataset",
            reads=("features", "ensemble"),
            reads_from="both recipes",
            leaves=("effects", "uncertainty"),
            computes=(
                *SCORES,
                *HELD_OUT,
                "evaluation/uncertainty",
                "evaluation/measured",
                "voting",
                "fitted_rules",
                *MEMBERS,
                *DENOISER,
            ),
            shows=("figures",),
            settings=("preset", "backbone", "both recipes"),
            command="evidence",
            minutes=16.0,
        ),
        Stage(
            FIGURES,
            scope="project",
            reads=("scores", "examples", "evidence table", "effects"),
            reads_from="all runs on disk",
            leaves=("page", "all scores", "table 1", "table 1, masked"),
            computes=SCORES,
            shows=("figures", "scenes", "voting", "own"),
            settings=(),
            command="figures",
            minutes=0.65,
        ),
        Stage(
            "08_training_recipes",
            scope="project",
            reads=("scores", "evidence"),
            reads_from="all runs on disk",
            leaves=("recipes",),
            computes=(
                "comparisons",
                "evaluation/measured",
                *HELD_OUT,
                *MEMBERS,
                *DENOISER,
                *COUNTING,
            ),
            shows=("figures",),
            settings=("all recipes", "named"),
            minutes=60.0,
        ),
        Stage(
            "05_own_images",
            scope="project",
            reads=("uncertainty",),
            reads_from="all runs on disk",
            leaves=(),
            computes=(*DENOISER, *MEMBERS, *COUNTING, *HELD_OUT, *OWN_FOLDER),
            shows=("evaluation/uncertainty", "evaluation/measured", "figures"),
            settings=(),
            minutes=3.0,
        ),
        Stage(
            "06_costs",
            scope="project",
            reads=(),
            leaves=("costs",),
            computes=(*HELD_OUT, *MEMBERS, *DENOISER, *COUNTING),
            shows=(
                "figures",
                "explorer",
                "evaluation/observers",
                "evaluation/calibration",
                "evaluation/boundaries",
            ),
            settings=("both recipes", "named"),
            minutes=20.0,
            memory=6.0,
        ),
        Stage(
            "07_pretraining",
            scope="project",
            reads=(),
            leaves=(),
            computes=(
                "pretraining",
                "comparisons",
                "evaluation/measured",
                *HELD_OUT,
                *MEMBERS,
                *DENOISER,
                *COUNTING,
            ),
            shows=("figures",),
            settings=("both recipes", "named"),
            minutes=2.0,
        ),
    )
}


@dataclass(frozen=True)
class Job:
    """One stage of one run, with the other notebook parameters that were asked for."""

    stage: Stage
    run: Run
    extra: dict = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, stage, run, extra):
        """The job of a stage (or its notebook's name) for `run`; what the stage does not depend on
        is left out of the run.
        """
        stage = STAGES.get(stage, stage)
        _, depends = SCOPES[stage.scope]
        shared = Run(MINI[0], data=run.data, results=run.results, device=run.device)
        return cls(stage, replace(shared, **{name: getattr(run, name) for name in depends}), extra)

    @property
    def place(self):
        """What the job is made for, as in the names of folders: mini_horse/seed0, mini_horse, or
        nothing.
        """
        pattern, _ = SCOPES[self.stage.scope]
        return Path(self._filled(pattern)).parent.as_posix().removeprefix(".")

    @property
    def label(self):
        """What messages call the job."""
        return f"{self.place or 'all runs'} {self.stage.notebook}"

    @property
    def notebook(self):
        return notebook_path(self.stage.notebook)

    @property
    def executed(self):
        """The executed copy of the notebook."""
        return self.run.results_root / f"{self._name}.ipynb"

    @property
    def record(self):
        """The JSON file that says what the job was made from; written last."""
        folder = self.run.runs_root / self._name
        results = self.run.results_root.name
        return folder.with_name(
            f"{folder.name}{'' if results == 'results' else f'@{results}'}.json"
        )

    def unfinished(self, fingerprint):
        """The folder of what an interrupted job goes on from."""
        return self.record.with_name(f".{self.record.stem}.{fingerprint}")

    @property
    def outputs(self):
        """The files and folders that must be there when the job has ended."""
        leaves = self.stage.leaves + (self.stage.own_leaves if self.run.preset.own else ())
        return [self.executed, *(self.run.path(name) for name in leaves)]

    @property
    def seeds(self):
        """The seeds whose ensembles a stage of several seeds takes."""
        return [int(word) for word in str(self.extra.get("seeds", "0")).split()]

    def sources(self):
        """The runs whose files it reads; none if it reads those that are on disk."""
        if self.stage.reads_from == "all runs on disk":
            return []
        if self.stage.reads_from == "all seeds":
            return [replace(self.run, seed=seed) for seed in self.seeds]
        if self.stage.reads_from == "both recipes":
            return [replace(self.run, recipe=recipe) for recipe in BOTH]
        return [self.run]

    def read_files(self):
        """The files and folders of other stages that the job reads."""
        if self.stage.reads_from == "all runs on disk":
            anywhere = {
                "results": ".",
                "data": ".",
                "name": "*",
                "setting": "seed*",
                "variant": "*",
            }
            found = []
            for name in self.stage.reads:
                root = self.run.results_root if "{results}" in PATHS[name] else self.run.runs_root
                found += sorted(root.glob(PATHS[name].format(**anywhere)))
            return found
        names = self.stage.reads + (self.stage.own_reads if self.run.preset.own else ())
        paths = [run.path(name) for run in self.sources() for name in names]
        return list(dict.fromkeys(paths))

    def needs(self):
        """The jobs that leave what this one reads, unless it reads whatever is there."""
        needed = [
            Job.of(maker_of(name), run, self.extra)
            for run in self.sources()
            for name in self.stage.reads
        ]
        return list(dict.fromkeys(needed))

    def parameters(self):
        """{name: value} that the notebook is given: fields of the run, and what was asked for by
        name.
        """
        known = parameters_of(self.notebook)
        _, depends = SCOPES[self.stage.scope]
        fields = (*depends, "data", "results", "device")
        given = {name: value for name, value in asdict(self.run).items() if name in fields}
        return {name: value for name, value in (self.extra | given).items() if name in known}

    def _filled(self, pattern):
        return pattern.format(
            name=self.run.name,
            setting=self.run.setting,
            variant=self.run.variant,
            stage=self.stage.notebook,
        )

    @property
    def _name(self):
        return self._filled(SCOPES[self.stage.scope][0])


def maker_of(name):
    """The stage that leaves the file `name`."""
    return next(stage for stage in STAGES.values() if name in stage.leaves)


def plan(runs, notebooks, extra=None):
    """{job: [jobs it needs]} of all that the notebooks of `runs` need, in the order of making."""
    jobs = {}

    def add(job):
        needed = job.needs()
        for other in needed:
            if other not in jobs:
                add(other)
        jobs.setdefault(job, needed)

    for notebook in notebooks:
        for run in runs:
            add(Job.of(notebook, run, extra or {}))
    for job in jobs:
        if job.stage.reads_from == "all runs on disk":
            jobs[job] = [other for other in jobs if set(other.stage.leaves) & set(job.stage.reads)]
    return jobs


def picture():
    """The table as a Mermaid flowchart: an arrow from each stage to those that read what it
    leaves.
    """
    lines = ["flowchart LR"]
    for stage in STAGES.values():
        lines.append(f'    {_node(stage)}["{stage.notebook}"]')
    for stage in STAGES.values():
        makers = {}
        for name in stage.reads:
            makers.setdefault(maker_of(name), []).append(name)
        for maker, names in makers.items():
            lines.append(f'    {_node(maker)} -->|"{", ".join(names)}"| {_node(stage)}')
    return "\n".join(lines)


def _node(stage):
    return "n" + stage.notebook.partition("_")[0]
