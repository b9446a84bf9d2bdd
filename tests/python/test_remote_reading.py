"""Reading in remote mode: what the server has and what is local, or an exception; never less."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import importlib.util
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import pytest
from ml_dash import DamagedWarning, Experiment
from ml_dash.exceptions import (
    AuthenticationError,
    ChecksumError,
    ConfigurationError,
    ExperimentError,
    NotFoundError,
    RemoteUnavailable,
)

_TOOLS = Path(__file__).resolve().parent.parent / "sync/sync_tools.py"
_spec = importlib.util.spec_from_file_location("sync_tools", _TOOLS)
sync_tools = sys.modules.setdefault("sync_tools", importlib.util.module_from_spec(_spec))
if not hasattr(sync_tools, "Server"):
    _spec.loader.exec_module(sync_tools)

pytestmark = pytest.mark.filterwarnings("ignore::ml_dash.RemoteWarning")
STOPPED_CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *out)
{
    if (id != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, id, out);
    *out = (struct timespec){1780000000, 0};
    return 0;
}
"""
LARGE = bytes(range(256)) * 2000


@pytest.fixture(autouse=True)
def no_login(monkeypatch, tmp_path):
    """No server and no token of the user's."""
    for name in ("ML_DASH_URL", "ML_DASH_API_URL", "ML_DASH_TOKEN", "ML_DASH_SPOOL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ML_DASH_READ_TIMEOUT", raising=False)
    monkeypatch.setenv("ML_DASH_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def server(tmp_path):
    if not sync_tools.has_server():
        pytest.skip("ml-dash was built without the server")
    (tmp_path / "server").mkdir()
    server = sync_tools.Server(tmp_path / "server")
    yield server
    server.stop()


class Proxy:
    """Passes requests on; may count, slow down or damage the answers."""

    def __init__(self, port: int) -> None:
        self.requests: list[str] = []
        self.damaged = ""  # part of the paths whose answers are
        self.stuck = threading.Event()  # set: answers stop after their first piece
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def pass_on(self):
                proxy.requests.append(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                onward = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                onward.request(self.command, self.path, body or None, headers)
                answer = onward.getresponse()
                data = answer.read()
                onward.close()
                if proxy.damaged and proxy.damaged in self.path and len(data) > 20:
                    data = data[:10] + bytes([data[10] ^ 1]) + data[11:]
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if proxy.stuck.is_set() and "/streams/" in self.path and self.command == "GET":
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    time.sleep(30)
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = pass_on

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reads(self) -> list[str]:
        """Requests that read an experiment, since the last call."""
        taken, self.requests = self.requests, []
        return [r for r in taken if "/streams?" in r or "/streams/" in r or "/content" in r]


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.http.shutdown()
    proxy.http.server_close()


def open_at(server, root, url=None, name="run", **options) -> Experiment:
    options.setdefault("remote_timeout", 30)
    return Experiment(
        name,
        "digits",
        remote=url or server.url,
        api_key=server.token,
        local_path=root,
        progress=False,
        **options,
    )


def write_some(e: Experiment) -> None:
    """A bit of everything."""
    e.params.set(lr=0.1, model={"depth": 3}, worst=math.nan)
    for i in range(300):
        e.metrics("loss").append(value=i, epoch=i // 10)
    e.metrics.log(accuracy=0.5)
    e.tracks("robot/pose").append(x=1.0, _ts=5.0)
    e.tracks("robot/pose").append(x=2.0, _ts=4.0)
    e.log("hello", step=1)
    e.logs.warn("careful")
    e.files(prefix="/models", tags=["best", "a"], metadata={"k": 1}).save_blob(LARGE, to="m.pt")
    e.files(prefix="/models/old", tags=["b"], bindrs=["paper"]).save_blob(b"old", to="o.pt")
    e.files(keep="all").save_text("one", to="notes.txt")
    e.files(keep="all").save_text("two", to="notes.txt")
    e.files.save_text("away", to="deleted.txt")
    e.files("deleted.txt").delete()
    e.files("notes.txt").alias("final")


LISTS = [
    {},
    {"versions": True},
    {"deleted": True},
    {"tags": ["a", "b"]},
    {"all_tags": ["best", "a"]},
    {"all_tags": ["best", "b"]},
    {"metadata": {"k": 1}},
    {"bindr": "paper"},
    {"prefix": "/models"},
    {"pattern": "*.pt"},
    {"pattern": "models/**/*.pt"},
    {"limit": 2, "offset": 1},
]


def everything(e: Experiment) -> dict:
    """What reading says of all of it."""
    said = {
        "params": str(e.params.get()),
        "metrics": sorted(m["name"] or "" for m in e.metrics.list_all()),
        "tracks": [t["topic"] for t in e.tracks.list_all()],
        "loss": e.metrics("loss").read(limit=0),
        "stats": e.metrics("loss").stats(),
        "unnamed": e.metrics(None).read(limit=0)["total"],
        "pose": e.tracks("robot/pose").list_entries(),
        "slice": list(e.tracks("robot/pose").slice(4.5, None)),
        "logs": e.logs.read(),
        "warnings": e.logs.read(level="warn"),
        "versions": e.files("notes.txt").versions(),
        "alias": e.files("notes.txt").info(alias="final"),
        "bindr": e.bindrs("paper").list(),
    }
    for number, options in enumerate(LISTS):
        said[f"list {number}"] = e.files.list(**options)
    return said


# --- two folders ------------------------------------------------------------------------------


def test_another_folder_sees_all_of_it_the_same(server):
    with open_at(server, "A").run as a:
        write_some(a)
        a.flush(remote=True, timeout=60)
        local = everything(Experiment("run", "digits", local_path="A", read_only=True).run.start())
        assert local["list 3"] and len(local["list 1"]) == 4
        with open_at(server, "B").run as b:
            assert everything(b) == local
            assert everything(a) == local


def test_a_fresh_folder_reads_an_experiment_that_is_only_there(server):
    with open_at(server, "A", description="first", tags=["x"]).run as a:
        write_some(a)
    local = everything(Experiment("run", "digits", local_path="A", read_only=True).run.start())
    before = server.streams(server.experiment("run"))
    b = open_at(server, "B", read_only=True).run.start()
    assert everything(b) == local
    info = b.data["experiment"]
    assert (b.status, info["description"], info["tags"]) == ("COMPLETED", "first", ["x"])
    assert b.files("models/m.pt").read_bytes() == LARGE
    assert b.remote_status is None
    assert server.streams(server.experiment("run")) == before  # looking is no writing
    assert os.listdir("B/digits/run") == [".mldash"]


def test_prefix_layout(server):
    for root, written in (("A", True), ("B", False)):
        e = Experiment(
            prefix="ada/digits/deep/run",
            remote=server.url,
            api_key=server.token,
            local_path=root,
            read_only=not written,
        )
        if written:
            with e.run:
                e.files.save_text("x", to="x.txt")
        else:
            assert e.run.start().files.read_text("x.txt") == "x"


def test_an_experiment_that_is_nowhere(server):
    b = open_at(server, "B", read_only=True).run.start()
    with pytest.raises(NotFoundError, match="no experiment"):
        b.files.list()
    with open_at(server, "A", name="new").run as a:  # begun here, and not sent yet
        assert a.files.list() == []


def test_both_write_and_both_see_both(server):
    with open_at(server, "A").run as a, open_at(server, "B").run as b:
        for i in range(100):
            a.metrics("loss").append(value=i)
        a.files.save_text("a", to="a.txt")
        a.files.save_text("old", to="both.txt")
        a.params.set(lr=1, a=1)
        a.log("from a")
        a.flush(remote=True, timeout=60)
        for i in range(50):
            b.metrics("loss").append(value=1000 + i)
        b.files.save_text("b", to="b.txt")
        b.files.save_text("new", to="both.txt")
        b.params.set(lr=2, b=1)
        b.log("from b")
        b.flush(remote=True, timeout=60)
        for e in (a, b):
            read = e.metrics("loss").read(limit=0)
            assert [p["data"]["value"] for p in read["data"]] == [*range(100), *range(1000, 1050)]
            assert [p["index"] for p in read["data"]] == list(range(150))
            stats = e.metrics("loss").stats()
            assert stats["totalDataPoints"] == "150"
            assert (stats["fields"]["value"]["min"], stats["fields"]["value"]["max"]) == (0, 1049)
            assert e.params.get() == {"lr": 2, "a": 1, "b": 1}
            assert sorted(f["filename"] for f in e.files.list()) == ["a.txt", "b.txt", "both.txt"]
            assert {line["message"] for line in e.logs.read()} == {"from a", "from b"}
            assert e.files.read_text("both.txt") == "new"
        a.metrics("loss").append(value=7)
        a.files("a.txt").delete()
        assert a.metrics("loss").read(limit=0)["total"] == 151  # one's own at once
        a.flush(remote=True, timeout=60)
        assert b.metrics("loss").read(limit=0)["total"] == 151
        assert [f["filename"] for f in b.files.list()] == ["b.txt", "both.txt"]


def test_an_older_copy_of_the_folder(server):
    """Its streams are there already, but shorter than the server's."""
    a = open_at(server, "A").run.start()
    write_some(a)
    a.flush(remote=True, timeout=60)
    shutil.copytree("A", "C")
    for i in range(300, 400):
        a.metrics("loss").append(value=i)
    a.tracks("robot/pose").append(x=3.0, _ts=6.0)
    a.log("later")
    a.files.save_text("three", to="later.txt")
    a.files("notes.txt").alias("older")
    a.run.complete()
    local = everything(Experiment("run", "digits", local_path="A", read_only=True).run.start())
    copy = open_at(server, "C", read_only=True).run.start()
    assert everything(copy) == local
    assert everything(copy) == local
    assert copy.files.read_text("later.txt") == "three"


def shares_other_ids(server, ids: list[str]) -> bool:
    for stream in server.streams(server.experiment("run")):
        texts = [(stream["stream"] + file_id + "\0").encode() for file_id in ids]
        if len({int(hashlib.sha256(text).hexdigest()[:8], 16) & 0xFFF for text in texts}) < 8:
            return True
    return False


def test_two_machines_made_the_same_ids(server, run_python):
    """Both with slot 0, in the same milliseconds: none of the files hides another."""
    code = """
        import sys, ml_dash
        e = ml_dash.Experiment("run", "digits", remote=sys.argv[1], api_key=sys.argv[2],
                               local_path=sys.argv[3], progress=False)
        with e.run:
            for i in range(8):
                e.files.save_text(f"{sys.argv[3]} {i}", to=f"{sys.argv[3]}{i}.txt")
    """
    Path("clock.c").write_text(STOPPED_CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "clock.so", "clock.c"], check=True)
    ids: dict[str, list[str]] = {}
    for root in "AB":
        run_python(code, server.url, server.token, root, LD_PRELOAD=os.path.abspath("clock.so"))
        local = Experiment("run", "digits", local_path=root, read_only=True).run.start()
        ids[root] = [f["id"] for f in local.files.list()]
    assert ids["A"] == ids["B"]
    if shares_other_ids(server, ids["A"]):
        pytest.skip("two of one machine got the same other id, once in 150 runs")
    names = sorted([f"A{i}.txt" for i in range(8)] + [f"B{i}.txt" for i in range(8)])
    for root in "ABC":
        e = open_at(server, root, read_only=True).run.start()
        found = e.files.list()
        assert sorted(f["filename"] for f in found) == names
        assert len({f["id"] for f in found}) == 16
        for name in names:
            assert e.files.read_text(name) == f"{name[0]} {name[1:-4]}"
        for file in found:
            assert e.files(file_id=file["id"]).info()["filename"] == file["filename"]
        if root != "C":
            mine = {f["id"] for f in found if f["filename"].startswith(root)}
            assert mine == set(ids[root])  # one's own keep theirs


def test_files_of_others_are_changed_where_they_were_saved(server):
    with open_at(server, "A").run as a:
        write_some(a)
        a.flush(remote=True, timeout=60)
        with open_at(server, "B").run as b:
            mine = b.files.save_text("mine", to="mine.txt")
            file = b.files("notes.txt").info()
            for change in (
                lambda: b.files(file_id=file["id"], tags=["x"]).update(),
                lambda: b.files("notes.txt").delete(),
                lambda: b.files.delete("*.pt"),
                lambda: b.files("deleted.txt").restore(),
                lambda: b.files("notes.txt").alias("best"),
                lambda: b.files("notes.txt").remove_alias("final"),
                lambda: b.files.duplicate(file, to="copy.txt"),
            ):
                with pytest.raises(ExperimentError, match="another folder"):
                    change()
            with pytest.raises(NotFoundError, match="no file"):
                b.files(file_id="123").delete()
            assert b.files(file_id=mine["id"], tags=["x"]).update()["tags"] == ["x"]
            b.files("mine.txt").alias("best")
            b.files("mine.txt").delete()
            b.files("mine.txt").restore()
            assert b.files.duplicate(mine, to="copy.txt")["sizeBytes"] == 4


def test_what_is_not_sent_yet_is_seen_too(server):
    with open_at(server, "A").run as a:
        a.files.save_text("a", to="a.txt")
        a.flush(remote=True, timeout=60)
        with open_at(server, "B").run as b:
            b.files.save_text("b", to="b.txt")
            assert [f["filename"] for f in b.files.list()] == ["a.txt", "b.txt"]
            b.metrics("m").append(value=1)
            assert b.metrics("m").read()["total"] == 1


def test_one_request_when_nothing_is_new(server, proxy):
    with open_at(server, "A").run as a:
        write_some(a)
    b = open_at(server, "B", proxy.url, read_only=True).run.start()
    b.files.list()
    assert len(proxy.reads()) > 5
    b.files.list()
    b.metrics("loss").stats()
    assert len(proxy.reads()) == 2
    b.files("notes.txt").info()
    assert b.files.exists("models/m.pt")
    assert proxy.reads() == []  # what is here is not asked for
    with open_at(server, "A").run as a:
        a.metrics("loss").append(value=1)
    b.metrics("loss").read()
    asked = [urllib.parse.urlsplit(r.split()[1]) for r in proxy.reads()]
    pieces = [urllib.parse.parse_qs(r.query) for r in asked if "from=" in r.query]
    assert len(pieces) == 2  # records and points, only what is new
    assert all(int(piece["from"][0]) > 0 for piece in pieces)


# --- bytes of files ---------------------------------------------------------------------------


def test_downloads_are_checked(server, tmp_path):
    with open_at(server, "A").run as a:
        write_some(a)
    with open_at(server, "B").run as b:
        (tmp_path / "to").mkdir()
        path = b.files("models/m.pt").download(to=tmp_path / "to")
        assert Path(path).read_bytes() == LARGE
        assert b.files.read_text("models/old/o.pt") == "old"
        file_id = b.files("notes.txt").versions()[0]["id"]
        assert b.files(file_id=file_id).read_text() == "one"
        with open("sink", "wb") as stream:
            b.files("models/m.pt").download(to=stream)
        assert Path("sink").read_bytes() == LARGE
        got = b.files.download("**/*.pt", to="all", tree=True)
        assert sorted(got) == ["all/models/m.pt", "all/models/old/o.pt"]
        assert b.verify()["findings"] == []
        assert b.gc()["findings"] == []
    assert not list(Path("B").rglob("*.pt"))  # nothing of it is kept


@pytest.mark.parametrize("read", ["download", "read_bytes", "sink"])
def test_damaged_bytes_are_refused(server, proxy, read, tmp_path):
    with open_at(server, "A").run as a:
        write_some(a)
    b = open_at(server, "B", proxy.url, read_only=True).run.start()
    b.files.list()
    proxy.damaged = "/content"
    (tmp_path / "to").mkdir()
    with pytest.raises(ChecksumError, match="received"):
        if read == "download":
            b.files("models/m.pt").download(to="to/m.pt")
        elif read == "read_bytes":
            b.files("models/m.pt").read_bytes()
        else:
            with open("sink", "wb") as stream:
                b.files("models/m.pt").download(to=stream)
    assert os.listdir("to") == []
    proxy.damaged = ""
    b.files("models/m.pt").download(to="to/m.pt")
    assert Path("to/m.pt").read_bytes() == LARGE


def test_damaged_lines_are_refused(server, proxy):
    with open_at(server, "A").run as a:
        write_some(a)
    proxy.damaged = "?from="
    b = open_at(server, "B", proxy.url, read_only=True).run.start()
    for _ in range(2):
        with pytest.raises(ChecksumError, match="did not arrive"):
            b.metrics("loss").read()
    assert [p for p in Path("B").rglob("*") if p.is_file()] == []
    proxy.damaged = ""
    assert b.metrics("loss").read(limit=0)["total"] == 300


def test_bytes_that_are_not_there_yet(server):
    """A record may be there before its file: as long as that is being sent."""
    with open_at(server, "A").run as a:
        saved = a.files.save_blob(LARGE, to="x.bin")
        where = a._core.stored_path(saved["id"])
        os.rename(where, "aside")
        while not server.experiments() or not server.streams(server.experiment("run")):
            time.sleep(0.05)
        b = open_at(server, "B", read_only=True).run.start()
        with pytest.raises(RemoteUnavailable, match="not at .* yet"):
            b.files("x.bin").read_bytes()
        os.rename("aside", where)


def test_a_local_file_that_was_lost_is_fetched(server):
    with open_at(server, "A").run as a:
        saved = a.files.save_blob(LARGE, to="x.bin")
        a.flush(remote=True, timeout=60)
        os.unlink(a._core.stored_path(saved["id"]))
        assert a.files.read_bytes("x.bin") == LARGE


# --- no server --------------------------------------------------------------------------------


def test_the_server_goes_away(server):
    with open_at(server, "A").run as a:
        write_some(a)
    with open_at(server, "B", read_timeout=1, remote_timeout=0).run as b:
        b.files.save_text("mine", to="mine.txt")
        b.metrics("own").append(value=1)
        b.params.set(own=1)
        b.log("mine")
        assert len(b.files.list()) == 4
        server.kill()
        began = time.monotonic()
        for read in (
            lambda: b.files.list(),
            lambda: b.files("notes.txt").versions(),
            lambda: b.files.list(tags=["none"]),
            lambda: b.metrics.list_all(),
            lambda: b.tracks.list_all(),
            lambda: b.metrics("loss").read(),
            lambda: b.metrics("loss").stats(),
            lambda: b.tracks("robot/pose").read(),
            lambda: b.files("nothing.txt").info(),
            lambda: b.files("nothing.txt").exists(),
            lambda: b.files(file_id="123").read_bytes(),
            lambda: b.files("models/m.pt").read_bytes(),
            lambda: b.bindrs("paper").list(),
        ):
            with pytest.raises(RemoteUnavailable, match="did not answer") as met:
                read()
            assert isinstance(met.value, TimeoutError)
        assert time.monotonic() - began > 12  # each waited its second
        # What is here is read without a server.
        assert b.files.read_text("mine.txt") == "mine"
        assert b.files("mine.txt").exists()
        assert b.metrics("own").read()["total"] == 1
        assert b.metrics("own").stats()["totalDataPoints"] == "1"
        assert b.params.get()["own"] == 1
        assert "mine" in [line["message"] for line in b.logs.read()]
        server.start()
        assert len(b.files.list()) == 4


def test_offline_from_the_start(server):
    server.kill()
    with open_at(server, "B", read_timeout=0.5, remote_timeout=0).run as b:
        saved = b.files.save_text("mine", to="mine.txt")
        b.metrics("own").append(value=1)
        b.params.set(lr=1)
        for _ in range(2):
            assert b.files.read_text("mine.txt") == "mine"
            assert b.files(file_id=saved["id"]).info()["filename"] == "mine.txt"
            assert b.metrics("own").read()["total"] == 1
            assert b.params.get() == {"lr": 1}
        with pytest.raises(RemoteUnavailable):
            b.files.list()
        with pytest.raises(RemoteUnavailable):
            b.metrics("other").read()
    with pytest.raises(RemoteUnavailable):  # after the run, too
        b.files.list()
    assert b.files.read_text("mine.txt") == "mine"


def test_a_server_that_comes_back_in_time(server):
    with open_at(server, "A").run as a:
        write_some(a)
    b = open_at(server, "B", read_only=True).run.start()
    server.kill()
    threading.Timer(1.0, server.start).start()
    assert len(b.files.list()) == 3


def test_a_server_that_hangs(server, proxy):
    with open_at(server, "A").run as a:
        write_some(a)
    proxy.stuck.set()
    b = open_at(server, "B", proxy.url, read_only=True, read_timeout=1).run.start()
    with pytest.raises(RemoteUnavailable):
        b.files.list()
    proxy.stuck.clear()
    assert len(b.files.list()) == 3


def test_writing_never_waits(server, proxy):
    """While a read waits for a server that hangs, in another thread."""
    with open_at(server, "A").run as a:
        write_some(a)
    with open_at(server, "B", proxy.url, read_timeout=60, remote_timeout=0).run as b:
        proxy.stuck.set()
        ended = threading.Event()

        def read():
            try:
                b.files.list()
            finally:
                ended.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        while not any("GET" in r and "/streams/" in r for r in proxy.requests):
            time.sleep(0.01)
        for i in range(1000):
            b.metrics("m").append(value=i)
        b.files.save_text("x", to="x.txt")
        b.log("x")
        assert not ended.is_set()
        proxy.stuck.clear()
        proxy.http.shutdown()
        proxy.http.server_close()
        server.kill()


def test_timeouts_as_options(monkeypatch):
    from ml_dash._reading import patience_of

    assert patience_of(None) == 10
    monkeypatch.setenv("ML_DASH_READ_TIMEOUT", "2.5")
    assert (patience_of(None), patience_of(3)) == (2.5, 3)
    for bad in (-1, math.nan, "x"):
        with pytest.raises(ConfigurationError):
            patience_of(bad)


def test_a_refused_token(server):
    with open_at(server, "A").run as a:
        write_some(a)
    server.token = "mld_wrong"
    b = open_at(server, "B", read_only=True).run.start()
    with pytest.raises(AuthenticationError):
        b.files.list()
    other = server.user("eve")
    e = Experiment("run", "digits", remote=server.url, api_key=other, read_only=True)
    with pytest.raises(NotFoundError):
        e.run.start().files.list()


# --- the mirror -------------------------------------------------------------------------------


def test_the_mirror_is_not_sent_and_not_the_folders_own(server, tmp_path):
    with open_at(server, "A").run as a:
        write_some(a)
    theirs = {s["stream"]: s["offset"] for s in server.streams(server.experiment("run"))}
    with open_at(server, "B").run as b:
        b.metrics("loss").append(value=1)
        b.files.list()
        b.flush(remote=True, timeout=60)
        directory = b.directory
    mirrored = list(Path(directory, ".mldash/remote").rglob("*.jsonl"))
    assert len(mirrored) == len(theirs)
    sync_tools.sync(server, Path(directory))
    after = {s["stream"]: s["offset"] for s in server.streams(server.experiment("run"))}
    assert {k: after[k] for k in theirs} == theirs
    assert len(after) == len(theirs) + 2  # records and points of B
    reader = open_at(server, "B", read_only=True).run.start()
    assert len(reader.files.list()) == 3
    assert reader.verify()["findings"] == []
    local = Experiment("run", "digits", local_path="B", read_only=True).run.start()
    assert local.files.list() == []  # without a server the folder is what was written there
    assert local.metrics("loss").read()["total"] == 1
    assert local.verify()["findings"] == []
    local.gc()
    assert list(Path(directory, ".mldash/remote").rglob("*.jsonl")) == mirrored
    assert not Path(directory, "files").exists()


def test_the_mirror_may_be_deleted_and_damaged(server):
    with open_at(server, "A").run as a:
        write_some(a)
    b = open_at(server, "B", read_only=True).run.start()
    before = everything(b)
    shutil.rmtree("B/digits/run/.mldash/remote")
    assert everything(b) == before
    for path in Path("B").rglob("*.jsonl"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data + b"\0" * 10)
    b = open_at(server, "B", read_only=True).run.start()
    with open_at(server, "A").run as a:
        a.metrics("other").append(value=1)
        a.log("more")
        a.metrics("loss").append(value=300)
        a.tracks("robot/pose").append(x=3.0, _ts=6.0)
        a.metrics.log(accuracy=0.6)
    c = open_at(server, "C", read_only=True).run.start()
    assert everything(b) == everything(c)


def test_kill_in_the_middle_of_mirroring(server, proxy, run_python):
    with open_at(server, "A").run as a:
        write_some(a)
        for i in range(20):
            a.metrics(f"m{i}").append(value=i)
    proxy.stuck.set()
    code = """if True:
        import sys, ml_dash
        e = ml_dash.Experiment("run", "digits", remote=sys.argv[1], api_key=sys.argv[2],
                               local_path="B", read_only=True, read_timeout=100)
        e.run.start().files.list()
    """
    for _ in range(3):
        proxy.requests.clear()
        process = subprocess.Popen([sys.executable, "-c", code, proxy.url, server.token])
        while not any("GET" in r and "/streams/" in r for r in proxy.requests):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    proxy.stuck.clear()
    process = subprocess.Popen([sys.executable, "-c", code, proxy.url, server.token])
    while not any("GET" in r and "/streams/" in r for r in proxy.requests[-3:]):
        time.sleep(0.001)
    process.kill()
    process.wait()
    b = open_at(server, "B", proxy.url, read_only=True).run.start()
    local = Experiment("run", "digits", local_path="A", read_only=True).run.start()
    assert everything(b) == everything(local)


def test_many_processes_mirror_at_once(server):
    with open_at(server, "A").run as a:
        write_some(a)
    code = """if True:
        import sys, ml_dash
        e = ml_dash.Experiment("run", "digits", remote=sys.argv[1], api_key=sys.argv[2],
                               local_path="B", read_only=True)
        e.run.start()
        assert len(e.files.list()) == 3
        assert e.metrics("loss").read(limit=0)["total"] == 300
        assert e.files("models/m.pt").read_bytes() == bytes(range(256)) * 2000
    """
    arguments = [sys.executable, "-c", code, server.url, server.token]
    processes = [subprocess.Popen(arguments) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4


def test_many_threads_read_at_once(server):
    with open_at(server, "A").run as a:
        write_some(a)
    failed = []
    with open_at(server, "B").run as b:

        def work():
            try:
                for i in range(5):
                    assert len(b.files.list()) == 3
                    assert b.files("models/m.pt").read_bytes() == LARGE
                    b.metrics("own").append(value=i)
                    assert b.metrics("loss").read(limit=0)["total"] == 300
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert b.metrics("own").read()["total"] == 20


def test_fork(server):
    with open_at(server, "A").run as a:
        write_some(a)
    with open_at(server, "B").run as b:
        b.files.save_text("mine", to="mine.txt")
        assert len(b.files.list()) == 4
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                b.metrics("child").append(value=1)
                assert len(b.files.list()) == 4
                assert b.files("models/m.pt").read_bytes() == LARGE
                assert b.metrics("child").read()["total"] == 1
                assert b.metrics("loss").read(limit=0)["total"] == 300
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert b.metrics("child").read()["total"] == 1
        assert len(b.files.list()) == 4


def test_not_started(server):
    e = open_at(server, "B")
    for read in (lambda: e.files.list(), lambda: e.files("x").info(), lambda: e.metrics):
        with pytest.raises(ExperimentError, match="not open"):
            read()


def test_garbled_lines_that_only_reading_meets_are_told(server):
    with open_at(server, "A").run as a:
        a.metrics("loss").append(value=1)
        assert a.metrics("loss").read()["total"] == 1
        with open(f"{a.directory}/metrics/loss/data.jsonl", "ab") as stream:
            stream.write(b"garbage\n")
        with pytest.warns(DamagedWarning):
            a.metrics("loss")._looked = False
            a.metrics("loss").read()
