"""The painted scenes, and the denoiser that was trained on them or on photographs."""

import numpy as np
from matplotlib.lines import Line2D

from .layout import class_legend, draw_curves, draw_map_scores, gallery, log_y, note
from .style import GREY, INK, PALE, colour_labels, empty_figure, new_figure, series_styles


def fig_scenes(scenes, presets, columns=4, width=5.6, legend=True):
    """Painted scenes above their labels, `columns` side by side; a title where a dataset begins.

    scenes: {dataset: [(image, label), ...]}; presets: {dataset: Preset}; width: inches;
    legend: class names, for a single dataset.
    """
    images, labels, titles = [], [], []
    for name, pairs in scenes.items():
        for i, (image, label) in enumerate(pairs):
            images.append(image)
            labels.append(colour_labels(label, presets[name]))
            titles.append(presets[name].title if i == 0 else "")
    if not images:
        return empty_figure("No scenes to draw.")
    pictures, names = [], []  # rows of images and rows of labels in turn
    for start in range(0, len(images), columns):
        part = slice(start, start + columns)
        gap = columns - len(images[part])
        pictures += images[part] + [None] * gap + labels[part] + [None] * gap
        names += titles[part] + [""] * gap + [""] * columns
    figure, _ = gallery(pictures, names, columns, width / columns, below=0.8 if legend else 0)
    if legend:
        preset = presets[next(iter(scenes))]
        class_legend(figure, preset, range(preset.n_classes), ncols=4)
    datasets = ", ".join(presets[name].title for name in scenes)
    return figure.describe(f"{len(images)} painted scenes above their label maps.", datasets)


def fig_image_sheet(images, columns=8, title=""):
    """Images [S, S, 3] side by side, `columns` in a row; `title` says what they are."""
    images = list(images)
    if not images:
        return empty_figure("No images to draw.")
    figure, _ = gallery(images, columns=columns, size=1.2, title=title)
    return figure.describe(f"{len(images)} images side by side.", title)


def fig_denoiser_loss(log, denoiser=""):
    """The loss of a denoiser's training against the images seen; log: frame (images, loss)."""
    log = log[np.isfinite(log.loss) & (log.loss > 0)]
    if log.empty:
        return empty_figure("No loss was recorded.")
    figure, [[ax]] = new_figure(7.5, 3.2, denoiser)
    thousands, loss = log.images.to_numpy() / 1000, log.loss.to_numpy()
    fallen = loss <= (loss[0] + loss[-1]) / 2
    half = int(log.images.iloc[np.argmax(fallen)])
    title = f"half of the fall from {loss[0]:.2f} is done within the first {half:,} images"
    ax.plot(thousands, loss, color=INK)
    if len(loss) == 1:
        ax.plot(thousands, loss, "o", color=INK)
    note(ax, f"{loss[-1]:.4f}", thousands[-1], loss[-1])
    ax.set(xlabel="thousand images seen", ylabel="mean squared error of the noise", title=title)
    log_y(ax, loss)
    return figure.describe(
        f"Line: training loss of the denoiser, at the end {loss[-1]:.4f}; {title}.", denoiser
    )


def fig_loss_by_noise_step(losses, read, denoiser=""):
    """Loss at each noise step for several sets of images; bands: two standard errors over images.

    losses: frame (pictures, step, loss), `pictures` names the set, one row per image;
    read: the steps whose features the kit reads.
    """
    if losses.empty:
        return empty_figure("No loss was recorded.")
    groups = losses.groupby(["pictures", "step"], sort=False).loss
    curve = groups.agg(["mean", "sem"]).reset_index()
    curve["low"] = curve["mean"] - 2 * curve["sem"]
    curve["high"] = curve["mean"] + 2 * curve["sem"]
    figure, [[ax]] = new_figure(7.5, 3.4, denoiser)
    ax.set(xlabel="noise step", ylabel="mean squared error of the noise")
    across = {"transform": ax.get_xaxis_transform()}
    ax.vlines(read, 0, 1, color=PALE, lw=1, ls=":", **across)
    if len(read):
        ax.text(read[-1], 1, " read by the kit", va="top", fontsize=9, **across)
    log_y(ax, curve["mean"])
    draw_curves(ax, curve, "step", "mean", by="pictures")
    names = ", ".join(losses.pictures.unique())
    return figure.describe(
        f"Lines: loss of the denoiser at each noise step, for {names}.", denoiser
    )


