"""Official files, from a local server that truncates, corrupts, redirects and fails.

What is said before a long run starts.

A bad file never takes the good one's name, be it a checkpoint or an archive.
"""

import base64
import errno
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from conftest import diffseg
from own_folders import make_folder

from diffseg_utils import presets
from diffseg_utils.backbone import load_backbone
from diffseg_utils.official.download import bring, download, fetch, unpack
from diffseg_utils.runs import Run, estimate

BULK = bytes(range(256)) * 400


def archive(*names):
    """The bytes of a tar archive with these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(BULK)
            tar.addfile(info, io.BytesIO(BULK))
    return content.getvalue()


def checkpoint():
    """The bytes of a zip file, which a .pt file is."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("weights", BULK)
    return content.getvalue()


INSIDE = "ddpm/50_150_250_5_6_7_8_12"
FILES = {
    "lsun_cat.pt": checkpoint(),
    "256x256_diffusion_uncond.pt": checkpoint(),
    "datasets.tar.gz": archive("datasets/cat_15/real/train/a.png", "datasets/horse_21/b.png"),
    "pixel_classifiers.tar": archive(
        f"pixel_classifiers/cat_15/{INSIDE}/model_0.pth", "pixel_classifiers/horse_21/b.pth"
    ),
}


class Server(BaseHTTPRequestHandler):
    """Serves /<kind>/<file>.

    Kinds: good, truncated, corrupt (states another MD5), silent (states nothing),
    silent-truncated, page (an error page with status 200), moved (redirects to good), lost
    (redirects to a 404), loop (redirects to itself), 404, 500.
    """

    def do_GET(self):
        kind, name = self.path.partition("?")[0].strip("/").split("/")
        good = FILES[name]
        if kind.isdigit():
            return self.send_error(int(kind))
        if kind in ("moved", "lost", "loop"):
            self.send_response(302)
            self.send_header(
                "Location", f"/{dict(moved='good', lost='404').get(kind, kind)}/{name}"
            )
            return self.end_headers()
        self.send_response(200)
        body = {
            "page": b"<html>This link was disabled</html>",
            "corrupt": good[:999] + b"\0" + good[1000:],
            "truncated": good[:50_000],
            "silent-truncated": good[:50_000],
        }.get(kind, good)
        if kind in ("good", "truncated", "corrupt"):
            self.send_header("Content-Length", str(len(good)))
            self.send_header("Content-MD5", base64.b64encode(hashlib.md5(good).digest()).decode())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):  # the client hangs up when it has read the headers
        pass


@pytest.fixture(scope="module")
def address():
    server = Quiet(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def official(address, monkeypatch):
    """official(kind): the official addresses are those of the local server."""

    def official(kind="good"):
        place = {name: [f"{address}/{kind}/{name}"] for name in FILES}
        monkeypatch.setattr("diffseg_utils.official.download.DATA_URLS", place["datasets.tar.gz"])
        monkeypatch.setattr(
            "diffseg_utils.official.download.CLASSIFIER_URLS",
            [place["pixel_classifiers.tar"][0] + "?dl=1"],
        )
        monkeypatch.setitem(presets.BACKBONES["lsun_cat"], "urls", place["lsun_cat.pt"])
        imagenet = place["256x256_diffusion_uncond.pt"]
        monkeypatch.setitem(presets.BACKBONES["imagenet"], "urls", imagenet)

    return official


# ---- one file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["good", "moved", "silent"])
def test_a_whole_file_arrives_and_its_sha256_is_recorded(address, kind, name, tmp_path):
    download([f"{address}/{kind}/{name}"], tmp_path / name, progress=False)
    assert (tmp_path / name).read_bytes() == FILES[name]
    assert (tmp_path / f"{name}.sha256").read_text().strip() == hashlib.sha256(
        FILES[name]
    ).hexdigest()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "kind", ["truncated", "silent-truncated", "corrupt", "page", "lost", "loop", "404", "500"]
)
def test_a_bad_file_leaves_nothing_and_the_sentence_names_address_and_place(
    address, kind, name, tmp_path
):
    with pytest.raises(OSError) as error:
        download([f"{address}/{kind}/{name}"], tmp_path / name, progress=False)
    assert f"{address}/{kind}/{name}" in str(error.value)
    assert str(error.value).endswith(f"bring it to {tmp_path / name} by hand")
    assert not list(tmp_path.iterdir()), (
        "no file, and no sha256 that a good one would have to match"
    )


