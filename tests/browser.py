"""JupyterLab in a real browser, as a student meets it: `make browser` runs it, outside `make test`.

On a clone of what is committed. Needs Chromium (Debian: `apt install chromium`) and playwright;
where one is missing, a sentence says so. The pictures in browser/ are for a person to look at.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
WIDE, HIGH = 1280, 1100  # of the window

# JavaScript on the notebook that is open: the page holds only cells near the window, the model all
NOTEBOOK = "window.jupyterapp.shell.currentWidget"
CELLS = f"""() => {NOTEBOOK}.context.model.toJSON().cells
    .filter(cell => cell.cell_type === 'code')
    .map(cell => ({{id: cell.id, count: cell.execution_count,
                    errors: cell.outputs.filter(o => o.output_type === 'error')
                                        .map(o => o.ename + ': ' + o.evalue)}}))"""
GO_TO = f"i => {{ {NOTEBOOK}.content.activeCellIndex = i; }}"
SCROLL_TO = f"i => {NOTEBOOK}.content.scrollToItem(i, 'start')"
THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
N_CELLS = f"() => {NOTEBOOK}.content.widgets.length"
TOO_WIDE = """() => [...document.querySelectorAll(
        '.jp-WindowedPanel-outer, .jp-OutputArea-output, .jp-RenderedHTMLCommon')]
    .filter(box => box.offsetParent && box.scrollWidth > box.clientWidth + 1)
    .map(box => box.className + ': ' + box.scrollWidth + ' > ' + box.clientWidth
                + ' ' + box.textContent.slice(0, 60))"""
WITHOUT_ALT = """() => [...document.querySelectorAll('.jp-OutputArea-output img')]
    .filter(picture => !picture.alt).length"""


@pytest.fixture(scope="module")
def page():
    """A page of Chromium, 1280 pixels wide."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `apt install chromium`, or CHROMIUM=its path")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is missing: `pip install playwright`"
    )
    PICTURES.mkdir(exist_ok=True)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": WIDE, "height": HIGH})
        browser.close()


