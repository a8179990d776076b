"""Files: written whole or not at all, checksums, JSON."""

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path):
    """Context manager that yields a temporary path, which is renamed to `path` at the end.

    It lies beside `path` and has the same suffix; write a file or make a folder there. After an
    exception it is deleted, and `path` stays as it was. The parent folder of `path` is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    _remove(temporary)  # left by a process that was killed and had our process id
    try:
        yield temporary
        if temporary.is_dir():
            _remove(path)  # a folder cannot be replaced while it holds files
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def replace_folder(source, target):
    """Move folder `source` to `target`, in place of what may be there."""
    _remove(Path(target))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def remove_leftovers(path):
    """Delete what `atomic(path)` has left in a process that was killed.

    Nobody may be writing it.
    """
    for temporary in path.parent.glob(f".{path.stem}.*{path.suffix}"):
        if temporary.name.removeprefix(f".{path.stem}.").removesuffix(path.suffix).isdigit():
            _remove(temporary)


def sha256(path):
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path):
    """The content of a JSON file; ValueError names the file if it is not valid JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def write_json(path, content):
    """Write `content` as JSON to `path`; what JSON does not know is written as a string."""
    with atomic(path) as temporary:
        text = json.dumps(content, indent=1, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")


def _remove(path):
    """Delete a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
