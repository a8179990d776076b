"""The command line: diffseg list | fetch | run | evidence | figures | notebook | vote | status |
clean; for own images new | check | sweep | label | export.
"""

import ast
import sys
from functools import reduce, wraps
from itertools import chain
from pathlib import Path

import click

from .files import atomic
from .own.folder import file_of
from .presets import BACKBONES, DATASETS, MINI, RECIPES, choose
from .runs import Run
from .runs.run import notebook_path, parameters_of
from .runs.stages import EVIDENCE, FEATURES, FIGURES, STAGES, TRAINING, VOTING, Job, plan

DATA = "folder that holds datasets/ and checkpoints/"
CORE = (FEATURES, TRAINING, VOTING)
# What -p does not set: {notebook parameter: what says it instead}.
SAID_BY_OPTIONS = {name: f"--{name}" for name in ("data", "results", "device")}
SAID_FOR_RUNS = SAID_BY_OPTIONS | {
    "dataset": "the name of a dataset",
    "seed": "--seeds",
    "seeds": "--seeds",
    "recipe": "--recipe",
    "backbone": "--backbone",
}


def made_by(*commands):
    """Names of the notebooks that these commands make."""
    return [name for name, stage in STAGES.items() if stage.command in commands]


PROJECT_WIDE = made_by("notebook")


def one_sentence(command):
    """A wrong input ends in one sentence on stderr and exit code 1, not in a traceback."""

    @wraps(command)
    def guarded(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except (ValueError, OSError, RuntimeError) as error:
            raise click.ClickException(str(error)) from None

    return guarded


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="diffseg-utils", message="diffseg %(version)s")
def main():
    """Semantic segmentation with frozen diffusion models and entropy-weighted voting."""


@main.command("list")
@click.option("--data", default="data", show_default=True, help=DATA)
@one_sentence
def list_(data):
    """List the datasets, and say which data are here.

    Classes, images of each split, backbone, and whether images and checkpoint are in the folder.
    """
    line = "{:<16}{:>8}{:>7}{:>8}{:>6}  {:<14}{}"
    splits = ("train", "validation", "test")
    click.echo(line.format("dataset", "classes", "train", "valid.", "test", "backbone", "data"))
    for preset in DATASETS.values():
        counts = [preset.counts[split] for split in splits]
        there = _data_in_words(Run(preset.name, data=data))
        click.echo(line.format(preset.name, preset.n_classes, *counts, preset.backbone, there))


def _data_in_words(run):
    """Which data of a run are there."""
    from .runs.records import backbone_of

    if run.preset.painted:
        return "painted, always here"
    _, weights = backbone_of(run)
    parts = {
        "images": (run.data_root / "datasets" / run.dataset).is_dir(),
        "checkpoint": weights.exists(),
    }
    here = [name for name, there in parts.items() if there]
    missing = [name for name, there in parts.items() if not there]
    if not missing:
        return "here"
    words = f"{' and '.join(here)} here, " if here else ""
    return f"{words}no {' and no '.join(missing)}"


@main.command()
@click.argument("dataset", metavar="DATASET_OR_BACKBONE")
@click.option("--data", default="data", show_default=True, help=DATA)
@click.option(
    "--classifiers", is_flag=True, help="also the published pixel classifiers, for diffseg vote"
)
@one_sentence
def fetch(dataset, data, classifiers):
    """Download what a dataset or a backbone needs.

    The official images, labels and checkpoint of a dataset, or the checkpoint of a backbone: 47 MB
    for all datasets together, and 2.2 GB for each checkpoint.
    """
    from .official.download import fetch as fetch_files
    from .official.download import fetch_weights

    if dataset in BACKBONES and dataset not in DATASETS:
        root = Run(MINI[0], data=data).data_root
        if "urls" not in BACKBONES[dataset]:
            click.echo(f"{dataset} ships with the project: nothing to fetch")
        else:
            fetch_weights(dataset, root, click.echo)
        return
    run = Run(dataset, data=data)
    if run.preset.painted:
        click.echo(f"{dataset} is painted and ships with the project: nothing to fetch")
    elif run.preset.own:
        fetch_weights(run.backbone_used, run.data_root, click.echo)
    else:
        fetch_files(run.preset, run.data_root, click.echo, classifiers)


