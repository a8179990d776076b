"""A CSV file of what was measured: only the rows that it does not have are measured."""

from pathlib import Path

import pandas as pd

from ..files import atomic

TEXT = dict.fromkeys(["dataset", "weights", "recipe", "scored"], str)  # also where digits are read


class Measured:
    """A CSV file to which rows are added under a key that says what was measured."""

    def __init__(self, path, keys):
        self.path, self.keys = Path(path), keys
        self.frame = (
            pd.read_csv(path, dtype=TEXT) if self.path.exists() else pd.DataFrame(columns=keys)
        )

    def __contains__(self, key):
        return bool((self.frame[self.keys] == list(key)).all(axis=1).any())

    def of(self, datasets, **values):
        """The rows of `datasets` in which each named column has its value."""
        rows = self.frame[self.frame.dataset.isin(datasets)]
        return rows[(rows[list(values)] == list(values.values())).all(axis=1)]

    def under(self, key):
        """The rows under one key."""
        return self.frame[(self.frame[self.keys] == list(key)).all(axis=1)]

    def add(self, key, rows):
        """Add rows, dicts, unless there are some under this key, and write the file."""
        if key in self:
            return
        named = dict(zip(self.keys, key))
        new = pd.DataFrame([named | row for row in rows])
        both = [new] if self.frame.empty else [self.frame, new]
        self.frame = pd.concat(both, ignore_index=True)
        with atomic(self.path) as partial:
            self.frame.to_csv(partial, index=False, float_format="%.5g")
