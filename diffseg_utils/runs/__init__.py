"""Making runs: names and folders (run), what needs what (stages), who does it (launch), what it
takes (preflight).
"""

from .progress import progress, track
from .run import Run, output_root, pick_device, project, to_add_to

__all__ = ["Run", "output_root", "pick_device", "progress", "project", "to_add_to", "track"]
