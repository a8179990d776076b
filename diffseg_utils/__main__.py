"""The command line: diffseg list | fetch | run | evidence | vote | status (python -m diffseg_utils ...)."""

import ast
import os
from functools import reduce, wraps

import click

from .presets import BACKBONES, DATASETS, MINI, RECIPES, choose
from .runs import (
    EVIDENCE,
    FEATURES,
    FIGURES,
    HELPS,
    STAGES,
    VOTING,
    Run,
    is_done,
    parameters_of,
    project,
    stage_key,
)


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
def main():
    """Semantic segmentation with frozen diffusion models and entropy-weighted voting."""


@main.command("list")
def list_():
    """The datasets: classes, images, backbone, where the data comes from."""
    click.echo(
        f"{'dataset':<16}{'classes':>8}{'train':>7}{'valid.':>8}{'test':>6}  {'backbone':<14}data"
    )
    for p in DATASETS.values():
        source = "painted; ships with the project" if p.painted else "official files"
        counts = f"{p.counts['train']:>7}{p.counts['validation']:>8}{p.counts['test']:>6}"
        click.echo(f"{p.name:<16}{p.n_classes:>8}{counts}  {p.backbone:<14}{source}")


@main.command()
@click.argument("dataset")
@click.option(
    "--data",
    default="data",
    show_default=True,
    help="folder that will hold datasets/ and checkpoints/",
)
@click.option(
    "--classifiers", is_flag=True, help="also the published pixel classifiers, for diffseg vote"
)
@one_sentence
def fetch(dataset, data, classifiers):
    """Download the official images, labels and checkpoint of DATASET (47 MB and 2.2 GB)."""
    run = Run(dataset, data=data)
    if run.preset.painted:
        click.echo(f"{dataset} is painted and ships with the project: nothing to fetch")
        return
    from .official.download import fetch as fetch_files

    fetch_files(run.preset, run.data_root, click.echo, classifiers)


