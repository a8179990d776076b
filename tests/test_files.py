"""Files: whole or absent, with the content that was written."""

import hashlib
import os

import numpy as np
import pandas as pd
import pytest

from diffseg_utils.files import atomic, read_json, sha256, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_at_the_end(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".") and str(os.getpid()) in temporary.name
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


def test_an_exception_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_exception_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match="disk"), atomic(tmp_path / "a.txt"):
        raise OSError("disk full")
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize(
    "name, save",
    [
        ("a.npy", lambda path: np.save(path, np.arange(3))),
        ("a.npz", lambda path: np.savez_compressed(path, x=np.arange(3))),
        ("a.csv.gz", lambda path: pd.DataFrame({"x": [1, 2]}).to_csv(path)),
    ],
)
def test_libraries_that_look_at_the_suffix_keep_the_name(tmp_path, name, save):
    with atomic(tmp_path / name) as temporary:
        save(temporary)
    assert names(tmp_path) == [name]
    if name == "a.csv.gz":
        assert pd.read_csv(tmp_path / name).x.tolist() == [1, 2]


def test_a_folder_replaces_a_folder(tmp_path):
    for content in ("old", "new"):
        with atomic(tmp_path / "maps") as temporary:
            temporary.mkdir()
            (temporary / f"{content}.txt").write_text(content)
    assert names(tmp_path) == ["maps"]
    assert names(tmp_path / "maps") == ["new.txt"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "old.txt").write_text("old")
    with pytest.raises(ValueError, match="not finite"), atomic(tmp_path / "maps") as temporary:
        temporary.mkdir()
        (temporary / "half.txt").write_text("half")
        raise ValueError("not finite")
    assert names(tmp_path) == ["maps"]
    assert names(tmp_path / "maps") == ["old.txt"]


def test_what_a_killed_process_left_is_not_mixed_in(tmp_path):
    left = tmp_path / f".maps.{os.getpid()}"
    left.mkdir()
    (left / "stale.txt").write_text("stale")
    with atomic(tmp_path / "maps") as temporary:
        temporary.mkdir()
    assert names(tmp_path) == ["maps"]
    assert names(tmp_path / "maps") == []


def test_sha256_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a.bin").write_bytes(content)
    assert sha256(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()


def test_json_comes_back(tmp_path):
    content = {"name": "größer", "numbers": [1, 2.5, None], "place": tmp_path}
    write_json(tmp_path / "deep" / "a.json", content)
    assert read_json(tmp_path / "deep" / "a.json") == {**content, "place": str(tmp_path)}
    assert (tmp_path / "deep" / "a.json").read_text().endswith("}\n")


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1')
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")
