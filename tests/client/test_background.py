"""The thread of a live run against a server that refuses, changes its mind, or is another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import pytest
from ml_dash import Experiment, RemoteWarning
from ml_dash.exceptions import AuthenticationError, NotSentError
from sync_runs import check_is_there
from sync_server import TOKEN, Fault
from test_live import eventually


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def make(server, name="run", **options) -> Experiment:
    return Experiment(
        name,
        "digits",
        local_path=".ml-dash",
        remote=options.pop("url", server.url),
        api_key=TOKEN,
        progress=False,
        **{"remote_timeout": 60, **options},
    )


def test_a_token_that_is_revoked_in_the_middle_is_told_and_not_tried_again(server):
    with make(server, remote_timeout=0).run as e:
        e.metrics("m").append(value=1)
        e.flush(remote=True, timeout=60)
        # First it is only away: the refusal that comes then is told as well.
        refused = threading.Event()
        server.fault = lambda r: (
            Fault(status=401, code="auth") if refused.is_set() else Fault(status=503)
        )
        e.metrics("m").append(value=2)
        with pytest.raises(TimeoutError):
            e.flush(remote=True, timeout=2)
        refused.set()
        with warnings.catch_warnings(record=True) as met:
            warnings.simplefilter("always")
            with pytest.raises(AuthenticationError, match="401.*ml-dash login"):
                e.flush(remote=True, timeout=60)
            e.flush()
        said = [str(w.message) for w in met if w.category is RemoteWarning]
        assert any("503" in line for line in said) and any("401" in line for line in said)
        assert e.remote_status["failed"]
        before = len(server.requests)
        e.metrics("m").append(value=3)
        with pytest.raises(AuthenticationError):
            e.flush(remote=True, timeout=60)
        time.sleep(1.5)
        assert len(server.requests) == before
    server.fault = lambda r: None
    with make(server).run as e:  # with a token that is taken
        pass
    assert [p["data"]["value"] for p in server.only().lines_of("metrics/m/data.jsonl")] == [1, 2, 3]


def test_a_portal_in_between_passes(server):
    """Somebody else answers for a while: a redirect to his own page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RemoteWarning)
        with make(server).run as e:
            e.flush(remote=True, timeout=60)
            seen = threading.Event()

            def portal(request):
                seen.set()
                return Fault(status=302, headers={"Location": "http://127.0.0.1:9/login"})

            server.fault = portal
            e.files.save_text("x", to="x.txt")
            with pytest.raises(TimeoutError):
                e.flush(remote=True, timeout=2)
            assert seen.is_set() and not e.remote_status["failed"]
            server.fault = lambda r: None
            e.flush(remote=True, timeout=60)
    check_is_there(server.only(), Path(e.directory))


def test_a_proxy_that_takes_less_gets_less(server):
    """As nginx does unless told: 413 to bodies of more than 1 MiB."""
    server.fault = lambda r: Fault(status=413, code="") if r.size > 1 << 20 else None
    server.part_size = 1 << 19
    with make(server).run as e:
        e.metrics("m").append_batch([dict(value=i * 0.5, step=i) for i in range(30_000)])
        e.log("x" * 700_000)  # one line may be longer than what is sent at once
        for i in range(60):
            e.files.save_blob(bytes([i]) * 60_000, to=f"{i}.bin")
        e.flush(remote=True, timeout=60)
    check_is_there(server.only(), Path(e.directory))


@pytest.mark.filterwarnings("ignore::ml_dash.RemoteWarning")
@pytest.mark.parametrize("what", ["/small", "/status"])
def test_one_file_that_is_refused_among_many(server, capfd, what):
    with make(server, remote_timeout=0).run as e:
        e.flush(remote=True, timeout=60)
        ids = [e.files.save_text(str(i), to=f"{i}.txt")["id"] for i in range(50)]
        bad = f'"{ids[20]}"'.encode()
        server.refuse = lambda r, body: (
            Fault(status=400, code="name") if r.path.endswith(what) and bad in body else None
        )
        e.metrics("m").append(value=1)
        with pytest.raises(NotSentError, match="20.txt.*400"):
            e.flush(remote=True, timeout=60)
        assert set(server.only().files) == set(ids) - {ids[20]}
        assert len(server.only().lines_of("metrics/m/data.jsonl")) == 1
        assert e.remote_status["filesFailed"] == 1
    assert "20.txt" in capfd.readouterr().err


def test_a_full_server_is_not_asked_for_each_file(server):
    server.fault = lambda r: (
        Fault(status=507, code="no_space") if r.path.endswith("/uploads") else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RemoteWarning)
        with make(server, remote_timeout=0).run as e:
            for i in range(300):
                e.files.save_blob(bytes(70_000), to=f"{i}.bin")
            with pytest.raises(TimeoutError, match="507"):
                e.flush(remote=True, timeout=3)
            rounds = server.count("POST", "/status")
            assert server.count("POST", "/uploads") <= 32 * rounds