class Seeds(click.ParamType):
    """Whole numbers with commas between them: "0,1,2" is [0, 1, 2]."""

    name = "numbers"

    def convert(self, value, param, ctx):
        try:
            return [int(word) for word in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers, such as 0,1,2", param, ctx)


SEEDS = Seeds()


def options(*wanted):
    """Decorator that adds the options named in `wanted` to a command."""
    known = {
        "seeds": click.option(
            "--seeds",
            multiple=True,
            type=SEEDS,
            help="one or more, as --seeds 0,1,2 [default: 0; evidence: 0 to 4]",
        ),
        "recipe": click.option(
            "--recipe",
            default="",
            help=f"{' or '.join(RECIPES)} [default: published, or what a dataset.yml says]",
        ),
        "backbone": click.option(
            "--backbone",
            default="",
            help=f"a .json, or one of {', '.join(BACKBONES)} [default: the dataset's own]",
        ),
        "data": click.option(
            "--data",
            default="data",
            show_default=True,
            help=DATA,
        ),
        "results": click.option(
            "--results",
            default="results",
            show_default=True,
            help="small results; big files go to data/runs beside it",
        ),
        "device": click.option(
            "--device",
            default="auto",
            show_default=True,
            help="auto (cuda, else cpu), cpu, cuda or mps",
        ),
        "parameters": click.option(
            "-p",
            "parameters",
            nargs=2,
            multiple=True,
            metavar="NAME VALUE",
            help="another notebook parameter",
        ),
        "jobs": click.option(
            "--jobs",
            type=click.IntRange(1),
            help="notebooks (label: shares of the images) at a time [default: one a core or GPU]",
        ),
        "slurm": click.option(
            "--slurm",
            metavar="OPTIONS",
            help='send each of them to Slurm: "partition=gpu time=60 gpus=1 cpus=4"',
        ),
        "scheduler": click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="send each of them to the dask cluster at this address",
        ),
        "verify": click.option(
            "--verify", is_flag=True, help="read all files again to see whether they are current"
        ),
        "again": click.option("--again", is_flag=True, help="make what is current, too"),
        "dry_run": click.option("--dry-run", is_flag=True, help="only say what would be made"),
        "fetch_first": click.option(
            "--fetch",
            "fetch_first",
            is_flag=True,
            help="download what is missing; say before how much disk, time and memory",
        ),
    }
    return lambda command: reduce(
        lambda f, option: option(f), (known[name] for name in reversed(wanted)), command
    )


WHERE = ("jobs", "slurm", "scheduler", "verify", "dry_run")
RUNS = ("seeds", "recipe", "backbone", "data", "results", "device", "parameters", "fetch_first")


@main.command()
@click.argument("datasets", nargs=-1)
@options(*RUNS, "again", *WHERE)
@one_sentence
def run(**given):
    """Run notebooks 01 to 03 for DATASETS, then 04.

    A dataset is a name that `diffseg list` prints, or the path of your own dataset.yml. The four
    mini datasets if none is named. What is current is kept.
    """
    _runs(made_by("run", "figures"), [0], **given)


@main.command()
@click.argument("datasets", nargs=-1)
@options(*RUNS, "again", *WHERE)
@one_sentence
def evidence(**given):
    """Run all seeds for DATASETS, then 09, 10 and 04.

    Is the gain real? The four mini datasets if none is named. What is current is kept.
    """
    _runs(made_by("evidence", "figures"), range(5), **given)


@main.command()
@click.option("--pdf", is_flag=True, help="every figure as a PDF, too")
@options("data", "results", "device", "parameters", *WHERE)
@one_sentence
def figures(pdf, parameters, **given):
    """Draw the tables and figures of 04 anew.

    From the runs that are there.
    """
    parameters = [*parameters, ("pdf", "True")] if pdf else parameters
    _notebook(FIGURES, (FIGURES,), parameters=parameters, **given)


@main.command(epilog=f"NAME: {', '.join(PROJECT_WIDE)}")
@click.argument("name")
@options("data", "results", "device", "parameters", "again", *WHERE)
@one_sentence
def notebook(name, again, **given):
    """Run a notebook that belongs to no single run.

    NAME may be its number alone.
    """
    found = [stage for stage in PROJECT_WIDE if name in (stage, stage.partition("_")[0])]
    if not found:
        raise ValueError(
            f"unknown notebook {name!r}; choose from {', '.join(PROJECT_WIDE)}; "
            "`diffseg run` and `diffseg evidence` make the others"
        )
    _notebook(found[0], found if again else (), **given)