@pytest.fixture(scope="module")
def clone(page, tmp_path_factory):
    """A clone after a run of mini_smoke, which is what notebook 03 shows there."""
    folder = tmp_path_factory.mktemp("browser") / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    subprocess.run(
        [sys.executable, "-m", "diffseg_utils", "run", "mini_smoke"],
        cwd=folder,
        env=environment(folder),
        check=True,
    )
    voting = folder / "notebooks" / "03_voting_analysis.ipynb"
    voting.write_text(
        voting.read_text().replace('dataset = \\"mini_horse', 'dataset = \\"mini_smoke')
    )
    filtered = ["make", "-s", "filter", f"PYTHON_OF_FILTER={sys.executable}"]
    subprocess.run(filtered, cwd=folder, check=True)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "add", "--all"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "after a run"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def address(clone):
    """The address of JupyterLab in the clone, started as `make lab` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    recipe = subprocess.run(
        ["make", "-n", "-o", ".venv/ready", "lab"], cwd=clone, capture_output=True, text=True
    )
    command = next(
        line
        for line in recipe.stdout.replace("\\\n", " ").splitlines()
        if line.startswith(".venv/bin/jupyter lab")
    )
    settings = clone.parent / "jupyter/settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    quiet = settings / "notification.jupyterlab-settings"
    quiet.write_text('{"fetchNews": "false"}')  # no question about news over the pictures
    command = [sys.executable, "-m", "jupyter", *shlex.split(command)[1:]]
    options = [
        "--no-browser",
        "--allow-root",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
    ]
    with open(clone.parent / "server.log", "w") as log:
        server = subprocess.Popen(
            [*command, *options],
            cwd=clone,
            env=environment(clone),
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}/lab/tree/notebooks"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(address)
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def environment(folder):
    """This environment, with the package of `folder`, one thread, and settings of its own."""
    own = folder.parent / "jupyter"
    return {
        **os.environ,
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
    }


def open_notebook(page, address):
    """Open a notebook; returns when its kernel and its cells are there."""
    page.goto(f"{address}?reset")
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell.currentWidget")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(f"() => {NOTEBOOK}.sessionContext.isReady")
    page.wait_for_function(f"() => ({N_CELLS})() === {NOTEBOOK}.context.model.cells.length")


def run_all(page, address, name, seconds):
    """Open a notebook and choose Run All; returns when all cells have run. AssertionError for one
    that fails.
    """
    open_notebook(page, f"{address}/{name}.ipynb")
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.wait_for_function(f"() => !({CELLS})().some(cell => cell.count)")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        cells = page.evaluate(CELLS)
        errors = [(cell["id"], cell["errors"]) for cell in cells if cell["errors"]]
        assert not errors, errors
        if all(cell["count"] for cell in cells):
            return
        time.sleep(1)
    raise AssertionError(f"not ready: {[cell['id'] for cell in cells if not cell['count']]}")


def look(page, name):
    """Go through the notebook cell by cell, with a picture for each window; nothing may be too
    wide, and no picture without a description.
    """
    for old in PICTURES.glob(f"{name}_[0-9]*.png"):
        old.unlink()
    n_pictures = 0
    seen = None
    for i in range(page.evaluate(N_CELLS)):
        page.evaluate(GO_TO, i)
        page.evaluate(SCROLL_TO, i)
        page.wait_for_timeout(400)
        assert not page.evaluate(TOO_WIDE), (name, i)
        assert not page.evaluate(WITHOUT_ALT), (name, i)
        top = page.evaluate("() => document.querySelector('.jp-WindowedPanel-outer').scrollTop")
        if seen is None or top - seen > 0.6 * HIGH or top < seen:
            page.screenshot(path=PICTURES / f"{name}_{n_pictures:02d}.png")
            seen = top
            n_pictures += 1


def go_to(page, cell):
    """Scroll to the cell of this id."""
    ids = page.evaluate(f"() => {NOTEBOOK}.context.model.toJSON().cells.map(cell => cell.id)")
    page.evaluate(GO_TO, ids.index(cell))
    page.evaluate(SCROLL_TO, ids.index(cell))
    page.wait_for_timeout(500)


def save(page, clone):
    """Save the notebook; git sees no change."""
    page.keyboard.press("Control+s")
    page.wait_for_function(f"() => !{NOTEBOOK}.context.model.dirty")
    status = ["git", "status", "--porcelain"]
    done = subprocess.run(status, cwd=clone, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_tour(page, address, clone):
    run_all(page, address, "00_tour", 900)
    look(page, "00_tour")
    go_to(page, "slider")
    page.locator(".jp-OutputArea-output img[alt*='mean: k = 1 repairs']").wait_for()
    page.locator(".widget-slider .noUi-handle").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    moved = page.locator(".jp-OutputArea-output img[alt*='mean: k = 3 repairs']")
    moved.wait_for(timeout=30_000)
    page.screenshot(path=PICTURES / "00_tour_slider.png")
    go_to(page, "questions")
    page.locator("summary", has_text="2. When").click()
    page.screenshot(path=PICTURES / "00_tour_answer.png")
    go_to(page, "solution-1")
    page.locator("summary", has_text="Solution of exercise 1").click()
    page.screenshot(path=PICTURES / "00_tour_solution.png")
    save(page, clone)


def test_voting(page, address, clone):
    run_all(page, address, "03_voting_analysis", 600)
    look(page, "03_voting_analysis")
    go_to(page, "explorer")
    pictures = "() => [...document.querySelectorAll('.widget-html img')].map(x => x.src).join()"
    page.wait_for_function(pictures)
    before = page.evaluate(pictures)
    page.locator(".widget-dropdown select").nth(1).select_option(index=1)
    page.wait_for_function(f"before => ({pictures})() !== before", arg=before)
    before = page.evaluate(pictures)
    page.locator(".widget-slider .noUi-handle").first.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.locator("figcaption", has_text="entropy-weighted, k = 16,").wait_for(timeout=30_000)
    assert page.evaluate(pictures) != before
    page.screenshot(path=PICTURES / "03_voting_analysis_explorer.png")
    save(page, clone)


def test_own_images(page, address, clone):
    run_all(page, address, "05_own_images", 900)
    look(page, "05_own_images")
    go_to(page, "solution-1")
    page.locator("summary", has_text="Solution of exercise 1").click()
    page.screenshot(path=PICTURES / "05_own_images_solution.png")
    save(page, clone)


def test_an_executed_copy_shows_its_figures_with_their_descriptions(page, address):
    """As it is opened from results/, which JupyterLab does not trust: its HTML is sanitized."""
    results = address.removesuffix("notebooks") + "results"
    open_notebook(page, f"{results}/mini_smoke/seed0/03_voting_analysis.ipynb")
    look(page, "executed_copy")
    go_to(page, "scores")
    picture = page.locator(".jp-OutputArea-output img[alt*='Points: mIoU in percent']")
    picture.wait_for()
    assert picture.evaluate("picture => picture.naturalWidth") > 500


def test_dark_theme(page, address):
    page.evaluate(THEME, "JupyterLab Dark")
    run_all(page, address, "00_tour", 900)
    look(page, "00_tour_dark")
