"""Which steps and decoder blocks suit somebody's own images? Scored on held-out training images."""

import re
from dataclasses import dataclass

import pandas as pd
import yaml

from ..backbone import describe, load_backbone
from ..evaluation.held_out import compare_choices, sweep_maps
from ..evaluation.significance import verdict
from ..figures.pretraining import fig_miou_by_map
from ..files import atomic
from .folder import read_folder

STEPS = (25, 50, 100, 150, 250, 400)  # noise steps that are tried
OWN = "as now"
PROPOSED = "proposed"


@dataclass(frozen=True)
class Sweep:
    """What a sweep has found: the score of every map alone, and two choices of maps compared."""

    maps: pd.DataFrame  # step, block, miou in percent
    choices: dict  # {name: (steps, blocks)}
    compared: pd.DataFrame  # a row per choice: miou, difference from OWN, low, high

    @property
    def best(self):
        """(steps, blocks) of the choice with the higher mIoU; OWN if they are equal."""
        scores = self.compared.set_index("choice").miou
        return self.choices[PROPOSED if scores[PROPOSED] > scores[OWN] else OWN]


def sweep(run, steps=STEPS, n_members=1, report=None):
    """The Sweep of a dataset: every block at each of `steps` alone, then the best set against now.

    n_members: classifiers on each map. report: called with (pieces of work done, all).
    """
    preset = run.preset
    steps = list(steps)
    known = describe(run.backbone_used)
    backbone = load_backbone(
        run.backbone_used, run.torch_device, "auto", blocks="all", data=run.data_root
    )
    n_pieces = len(steps) + 2
    maps = sweep_maps(
        backbone,
        preset,
        steps,
        n_members,
        run.data_root,
        run.torch_device,
        report and (lambda done, _: report(done, n_pieces)),
    )
    now = (known["steps"], known["blocks"])
    choices = {OWN: now, PROPOSED: propose(maps, *map(len, now))}
    compared = compare_choices(
        backbone,
        preset,
        choices,
        OWN,
        run.data_root,
        run.torch_device,
        report and (lambda done, _: report(len(steps) + done, n_pieces)),
    )
    return Sweep(maps, choices, compared)


def propose(maps, n_steps, n_blocks):
    """(steps, blocks), each in rising order: those of the best mean over the other axis.

    A step is good if the better half of its blocks is. As many as now, so that the time of a run
    stays what it is. maps: frame (step, block, miou).
    """
    table = maps.pivot(index="step", columns="block", values="miou")  # (steps, blocks)
    half = max(1, table.shape[1] // 2)
    by_step = table.apply(lambda row: row.nlargest(half).mean(), axis=1)
    steps = sorted(by_step.nlargest(n_steps).index.tolist())
    blocks = table.loc[steps].mean().nlargest(n_blocks).index
    return steps, sorted(blocks.tolist())


def picture(run, found):
    """The heat map of a Sweep."""
    return fig_miou_by_map(found.maps.assign(checkpoint=run.name))


def sentence(run, found):
    """What a sweep has found, in words."""
    steps, blocks = found.choices[PROPOSED]
    if found.choices[PROPOSED] == found.choices[OWN]:
        return f"{run.name}: the best set is the one in use: steps {steps}, blocks {blocks}"
    rows = found.compared.set_index("choice")
    row = rows.loc[PROPOSED]
    return (
        f"{run.name}: steps {steps}, blocks {blocks} reach {row.miou:.1f} % mIoU on held-out "
        f"training images, those in use {rows.miou[OWN]:.1f} %; difference {row.difference:+.1f} "
        f"[{row.low:+.1f}, {row.high:+.1f}], {verdict(row.low, row.high)}. The set was chosen on "
        "some of these images, so the difference is flattering"
    )


def write_choice(preset, steps, blocks):
    """Write steps and blocks into dataset.yml; its other lines and comments stay."""
    text = preset.file.read_text(encoding="utf-8")
    for key, values in (("steps", steps), ("blocks", blocks)):
        line = f"{key}: {list(values)}  # found by `diffseg sweep`"
        text, n = re.subn(rf"(?m)^{key}:.*$", line, text)
        if n == 0:
            text = f"{text.rstrip()}\n{line}\n"
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError:
        said = {}
    if said.get("steps") != list(steps) or said.get("blocks") != list(blocks):
        raise ValueError(
            f"{preset.file}: its steps and blocks do not stand in a line each; write "
            f"`steps: {list(steps)}` and `blocks: {list(blocks)}` by hand"
        )
    with atomic(preset.file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return read_folder(preset.path)
