"""The tour runs on any painted dataset, without a warning; a kernel ends without one, too."""
import signal
from pathlib import Path

import nbformat
from jupyter_client.provisioning import LocalProvisioner

from diffseg_utils.notebooks import execute

TOUR = Path(__file__).parents[1] / "notebooks" / "00_tour.ipynb"


def test_tour(tmp_path):
    execute(TOUR, tmp_path / "tour.ipynb", {"dataset": "mini_smoke"})
    assert "Warning" not in (tmp_path / "tour.ipynb").read_text()


def test_a_kernel_is_not_interrupted_at_its_end(tmp_path, monkeypatch):
    """One that is about to idle prints "KeyboardInterrupt caught in kernel" when it is: seen once in some hundred notebooks."""
    sent, send = [], LocalProvisioner.send_signal

    async def recorded(self, signum):
        sent.append(signum)
        await send(self, signum)
    monkeypatch.setattr(LocalProvisioner, "send_signal", recorded)
    cell = nbformat.v4.new_code_cell("x = 1  # a number", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), tmp_path / "small.ipynb")
    execute(tmp_path / "small.ipynb", tmp_path / "out.ipynb", {})
    assert signal.SIGINT not in sent
