"""What in data/runs nobody needs: files that no record of a finished stage names."""

import shutil

from ..files import read_json


def unneeded(runs_root):
    """{path: bytes} of files that no record names, and of folders that hold nothing else.

    Unfinished work counts as unneeded too; records, checksums and locks do not.
    """
    needed = {runs_root / "checksums.json"}
    for path in runs_root.rglob("*.json"):
        record = _record(path)
        if record:
            needed |= {path, *(runs_root.parent.parent / name for name in record["outputs"])}
    found = {}
    for path in sorted(runs_root.iterdir()) if runs_root.is_dir() else ():
        if path.name != "locks":
            _collect(path, needed, found)
    return found


def _collect(path, needed, found):
    """Note in `found` what of a file or folder is unneeded: as a whole if nothing in it is
    needed.
    """
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    kept = [file for file in files if file in needed or file.suffix == ".lock"]
    if not kept:
        found[path] = sum(file.stat().st_size for file in files)
    elif path.is_dir():
        for inner in sorted(path.iterdir()):
            _collect(inner, needed, found)


def delete(paths):
    """Delete files and folders."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _record(path):
    """The record of a stage in this JSON file, None if it is another one."""
    try:
        content = read_json(path)
    except ValueError:
        return None
    is_record = isinstance(content, dict) and {"fingerprint", "outputs"} <= content.keys()
    return content if is_record else None
