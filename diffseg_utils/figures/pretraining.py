"""Figures of the painted scenes and of the denoiser that was trained on them."""
import numpy as np

from .style import INK, PALE, RULES, class_legend, colour_labels, new_figure, show

TRAINED, UNSEEN = RULES["majority"][1], RULES["entropy_weighted"][1]


def fig_scenes(scenes, presets, columns=4, width=5.6, legend=True):
    """Painted scenes above their labels, `columns` side by side; a title where a dataset begins.

    scenes: {dataset: [(image, label), ...]}; presets: {dataset: Preset}; legend: class names, for a single dataset.
    """
    flat = [(name, *pair) for name, pairs in scenes.items() for pair in pairs]
    bands, panel = -(-len(flat) // columns), width / columns
    figure, axes = new_figure(width, bands * (2.06 * panel) + 0.25 + 0.8 * legend, nrows=2 * bands, ncols=columns)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
    started = set()
    for place, (name, image, label) in enumerate(flat):
        above, below = (axes[2 * (place // columns) + i, place % columns] for i in (0, 1))
        show(above, image)
        show(below, colour_labels(label, presets[name]))
        if name not in started:
            above.set_title(presets[name].title, loc="left", fontsize=9.5, pad=3)
        started.add(name)
    if legend:
        class_legend(figure, presets[name], range(presets[name].n_classes), ncols=4, frameon=False)
    return figure


def fig_training(log):
    """The loss of the training against the images seen; log: frame (images, loss)."""
    figure, [[ax]] = new_figure(7.5, 3.2)
    ax.plot(log.images / 1000, log.loss, color=TRAINED)
    ax.annotate(f"{log.loss.iloc[-1]:.4f}", (log.images.iloc[-1] / 1000, log.loss.iloc[-1]), (6, 0), va="center",
                textcoords="offset points", color=TRAINED)
    ax.set(xlabel="thousand images seen", ylabel="mean squared error of the noise", yscale="log",
           title=f"half of the fall from {log.loss.iloc[0]:.2f} is done within the first {_half(log):,} images")
    low, high = ax.get_ylim()
    ticks = [tick for tick in (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1) if low <= tick <= high]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_yticks([], minor=True)
    return figure


def _half(log):
    """Images seen when the log of the loss had fallen half of its way."""
    path = np.log(log.loss)
    return int(log.images[np.argmax(path <= (path.iloc[0] + path.min()) / 2)])


def fig_loss_by_step(losses, read):
    """Loss at each noise step, for pictures of the training and others; bands: two standard errors over the pictures.

    losses: tidy frame (pictures, step, loss), a row a picture; read: the steps whose features the kit reads.
    """
    figure, [[ax]] = new_figure(7.5, 3.4)
    for step in read:
        ax.axvline(step, color=PALE, lw=1, ls=":")
    ax.annotate("read by the kit", (read[-1], 1), (4, -2), va="top", fontsize=9, xycoords=("data", "axes fraction"),
                textcoords="offset points", color=INK)
    for (pictures, part), colour, side in zip(losses.groupby("pictures", sort=False), (TRAINED, UNSEEN), (14, 28)):
        by = part.groupby("step").loss
        middle, error = by.mean(), 2 * by.std() / np.sqrt(by.size())
        ax.fill_between(middle.index, middle - error, middle + error, color=colour, alpha=0.2, lw=0)
        ax.plot(middle.index, middle, "o-", ms=4, color=colour)
        ax.annotate(pictures, (middle.index[3], middle.iloc[3]), (6, side), textcoords="offset points", color=colour)
    ax.set(xlabel="noise step", ylabel="mean squared error of the noise", yscale="log")
    return figure


def fig_denoising(images, noised, guesses):
    """Each image noised to several steps, and below it what the network makes of that in one step.

    images: [B, S, S, 3]; noised and guesses: {step: [B, S, S, 3]}.
    """
    figure, axes = new_figure(1.05 * (1 + len(noised)), 2.12 * len(images) + 0.3, nrows=2 * len(images), ncols=1 + len(noised))
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
    for i, image in enumerate(images):
        show(axes[2 * i, 0], image, None if i else "image")
        axes[2 * i + 1, 0].axis("off")
        axes[2 * i + 1, 0].annotate("the guess:", (1, 0.5), (-2, 0), xycoords="axes fraction", textcoords="offset points",
                                    ha="right", va="center", fontsize=8.5)
        for ax, below, step in zip(axes[2 * i, 1:], axes[2 * i + 1, 1:], noised):
            show(ax, noised[step][i], None if i else f"step {step}")
            show(below, guesses[step][i])
    return figure


def fig_samples(samples, columns=8):
    """Pictures side by side."""
    figure, axes = new_figure(1.2 * columns, 1.2 * -(-len(samples) // columns), nrows=-(-len(samples) // columns), ncols=columns)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
    for ax, sample in zip(axes.flat, samples):
        show(ax, sample)
    return figure