def test_the_next_address_is_a_fallback(address, tmp_path):
    bad = [f"{address}/{kind}/lsun_cat.pt" for kind in ("404", "corrupt", "page", "truncated")]
    download([*bad, f"{address}/good/lsun_cat.pt"], tmp_path / "lsun_cat.pt", progress=False)
    assert (tmp_path / "lsun_cat.pt").read_bytes() == FILES["lsun_cat.pt"]


def test_offline_one_sentence_names_all_addresses_and_the_place(tmp_path):
    urls = [f"http://127.0.0.1:9/{side}/lsun_cat.pt" for side in "ab"]  # nobody listens on port 9
    with pytest.raises(OSError) as error:
        download(urls, tmp_path / "lsun_cat.pt", progress=False)
    assert str(error.value) == (
        f"lsun_cat.pt could not be downloaded from {urls[0]} (no connection); "
        f"{urls[1]} (no connection); "
        f"bring it to {tmp_path / 'lsun_cat.pt'} by hand"
    )


def test_another_content_than_the_first_time_is_refused(address, tmp_path):
    path = tmp_path / "lsun_cat.pt"
    assert bring([f"{address}/good/lsun_cat.pt"], path) == "downloaded"
    assert bring([], path) == "there already"
    path.write_bytes(FILES["lsun_cat.pt"][:-1] + b"!")
    with pytest.raises(
        ValueError,
        match=r"lsun_cat\.pt: its sha256 is not the one recorded .*; delete it and fetch again",
    ):
        bring([], path)
    path.unlink()
    (tmp_path / "lsun_cat.pt.sha256").write_text("0" * 64)
    with pytest.raises(OSError, match="its sha256 is not the one recorded"):
        bring([f"{address}/good/lsun_cat.pt"], path)
    assert not path.exists()


def test_a_bad_file_brought_by_hand_does_not_bar_the_good_one(official, tmp_path):
    official()
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "datasets.tar.gz").write_bytes(b"<html>")
    bad = diffseg("fetch", "cat_15", "--data", tmp_path)
    assert (
        bad.exit_code == 1
        and "datasets.tar.gz: not a readable archive" in bad.output
        and "delete it" in bad.output
    )
    (tmp_path / "downloads" / "datasets.tar.gz").unlink()
    assert diffseg("fetch", "cat_15", "--data", tmp_path).exit_code == 0


def test_a_file_that_does_not_fit_on_the_disk_is_not_begun(address, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OSError, match=r"lsun_cat\.pt needs 0\.0 GB, .* has 0\.0 GB free"):
        download([f"{address}/good/lsun_cat.pt"], tmp_path / "lsun_cat.pt", progress=False)
    assert not list(tmp_path.iterdir())


def test_unpack_takes_one_folder_whole_or_not_at_all(tmp_path):
    good, broken = tmp_path / "good.tar", tmp_path / "broken.tar"
    good.write_bytes(FILES["datasets.tar.gz"])
    unpack(good, "datasets/cat_15", tmp_path / "data" / "datasets" / "cat_15")
    assert [p.name for p in (tmp_path / "data").rglob("*") if p.is_file()] == ["a.png"]
    broken.write_bytes(FILES["datasets.tar.gz"][:50_000])
    for path, inside, message in (
        (broken, "datasets/cat_15", r"broken\.tar: not a readable archive"),
        (good, "datasets/dog_3", r"good\.tar: holds no folder datasets/dog_3"),
    ):
        with pytest.raises(ValueError, match=message):
            unpack(path, inside, tmp_path / "other" / "cat_15")
    assert not list((tmp_path / "other").glob("*")), "nothing, not even hidden"


