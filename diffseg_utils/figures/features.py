"""What goes in and what the denoiser sees: labelled images, noise, and the feature maps."""

import numpy as np
import seaborn as sns

from .layout import class_legend, draw_map_scores, gallery, largest
from .style import (
    ACCENT,
    GREY,
    INK,
    PALE,
    class_name,
    colour_labels,
    empty_figure,
    headline,
    new_figure,
)


def fig_labelled_images(images, labels, preset):
    """Eight images at most above their labels, with the names of the classes.

    images: [S, S, 3] each; labels: [H, W] each.
    """
    images, labels = list(images[:8]), list(labels[:8])
    if not images:
        return empty_figure(f"{preset.title}: no labelled images.")
    figure, _ = gallery(
        images + [colour_labels(label, preset) for label in labels],
        columns=len(images),
        size=min(2.1, 10.4 / len(images)),
        below=0.3 + 0.18 * (preset.n_classes // 6),
        title=headline(preset.title, "images and true labels"),
    )
    seen = np.union1d(range(preset.n_classes), np.stack(labels))
    class_legend(figure, preset, seen, ncols=6 if len(images) > 5 else 4)
    return figure.describe(f"{len(images)} images above their label maps.", preset.title)


def fig_overlays(overlays, titles, preset, title="", columns=3):
    """Images [H, W, 3] of any sizes with their class colours over them, and a legend."""
    overlays = list(overlays)
    if not overlays:
        return empty_figure(f"{preset.title}: no images.")
    in_a_row = min(columns, len(overlays))
    figure, _ = gallery(
        overlays,
        titles,
        columns,
        size=2.6,
        below=0.3 + 0.18 * (preset.n_classes // (2 * in_a_row)),
        title=headline(preset.title, title),
    )
    class_legend(figure, preset, range(preset.n_classes), ncols=2 * in_a_row)
    names = ", ".join(text.replace("\n", " ") for text in titles)
    return figure.describe(f"Images with their predicted classes: {names}.", preset.title)


def fig_what_is_seen(image, seen, label, preset):
    """An image, what the denoiser sees of it, and its label, with the names of the classes.

    image and seen: [S, S, 3], of any two sizes; label: [H, W].
    """
    titles = ["the image", "what the denoiser sees", "its label"]
    figure, _ = gallery(
        [image, seen, colour_labels(label, preset)],
        titles,
        size=2.8,
        below=0.5,
        title=headline(preset.title, "one image with a mask"),
    )
    class_legend(figure, preset, label)
    return figure.describe(f"Side by side: {', '.join(titles)}.", preset.title)


def fig_noised_image(pictures, signal, steps, read, dataset=""):
    """One image noised to several steps, the steps that the kit reads marked.

    pictures: [T][S, S, 3]; signal: [T], the share of its amplitude that is left; steps: [T];
    read: those of the steps whose features are read.
    """
    titles = []
    for step, share in zip(steps, signal):
        titles.append(f"step {step}\n{100 * share:.0f} % signal" if step else "clean\nimage")
    figure, [axes] = gallery(
        pictures, titles, size=1.65, below=0.2, title=headline(dataset, "one image in more noise")
    )
    for ax, step in zip(axes, steps):
        if step in read:
            ax.set_xlabel("features read here", fontsize=9, color=ACCENT)
    return figure.describe(
        f"One image with more and more noise, steps {', '.join(map(str, steps))}; features are "
        f"read at steps {', '.join(map(str, read))}.",
        dataset,
    )


def fig_image_grid(pictures, rows, columns, size=1.45, title=""):
    """A grid of images [R][K] with a name for every row and column; `title` says what they are."""
    flat = [picture for line in pictures for picture in line]
    if not flat:
        return empty_figure("No images to draw.")
    figure, _ = gallery(flat, columns, len(columns), size, names=rows, title=title)
    named = [", ".join(name for name in names if name) for names in (rows, columns)]
    words = " by ".join(names for names in named if names)
    return figure.describe(f"Grid of images{': ' if words else ''}{words}.", title)


def fig_map_scores(scores, chance, dataset=""):
    """How often each map finds the same part on another image, as a heat map with numbers.

    scores: frame [steps, blocks] in percent; chance: lower end of the colours if no score is below.
    """
    if scores.empty:
        return empty_figure("No feature maps to compare.")
    steps, blocks = scores.shape
    title = headline(dataset, "which map finds a part again?")
    figure, [[ax]] = new_figure(max(1.0 * blocks + 1.6, 5), 0.55 * steps + 1.1, title)
    draw_map_scores(ax, scores, low=chance if np.isfinite(chance) else None)
    ax.set_title(f"same part found on another image, % (chance {chance:.0f})")
    if scores.isna().all(axis=None):
        return figure.describe("Heat map of feature maps without a score.", dataset)
    block, step = scores.unstack().idxmax()
    return figure.describe(
        f"Heat map: how often each feature map finds the same part on another image; best is step "
        f"{step}, block {block} with {scores.loc[step, block]:.0f} % (chance {chance:.0f} %).",
        dataset,
    )


def fig_neighbours(images, start, centre, hits, parts, preset):
    """Each row: one pixel of the image `start`, then its nearest neighbour on five other images.

    images: [B][S, S, 3]; start: an index of them; parts: class ids [B, G, G] on a lattice of
    pixels; centre: [Q] and hits: [Q, B], positions on the flattened lattice.
    """
    others = [i for i in range(len(images)) if i != start]
    order = [start, *others[:5]]
    figure, axes = gallery(
        [images[i] for i in order] * len(centre),
        columns=len(order),
        size=1.6,
        title=headline(preset.title, "a pixel, and the most similar ones on other images"),
    )
    questions = []
    for row, asked, found in zip(axes, centre, np.asarray(hits)):
        part = parts[start].flat[asked]
        questions.append(class_name(part, preset))
        for ax, i in zip(row, order):
            place = asked if i == start else found[i]
            there = parts[i].flat[place]
            _mark_place(ax, place, parts.shape[1], len(images[i]), INK if i == start else ACCENT)
            name = class_name(there, preset)
            if i == start:
                ax.set_title(f"asked: {name}", fontsize=9, color=INK, weight="bold")
            elif there == part:
                ax.set_title(name, fontsize=9, color=INK)
            else:
                ax.set_title(f"× {name}", fontsize=9, color=GREY)
    return figure.describe(
        f"Pixels of one image ({', '.join(questions)}) and their nearest neighbours in feature "
        "space on other images.",
        preset.title,
    )


def _mark_place(ax, place, side, size, colour):
    """A ring around a position on a flattened lattice [side, side] of an image [size, size]."""
    row, column = np.unravel_index(place, (side, side))
    x = (column + 0.5) * size / side - 0.5
    y = (row + 0.5) * size / side - 0.5
    ax.scatter(x, y, s=70, facecolors="none", edgecolors="white", linewidths=3.4)
    ax.scatter(x, y, s=70, facecolors="none", edgecolors=colour, linewidths=1.6)


def fig_clusters(images, clusters, truth, preset):
    """Images, k-means clusters in the colour of the class they overlap most, and the true labels.

    images: [B][S, S, 3]; clusters and truth: [B][H, W], class ids.
    """
    rows = [
        list(images),
        [colour_labels(cluster, preset) for cluster in clusters],
        [colour_labels(label, preset) for label in truth],
    ]
    names = ["image", "clusters", "truth"]
    title = headline(preset.title, "clusters of features against true labels")
    figure = fig_image_grid(rows, names, [""] * len(images), size=1.4, title=title)
    class_legend(figure, preset, np.stack([*clusters, *truth]))
    return figure.describe(
        f"{len(images)} images, k-means clusters of their features, and the true labels.",
        preset.title,
    )


def fig_memory(bill, dataset=""):
    """MiB per image: the published up-sampled tensor against the native maps stored here.

    bill: frame with the columns published and stored, one named row per precision or backbone.
    """
    if bill.empty:
        return empty_figure("No memory to compare.")
    figure, [[ax]] = new_figure(
        7.2, 0.62 * len(bill) + 0.8, headline(dataset, "memory of the features")
    )
    y = np.arange(len(bill))
    for column, shift, colour, name in (
        ("published", -0.18, PALE, "up-sampled, float32 (published)"),
        ("stored", 0.18, ACCENT, "native, float16 (stored here)"),
    ):
        bars = ax.barh(y + shift, bill[column], 0.34, color=colour)
        texts = [_mebibytes(value) for value in bill[column]]
        texts[0] += f"  {name}"
        ax.bar_label(bars, texts, padding=5, fontsize=9)
    ax.set_yticks(y, bill.index)
    sizes = bill[["published", "stored"]].to_numpy()
    if (sizes > 0).any():
        ax.set_xscale("log")
    ax.set(xlim=(0.5, 6 * max(largest(sizes), 0.5)), xlabel="MiB per image (logarithmic)")
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    first = bill.iloc[0]
    return figure.describe(
        f"Bars: memory of the features of one image, {bill.index[0]}: "
        f"{_mebibytes(first.published)} published, {_mebibytes(first.stored)} stored here.",
        dataset,
    )


def _mebibytes(value):
    return f"{value:,.0f} MiB" if value >= 100 else f"{value:.1f} MiB"


def fig_feature_sources(scores, denoiser=""):
    """mIoU of the same classifiers on several descriptions of a pixel, three bars per dataset.

    scores: frame (dataset, description, miou in percent), the denoiser first.
    """
    if scores.empty:
        return empty_figure("No features to compare.")
    datasets, descriptions = scores.dataset.unique(), scores.description.unique()
    height = 0.26 * len(datasets) * (len(descriptions) + 0.8) + 1
    figure, [[ax]] = new_figure(
        7.5, height, headline(denoiser, "the same classifiers on other descriptions")
    )
    colours = dict(zip(descriptions, [ACCENT, GREY, PALE], strict=False))
    sns.barplot(
        scores,
        y="dataset",
        x="miou",
        hue="description",
        order=datasets,
        hue_order=descriptions,
        palette=colours,
        saturation=1,
        ax=ax,
    )
    for bars in ax.containers:
        ax.bar_label(bars, fmt="%.1f", padding=4, fontsize=9)
    ax.set(xlim=(0, largest(scores.miou) * 1.12), xlabel="mIoU of the majority of ten (%)")
    ax.set_ylabel("")
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.6 / height), ncols=3, frameon=False)
    values = ", ".join(
        f"{x.description} {x.miou:.1f} % on {x.dataset}" for x in scores.itertuples()
    )
    return figure.describe(f"Bars: mIoU on several descriptions of a pixel: {values}.", denoiser)