def _runs(notebooks, usual, datasets, seeds, recipe, fetch_first, parameters, again, **given):
    """Make `notebooks`, and all they need, for some datasets and seeds.

    usual: the seeds if none is given.
    """
    from .runs.preflight import check, cores

    # click hands "--seeds 0 1 2" on as seed 0 and datasets 1, 2
    words = [word for word in datasets if word.isdigit()] if seeds else []
    seeds = [*chain.from_iterable(seeds), *map(int, words)] or usual
    seeds = list(dict.fromkeys(seeds))  # each once
    datasets = [word for word in datasets if word not in words] or MINI
    where = {name: given.pop(name) for name in ("backbone", "data", "results", "device")}
    runs = [Run(name, seed, recipe, **where) for name in datasets for seed in seeds]
    asked = _parameters(parameters, [*notebooks, *CORE], SAID_FOR_RUNS)
    extra = {"seeds": " ".join(map(str, seeds))} | asked
    here = not one_cluster(given["slurm"], given["scheduler"])
    if EVIDENCE in notebooks:
        _need_test_images(runs)
    if fetch_first and not given["dry_run"]:
        from .runs.estimate import prepare

        prepare(runs, min(given["jobs"] or cores(), len(runs)), click.echo)
    for one in {run.name: run for run in runs}.values():
        check(one, here, lambda words: click.echo(words, err=True))
    _make(runs, notebooks, extra, STAGES if again else (), **given)
    if not given["dry_run"]:
        _say_patches(runs)


def one_cluster(slurm, scheduler):
    """Whichever of the two is given; ValueError if both are."""
    if slurm and scheduler:
        raise ValueError("--slurm and --scheduler: choose one of them")
    return slurm or scheduler


def _need_test_images(runs):
    """ValueError for a dataset that is scored by folds: 09 and 10 ask one ensemble about all."""
    for run in runs:
        if run.preset.n_folds:
            raise ValueError(
                f"{run.preset.file}: evidence needs test images; name a folder of them with "
                "`test: FOLDER`, which holds images/ and masks/"
            )


def _say_patches(runs):
    """Whether the features of somebody's own images are better than raw patches, a line per run."""
    for run in runs:
        if run.preset.own and run.path("patches").exists():
            import pandas as pd

            from .own.patches import patches_sentence

            click.echo(patches_sentence(run, pd.read_csv(run.path("patches"), index_col=0)))


def _notebook(name, again, data, results, device, parameters, **given):
    """Make one notebook that belongs to no single run."""
    runs = [Run(MINI[0], data=data, results=results, device=device)]
    _make(runs, (name,), _parameters(parameters, [name], SAID_BY_OPTIONS), again, **given)


def _make(runs, notebooks, extra, again, dry_run, **how):
    """Make what is not current of a plan, and what is asked for again; or only say what that is."""
    from .runs.launch import survey
    from .runs.lock import only_driver
    from .runs.preflight import check_k
    from .runs.records import Checksums

    one_cluster(how["slurm"], how["scheduler"])
    root, whole_plan = runs[0], plan(runs, notebooks, extra)
    verify = how.pop("verify")
    if dry_run:
        found = survey(whole_plan, Checksums(root.runs_root, verify), again)
        lines = [
            f"{job.label:<52}{reason}"
            for wanted in ("make", "follow")
            for job, (state, reason) in found.items()
            if state == wanted
        ]
        click.echo("\n".join(lines) or "nothing to do")
        return
    names = {job.run.name for job in whole_plan if job.stage.scope != "project"}
    check_k(whole_plan)
    with only_driver(root.results_root, root.runs_root, names, click.echo):
        checksums = Checksums(root.runs_root, verify)
        found = survey(whole_plan, checksums, again)
        checksums.save()
        wanted = [job for job, (state, _) in found.items() if state != "keep"]
        if not wanted:
            click.echo(f"nothing to do: what {root.results}/ holds is current")
            return
        failures = _launch(whole_plan, wanted, root, checksums, again, **how)
    if failures:
        raise RuntimeError("\n".join(failures))
    if FIGURES in notebooks:
        tables = f"{root.results}/{FIGURES}.ipynb, {root.results}/table1.csv"
        click.echo(f"Tables and figures: {tables}, {root.results}/figures/")