def test_a_full_disk_is_not_called_a_bad_archive(tmp_path, monkeypatch):
    good = tmp_path / "good.tar"
    good.write_bytes(FILES["datasets.tar.gz"])

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    with pytest.raises(OSError, match=r"^\[Errno \d+\] No space left on device"):
        unpack(good, "datasets/cat_15", tmp_path / "cat_15")
    assert not list(tmp_path.glob("*cat_15*"))


# ---- diffseg fetch ------------------------------------------------------------------------------


def test_fetch_brings_everything_once(official, tmp_path):
    official("good")
    found = diffseg("fetch", "cat_15", "--data", tmp_path, "--classifiers")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "datasets/cat_15/real/train/a.png").read_bytes() == BULK
    assert (tmp_path / "checkpoints/lsun_cat.pt").exists()
    folder = tmp_path / "pixel_classifiers/cat_15" / INSIDE
    assert (folder / "model_0.pth").read_bytes() == BULK
    assert f"diffseg vote cat_15 --data {tmp_path} --classifiers {folder}" in found.output
    official("500")  # now nobody answers, and nobody is asked
    again = diffseg("fetch", "cat_15", "--data", tmp_path, "--classifiers")
    assert again.exit_code == 0 and again.output.count("there already") == 3
    other = diffseg(
        "fetch", "horse_21", "--data", tmp_path, "--classifiers"
    )  # from the archives that are there
    assert (tmp_path / "datasets/horse_21/b.png").exists()
    assert other.exit_code == 1 and "lsun_horse.pt could not be downloaded" in other.output


def test_fetch_brings_the_checkpoint_of_a_backbone_alone(official, tmp_path):
    official("truncated")
    bad = diffseg("fetch", "imagenet", "--data", tmp_path)
    assert bad.exit_code == 1 and "could not be downloaded" in bad.output
    official("good")
    found = diffseg("fetch", "imagenet", "--data", tmp_path)
    assert found.exit_code == 0, found.output
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "256x256_diffusion_uncond.pt",
        "256x256_diffusion_uncond.pt.sha256",
    ]
    assert "ships with the project" in diffseg("fetch", "photo", "--data", tmp_path).output


def test_fetch_leaves_the_classifiers_alone_unless_asked(official, tmp_path):
    official()
    fetch(presets.DATASETS["cat_15"], tmp_path, echo=lambda _: None)
    assert not (tmp_path / "pixel_classifiers").exists()


@pytest.mark.parametrize("kind", ["truncated", "corrupt", "page", "lost", "404", "500"])
def test_bad_classifiers_leave_no_folder_and_one_sentence(official, address, kind, tmp_path):
    official()
    fetch(presets.DATASETS["cat_15"], tmp_path, echo=lambda _: None)
    official(kind)
    found = diffseg("fetch", "cat_15", "--data", tmp_path, "--classifiers")
    assert found.exit_code == 1
    assert f"{address}/{kind}/pixel_classifiers.tar?dl=1" in found.output
    assert f"bring it to {tmp_path / 'downloads' / 'pixel_classifiers.tar'} by hand" in found.output
    assert not (tmp_path / "pixel_classifiers").exists()
    assert not (tmp_path / "downloads" / "pixel_classifiers.tar").exists()


def test_the_official_addresses():
    assert presets.CLASSIFIER_URLS == [
        "https://www.dropbox.com/s/kap229jvmhfwh7i/pixel_classifiers.tar?dl=1"
    ]
    assert [
        len(presets.BACKBONES[name]["urls"])
        for name in ("lsun_bedroom", "lsun_cat", "lsun_horse", "ffhq", "imagenet")
    ] == [2, 2, 2, 1, 1]


# ---- what a long run says before it starts ------------------------------------------------------


