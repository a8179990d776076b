"""Downloads of the official files: checked against what the server states, and never half a file under a good name."""

import base64
import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

import pooch
import requests

from ..backbone import checkpoint_path, describe
from ..presets import CLASSIFIER_URLS, DATA_URLS

ASK = {
    "timeout": 60,
    "headers": {"Accept-Encoding": "identity"},
}  # the length of the file, not of a compressed answer


def fetch(preset, data="data", echo=print, classifiers=False):
    """Bring images, labels and checkpoint of `preset`, with `classifiers` also the published ones, into folder `data`.

    What is there already stays. OSError: no address answered well; the sentence says where to put the file by hand.
    ValueError: a file that is there is not what it was.
    """
    fetch_folder(DATA_URLS, Path(data), "datasets", preset.name, echo)
    fetch_weights(preset.backbone, data, echo)
    if classifiers:
        folder = fetch_folder(CLASSIFIER_URLS, Path(data), "pixel_classifiers", preset.name, echo)
        for first in sorted(folder.rglob("model_0.pth")):
            echo(
                f"to vote with them: diffseg vote {preset.name} --data {data} --classifiers {first.parent}"
            )


def fetch_folder(urls, data, kind, name, echo=print):
    """`data`/<kind>/<name>, unpacked from the archive at `urls`, which stays in `data`/downloads."""
    folder, archive = data / kind / name, data / "downloads" / Path(urls[0].partition("?")[0]).name
    if folder.is_dir():
        echo(f"{folder}: there already")
    else:
        bring(urls, archive)
        unpack(archive, f"{kind}/{name}", folder)
        echo(f"{folder}: unpacked")
    return folder


def fetch_weights(backbone, data="data", echo=print):
    """The checkpoint of an official backbone; others have no address and stay as they are."""
    if urls := describe(backbone).get("urls"):
        weights = checkpoint_path(backbone, data)
        echo(f"{weights}: {bring(urls, weights)}")


def bring(urls, path):
    """Download `path` unless it is there; ValueError if the one that is there has not the sha256 recorded for it."""
    if not path.exists():
        download(urls, path)
        return "downloaded"
    _checked_sha256(path, path, f"{path}: ", "; delete it and fetch again")
    return "there already"


def download(urls, path, progress=True):
    """Download `path` from the first of `urls` that delivers a whole file; its sha256 is recorded, and enforced next time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, problems = path.with_name(f".{path.name}.partial"), []
    for url in urls:
        try:
            stated = _stated(url, path)
            pooch.HTTPDownloader(progressbar=progress, **ASK)(url, str(partial), None)
            _verify(partial, path, stated)
            os.replace(partial, path)
            return
        except (requests.RequestException, ValueError) as error:
            offline = type(error) is requests.ConnectionError
            problems.append(
                f"{url} ({'no connection' if offline else str(error).splitlines()[0][:100]})"
            )
        finally:
            partial.unlink(missing_ok=True)
    raise OSError(
        f"{path.name} could not be downloaded from {'; '.join(problems)}; bring it to {path} by hand"
    )


def unpack(archive, inside, folder):
    """Unpack folder `inside` of a tar archive to `folder`, which takes its name only when it is complete."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.name.removeprefix("./").startswith(inside + "/")]
            tar.extractall(partial, members, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ValueError(
            f"{archive}: not a readable archive ({error}); delete it and fetch again"
        ) from None
    if not members:
        raise ValueError(f"{archive}: holds no folder {inside}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial / inside, folder)
    shutil.rmtree(partial)


def _stated(url, path):
    """(length, md5) that the server states for `url`, None where it is silent; OSError if the disk cannot take it."""
    with requests.get(url, stream=True, **ASK) as answer:  # not HEAD, which some servers refuse
        answer.raise_for_status()
        length, md5 = (
            int(answer.headers.get("Content-Length", 0)) or None,
            answer.headers.get("Content-MD5"),
        )
    free = shutil.disk_usage(path.parent).free
    if length and length > free:
        raise OSError(
            f"{path.name} needs {length / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f} GB free"
        )
    return length, base64.b64decode(md5).hex() if md5 else None


def _verify(partial, path, stated):
    """ValueError unless `partial` is what the server stated, what its name says, and what was downloaded the first time."""
    length, md5 = stated
    if length and partial.stat().st_size != length:
        raise ValueError(f"{partial.stat().st_size} bytes came, {length} were stated")
    if md5 and _digest(partial, "md5") != md5:
        raise ValueError("its MD5 is not the stated one")
    if ".tar" in path.suffixes:
        _members(partial)
    elif not zipfile.is_zipfile(partial):  # the end of the file tells: half a checkpoint is none
        raise ValueError("what came is no checkpoint, or not all of it")
    _record(path).write_text(_checked_sha256(partial, path) + "\n")


def _members(archive):
    """All members of a tar archive, read to its end; ValueError if that is not possible."""
    try:
        with tarfile.open(archive) as tar:
            return tar.getmembers()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"what came is no archive, or not all of it: {error}") from None


def _checked_sha256(file, path, before="", after=""):
    """sha256 of `file`; ValueError if a good download to `path` had another one."""
    record, sha256 = _record(path), _digest(file, "sha256")
    if record.exists() and record.read_text().strip() != sha256:
        raise ValueError(f"{before}its sha256 is not the one recorded in {record.name}{after}")
    return sha256


def _record(path):
    return path.with_name(f"{path.name}.sha256")


def _digest(path, kind):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