def _launch(whole_plan, wanted, root, checksums, again, jobs, slurm, scheduler):
    """Launch the `wanted` jobs of a plan, here or on a cluster; returns sentences of failures."""
    from .runs.launch import expected_seconds, launch
    from .runs.places import Dask, Here, Slurm
    from .runs.preflight import Room, memory_of, room_for

    wanted_plan = {job: [o for o in whole_plan[job] if o in wanted] for job in wanted}
    limits = ""
    if slurm:
        place = Slurm(slurm, root.results_root, root.runs_root)
        room = Room(jobs or len(wanted), place.cpus, float("inf"))
    elif scheduler:
        place, room = Dask(scheduler), Room(jobs or len(wanted), 1, float("inf"))
    else:
        # Of the whole plan, so that every try has equal threads, and equal results.
        place, (room, limits) = Here(), room_for(whole_plan, jobs, root.device)
    click.echo(
        f"{len(wanted)} notebooks to make, {len(whole_plan) - len(wanted)} current; "
        f"{room.slots} at a time, {room.threads} thread{'s' * (room.threads > 1)} each. "
        f"Results go to {root.results}/"
    )
    if limits:
        click.echo(limits)
    expected = {job: expected_seconds(job) for job in wanted}
    how = {"memory_of": memory_of, "expected": expected, "again": again, "echo": click.echo}
    return launch(wanted_plan, place, checksums, room, **how)


@main.command("new")
@click.argument("folder")
@click.option("--classes", default="", metavar="NAMES", help='names of the classes: "sky, tree"')
@click.option(
    "--from",
    "source",
    default="",
    metavar="FILE_OR_FOLDER",
    help="draw the masks from a COCO .json, or from a folder of labelme's .json files",
)
@one_sentence
def new_(folder, classes, source):
    """Make a folder for images and classes of your own.

    It holds images/, masks/ and a dataset.yml, in which every default is written out.
    """
    from .own.annotations import new_from
    from .own.new import new

    names = [name.strip() for name in classes.split(",") if name.strip()]
    if source:
        drawn = new_from(folder, source, names)
        click.echo(f"{len(drawn)} masks drawn in {folder}/masks, from {sum(drawn.values())} shapes")
    elif not names:
        raise ValueError('name the classes with --classes "a, b, c", or annotations with --from')
    else:
        new(folder, names)
    todo = "images/" if source else "images/, masks of some of them (15 are a start) into masks/"
    click.echo(
        f"{folder}/dataset.yml is written. Put your images into {todo}; "
        f"then `diffseg check {_quoted(folder)}`. The backbone photo knows "
        f"{BACKBONES['photo']['knows']} only; dataset.yml says what else there is."
    )


@main.command()
@click.argument("folder")
@options("data", "results", "device")
@click.option("--times/--no-times", default=True, help="measure how long run and label take")
@one_sentence
def check(folder, times, **where):
    """Look at a folder of your own.

    Sizes, classes, what is wrong, and how long it will take.
    """
    from .own.check import duration, report, write_picture
    from .runs.preflight import unlearnable

    run = Run(str(file_of(folder)), **where)
    table, problems = report(run.preset)
    click.echo(table)
    if problems:
        raise ValueError("\n".join(problems))
    note = unlearnable(run)
    if note:
        click.echo(note)
    click.echo(f"{write_picture(run)}: an image as the denoiser sees it")
    if times:
        click.echo(duration(run))
    click.echo(f"Nothing is wrong. `diffseg run {_quoted(folder)}` is next.")


@main.command()
@click.argument("folder")
@click.option("--steps", default="", metavar="STEPS", help='noise steps to try: "50 150 250"')
@click.option(
    "--members", type=click.IntRange(1), default=1, show_default=True, help="classifiers on a map"
)
@click.option("--write", is_flag=True, help="write the better set into dataset.yml")
@options("backbone", "data", "results", "device")
@one_sentence
def sweep(folder, steps, members, write, **where):
    """Find steps and decoder blocks for own images.

    They are scored on held-out training images of FOLDER.
    """
    from .own.images import check_masks
    from .own.sweep import STEPS, picture, sentence, write_choice
    from .own.sweep import sweep as sweep_folder
    from .runs import progress

    run = Run(str(file_of(folder)), **where)
    if write and run.name != run.preset.name:
        raise ValueError("--write is for the backbone that dataset.yml names: leave --backbone out")
    check_masks(run.preset)
    try:
        asked = list(dict.fromkeys(map(int, steps.split()))) or STEPS
    except ValueError:
        raise ValueError(
            f"--steps {steps!r}: whole numbers with spaces between them, such as '50 150 250'"
        ) from None
    found = sweep_folder(run, asked, members, progress("steps"))
    target = run.results_root / run.name / "sweep"
    picture(run, found).save(target)
    with atomic(target.with_suffix(".csv")) as partial:
        found.maps.to_csv(partial, index=False, float_format="%.5g")
    click.echo(f"{target}.png: every block at every step alone")
    click.echo(sentence(run, found))
    if write:
        steps, blocks = found.best
        write_choice(run.preset, steps, blocks)
        click.echo(f"written into {run.preset.file}: steps {steps}, blocks {blocks}")


