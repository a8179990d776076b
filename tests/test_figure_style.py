"""What all figures share: colours, labels at the ends of lines, painted changes, files."""

from base64 import b64encode
from textwrap import dedent

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import descriptions
from matplotlib.colors import to_hex
from nbformat import v4

from diffseg_utils.figures import layout, style
from diffseg_utils.presets import DATASETS
from diffseg_utils.runs.execute import execute

NO_DESCRIPTION = "No description has been provided for this image"  # what nbconvert says


def test_labels_at_the_ends_keep_their_order_and_stay_near():
    _, [[axes]] = style.new_figure(5, 3)
    axes.set(xlim=(0, 1), ylim=(0, 10))
    layout.end_labels(
        axes,
        [(1, 5.01, "b", "k"), (1, 5, "a", "k"), (1, 9, "c", "k"), (1, 5.02, "two\nlines", "k")],
        fontsize=9,
    )
    shifts = {t.get_text(): t.xyann[1] for t in axes.texts}
    assert shifts["c"] == pytest.approx(0) and shifts["a"] < shifts["b"] < shifts["two\nlines"]
    assert shifts["b"] - shifts["a"] == pytest.approx(
        1.25 * 9, abs=0.2
    )  # one line of text, in points
    assert shifts["two\nlines"] - shifts["b"] == pytest.approx(1.5 * 1.25 * 9, abs=0.2)
    assert sum(v for k, v in shifts.items() if k != "c") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "name, label, rule",
    [
        ("entropy_weighted, k = 1", "entropy-weighted, k = 1", "entropy_weighted"),
        ("mean", "mean", "mean"),
        ("single member", "single member", "member"),
        ("k chosen", "k chosen", "entropy_weighted"),
        ("pool chosen", "pool chosen", "pool"),
        ("most_certain", "most certain", "most_certain"),
    ],
)
def test_one_colour_a_rule(name, label, rule):
    assert style.rule_style(name) == (label, style.RULE_COLOURS[rule])


@pytest.mark.parametrize(
    "name, label",
    [
        ("median", "median"),
        ("trimmed_mean", "trimmed mean"),
        ("trimmed_mean, k = 1", "trimmed mean, k = 1"),
        ("trimmed_mean chosen", "trimmed mean chosen"),
        ("meanest", "meanest"),
    ],
)
def test_a_new_rule_takes_a_reserve_colour_and_its_name_as_label(name, label):
    said, colour = style.rule_style(name)
    assert said == label and colour in style.RESERVE_COLOURS
    assert style.rule_styles(["mean", name])[name] == (said, colour), "the same in every figure"


def test_variants_share_the_colour_of_their_new_rule_and_new_rules_differ():
    names = ["a_rule", "a_rule, k = 1", "a_rule chosen", *"bcdef"]
    colours = [colour for _, colour in style.rule_styles(names).values()]
    assert len(set(colours[:3])) == 1 and len(set(colours[2:])) == 6
    assert len(style.rule_styles("abcdefgh")) == 8, "more rules than reserve colours"


def test_no_concept_has_the_colour_of_a_rule():
    rules = {name: colour for name, colour in style.RULE_COLOURS.items() if name != "k"}
    others = [style.ACCENT, style.REPAIRED, style.BROKEN, style.OTHER, *style.RESERVE_COLOURS]
    colours = [colour.lower() for colour in (*rules.values(), *others)]
    assert len(set(colours)) == len(colours)


def test_twelve_datasets_differ_in_colour_and_in_marker():
    looks = list(style.series_styles(range(40)).values())
    colours, markers = zip(*looks[:12])
    assert len(set(colours)) == len(set(markers)) == 12
    assert len(set(looks)) == 40


def test_a_dataset_looks_the_same_in_every_figure():
    names = ["mini_ffhq", "mini_cat", "my_cells"]
    styles, others = style.series_styles(names), style.series_styles(names[::-1])
    assert styles == others
    assert len(set(styles.values())) == 3
    assert style.series_styles(["mini_cat"])["mini_cat"] == styles["mini_cat"]


def test_classes_have_colours_of_their_own_and_unscored_ones_are_grey():
    for preset in DATASETS.values():
        assert len(np.unique(style.class_colours(preset.n_classes), axis=0)) == preset.n_classes
    grey = style.colour_labels(np.array([[0, 3, 255]]), DATASETS["bedroom_28"])
    assert (grey[0, [0, 2]] == style.IGNORED).all() and (grey[0, 1] != style.IGNORED).any()


def test_verdicts_are_colours():
    colours = style.verdict_colours(
        pd.DataFrame({"low": [0.1, -0.2, -0.1, np.nan], "high": [0.3, -0.1, 0.1, np.nan]})
    )
    assert list(colours) == [style.REPAIRED, style.BROKEN, style.GREY, style.GREY]