@pytest.fixture
def smoke(tmp_path):
    return [Run("mini_smoke", seed, results=str(tmp_path / "results")) for seed in (0, 1)]


def numbers(sentence):
    return [float(number) for number in re.findall(r"(?<![\w/])\d[\d.e+-]*(?= )", sentence)]


def test_disk_is_said_and_checked_before_any_download(tmp_path, monkeypatch):
    runs = [
        Run(name, data=str(tmp_path), results=str(tmp_path / "results")) for name in presets.PAPER
    ]
    adm = estimate.anatomy("lsun_cat")
    monkeypatch.setattr(
        estimate, "anatomy", lambda _: adm
    )  # the four have one architecture; for speed
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=30e9))
    sentence = estimate.disk(runs)  # four checkpoints of 2,211,256,344 bytes; 330 images of 48 MiB
    assert (
        "8.94 GB of downloads" in sentence
        and "16.6 GB of feature maps" in sentence
        and "30 GB free" in sentence
    )
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=20e9))
    with pytest.raises(
        OSError, match="that does not fit"
    ):  # each of the two would, not both on one disk
        estimate.disk(runs)
    said = diffseg(
        "run", "--fetch", *presets.PAPER, "--data", tmp_path, "--results", tmp_path / "results"
    )
    assert (
        said.exit_code == 1 and "that does not fit" in said.output and not list(tmp_path.iterdir())
    )
    (tmp_path / "datasets").mkdir()
    (tmp_path / "checkpoints").mkdir()
    for run in runs:
        (tmp_path / "checkpoints" / f"{run.preset.backbone}.pt").touch()
    assert "disk: 0 GB of downloads" in estimate.disk(runs), "what is there takes no more"


def test_images_of_folds_are_counted_once(tmp_path):
    folder = make_folder(tmp_path, 3, 3)
    assert estimate.n_images(Run(str(folder)).preset) == 3
    assert estimate.n_images(presets.DATASETS["cat_15"]) == 30 + 30 + 20


def test_the_first_stop_of_the_published_recipe_by_hand(smoke):
    pixels = 4 * 64 * 64  # four training images, all of them labelled
    assert estimate.fewest_steps(smoke[0]) == pixels // 64  # one epoch, by its preset
    longer = SimpleNamespace(
        preset=presets.replace(smoke[0].preset, epochs=100), recipe="published", data_root="data"
    )
    assert (
        estimate.fewest_steps(longer) == 4 * (pixels // 64) + 52
    )  # test_classifiers works this stop out


def test_effort_is_measured_here(smoke):
    hours, images, seconds, memory, maps, at_a_time = numbers(estimate.effort(smoke, workers=2))
    assert images == 10 and at_a_time == 2, "seeds share their features"
    training = 3600 * hours - images * seconds
    assert 0 < seconds < 20 and 0 < training < 600
    weights = sum(p.numel() for p in load_backbone("mini").model.parameters())
    assert 4 * weights < memory * 1e9 < 64e9
    assert maps == pytest.approx(
        3 * estimate.anatomy("mini")[1] * 4 / 1e9, rel=0.05
    )  # 4 images, widened to float32


def test_paper_is_fetch_and_run_and_speaks_first(smoke, monkeypatch):
    made = []

    def launch(plan, *_, **__):
        made.extend(job.label for job in plan)
        return []

    monkeypatch.setattr("diffseg_utils.runs.launch.launch", launch)
    monkeypatch.setattr(
        estimate, "effort", lambda runs, workers: f"time for {len(runs)} runs, {workers} at a time"
    )
    output = diffseg(
        "run",
        "--fetch",
        "mini_smoke",
        "--seeds",
        0,
        1,
        "--jobs",
        8,
        "--results",
        smoke[0].results,
    ).output
    assert (
        output.index("disk: ")
        < output.index("time for 2 runs, 2 at a time")
        < output.index("6 notebooks to make")
    )
    assert made.count("mini_smoke 01_feature_extraction") == 1
    assert made.count("mini_smoke/seed1 03_voting_analysis") == 1
