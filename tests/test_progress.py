"""What a notebook reports about its work."""

from diffseg_utils.runs import track


def test_track_reports_an_item_when_it_has_been_worked_on():
    said = []
    items = track("ab", lambda done, total: said.append((done, total)), 3, 5)
    assert next(items) == "a" and said == []
    assert next(items) == "b" and said == [(4, 5)]
    assert list(items) == [] and said == [(4, 5), (5, 5)]


def test_track_counts_its_own_items():
    said = []
    assert list(track([1, 2], lambda *report: said.append(report))) == [1, 2]
    assert said == [(1, 2), (2, 2)]
