"""What goes in and what the denoiser sees: samples, noise, features (01), and one pixel's vote (00)."""

import numpy as np
import seaborn as sns

from .lines import end_labels
from .panels import FLIPS, class_legend, gallery, key, paint_changes
from .style import GREY, INK, PALE, RULES, colour_labels, new_figure

OURS = RULES["entropy_weighted"][1]


# ---- 00: one pixel, one image -----------------------------------------------------------------------------------------


def fig_pixel(members, entropies, weights, pooled, classes):
    """One pixel: the distributions [N, C] of its members with entropy and weight, and the outcome of each rule.

    pooled: {rule: distribution [C]}; classes: C names.
    """
    n = len(members)
    figure, [axes] = new_figure(
        1.15 * n + 1.35 * len(pooled) + 0.6,
        2.9,
        ncols=n + 1 + len(pooled),
        sharey=True,
        width_ratios=[1] * n + [0.25] + [1.35] * len(pooled),
    )
    for i, (ax, q) in enumerate(zip(axes, members)):
        _bars(
            ax, q, classes, f"member {i + 1}\n$H$ = {entropies[i]:.2f}\n$w$ = {weights[i]:.2f}", INK
        )
    for ax, (rule, p) in zip(axes[n + 1 :], pooled.items()):
        label, colour = RULES[rule]
        _bars(
            ax,
            p,
            classes,
            f"{label}\nsays\n{classes[int(np.argmax(p))]}",
            colour,
            color=colour,
            weight="bold",
        )
    axes[n].set_visible(False)
    axes[0].set_ylabel("probability of the class")
    return figure


def _bars(ax, q, classes, title, colour, **how):
    """The distribution q as bars; its largest in `colour`, the others pale."""
    ax.bar(classes, q, 0.78, color=np.where(np.arange(len(q)) == np.argmax(q), colour, PALE))
    ax.tick_params(length=0, labelsize=9)
    ax.tick_params(axis="x", rotation=90)
    ax.set_ylim(0, 1)
    ax.set_title(title, fontsize=9, **how)


def fig_pixel_over_k(ks, pooled, classes, turn):
    """The pooled distribution [K, C] of one pixel against k; `turn` is the k at which its winner changes."""
    figure, [[ax]] = new_figure(6.4, 3.0)
    shades = ("#000000", GREY, OURS)
    for c in range(len(classes)):
        ax.plot(ks, pooled[:, c], color=shades[c % 3], ls=("-", "--", "-")[c % 3])
    ax.axvline(turn, color=PALE, lw=1, zorder=0)
    ax.text(turn, 1.01, f" the winner changes at $k$ = {turn:.2f}", va="bottom", fontsize=9)
    ax.set(
        xlim=(0, ks[-1]),
        ylim=(0, 1),
        xlabel="$k$: from the plain mean (0) towards the most certain member",
        ylabel="pooled probability",
    )
    end_labels(
        ax,
        [(ks[-1], p, name, shades[c % 3]) for c, (p, name) in enumerate(zip(pooled[-1], classes))],
    )
    return figure


def fig_votes(image, truth, majority, entropy_weighted, disagreement, preset):
    """One image: input, truth, two votes, and where the members disagree."""
    maps = truth, majority, entropy_weighted
    doubt = disagreement, {"cmap": "magma", "vmin": 0, "bar": "nats"}
    figure, _ = gallery(
        [image, *(colour_labels(m, preset) for m in maps), doubt],
        ["input", "truth", "majority", "entropy-weighted", "disagreement"],
        size=2,
        below=0.5,
    )
    class_legend(figure, preset, np.stack(maps))
    return figure


def fig_votes_over_k(image, truth, plain, votes, ks, preset):
    """Votes [K, H, W] for several k, and below each the pixels it repairs or breaks against `plain` (k = 0)."""
    painted = [paint_changes(image, truth, plain, vote, preset.ignore_label) for vote in votes]
    figure, _ = gallery(
        [*(colour_labels(vote, preset) for vote in votes), *(picture for picture, *_ in painted)],
        [
            *(f"$k$ = {k:g}" + (", the mean" if k == 0 else "") for k in ks),
            *(f"{repaired} repaired,\n{broken} broken" for _, repaired, broken in painted),
        ],
        max(2, len(ks)),
        1.9 if len(ks) > 1 else 2.5,
        below=0.5,
    )
    key(figure, FLIPS)
    return figure


# ---- 01: samples, noise, features -------------------------------------------------------------------------------------