def test_changed_pixels_are_painted_on_the_pale_image_and_unscored_ones_are_not():
    truth, before, after = (
        np.array([[1, 1, 1, 1, 0]]),
        np.array([[2, 1, 2, 1, 2]]),
        np.array([[1, 2, 3, 1, 0]]),
    )
    painted, repaired, broken = layout.paint_changes(
        np.zeros((2, 10, 3)), truth, before, after, ignore_label=0
    )
    assert (repaired, broken) == (1, 1)
    assert [to_hex(c / 255) for c in painted[0]] == [
        style.REPAIRED,
        style.BROKEN,
        style.OTHER,
        "#a0a0a0",
        "#a0a0a0",
    ]


def test_saved_as_png_and_as_pdf_when_asked(tmp_path):
    figure, _ = style.new_figure(4, 3)
    figure.describe("Empty axes.", "Mini-Cat")
    assert figure.save(tmp_path / "new" / "v1.0") is figure
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["v1.0.png"]
    figure.save(str(tmp_path / "new" / "v1.0"), pdf=True)
    pdf, png = sorted((tmp_path / "new").iterdir())
    assert (pdf.name, png.name) == ("v1.0.pdf", "v1.0.png")
    assert pdf.read_bytes()[:4] == b"%PDF" and png.read_bytes()[1:4] == b"PNG"


def test_a_failed_save_leaves_nothing_and_keeps_what_was_there(tmp_path, monkeypatch):
    figure, _ = style.new_figure(4, 3)
    figure.save(tmp_path / "one")
    before = (tmp_path / "one.png").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("diffseg_utils.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        figure.save(tmp_path / "one")
    assert [file.name for file in tmp_path.iterdir()] == ["one.png"]
    assert (tmp_path / "one.png").read_bytes() == before


@pytest.mark.parametrize("template", ["lab", "classic"])
@pytest.mark.parametrize("kept", ["text/html", "image/png"])
def test_the_description_reaches_a_page_made_of_a_notebook(kept, template):
    """As HTML everywhere. As PNG in `classic` alone; this test fails when `lab` learns it, and then
    executed copies can keep the PNG, which is half of what a notebook with both would hold.
    """
    from IPython.core.formatters import DisplayFormatter
    from nbconvert import HTMLExporter

    figure, _ = style.new_figure(4, 3)
    figure.describe('Axes, "k" < 1.', "Mini-Cat")
    data, metadata = DisplayFormatter().format(figure)
    shown = data[kept]
    shown = b64encode(shown).decode() if isinstance(shown, bytes) else shown
    output = v4.new_output("display_data", {kept: shown}, metadata=metadata)
    page, _ = HTMLExporter(template_name=template).from_notebook_node(
        v4.new_notebook(cells=[v4.new_code_cell("figure", outputs=[output])])
    )
    lost = kept == "image/png" and template == "lab"
    expected = NO_DESCRIPTION if lost else 'Mini-Cat: Axes, "k" < 1.'
    assert [image["alt"] for image in BeautifulSoup(page, "html.parser").find_all("img")] == [
        expected
    ]


def test_an_executed_copy_says_what_its_figures_show(tmp_path):
    """A figure that a cell returns, one that is displayed, and one that is drawn again."""
    code = """
    from IPython.display import display
    from diffseg_utils.figures.style import new_figure

    def drawn(name):
        return new_figure(2, 1)[0].describe(f"Axes, {name}.", "Mini-Cat")

    display(drawn("one"))
    handle = display(drawn("two"), display_id=True)
    handle.update(drawn("again"))
    drawn("last")
    """
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    parameters = v4.new_code_cell("x = 1  # a number", metadata={"tags": ["parameters"]})
    cells = [parameters, v4.new_code_cell(dedent(code))]
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "small.ipynb")
    execute(tmp_path / "small.ipynb", tmp_path / "copy.ipynb", {})
    assert descriptions(tmp_path / "copy.ipynb") == [
        f"Mini-Cat: Axes, {name}." for name in ("one", "again", "last")
    ]
    copy = (tmp_path / "copy.ipynb").read_text()
    assert copy.count("image/png") == 3, "each picture once"


def test_a_title_adds_its_height():
    plain, _ = style.new_figure(4, 3)
    titled, _ = style.new_figure(4, 3, "Mini-Cat")
    assert titled.get_suptitle() == "Mini-Cat" and titled.get_figheight() > plain.get_figheight()


def test_a_gallery_has_no_more_columns_than_images():
    _, axes = layout.gallery([np.zeros((4, 4, 3))] * 3, columns=8)
    assert axes.shape == (1, 3)