@main.command()
@click.argument("folder")
@click.option(
    "--run", "run_folder", default="", metavar="FOLDER", help="results/NAME/SEED of a run"
)
@click.option("--with", "file", default="", metavar="FILE", help="instead: what export wrote")
@click.option("--all", "everything", is_flag=True, help="also the images that have a mask")
@click.option("--backbone", default="", help="where the denoiser is, if it is none of this kit's")
@options("data", "results", "device", "jobs", "slurm", "scheduler")
@one_sentence
def label(folder, run_folder, file, everything, backbone, data, results, device, **where):
    """Label the images of FOLDER that have no mask.

    FOLDER/predictions/ gets labels in the size of the images, overlays, and a list of who needs a
    human first.
    """
    from .own.label import label_folder
    from .own.labeller import labeller_of, load_labeller
    from .runs import progress

    if run_folder and file:
        raise ValueError("--run and --with: choose one of them")
    if file:
        labeller = load_labeller(file, backbone)
    elif run_folder:
        labeller = labeller_of(run_folder, backbone)
    else:
        own = Run(str(file_of(folder)), results=results)
        labeller = labeller_of(own.path("manifest").parent, backbone)
    root = Run(MINI[0], data=data, device=device)
    target = Path(folder).absolute() / "predictions"
    place, shards = _place_of_shards(root, target, labeller.backbone, **where)
    n_images, n_made, seconds = label_folder(
        folder,
        labeller,
        everything=everything,
        place=place,
        shards=shards,
        data=root.data_root,
        device=device,
        report=progress("images"),
    )
    click.echo(f"{n_images} images, {n_made} labelled now, in {folder}/predictions")
    if seconds:
        click.echo(
            "seconds an image: {all:.2f}, of which denoiser {denoiser:.2f}, classifiers and vote "
            "{vote:.2f}, files {files:.2f}".format(**seconds)
        )
    click.echo(f"Look at {folder}/predictions/index.html first: the least certain images")


def _place_of_shards(root, target, backbone, jobs, slurm, scheduler):
    """(who executes the shards of label, how many at most): on this machine one per core that has
    memory enough, or one for the GPU. target: the folder that they write.
    """
    import psutil

    from .own.label import memory_of_labeller
    from .runs.places import Dask, Here, Slurm
    from .runs.preflight import GB, cores

    one_cluster(slurm, scheduler)
    if slurm:
        return Slurm(slurm, target, root.runs_root), jobs or 1
    if scheduler:
        return Dask(scheduler), jobs or 1
    if root.torch_device == "cuda":
        return Here(), jobs or 1
    room = int(psutil.virtual_memory().available / GB / memory_of_labeller(backbone))
    return Here(), jobs or max(1, min(cores(), room))


@main.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("file")
@click.option("--backbone", default="", help="where the denoiser is, if it is none of this kit's")
@one_sentence
def export(run_folder, file, backbone):
    """Write a run's classifiers into a file.

    RUN is a folder results/NAME/SEED; FILE ends with .safetensors. `diffseg label --with FILE`
    takes it in any clone that has the denoiser.
    """
    from .own.labeller import labeller_of

    if not file.endswith(".safetensors"):
        raise ValueError(f"{file}: its name must end with .safetensors")
    labeller_of(run_folder, backbone).save(file)
    click.echo(f"{file}: {Path(file).stat().st_size / 1e6:.1f} MB")


def _quoted(path):
    return f'"{path}"' if " " in str(path) else str(path)