def test_another_history_is_found_while_a_large_file_is_sent(server):
    """Another copy has gone on meanwhile: all of it goes elsewhere, and nothing twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RemoteWarning)
        with make(server).run as e:
            e.params.set(a=1)
            e.flush(remote=True, timeout=60)
            first = server.only()
            begun, go = threading.Event(), threading.Event()

            def slow(request):
                if "/parts/" in request.path and not go.is_set():
                    begun.set()
                    go.wait(20)

            server.hook = slow
            e.files.save_blob(os.urandom(3_000_000), to="big.bin")
            for i in range(10):
                e.files.save_text(str(i), to=f"{i}.txt")
            assert begun.wait(30)
            (records,) = (s for s, k in first.kinds.items() if k[0] == "records")
            with server.lock:
                first.streams[records] += b'{"type":"params","of":"another copy"}\n'
            e.params.set(b="x" * 70_000)  # enough to be sent at once
            e.flush()
            assert eventually(lambda: len(server.experiments) == 2)
            go.set()
            e.flush(remote=True, timeout=60)
    check_is_there(server.experiments["x2"], Path(e.directory))
    assert len(server.experiments) == 2


def test_the_end_does_not_wait_for_a_silent_server(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with make(server, url=url, remote_timeout=0).run as e:
            e.files.save_blob(bytes(1_000_000), to="x.bin")
            e.flush()
            connection, _ = silent.accept()
            connection.recv(1)
            begun = time.monotonic()
        assert time.monotonic() - begun < 10  # far below any timeout of a request
        connection.close()
    assert e.status == "COMPLETED"


def test_a_child_outlives_the_parent(sync, server):
    """What it writes then stays in the folder, and nothing hangs."""
    program = f"""
        import os, sys, time
        from ml_dash import Experiment
        e = Experiment("run", "digits", local_path=".ml-dash", remote={server.url!r},
                       api_key={TOKEN!r}, progress=False)
        e.run.start()
        e.metrics("m").append(value=1)
        e.flush(remote=True, timeout=60)
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                time.sleep(0.02)
            e.metrics("m").append(value=3)
            e.files.save_text("child", to="child.txt")
            e.flush()
            open("done", "w").close()
            sys.exit(0)
        e.metrics("m").append(value=2)
        e.run.complete()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=60)
    assert done.returncode == 0
    assert eventually(Path("done").exists)
    sync()
    values = [
        p["data"]["value"]
        for file in {k[2] for k in server.only().kinds.values() if k[0] == "metric"}
        for p in server.only().lines_of(file)
    ]
    assert sorted(values) == [1, 2, 3]
    assert len(server.only().files) == 1


def test_programs_started_meanwhile_do_not_hold_the_connection(server):
    with make(server).run as e:
        e.flush(remote=True, timeout=60)
        open_here = {os.readlink(f"/proc/self/fd/{fd}") for fd in connections(server)}
        assert open_here
        command = ["sh", "-c", "for fd in /proc/self/fd/*; do readlink $fd; done"]
        out = subprocess.run(command, close_fds=False, capture_output=True, text=True).stdout
        assert "/" in out and not open_here & set(out.split())


def connections(server) -> list[int]:
    """This process's ends of connections to the server."""
    port = int(server.url.rsplit(":", 1)[1])
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as s:
                if s.getpeername()[1] == port:
                    found.append(int(name))
        except (OSError, TypeError, IndexError):
            pass
    return found


def test_a_proxy_of_the_environment(sync, server, start):
    folder = make_local()
    # It is asked for everything, by the server's own name, which nobody else knows.
    sync(folder, ML_DASH_URL="http://dash.invalid", http_proxy=server.url)
    check_is_there(server.only(), folder)
    before = len(server.requests)
    sync(folder, http_proxy="http://127.0.0.1:9", no_proxy="127.0.0.1")
    assert len(server.requests) > before


def test_a_proxy_does_not_see_the_token_of_https(sync):
    folder = make_local()
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def serve() -> None:
            while True:
                try:
                    client, _ = proxy.accept()
                except OSError:
                    return
                heads.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                client.close()

        threading.Thread(target=serve, daemon=True).start()
        done = sync(
            *(folder, "--patience", 1),
            code=3,
            ML_DASH_URL="https://dash.invalid",
            https_proxy=f"http://127.0.0.1:{proxy.getsockname()[1]}",
        )
    assert "407" in done.stderr
    assert heads and all(head.startswith(b"CONNECT dash.invalid:443 ") for head in heads)
    assert all(TOKEN.encode() not in head for head in heads)


def make_local() -> Path:
    with Experiment("run", "digits", local_path=".ml-dash").run as e:
        e.metrics("m").append_batch([dict(value=i) for i in range(5000)])
        e.files.save_text("x", to="x.txt")
    return Path(e.directory)


def test_lines_are_packed_for_a_server_that_is_elsewhere(sync, server):
    """0.0.0.0 is this machine, but no name of it."""
    folder = make_local()
    sync(folder, ML_DASH_URL=server.url.replace("127.0.0.1", "0.0.0.0"))
    check_is_there(server.only(), folder)
    if server.packed == 0:
        pytest.skip("built without zstd")
    sent = sum(r.size for r in server.requests if r.path.endswith("/streams"))
    assert sent * 3 < sum(len(data) for data in server.only().streams.values())
