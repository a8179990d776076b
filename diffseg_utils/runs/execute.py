"""Execute one notebook in this process by papermill: check its parameters, run it over ipc, leave
no time stamps.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import weakref
from pathlib import Path

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from ..files import atomic
from .run import parameters_of

KERNELS = weakref.WeakSet()  # the managers of kernels that may be alive


class IpcKernelManager(AsyncKernelManager):
    """A kernel that talks over sockets in a folder of its own: parallel kernels never fight for TCP
    ports.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        KERNELS.add(self)
        if os.name == "posix":  # elsewhere there are only ports
            folder = tempfile.mkdtemp(prefix="kernel-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self.transport = "ipc"
            self.ip = str(Path(folder) / "socket")

    def format_kernel_cmd(self, extra_arguments=None):
        """The usual command, by way of our kernel.py, which ends with this process."""
        command = super().format_kernel_cmd(extra_arguments)
        ours = {"ipykernel_launcher": "diffseg_utils.runs.kernel"}
        return [ours.get(word, word) for word in command]

    async def _async_interrupt_kernel(self):
        """Nothing: a shutdown interrupts first, and a kernel about to idle complains of it on the
        terminal.
        """


def execute(notebook, output, parameters):
    """Run `notebook` with `parameters` and write the executed copy to `output` (through a temporary
    name).

    ValueError: a parameter the notebook does not have. RuntimeError: it failed; the sentence names
    the cell's error and the copy that shows where.
    """
    known = parameters_of(notebook)
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise ValueError(
            f"{Path(notebook).name}: unknown parameter {unknown[0]!r}; "
            f"choose from {', '.join(known)}"
        )
    output = Path(output)
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    with atomic(output) as partial:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(partial),
                parameters,
                progress_bar=False,
                log_output=False,
                kernel_manager_class=IpcKernelManager,
            )
        except (PapermillExecutionError, DeadKernelError) as error:
            said = "its kernel was killed (out of memory?)"
            if isinstance(error, PapermillExecutionError):
                said = f"{error.ename}: {error.evalue}"
            if partial.exists():
                os.replace(partial, failed)
            raise RuntimeError(f"{said} (the executed copy: {failed})") from None
        nbformat.write(without_times(nbformat.read(partial, 4)), partial)
    failed.unlink(missing_ok=True)


def without_times(notebook):
    """The executed notebook without time stamps, paths of this machine and other traces of when and
    where it ran.
    """
    notebook.metadata = {
        key: notebook.metadata[key]
        for key in ("kernelspec", "language_info")
        if key in notebook.metadata
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"  # papermill draws one at random
        if "outputs" in cell:  # a slider without its kernel; the figure beside it stays
            cell.outputs = [
                output
                for output in cell.outputs
                if "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            ]
            for output in cell.outputs:
                if {"image/png", "text/html"} <= set(output.get("data", {})):
                    # A figure, twice. JupyterLab and pages made by nbconvert show the description
                    # that is in the HTML, and none beside a PNG.
                    del output.data["image/png"]
                    output.metadata.pop("image/png", None)
    return notebook


def end():
    """End this process and its kernel at once; what a stage goes on from lies in files."""
    for manager in list(KERNELS):
        process = getattr(manager.provisioner, "process", None)
        if process is not None:
            process.kill()
        if manager.transport == "ipc":
            shutil.rmtree(Path(manager.ip).parent, ignore_errors=True)
    os._exit(1)


def end_with_starter():
    """End when standard input is closed, which happens when whoever started this process ends, in
    whichever way.
    """
    while os.read(sys.stdin.fileno(), 1024):
        pass
    end()


def end_when_asked(*_):
    """End on SIGTERM, which a cluster sends before it kills; the last line of stderr says so."""
    print("cancelled (SIGTERM)", file=sys.stderr, flush=True)
    end()


if __name__ == "__main__":
    threading.Thread(target=end_with_starter, daemon=True).start()
    signal.signal(signal.SIGTERM, end_when_asked)
    try:
        execute(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    except (ValueError, RuntimeError) as error:
        sys.exit(" ".join(str(error).split("\n")))  # one sentence in one line