def makes_runs(command):
    """The options of a command that makes runs."""
    options = (
        click.argument("datasets", nargs=-1),
        click.option(
            "--seeds",
            multiple=True,
            type=int,
            help="one or more, as --seeds 0 1 2 [default: 0; evidence: 0 to 4]",
        ),
        click.option("--recipe", default="published", show_default=True, help=" or ".join(RECIPES)),
        click.option(
            "--backbone",
            default="",
            help=f"a .json, or one of {', '.join(BACKBONES)} [default: the dataset's own]",
        ),
        click.option(
            "--data",
            default="data",
            show_default=True,
            help="folder that holds datasets/ and checkpoints/",
        ),
        click.option(
            "--results",
            default="results",
            show_default=True,
            help="small results; big files: data/runs beside it",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="processes on this machine [default: one a core]",
        ),
        click.option(
            "--scheduler", help="address of a dask scheduler, instead of processes on this machine"
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps"),
        click.option(
            "-p",
            "parameters",
            nargs=2,
            multiple=True,
            metavar="NAME VALUE",
            help="another notebook parameter",
        ),
        click.option("--dry-run", is_flag=True, help="only say what would be made"),
        click.option(
            "--fetch",
            "fetch_first",
            is_flag=True,
            help="download what is missing; say before how much disk, time and memory",
        ),
    )
    return reduce(lambda f, option: option(f), reversed(options), command)


@main.command()
@makes_runs
@one_sentence
def run(**options):
    """Run notebooks 01, 02 and 03 for DATASETS (the four mini datasets if none is named), then 04."""
    _make((VOTING,), [0], **options)


@main.command()
@makes_runs
@one_sentence
def evidence(**options):
    """Run all seeds for DATASETS (the four mini datasets if none is named), then 03b, 03c and 04: is the gain real?"""
    _make((EVIDENCE, HELPS), range(5), **options)


def _make(
    stages,
    usual,
    datasets,
    seeds,
    recipe,
    backbone,
    data,
    results,
    workers,
    scheduler,
    device,
    parameters,
    dry_run,
    fetch_first,
):
    """Make `stages` and all they read, then 04; or only say what would be made. usual: seeds if none is given."""
    from .runner import plan, run_all

    words = [
        word for word in datasets if word.isdigit()
    ]  # click hands "--seeds 0 1 2" on as 0; 1, 2
    seeds, datasets = (
        [*seeds, *map(int, words)] or usual,
        [word for word in datasets if word not in words] or MINI,
    )
    runs = [
        Run(dataset, seed, recipe, backbone, data, results, device)
        for dataset in datasets
        for seed in seeds
    ]
    extra = _parameters(parameters, (*STAGES, *stages)) | {"seeds": " ".join(map(str, seeds))}
    if fetch_first and not dry_run:
        from .estimate import prepare

        prepare(runs, min(workers or os.cpu_count(), len(runs)), click.echo)
    for dataset in {r.dataset: r for r in runs}.values():
        _check(dataset)
    if dry_run:
        for r, stage, _ in plan(runs, stages, extra).values():
            click.echo(
                f"{r.place(stage):<36}{stage:<24}{'keep' if _kept(r, stage, extra) else 'make'}"
            )
        return
    last = ", ".join([stage for stage in stages if stage not in STAGES] + [FIGURES])
    click.echo(
        f"{len(runs)} runs of {len(STAGES)} notebooks; then {last}. Results go to {results}/"
    )
    run_all(runs, stages=stages, extra=extra, workers=workers, scheduler=scheduler, echo=click.echo)
    from .notebooks import execute

    execute(
        project() / "notebooks" / f"{FIGURES}.ipynb",
        runs[0].results_root / f"{FIGURES}.ipynb",
        {"results": results},
    )
    click.echo(
        f"Tables and figures: {results}/{FIGURES}.ipynb, {results}/table1.csv, {results}/figures/"
    )


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
@click.option(
    "--data", default="data", show_default=True, help="folder that holds datasets/ and checkpoints/"
)
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
    """Evaluate every voting rule on published classifiers and the test images of DATASET; nothing is trained."""
    run = Run(dataset, backbone=backbone, data=data, results=results, device=device)
    from .official.vote import apply

    apply(run, classifiers, votes, stored=lambda: _kept(run, FEATURES, {}), echo=click.echo)


@main.command()
@click.option("--results", default="results", show_default=True)
@click.option("--recipe", default="published", show_default=True, help=" or ".join(RECIPES))
@click.option(
    "--evidence",
    "table",
    flag_value="evidence",
    help="instead: differences over all seeds and images, from 03b",
)
@click.option(
    "--training",
    "table",
    flag_value="training",
    help="instead: what the tuned recipe gains over the published one",
)
@click.option("--costs", "table", flag_value="costs", help="instead: what it costs, from 06_costs")
@one_sentence
def status(results, recipe, table):
    """What has been run, as a Markdown table: mIoU (%, published protocol) and the gain with its 95 % interval."""
    from . import tables

    choose("recipe", recipe, RECIPES)
    folder, make = Run._path(results), getattr(tables, f"{table or 'results'}_table")
    click.echo(make(folder, recipe) if table in (None, "evidence") else make(folder))


def _parameters(pairs, stages):
    """{name: value} of -p options; ValueError for a name that no notebook of `stages` has."""
    known = [
        name
        for stage in stages
        for name in parameters_of(project() / "notebooks" / f"{stage}.ipynb")
    ]
    values = {}
    for name, text in pairs:
        if name not in known:
            raise ValueError(
                f"unknown notebook parameter {name!r}; choose from {', '.join(sorted(set(known)))}"
            )
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


def _check(run):
    """Read every image and label once and look for the checkpoint, before any work starts."""
    from .backbone import checkpoint_path, describe
    from .data import absent_classes, identity, labels_of

    describe(run.backbone_used)
    weights = checkpoint_path(run.backbone_used, run.data_root)
    if not weights.exists():
        raise FileNotFoundError(
            f"{weights}: the checkpoint of backbone {run.backbone_used!r} is missing; "
            f"`diffseg fetch {run.dataset}` downloads it"
        )
    run.torch_device  # noqa: B018 (raises if it is not there)
    identity(run.preset, run.data_root)
    absent = absent_classes(labels_of(run.preset, "train", run.data_root), run.preset)
    if absent:
        click.echo(
            f"note: {run.dataset} has no training pixel of {', '.join(absent)}; no classifier can learn it",
            err=True,
        )


def _kept(run, stage, extra):
    """True if a stage would be kept; a stage after one that is made anew is made anew."""
    try:
        return is_done(run, stage, stage_key(run, stage, extra))
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main(prog_name="diffseg")