def fig_denoising(images, noised, guesses, denoiser=""):
    """Each image noised to several steps, and below it what the denoiser makes of that in one step.

    images: [B, S, S, 3]; noised and guesses: {step: [B, S, S, 3]}.
    """
    if not len(images):
        return empty_figure("No images to draw.")
    pictures = []
    for i, image in enumerate(images):
        pictures += [image, *(noisy[i] for noisy in noised.values())]
        pictures += [None, *(guess[i] for guess in guesses.values())]
    titles = ["image", *(f"step {step}" for step in noised)]
    figure, axes = gallery(pictures, titles, len(titles), 1.05, title=denoiser)
    how = {"ha": "right", "va": "center", "fontsize": 8.5}
    for ax in axes[1::2, 0]:
        ax.text(1, 0.5, "the guess: ", transform=ax.transAxes, **how)
    steps = ", ".join(map(str, noised))
    return figure.describe(
        f"{len(images)} images noised to steps {steps}, each above the denoiser's one-step guess.",
        denoiser,
    )


def fig_miou_by_map(scores, title=""):
    """mIoU of one classifier on each feature map as heat maps, one panel per checkpoint.

    scores: frame (checkpoint, step, block, miou in percent); all panels have the same colours.
    """
    if scores.empty:
        return empty_figure("No feature map was scored.")
    panels = list(scores.groupby("checkpoint", sort=False))
    n_steps, n_blocks = scores.step.nunique(), scores.block.nunique()
    width = (0.55 * n_blocks + 0.4) * len(panels) + 0.6
    size = width, 0.5 * n_steps + (1.3 if title else 0.9)
    figure, [axes] = new_figure(*size, title, ncols=len(panels), sharey=True)
    known = scores.miou[np.isfinite(scores.miou)]
    low, high = (known.min(), known.max()) if len(known) else (None, None)
    for ax, (checkpoint, rows) in zip(axes, panels):
        draw_map_scores(ax, rows.pivot(index="step", columns="block", values="miou"), low, high)
        ax.set(title=checkpoint, ylabel="step" if ax is axes[0] else "")
    words = ", ".join(f"{name} {rows.miou.max():.1f} %" for name, rows in panels)
    return figure.describe(
        f"Heat maps: mIoU on each feature map (step by decoder block); the best of each: {words}.",
        title,
    )


def fig_miou_by_images_seen(points, references=(), title=""):
    """mIoU of the majority against the images a denoiser saw (log axis), one line per dataset.

    points: frame (dataset, images, scored, miou, spread); `scored` says how. What was scored as the
    last row was has full lines, everything else dotted ones; references: (name, mIoU) pairs,
    dashed lines.
    """
    points = points[points.images > 0]
    if points.empty:
        return empty_figure("No checkpoint was scored.")
    figure, [[ax]] = new_figure(7.5, 4.3, title)
    curve = points.assign(
        thousand=points.images / 1000,
        low=points.miou - points.spread,
        high=points.miou + points.spread,
    )
    ax.set(xscale="log", xlabel="thousand images seen", ylabel="mIoU of the majority (%)")
    first, last = curve.thousand.min(), curve.thousand.max()
    doublings = 10 * 2.0 ** np.arange(-10, 10)
    ticks = doublings[(doublings >= 0.95 * first) & (doublings <= last)]
    if len(ticks) < 2:  # a short training
        ticks = np.unique([first, last])
    ax.set_xticks(ticks, [f"{tick:,.3g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    labels = []
    for name, miou in references:
        ax.hlines(miou, first, last, color=GREY, lw=1, ls="--")
        labels.append((last, miou, name, GREY))
    current = curve[curve.scored == curve.scored.iloc[-1]]
    earlier = curve[curve.scored != curve.scored.iloc[-1]]
    styles = series_styles(curve.dataset.unique())
    for (dataset, _), rows in earlier.groupby(["dataset", "scored"], sort=False):
        colour, marker = styles[dataset]
        ax.plot(rows.thousand, rows.miou, color=colour, ls=":", marker=marker, mfc="white", ms=5)
    draw_curves(ax, current, "thousand", "miou", by="dataset", ends=labels, styles=styles)
    if len(earlier):
        words = {":": ", ".join(earlier.scored.unique()), "-": current.scored.iloc[0]}
        lines = [Line2D([], [], color=INK, ls=ls, label=label) for ls, label in words.items()]
        ax.legend(handles=lines, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    datasets = ", ".join(points.dataset.unique())
    return figure.describe(
        f"Lines: mIoU of the majority against the images a denoiser saw, from "
        f"{points.miou.min():.1f} to {points.miou.max():.1f} %.",
        datasets,
    )
