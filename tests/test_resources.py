"""Measuring: what was held at most, how long it took; and the table that README shows."""

import time

import numpy as np
import pandas as pd
import pytest

from diffseg_utils.evaluation.tables import costs_in_words
from diffseg_utils.runs.resources import STATUS, measure, peak_mib


def test_the_clock_takes_the_median_of_the_repeats_and_not_the_first_call():
    naps = iter((0.2, 0.01, 0.1, 0.03))

    def work():
        time.sleep(next(naps))
        return "done"

    result, seconds, _ = measure(work, repeats=3)
    assert result == "done" and 0.03 <= seconds < 0.08
    assert next(naps, None) is None


@pytest.mark.skipif(
    not STATUS.exists(), reason="the system does not say how much memory a process held"
)
def test_the_peak_is_that_of_this_work_and_not_of_earlier_work():
    def fill(mib):
        return np.ones((mib, 2**17)).sum()  # float64: one MiB a row

    large, small = measure(lambda: fill(200), 0)[2], measure(lambda: fill(20), 0)[2]
    assert 190 < large < 260 and small < 100 and peak_mib() > small


def test_the_table_is_blank_where_nothing_was_measured():
    costs = pd.DataFrame(
        [
            {
                "cost": "U-Net",
                "published": 1234.5,
                "ours": 12.345,
                "unit": "s",
                "ratio": 100.0,
                "goal": 3.3,
            },
            {
                "cost": "votes",
                "published": np.nan,
                "ours": 8.125,
                "unit": np.nan,
                "ratio": np.nan,
                "goal": np.nan,
            },
        ]
    )
    table = costs_in_words(costs)
    assert table.loc["U-Net"].tolist() == ["1,234 s", "12.3 s", "100", "3.30"]
    assert table.loc["votes"].tolist() == ["", "8.12", "", ""]
