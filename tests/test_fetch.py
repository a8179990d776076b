"""Downloads from a local server that truncates, corrupts, redirects and fails: a bad file never takes the good one's name."""
import base64
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from diffseg_utils.fetch import download, unpack

GOOD = bytes(range(256)) * 400


class Server(BaseHTTPRequestHandler):
    """/good, /truncated, /corrupt (wrong MD5), /silent (states nothing), /moved (redirects), /404, /500"""

    def do_HEAD(self):
        kind = self.path.strip("/")
        if kind.isdigit():
            return self.send_error(int(kind))
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            return self.end_headers()
        self.send_response(200)
        if kind != "silent":
            self.send_header("Content-Length", str(len(GOOD)))
            self.send_header("Content-MD5", base64.b64encode(hashlib.md5(GOOD).digest()).decode())
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        kind = self.path.strip("/")
        body = {"truncated": GOOD[:1000], "corrupt": GOOD[::-1], "good": GOOD, "silent": GOOD}.get(kind, b"")
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["good", "moved", "silent"])
def test_a_whole_file_arrives_and_its_sha256_is_recorded(address, kind, tmp_path):
    download([f"{address}/{kind}"], tmp_path / "file.pt", progress=False)
    assert (tmp_path / "file.pt").read_bytes() == GOOD
    assert (tmp_path / "file.pt.sha256").read_text().strip() == hashlib.sha256(GOOD).hexdigest()


@pytest.mark.parametrize("kind", ["truncated", "corrupt", "404", "500"])
def test_a_bad_file_leaves_nothing_and_the_sentence_names_address_and_place(address, kind, tmp_path):
    with pytest.raises(OSError) as error:
        download([f"{address}/{kind}"], tmp_path / "file.pt", progress=False)
    assert f"{address}/{kind}" in str(error.value) and str(tmp_path / "file.pt") in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_second_address_is_a_fallback(address, tmp_path):
    download([f"{address}/404", f"{address}/corrupt", f"{address}/good"], tmp_path / "file.pt", progress=False)
    assert (tmp_path / "file.pt").read_bytes() == GOOD


def test_another_content_than_the_first_time_is_refused(address, tmp_path):
    (tmp_path / "file.pt.sha256").write_text("0" * 64)
    with pytest.raises(OSError, match="sha256"):
        download([f"{address}/good"], tmp_path / "file.pt", progress=False)
    assert not (tmp_path / "file.pt").exists()


def test_a_file_that_does_not_fit_on_the_disk_is_not_begun(address, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(OSError, match="GB free"):
        download([f"{address}/good"], tmp_path / "file.pt", progress=False)


def test_unpack_takes_one_folder_whole_or_not_at_all(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name in ("datasets/cat_15/real/train/a.png", "datasets/horse_21/b.png"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    unpack(tmp_path / "a.tar.gz", "datasets/cat_15", tmp_path / "data" / "datasets" / "cat_15")
    assert [p.name for p in (tmp_path / "data").rglob("*") if p.is_file()] == ["a.png"]
    (tmp_path / "broken.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"broken\.tar\.gz"):
        unpack(tmp_path / "broken.tar.gz", "datasets/cat_15", tmp_path / "other" / "cat_15")
    assert not (tmp_path / "other" / "cat_15").exists()
