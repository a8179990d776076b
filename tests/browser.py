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
    if (folder / ".gitattributes").exists():  # the filter that `make` sets up
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


def run_all(page, address, name, seconds):
    """Open a notebook and choose Run All; returns when all cells have run. AssertionError for one
    that fails.
    """
    page.goto(f"{address}/{name}.ipynb?reset")
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell.currentWidget")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(f"() => {NOTEBOOK}.sessionContext.isReady")
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
    for old in PICTURES.glob(f"{name}_*.png"):
        old.unlink()
    n_pictures = 0
    seen = None
    for i in range(page.evaluate(N_CELLS)):
        page.evaluate(GO_TO, i)
        page.evaluate(f"i => {NOTEBOOK}.content.scrollToItem(i, 'start')", i)
        page.wait_for_timeout(400)
        assert not page.evaluate(TOO_WIDE), (name, i)
        assert not page.evaluate(WITHOUT_ALT), (name, i)
        top = page.evaluate("() => document.querySelector('.jp-WindowedPanel-outer').scrollTop")
        if seen is None or top - seen > 0.6 * HIGH or top < seen:
            page.screenshot(path=PICTURES / f"{name}_{n_pictures:02d}.png")
            seen = top
            n_pictures += 1


def status(folder):
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True
    )
    return done.stdout


def saves_without_a_change(page, clone):
    page.keyboard.press("Control+s")
    page.wait_for_function(f"() => !{NOTEBOOK}.context.model.dirty")
    if (clone / ".gitattributes").exists():
        assert status(clone) == ""


def test_tour(page, address, clone):
    run_all(page, address, "00_tour", 900)
    look(page, "00_tour")
    ids = page.evaluate(f"() => {NOTEBOOK}.context.model.toJSON().cells.map(cell => cell.id)")
    page.evaluate(GO_TO, ids.index("slider"))
    page.evaluate(f"i => {NOTEBOOK}.content.scrollToItem(i, 'start')", ids.index("slider"))
    handle = page.locator(".widget-slider .noUi-handle").first
    handle.wait_for()
    shown = page.locator(".jp-OutputArea-output img[alt*='mean: k = 1 repairs']").last
    shown.wait_for()
    handle.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    moved = page.locator(".jp-OutputArea-output img[alt*='mean: k = 3 repairs']")
    moved.wait_for(timeout=30_000)
    page.screenshot(path=PICTURES / "00_tour_slider.png")
    page.evaluate(f"i => {NOTEBOOK}.content.scrollToItem(i, 'start')", ids.index("questions"))
    page.wait_for_timeout(500)
    page.locator("summary").nth(1).click()
    page.screenshot(path=PICTURES / "00_tour_answer.png")
    saves_without_a_change(page, clone)


def test_voting(page, address, clone):
    run_all(page, address, "03_voting_analysis", 600)
    look(page, "03_voting_analysis")
    saves_without_a_change(page, clone)


def test_dark_theme(page, address):
    theme = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.goto(f"{address}/00_tour.ipynb?reset")
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell.currentWidget")
    page.evaluate(theme, "JupyterLab Dark")
    run_all(page, address, "00_tour", 900)
    look(page, "dark")
