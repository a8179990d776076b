"""Downloads of the official files: checked against what the server states, and written whole."""

import base64
import hashlib
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

import pooch
import requests

from ..backbone import checkpoint_path, describe
from ..files import atomic, sha256
from ..presets import CLASSIFIER_URLS, DATA_URLS

# Without this header a server may compress the answer, and the stated length is another one.
REQUEST = {"timeout": 60, "headers": {"Accept-Encoding": "identity"}}
BAD_ARCHIVE = (tarfile.TarError, EOFError, OSError, zlib.error)


def fetch(preset, data="data", echo=print, classifiers=False):
    """Bring images, labels and checkpoint of `preset` into folder `data`; what is there stays.

    classifiers: also the published pixel classifiers. OSError: no address delivered the file; the
    message says where to put it by hand. ValueError: a file that is there has changed.
    """
    data = Path(data)
    fetch_folder(DATA_URLS, data, "datasets", preset.name, echo)
    fetch_weights(preset.backbone, data, echo)
    if classifiers:
        folder = fetch_folder(CLASSIFIER_URLS, data, "pixel_classifiers", preset.name, echo)
        for first in sorted(folder.rglob("model_0.pth")):
            echo(
                f"to vote with them: diffseg vote {preset.name} --data {data} "
                f"--classifiers {first.parent}"
            )


def fetch_folder(urls, data, kind, name, echo=print):
    """The folder `data`/<kind>/<name>, unpacked from the archive at `urls`.

    The archive stays in `data`/downloads.
    """
    folder = data / kind / name
    if folder.is_dir():
        echo(f"{folder}: there already")
        return folder
    url_without_query = urls[0].partition("?")[0]
    archive = data / "downloads" / Path(url_without_query).name
    bring(urls, archive)
    unpack(archive, f"{kind}/{name}", folder)
    echo(f"{folder}: unpacked")
    return folder


def fetch_weights(backbone, data="data", echo=print):
    """Bring the checkpoint of an official backbone; others have no address and stay as they are."""
    urls = describe(backbone).get("urls")
    if urls:
        weights = checkpoint_path(backbone, data)
        echo(f"{weights}: {bring(urls, weights)}")


def bring(urls, path):
    """Download `path` unless it is there; returns "downloaded" or "there already".

    ValueError if the file that is there does not have the sha256 recorded for it.
    """
    if not path.exists():
        download(urls, path)
        return "downloaded"
    if not _is_as_recorded(sha256(path), path):
        raise ValueError(
            f"{path}: its sha256 is not the one recorded in {_record(path).name}; "
            "delete it and fetch again"
        )
    return "there already"


def download(urls, path, progress=True):
    """Download `path` from the first of `urls` that delivers a whole file.

    Its sha256 is recorded beside it; another content is refused the next time. OSError if no
    address delivers it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for url in urls:
        try:
            length, md5 = _stated(url, path)
            with atomic(path) as temporary:
                pooch.HTTPDownloader(progressbar=progress, **REQUEST)(url, str(temporary), None)
                _verify(temporary, path, length, md5)
            return
        except (requests.RequestException, ValueError) as error:
            offline = type(error) is requests.ConnectionError
            reason = "no connection" if offline else str(error).splitlines()[0][:100]
            problems.append(f"{url} ({reason})")
    raise OSError(
        f"{path.name} could not be downloaded from {'; '.join(problems)}; "
        f"bring it to {path} by hand"
    )


def unpack(archive, inside, folder):
    """Unpack folder `inside` of a tar archive to `folder`, which is there whole or not at all.

    ValueError for an archive that cannot be read or has no such folder.
    """

    def below_inside(member, path):
        """The member, checked, with its name counted from `inside`."""
        name = member.name.removeprefix("./").removeprefix(f"{inside}/")
        return tarfile.data_filter(member.replace(name=name), path)

    try:
        with atomic(folder) as partial, tarfile.open(archive) as tar:
            members = [m for m in tar if m.name.removeprefix("./").startswith(f"{inside}/")]
            if not members:
                raise ValueError(f"{archive}: holds no folder {inside}")
            tar.extractall(partial, members, filter=below_inside)
    except BAD_ARCHIVE as error:
        if getattr(error, "errno", None):  # of the system, such as a full disk
            raise
        raise ValueError(
            f"{archive}: not a readable archive ({error}); delete it and fetch again"
        ) from None


# ---- checks -------------------------------------------------------------------------------------


def _stated(url, path):
    """(length, md5) that the server states for `url`; None where it states nothing.

    OSError if the disk of `path` has not enough room.
    """
    # Not a HEAD request, which some servers refuse.
    with requests.get(url, stream=True, **REQUEST) as answer:
        answer.raise_for_status()
        length = int(answer.headers.get("Content-Length", 0)) or None
        md5 = answer.headers.get("Content-MD5")
    free = shutil.disk_usage(path.parent).free
    if length and length > free:
        raise OSError(
            f"{path.name} needs {length / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f} GB free"
        )
    if md5:
        md5 = base64.b64decode(md5).hex()
    return length, md5


def _verify(temporary, path, length, md5):
    """ValueError unless the download is whole, what its name says, and the same as last time.

    Then its sha256 is recorded.
    """
    size = temporary.stat().st_size
    if length and size != length:
        raise ValueError(f"{size} bytes came, {length} were stated")
    if md5 and _md5(temporary) != md5:
        raise ValueError("its MD5 is not the stated one")
    if ".tar" in path.suffixes:
        _read_to_the_end(temporary)
    elif not zipfile.is_zipfile(temporary):  # looks at the end of the file, so half a file fails
        raise ValueError("what came is no checkpoint, or not all of it")
    digest = sha256(temporary)
    if not _is_as_recorded(digest, path):
        raise ValueError(f"its sha256 is not the one recorded in {_record(path).name}")
    _record(path).write_text(digest + "\n")


def _read_to_the_end(archive):
    """ValueError unless all members of a tar archive can be listed."""
    try:
        with tarfile.open(archive) as tar:
            tar.getmembers()
    except BAD_ARCHIVE as error:
        raise ValueError(f"what came is no archive, or not all of it: {error}") from None


def _is_as_recorded(digest, path):
    """True unless an earlier good download to `path` had another sha256."""
    record = _record(path)
    return not record.exists() or record.read_text().strip() == digest


def _record(path):
    """The file that records the sha256 of `path`."""
    return path.with_name(f"{path.name}.sha256")


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
