"""What the pages say lies inside the intervals of the files at hand, and what they link to is
there.
"""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from diffseg_utils.evaluation.tables import most_evidence

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "notebooks/README.md", "results/README.md"]
CELL = re.compile(r"([+-]\d+\.\d\d) \[([+-]\d+\.\d\d), ([+-]\d+\.\d\d)\]")
COMPARISONS = [
    "k = 1 minus majority",
    "mean minus majority",
    "ties by mean minus majority",
    "k = 1 minus mean",
]


def rows():
    """{dataset: four (difference, low, high)} of the README's table."""
    found = {}
    for line in README.splitlines():
        if line.startswith("| mini_"):
            numbers = [tuple(map(float, cell)) for cell in CELL.findall(line)]
            found[line.split()[1]] = numbers
    return found


def test_the_table_lies_inside_the_intervals_of_the_files():
    assert set(rows()) == {"mini_bedroom", "mini_cat", "mini_ffhq", "mini_horse"}
    for dataset, numbers in rows().items():
        most = most_evidence(ROOT / "results" / dataset / "evidence.csv").set_index("comparison")
        assert most.images.iloc[0] == 500 and most.seeds.iloc[0] == 5
        for comparison, (difference, low, high) in zip(COMPARISONS, numbers, strict=True):
            here = most.loc[comparison]
            where = f"{dataset}, {comparison}"
            assert here.low - 0.005 <= difference <= here.high + 0.005, where
            assert low - 0.005 <= here.difference <= high + 0.005, where


def test_prose_quotes_the_table():
    in_table = {cell for numbers in rows().values() for cell in numbers}
    text = "\n".join(line for line in README.splitlines() if not line.startswith("|"))
    quoted = {tuple(map(float, cell)) for cell in CELL.findall(text.replace("\n   ", " "))}
    assert quoted and quoted <= in_table


def test_what_is_said_of_better_members_lies_inside_the_intervals_of_the_files():
    said = re.search(r"([+]\d\.\d\d) to ([+]\d\.\d\d) on the majority", README)
    lowest, highest = map(float, said.groups())
    for dataset in rows():
        most = most_evidence(ROOT / "results" / dataset / "evidence_tuned.csv")
        most = most.set_index("comparison")
        gain, entropy = most.loc["k = 1 minus majority"], most.loc["k = 1 minus mean"]
        assert gain.low - 0.005 <= highest and lowest <= gain.high + 0.005, dataset
        assert abs(entropy.difference) < gain.difference / 3, dataset
        ties = most.loc["ties by mean minus majority"].difference
        assert ties > gain.difference / 2, dataset


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("tuned recipe", r"The recipe \*tuned\* gains ([+]\d\.\d) to ([+]\d\.\d) points"),
        ("mirror image", r"its mirror image ([+]\d\.\d) to ([+]\d\.\d) at not quite twice"),
    ],
)
def test_what_is_said_of_other_changes_lies_inside_the_intervals_of_the_files(change, words):
    said = re.search(words, README.replace("\n", " "))
    lowest, highest = map(float, said.groups())
    found = [
        pd.read_csv(ROOT / "results" / dataset / "what_helps.csv", index_col="change").loc[change]
        for dataset in rows()
    ]
    least, most = (limit(found, key=lambda row: row.difference) for limit in (min, max))
    assert least.low - 0.05 <= lowest <= least.high + 0.05
    assert most.low - 0.05 <= highest <= most.high + 0.05


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_table_of_notebooks_names_each_with_its_question(path):
    first = json.loads(path.read_text())["cells"][0]["source"]
    question = "".join(first).splitlines()[0].removeprefix("# ")
    text = (ROOT / "notebooks" / "README.md").read_text()
    assert f"| [{path.stem}]({path.name}) | {question} |" in text


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [
        link for link in links if not ((ROOT / page).parent / link.partition("#")[0]).exists()
    ]
    assert links and not missing


def test_results_hold_no_picture_of_a_real_dataset():
    pictures = []
    for path in (ROOT / "results").rglob("*"):
        if path.suffix in (".png", ".jpg", ".pdf"):
            pictures.append(path.relative_to(ROOT / "results"))
    painted = [path for path in pictures if path.name.startswith("mini_")]  # samples of a denoiser
    others = [path for path in pictures if path.parts[0] != "figures" and path not in painted]
    assert not others


def test_committed_notebooks_are_small():
    assert not [p for p in (ROOT / "results").rglob("*.ipynb") if p.stat().st_size > 1_000_000]