def fig_samples(images, labels, preset):
    """Eight images at most above their labels, with the names of the classes."""
    figure, _ = gallery(
        [*images[:8], *(colour_labels(label, preset) for label in labels[:8])],
        columns=min(8, len(images)),
        size=1.3,
        below=0.3 + 0.18 * (preset.n_classes // 6),
    )
    class_legend(figure, preset, range(preset.n_classes), ncols=6 if len(images) > 5 else 4)
    return figure


def fig_noise(pictures, signal, steps, read):
    """One image noised to several steps; `signal` is the share of its amplitude that is left, `read` the steps used."""
    titles = [
        f"step {step}\n{100 * share:.0f} % signal" if step else "clean\nimage"
        for step, share in zip(steps, signal)
    ]
    figure, [axes] = gallery(list(pictures), titles, size=1.65, below=0.2)
    for ax in axes[np.isin(steps, read)]:
        ax.set_xlabel("features read here", fontsize=9, color=OURS)
    return figure


def fig_pictures(pictures, rows, columns, size=1.45):
    """A grid of pictures [R][K] with a name for every row and column."""
    return gallery(
        [picture for line in pictures for picture in line], columns, len(columns), size, names=rows
    )[0]


def fig_map_scores(scores, chance):
    """Percent [steps, blocks] in a DataFrame as a heat map with its numbers; `chance` is the lower end of the colours."""
    figure, [[ax]] = new_figure(1.0 * scores.shape[1] + 1.6, 0.55 * scores.shape[0] + 1.1)
    sns.heatmap(scores, annot=True, fmt=".0f", cmap="cividis", vmin=chance, cbar=False, ax=ax)
    ax.set(
        xlabel="decoder block",
        ylabel="step",
        title=f"same part found on another image, % (chance {chance:.0f})",
    )
    ax.tick_params(length=0, rotation=0)
    return figure


def fig_neighbours(images, start, centre, hits, parts, preset):
    """Rows: a pixel of image `start`, then its nearest neighbour on each of five others.

    parts: true class ids [images, G, G] on a lattice of pixels; centre [Q] and hits [Q, images]: flat places on it.
    """
    order, side = [start, *(i for i in range(len(images)) if i != start)][:6], parts.shape[1]
    figure, axes = gallery([images[i] for i in order] * len(centre), columns=len(order), size=1.6)
    for row, asked, found in zip(axes, centre, np.asarray(hits)):
        part = parts[start].flat[asked]
        for ax, i in zip(row, order):
            place = asked if i == start else found[i]
            there = parts[i].flat[place]
            y, x = ((p + 0.5) * len(images[i]) / side - 0.5 for p in divmod(int(place), side))
            name = preset.classes[there] if there < preset.n_classes else "ignored"
            ax.scatter(x, y, s=70, facecolors="none", edgecolors="white", linewidths=3.4)
            ax.scatter(
                x,
                y,
                s=70,
                facecolors="none",
                edgecolors=INK if i == start else OURS,
                linewidths=1.6,
            )
            ax.set_title(
                f"asked: {name}" if i == start else name if there == part else f"× {name}",
                fontsize=9,
                color=INK if there == part else GREY,
                weight="bold" if i == start else "normal",
            )
    return figure


def fig_clusters(images, clusters, truth, preset):
    """Images, k-means clusters in the colour of the class they overlap most, and the true labels."""
    rows = [
        images,
        [colour_labels(c, preset) for c in clusters],
        [colour_labels(t, preset) for t in truth],
    ]
    return fig_pictures(rows, ["image", "clusters", "truth"], [""] * len(images), size=1.25)


def fig_memory(bill):
    """MiB per image: the published up-sampled tensor against the native maps; bill has the columns published and stored."""
    figure, [[ax]] = new_figure(7.2, 0.62 * len(bill) + 0.8)
    for column, shift, colour, name in (
        ("published", -0.18, PALE, "  up-sampled, float32 (published)"),
        ("stored", 0.18, OURS, "  native, float16 (stored here)"),
    ):
        bars = ax.barh(np.arange(len(bill)) + shift, bill[column], 0.34, color=colour)
        texts = [
            f"{value:,.0f} MiB" if value >= 100 else f"{value:.1f} MiB" for value in bill[column]
        ]
        ax.bar_label(bars, [texts[0] + name, *texts[1:]], padding=5, fontsize=9)
    ax.set_yticks(range(len(bill)), bill.index)
    ax.set(
        xscale="log",
        xlim=(0.5, bill[["published", "stored"]].max().max() * 6),
        xlabel="MiB per image (logarithmic)",
    )
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    return figure


def fig_sources(scores):
    """mIoU of the same classifiers on several kinds of features; scores: Series in percent, the denoiser first."""
    figure, [[ax]] = new_figure(6.4, 0.5 * len(scores) + 0.9)
    ax.bar_label(
        ax.barh(scores.index, scores, 0.62, color=[OURS] + [PALE] * (len(scores) - 1)),
        fmt="%.1f",
        padding=5,
    )
    ax.set(xlim=(0, max(scores) * 1.12), xlabel="mIoU of the majority of three classifiers, %")
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    return figure


def stretch(values, percent=1):
    """uint8 colours of values [..., 3]: each channel from its `percent` to its 100 - `percent` percentile."""
    values = np.asarray(values, np.float32)
    low, high = np.percentile(values.reshape(-1, 3), (percent, 100 - percent), axis=0)
    return (255 * ((values - low) / (high - low + 1e-8)).clip(0, 1)).astype(np.uint8)
