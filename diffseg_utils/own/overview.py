"""What a person looks at first: uncertainty.csv, a sheet of the least certain images, a page."""

import csv
from html import escape
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw

from ..figures.style import class_colours
from ..files import atomic, read_json

SHEET = 20  # images on the sheet
LISTED = 200  # images on the page
THUMBNAIL = 240  # pixels of the side of a picture on the sheet

PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Predictions</title>
<style>
body {{ font: 16px/1.4 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }}
figure {{ display: inline-block; margin: 0 .7em 1.2em 0; vertical-align: top; width: 15em }}
figure img {{ width: 100% }}
figcaption {{ font-size: .85em; overflow-wrap: anywhere }}
.swatch {{ display: inline-block; width: 1em; height: 1em; margin: 0 .3em 0 1em }}
</style></head><body>
<h1>Which images need a human first?</h1>
<p>The {listed} least certain of {total} images, the least certain first. The number is how far the
classifiers disagree: the mean Jensen-Shannon divergence, in nats, of the most disputed tenth of the
pixels. All images: <a href="uncertainty.csv">uncertainty.csv</a>. Labels, in the size of the
images: <a href="labels/">labels/</a>.</p>
<p>{legend}</p>
{figures}
</body></html>
"""
FIGURE = """\
<figure><a href="{label}"><img src="{overlay}" loading="lazy" alt="{name} with its classes"></a>
<figcaption>{name}<br>{uncertainty:.4f} nats; mostly {classes}</figcaption></figure>"""


def write_overview(target, images, classes):
    """Write uncertainty.csv, least_certain.png and index.html of the labelled images."""
    rows = [read_json(target / ".rows" / f"{path.stem}.json") for path in images]
    rows.sort(key=lambda row: (-row["uncertainty"], row["image"]))
    with atomic(target / "uncertainty.csv") as temporary:
        _write_table(temporary, rows, classes)
    with atomic(target / "least_certain.png") as temporary:
        _sheet(target, rows[:SHEET]).save(temporary, optimize=True)
    with atomic(target / "index.html") as temporary:
        temporary.write_text(_page(rows, classes), encoding="utf-8")


def _stem(row):
    return row["image"].rpartition(".")[0]


def _write_table(path, rows, classes):
    """A row per image, the least certain first: its uncertainty and the share of each class."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "uncertainty", *(f"share of {name}" for name in classes)])
        for row in rows:
            table.writerow([row["image"], f"{row['uncertainty']:.6f}", *row["shares"]])


def _sheet(target, rows, columns=5):
    """A picture of the overlays, each with its name and uncertainty."""
    line = 16
    n_rows = -(-len(rows) // columns)
    columns = min(columns, max(1, len(rows)))
    size = columns * THUMBNAIL, max(1, n_rows) * (THUMBNAIL + line)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for i, row in enumerate(rows):
        left, top = (i % columns) * THUMBNAIL, (i // columns) * (THUMBNAIL + line)
        with Image.open(target / "overlays" / f"{_stem(row)}.jpg") as image:
            image.thumbnail((THUMBNAIL - 6, THUMBNAIL - 6))
            sheet.paste(image, (left, top + line))
        name = row["image"].encode("ascii", "replace").decode()
        draw.text((left + 2, top + 2), f"{row['uncertainty']:.3f} {name[:30]}", fill="black")
    return sheet


def _page(rows, classes):
    colours = class_colours(len(classes))
    legend = "".join(
        f'<span class="swatch" style="background: rgb({r}, {g}, {b})"></span>{escape(name)}'
        for name, (r, g, b) in zip(classes, colours)
    )
    figures = [_figure(row, classes) for row in rows[:LISTED]]
    return PAGE.format(
        listed=len(figures), total=len(rows), legend=legend, figures="\n".join(figures)
    )


def _figure(row, classes):
    largest = np.argsort(row["shares"])[::-1][:2]
    return FIGURE.format(
        name=escape(row["image"]),
        label=quote(f"labels/{_stem(row)}.png"),
        overlay=quote(f"overlays/{_stem(row)}.jpg"),
        uncertainty=row["uncertainty"],
        classes=escape(", ".join(classes[i] for i in largest)),
    )
