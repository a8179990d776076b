"""Downloads of the official files: checked against what the server states, and never half a file under a good name."""
import base64
import hashlib
import os
import shutil
import tarfile
from pathlib import Path

import pooch
import requests

from .diffusion import checkpoint_path, describe
from .presets import DATA_URLS


def fetch(preset, data="data", echo=print):
    """Bring images, labels and checkpoint of `preset` into folder `data`; what is there already stays.

    OSError: no address answered well; the sentence says where to put the file by hand.
    """
    folder = Path(data) / "datasets" / preset.name
    if folder.is_dir():
        echo(f"{folder}: there already")
    else:
        archive = Path(data) / "downloads" / "datasets.tar.gz"
        if not archive.exists():
            download(DATA_URLS, archive)
        unpack(archive, f"datasets/{preset.name}", folder)
        echo(f"{folder}: unpacked")
    weights = checkpoint_path(preset.backbone, data)
    if weights.exists():
        echo(f"{weights}: there already")
    else:
        download(describe(preset.backbone)["urls"], weights)
        echo(f"{weights}: downloaded")


def download(urls, path, progress=True):
    """Download `path` from the first of `urls` that delivers a whole file; its sha256 is recorded, and enforced next time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, problems = path.with_name(f".{path.name}.partial"), []
    for url in urls:
        try:
            stated = _stated(url, path)
            pooch.HTTPDownloader(progressbar=progress, timeout=60)(url, str(partial), None)
            _verify(partial, path, stated)
            os.replace(partial, path)
            return
        except (requests.RequestException, ValueError) as error:
            problems.append(f"{url} ({str(error).splitlines()[0][:100]})")
        finally:
            partial.unlink(missing_ok=True)
    raise OSError(f"{path.name} could not be downloaded from {'; '.join(problems)}; bring it to {path} by hand")


def unpack(archive, inside, folder):
    """Unpack folder `inside` of a tar archive to `folder`, which takes its name only when it is complete."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.name.removeprefix("./").startswith(inside + "/")]
            tar.extractall(partial, members, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ValueError(f"{archive}: not a readable archive ({error}); delete it and fetch again") from None
    if not members:
        raise ValueError(f"{archive}: holds no folder {inside}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial / inside, folder)
    shutil.rmtree(partial)


def _stated(url, path):
    """(length, md5) that the server states for `url`, None where it is silent; OSError if the disk cannot take it."""
    answer = requests.head(url, allow_redirects=True, timeout=60)
    answer.raise_for_status()
    length = int(answer.headers.get("Content-Length", 0)) or None
    free = shutil.disk_usage(path.parent).free
    if length and length > free:
        raise OSError(f"{path.name} needs {length / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f} GB free")
    md5 = answer.headers.get("Content-MD5")
    return length, base64.b64decode(md5).hex() if md5 else None


def _verify(partial, path, stated):
    """ValueError unless `partial` is what the server stated and what was downloaded the first time."""
    length, md5 = stated
    if length and partial.stat().st_size != length:
        raise ValueError(f"{partial.stat().st_size} bytes came, {length} were stated")
    if md5 and _digest(partial, "md5") != md5:
        raise ValueError("its MD5 is not the stated one")
    record, sha256 = path.with_name(f"{path.name}.sha256"), _digest(partial, "sha256")
    if record.exists() and record.read_text().strip() != sha256:
        raise ValueError(f"its sha256 is not the one recorded in {record.name}")
    record.write_text(sha256 + "\n")


def _digest(path, kind):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
