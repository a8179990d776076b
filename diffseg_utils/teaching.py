"""Copies of the core notebooks for a class: without solutions, with a check of the installation."""

import json
import sys
from pathlib import Path

from .files import atomic
from .runs.run import project, tags

CHECK = """\
# Run this cell first. It says "ready" if everything is installed.
import sys
from importlib.util import find_spec

needed = ["diffseg_utils", "guided_diffusion", "torch", "seaborn", "ipywidgets", "psutil"]
missing = [name for name in needed if find_spec(name) is None]
if sys.version_info < (3, 11):
    raise ImportError(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
if missing:
    raise ImportError(f"not installed: {', '.join(missing)}. See notebooks/README.md: Install")

import psutil

free = psutil.virtual_memory().available / 2**30
print(f"ready: {free:.1f} GB of memory are free" + ("" if free > 2 else "; 2 GB are needed"))
"""


def class_copies(folder, notebooks=None):
    """Write the notebooks 00 to 04 for students to `folder`; returns the paths written.

    A copy has no cell tagged `solution`, and its first cell checks the installation. notebooks: the
    folder of the sources, by default that of the project. Existing copies are replaced.
    """
    notebooks = Path(notebooks or project() / "notebooks")
    check = {
        "cell_type": "code",
        "execution_count": None,
        "id": "check-installation",
        "metadata": {},
        "outputs": [],
        "source": CHECK.strip().splitlines(keepends=True),
    }
    written = []
    for source in sorted(notebooks.glob("0[0-4]_*.ipynb")):
        content = json.loads(source.read_text(encoding="utf-8"))
        cells = [cell for cell in content["cells"] if "solution" not in tags(cell)]
        content["cells"] = [check, *cells]
        written.append(Path(folder) / source.name)
        with atomic(written[-1]) as partial:
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            partial.write_text(text, encoding="utf-8")
    return written


if __name__ == "__main__":
    for path in class_copies(sys.argv[1]):
        print(path)
