"""Helpers of the notebooks: frozen diffusion features, pixel classifiers, and how their votes are
counted.
"""

import os

os.environ.setdefault(
    "THP_MEM_ALLOC_ENABLE", "1"
)  # torch on huge pages: mapping small ones took a third of a run's CPU time
