"""What goes in and what the denoiser sees: samples, noise, features (01), and one pixel's vote (00)."""
import matplotlib as mpl
import numpy as np

from .style import BROKEN, INK, OTHER, PALE, REPAIRED, RULES, class_legend, colour_labels, new_figure, show

SOURCES = ("#D55E00", "#999999", "#cccccc")


# ---- 00: one pixel, one image -----------------------------------------------------------------------------------------

def fig_pixel(members, entropies, weights, pooled, classes):
    """One pixel: the distributions [N, C] of its members with entropy and weight, and the outcome of each rule.

    pooled: {rule: distribution [C]}; classes: C names.
    """
    n = len(members)
    figure, axes = new_figure(1.15 * (n + len(pooled)) + 0.6, 2.9, ncols=n + 1 + len(pooled), sharey=True,
                              width_ratios=[1] * n + [0.25] + [1.15] * len(pooled))
    for i, (axis, q) in enumerate(zip(axes[0], members)):
        _bars(axis, q, INK, classes)
        axis.set_title(f"member {i + 1}\n$H$ = {entropies[i]:.2f}\n$w$ = {weights[i]:.2f}", fontsize=9)
    axes[0, n].set_visible(False)
    for axis, (rule, p) in zip(axes[0, n + 1:], pooled.items()):
        label, colour = RULES[rule]
        _bars(axis, p, colour, classes)
        axis.set_title(f"{label}\nsays\n{classes[int(np.argmax(p))]}", fontsize=9, color=colour, weight="bold")
    axes[0, 0].set_ylabel("probability of the class")
    return figure


def fig_pixel_over_k(ks, pooled, classes, turn):
    """The pooled distribution [K, C] of one pixel against k; `turn` is the k at which its winner changes."""
    figure, axes = new_figure(6.4, 3.0)
    axis, shades = axes[0, 0], ("#000000", "#777777", RULES["entropy_weighted"][1])
    heights = _spread(pooled[-1], 0.06)
    for c, name in enumerate(classes):
        axis.plot(ks, pooled[:, c], color=shades[c % 3], ls=("-", "--", "-")[c % 3])
        axis.text(ks[-1] * 1.02, heights[c], name, va="center", color=shades[c % 3])
    axis.axvline(turn, color=PALE, lw=1, zorder=0)
    axis.text(turn, 1.01, f" the winner changes at $k$ = {turn:.2f}", va="bottom", fontsize=9)
    axis.set(xlim=(0, ks[-1]), ylim=(0, 1), xlabel="$k$: from the plain mean (0) towards the most certain member",
             ylabel="pooled probability")
    return figure


