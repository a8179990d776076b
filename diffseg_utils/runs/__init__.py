"""Making runs: names and folders (run), what needs what (stages), who does it (launch), what it
takes (preflight).
"""

from .progress import progress, track
from .run import Run, pick_device, project

__all__ = ["Run", "pick_device", "progress", "project", "track"]