@main.command()
@options("results")
@click.option("--yes", is_flag=True, help="delete it")
@one_sentence
def clean(results, yes):
    """Say what in data/runs is not needed, or delete it.

    Files that no record of a finished notebook names, and how big they are; --yes deletes them.
    """
    from .runs.clean import delete, unneeded
    from .runs.lock import only_driver

    root = Run(MINI[0], results=results)
    names = [path.name for path in root.runs_root.glob("*") if path.is_dir()]
    with only_driver(root.results_root, root.runs_root, names, click.echo):
        found = unneeded(root.runs_root)
        for path, size in found.items():
            click.echo(f"{size / 1e6:>10,.1f} MB  {path}")
        total = f"{sum(found.values()) / 1e6:,.1f} MB"
        if yes:
            delete(found)
            click.echo(f"{total} deleted")
        else:
            click.echo(f"{total} that no record needs; `diffseg clean --yes` deletes it")


@main.command()
@click.argument("dataset")
@click.option(
    "--classifiers",
    required=True,
    metavar="FOLDER",
    help="with model_0.pth, model_1.pth, ...; or the ensemble.safetensors of a run",
)
@click.option(
    "--backbone", default="", help="a .json file or a name, as in run [default: the dataset's own]"
)
@click.option("--data", default="data", show_default=True, help=DATA)
@click.option(
    "--results",
    default="results",
    show_default=True,
    help="feature maps of a run are looked for beside it",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps")
@click.option(
    "--votes", metavar="DIR", help="save the majority votes here, <stem>.npy, as published"
)
@one_sentence
def vote(dataset, classifiers, backbone, data, results, device, votes):
    """Evaluate every rule on published classifiers.

    And on the test images of DATASET; nothing is trained.
    """
    run = Run(dataset, backbone=backbone, data=data, results=results, device=device)
    from .official.vote import apply
    from .runs.records import Checksums, why_stale

    def stored():
        return why_stale(Job.of(FEATURES, run, {}), Checksums(run.runs_root)) is None

    apply(run, classifiers, votes, stored=stored, echo=click.echo)


@main.command()
@click.option("--results", default="results", show_default=True)
@click.option("--recipe", default="published", show_default=True, help=" or ".join(RECIPES))
@click.option(
    "--evidence",
    "table",
    default="results",
    flag_value="evidence",
    help="instead: differences over all seeds and images, from 09",
)
@click.option(
    "--training",
    "table",
    flag_value="training",
    help="instead: what the tuned recipe gains over the published one",
)
@click.option("--costs", "table", flag_value="costs", help="instead: what it costs, from 06_costs")
@click.option(
    "--measure",
    default="miou",
    show_default=True,
    help="another measure of the runs, such as accuracy: a name in metrics.MEASURES",
)
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    help="table, markdown, csv or latex [default: table in a terminal, else markdown]",
)
@one_sentence
def status(results, recipe, table, measure, format_):
    """Show what has been run, as a table.

    mIoU or another measure in percent (published protocol), mean and spread over seeds, and
    differences of votes in points with 95 % intervals. The file results/scores.csv holds every
    single number.
    """
    from .evaluation import tables
    from .evaluation.formats import FORMATS, formatted
    from .metrics import MEASURES

    choose("recipe", recipe, RECIPES)
    choose("measure", measure, MEASURES)
    if table != "results" and measure != "miou":
        raise ValueError(f"--measure {measure} is for the table of runs, not for --{table}")
    if format_ is None:
        format_ = "table" if sys.stdout.isatty() else "markdown"
    choose("format", format_, FORMATS)
    folder = Run(MINI[0], results=results).results_root
    if table == "results":
        frame = tables.results_table(folder, recipe, measure)
    elif table == "evidence":
        frame = tables.evidence_table(folder, recipe)
    elif table == "training":
        frame = tables.training_table(folder)
    else:
        frame = tables.costs_table(folder)
    click.echo(formatted(frame, format_))


def _parameters(pairs, stages, said_otherwise):
    """{name: value} of -p options.

    ValueError for a name that no notebook of `stages` has, or that something else says.
    """
    found = {name for stage in stages for name in parameters_of(notebook_path(stage))}
    known = found - said_otherwise.keys()
    values = {}
    for name, text in pairs:
        if name in said_otherwise:
            raise ValueError(f"-p {name} {text}: say it with {said_otherwise[name]}")
        if name not in known:
            raise ValueError(
                f"unknown notebook parameter {name!r}; choose from {', '.join(sorted(known))}"
            )
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


if __name__ == "__main__":
    main(prog_name="diffseg")