def fig_votes(image, truth, majority, entropy_weighted, disagreement, preset):
    """One image: input, truth, two votes, and where the members disagree."""
    figure, axes = new_figure(10, 2.75, ncols=5)
    panels = {"input": image, "truth": colour_labels(truth, preset), "majority": colour_labels(majority, preset),
              "entropy-weighted": colour_labels(entropy_weighted, preset)}
    for axis, (title, picture) in zip(axes[0], panels.items()):
        show(axis, picture, title)
    show(axes[0, 4], disagreement, "disagreement (nats)", cmap="magma", vmin=0)
    bar = figure.colorbar(axes[0, 4].images[0], ax=axes[0, 4], fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    present = np.unique(np.stack([truth, majority, entropy_weighted]))
    class_legend(figure, preset, present[present < preset.n_classes], frameon=False)
    return figure


def fig_votes_over_k(image, truth, plain, votes, ks, preset):
    """Votes [K, H, W] for several k, and below each the pixels it repairs or breaks against `plain` (k = 0)."""
    if len(ks) > 1:
        figure, axes = new_figure(1.9 * len(ks), 4.0, nrows=2, ncols=len(ks))
    else:
        figure, axes = new_figure(5.0, 2.9, ncols=2)
    backdrop = np.repeat(160 + 0.35 * np.asarray(image).mean(2, keepdims=True), 3, 2).astype(np.uint8)
    for column, k, vote in zip(axes.reshape(2, -1).T, ks, np.asarray(votes)):
        repaired, broken, other = changes(truth, plain, vote)
        other &= np.asarray(truth) != preset.ignore_label
        picture = backdrop.copy() if backdrop.shape[:2] == vote.shape else np.full((*vote.shape, 3), 215, np.uint8)
        for mask, colour in ((repaired, REPAIRED), (broken, BROKEN), (other, OTHER)):
            picture[mask] = np.multiply(mpl.colors.to_rgb(colour), 255).astype(np.uint8)
        show(column[0], colour_labels(vote, preset), f"$k$ = {k:g}" + (", the mean" if k == 0 else ""))
        show(column[1], picture, f"{repaired.sum()} repaired, {broken.sum()} broken")
    names = {"repaired": REPAIRED, "broken": BROKEN, "wrong before and after": OTHER}
    figure.legend(handles=[mpl.patches.Patch(color=c, label=n) for n, c in names.items()], loc="outside lower center",
                  ncols=3, fontsize=9, frameon=False)
    return figure


def changes(truth, before, after):
    """Three masks: pixels repaired, broken, and changed from one wrong class to another."""
    truth, before, after = (np.asarray(a) for a in (truth, before, after))
    moved = before != after
    return moved & (after == truth), moved & (before == truth), moved & (after != truth) & (before != truth)


# ---- 01: samples, noise, features -------------------------------------------------------------------------------------

def fig_samples(images, labels, preset):
    """Images above their labels, in rows of eight at most, with the names of the classes."""
    n = min(8, len(images))
    figure, axes = new_figure(max(5.5, 1.3 * n), 3.2 + 0.18 * (preset.n_classes // 6), nrows=2, ncols=n)
    for column, image, label in zip(axes.T, images, labels):
        show(column[0], image)
        show(column[1], colour_labels(label, preset))
    class_legend(figure, preset, range(preset.n_classes), ncols=6 if n > 5 else 4, frameon=False)
    return figure


def fig_noise(pictures, signal, steps, read):
    """One image noised to several steps; `signal` is the share of its amplitude that is left, `read` the steps used."""
    figure, axes = new_figure(1.65 * len(steps), 2.1, ncols=len(steps))
    for axis, picture, share, step in zip(axes[0], pictures, signal, steps):
        show(axis, picture, f"step {step}\n{100 * share:.0f} % signal" if step else "clean\nimage")
        if step in read:
            axis.set_xlabel("features read here", fontsize=9, color=RULES["entropy_weighted"][1])
    return figure


def fig_pictures(pictures, rows, columns, size=1.45):
    """A grid of pictures [R][K] with a name for every row and column."""
    figure, axes = new_figure(size * len(columns) + 0.5, size * len(rows) + 0.3, nrows=len(rows), ncols=len(columns))
    for r, line in enumerate(pictures):
        for k, picture in enumerate(line):
            show(axes[r, k], picture, columns[k] if r == 0 else None)
        axes[r, 0].set_ylabel(rows[r])
    return figure


def fig_map_scores(scores, chance):
    """Percent [steps, blocks] in a DataFrame as a heat map with its numbers; `chance` is the lower end of the colours."""
    figure, axes = new_figure(1.0 * scores.shape[1] + 1.6, 0.55 * scores.shape[0] + 1.1)
    axis, values = axes[0, 0], scores.to_numpy()
    top = values.max() + 1e-9
    axis.imshow(values, cmap="cividis", aspect="auto", vmin=chance, vmax=top)
    for (r, c), value in np.ndenumerate(values):
        dark = (value - chance) / (top - chance) < 0.6
        axis.text(c, r, f"{value:.0f}", ha="center", va="center", color="white" if dark else "black",
                  weight="bold" if value == values.max() else "normal")
    axis.set_xticks(range(values.shape[1]), scores.columns)
    axis.set_yticks(range(values.shape[0]), scores.index)
    axis.set(xlabel="decoder block", ylabel="step", title=f"same part found on another image, % (chance {chance:.0f})")
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return figure


def fig_neighbours(images, start, centre, hits, parts, preset):
    """Rows: a pixel of image `start`, then its nearest neighbour on each of five others.

    parts: true class ids [images, G, G] on a lattice of pixels; centre [Q] and hits [Q, images]: flat places on it.
    """
    order, side = [start, *(i for i in range(len(images)) if i != start)][:6], parts.shape[1]
    figure, axes = new_figure(1.45 * len(order), 1.7 * len(centre), nrows=len(centre), ncols=len(order))
    for row, asked, found in zip(axes, centre, np.asarray(hits)):
        part = parts[start].flat[asked]
        for axis, i in zip(row, order):
            place = asked if i == start else found[i]
            there = parts[i].flat[place]
            y, x = ((p + 0.5) * len(images[i]) / side - 0.5 for p in divmod(int(place), side))
            name = preset.classes[there] if there < preset.n_classes else "ignored"
            show(axis, images[i])
            axis.scatter(x, y, s=70, facecolors="none", edgecolors="white", linewidths=3.4)
            axis.scatter(x, y, s=70, facecolors="none", edgecolors=INK if i == start else SOURCES[0], linewidths=1.6)
            axis.set_title(f"asked: {name}" if i == start else name if there == part else f"× {name}", fontsize=9,
                           color=INK if there == part else "#888888", weight="bold" if i == start else "normal")
    return figure


def fig_clusters(images, clusters, truth, preset):
    """Images, k-means clusters in the colour of the class they overlap most, and the true labels."""
    rows = [images, [colour_labels(c, preset) for c in clusters], [colour_labels(t, preset) for t in truth]]
    return fig_pictures(rows, ["image", "clusters", "truth"], [""] * len(images), size=1.25)


def fig_memory(bill):
    """MiB per image: the published up-sampled tensor against the native maps; bill has the columns published and stored."""
    figure, axes = new_figure(7.2, 0.62 * len(bill) + 0.8)
    axis, position = axes[0, 0], np.arange(len(bill))[::-1]
    for column, shift, colour, name in (("published", 0.18, "#999999", "up-sampled, float32 (published)"),
                                        ("stored", -0.18, SOURCES[0], "native, float16 (stored here)")):
        axis.barh(position + shift, bill[column], 0.34, color=colour)
        for y, value in zip(position + shift, bill[column]):
            text = f"{value:,.0f} MiB" if value >= 100 else f"{value:.1f} MiB"
            axis.text(value * 1.1, y, text + (f"  {name}" if y > len(bill) - 1.5 else ""), va="center", fontsize=9)
    axis.set_yticks(position, bill.index)
    axis.set(xscale="log", xlim=(0.5, bill[["published", "stored"]].max().max() * 6), xlabel="MiB per image (logarithmic)")
    axis.tick_params(axis="y", length=0)
    return figure


def fig_sources(scores):
    """mIoU of the same classifiers on several kinds of features; scores: Series in percent, the denoiser first."""
    figure, axes = new_figure(6.4, 0.5 * len(scores) + 0.9)
    axis, position = axes[0, 0], np.arange(len(scores))[::-1]
    axis.barh(position, scores, 0.62, color=[SOURCES[0]] + [SOURCES[1]] * (len(scores) - 1))
    for y, value in zip(position, scores):
        axis.text(value + 0.6, y, f"{value:.1f}", va="center")
    axis.set_yticks(position, scores.index)
    axis.set(xlim=(0, max(scores) * 1.12), xlabel="mIoU of the majority of three classifiers, %")
    axis.tick_params(axis="y", length=0)
    return figure


def stretch(values, percent=1):
    """uint8 colours of values [..., 3]: each channel from its `percent` to its 100 - `percent` percentile."""
    values = np.asarray(values, np.float32)
    low, high = np.percentile(values.reshape(-1, 3), (percent, 100 - percent), axis=0)
    return (255 * ((values - low) / (high - low + 1e-8)).clip(0, 1)).astype(np.uint8)


def _bars(axis, q, colour, classes):
    """The distribution q as bars; its largest in `colour`, the others pale."""
    bars = axis.bar(range(len(q)), q, 0.78, color=PALE)
    bars[int(np.argmax(q))].set_color(colour)
    axis.set_xticks(range(len(q)), classes, rotation=90, fontsize=9)
    axis.set_ylim(0, 1)
    axis.tick_params(length=0)


def _spread(values, gap):
    """Heights for labels near `values`, at least `gap` apart."""
    heights, last = np.array(values, float), -np.inf
    for i in np.argsort(values):
        last = heights[i] = max(heights[i], last + gap)
    return heights
