"""Figures of the painted scenes and of the denoiser that was trained on them."""

import numpy as np
import seaborn as sns

from .lines import curves, log_y, note
from .panels import class_legend, gallery
from .style import GREY, INK, PALE, colour_labels, new_figure


def fig_scenes(scenes, presets, columns=4, width=5.6, legend=True):
    """Painted scenes above their labels, `columns` side by side; a title where a dataset begins.

    scenes: {dataset: [(image, label), ...]}; presets: {dataset: Preset}; legend: class names, for a single dataset.
    """
    flat = [
        (image, colour_labels(label, presets[name]), "" if i else presets[name].title)
        for name, pairs in scenes.items()
        for i, (image, label) in enumerate(pairs)
    ]
    bands = [flat[i : i + columns] for i in range(0, len(flat), columns)]
    pictures = [scene[part] for band in bands for part in (0, 1) for scene in band]
    titles = [title for band in bands for title in (*(scene[2] for scene in band), *[""] * columns)]
    figure, _ = gallery(pictures, titles, columns, width / columns, below=0.8 * legend)
    if legend:
        preset = presets[next(iter(scenes))]
        class_legend(figure, preset, range(preset.n_classes), ncols=4)
    return figure


def fig_training(log):
    """The loss of the training against the images seen; log: frame (images, loss)."""
    figure, [[ax]] = new_figure(7.5, 3.2)
    x, last = log.images / 1000, log.loss.iloc[-1]
    path = np.log(log.loss)
    half = log.images[
        np.argmax(path <= (path.iloc[0] + path.min()) / 2)
    ]  # where half of the fall (of the log) is done
    ax.plot(x, log.loss, color=INK)
    note(ax, f"{last:.4f}", x.iloc[-1], last)
    ax.set(
        xlabel="thousand images seen",
        ylabel="mean squared error of the noise",
        title=f"half of the fall from {log.loss.iloc[0]:.2f} is done within the first {int(half):,} images",
    )
    log_y(ax)
    return figure


def fig_loss_by_step(losses, read):
    """Loss at each noise step, for pictures of the training and others; bands: two standard errors over the pictures.

    losses: tidy frame (pictures, step, loss), a row a picture; read: the steps whose features the kit reads.
    """
    figure, [[ax]] = new_figure(7.5, 3.4)
    frame = losses.groupby(["pictures", "step"], sort=False).loss.agg(["mean", "sem"]).reset_index()
    ax.vlines(read, 0, 1, color=PALE, lw=1, ls=":", transform=ax.get_xaxis_transform())
    ax.text(
        read[-1], 1, " read by the kit", va="top", fontsize=9, transform=ax.get_xaxis_transform()
    )
    ax.set(xlabel="noise step", ylabel="mean squared error of the noise")
    log_y(ax)
    curves(
        ax,
        frame.assign(low=frame["mean"] - 2 * frame["sem"], high=frame["mean"] + 2 * frame["sem"]),
        "step",
        "mean",
        by="pictures",
    )
    return figure


def fig_denoising(images, noised, guesses):
    """Each image noised to several steps, and below it what the network makes of that in one step.

    images: [B, S, S, 3]; noised and guesses: {step: [B, S, S, 3]}.
    """
    rows = [
        row
        for i, image in enumerate(images)
        for row in (
            [image, *(x[i] for x in noised.values())],
            [None, *(x[i] for x in guesses.values())],
        )
    ]
    figure, axes = gallery(
        [picture for row in rows for picture in row],
        ["image", *(f"step {step}" for step in noised)],
        1 + len(noised),
        1.05,
    )
    for ax in axes[1::2, 0]:
        ax.text(
            1, 0.5, "the guess: ", ha="right", va="center", fontsize=8.5, transform=ax.transAxes
        )
    return figure


def fig_samples(samples, columns=8):
    """Pictures side by side."""
    return gallery(list(samples), columns=columns, size=1.2)[0]


def fig_heat(step_block):
    """mIoU of one probe on each map, a panel a checkpoint; step_block: frame (checkpoint, step, block, miou in percent)."""
    panels = list(step_block.groupby("checkpoint", sort=False))
    n_steps, n_blocks = step_block.step.nunique(), step_block.block.nunique()
    figure, [axes] = new_figure(
        (0.55 * n_blocks + 0.4) * len(panels) + 0.6,
        0.5 * n_steps + 0.9,
        ncols=len(panels),
        sharey=True,
    )
    limits = {"vmin": step_block.miou.min(), "vmax": step_block.miou.max()}
    for ax, (checkpoint, rows) in zip(axes, panels):
        sns.heatmap(
            rows.pivot(index="step", columns="block", values="miou"),
            annot=True,
            fmt=".0f",
            cmap="cividis",
            cbar=False,
            ax=ax,
            **limits,
        )
        ax.set(title=checkpoint, xlabel="decoder block", ylabel="step" if ax is axes[0] else "")
        ax.tick_params(length=0, rotation=0)
    return figure


def fig_curve(points, references=()):
    """mIoU of the majority against the images a denoiser saw (log), a line a dataset; dashed: references (name, mIoU).

    points: frame (dataset, images, miou, spread).
    """
    figure, [[ax]] = new_figure(7.5, 4)
    frame = points.assign(
        thousand=points.images / 1000,
        low=points.miou - points.spread,
        high=points.miou + points.spread,
    )
    ax.set(xscale="log", xlabel="thousand images seen", ylabel="mIoU of the majority (%)")
    first, last = frame.thousand.min(), frame.thousand.max()
    doublings = 10 * 2.0 ** np.arange(-10, 10)
    marked = doublings[(doublings >= 0.95 * first) & (doublings <= last)]
    marked = marked if len(marked) > 1 else np.unique([first, last])  # a short training
    ax.set_xticks(marked, [f"{tick:,.3g}" for tick in marked])
    ax.set_xticks([], minor=True)
    ax.hlines([miou for _, miou in references], first, last, color=GREY, lw=1, ls="--")
    curves(
        ax,
        frame,
        "thousand",
        "miou",
        by="dataset",
        ends=[(last, miou, name, GREY) for name, miou in references],
    )
    return figure
