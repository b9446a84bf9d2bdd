"""Remote mode: what is written locally arrives at a server, and nothing waits for it unasked."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import pty
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from ml_dash import Experiment, OperationMode, RemoteWarning
from ml_dash.exceptions import (
    AuthenticationError,
    ConfigurationError,
    ExperimentError,
    NotFoundError,
    NotSentError,
    RemoteUnavailable,
    TimedOutError,
)

_TOOLS = Path(__file__).resolve().parent.parent / "sync/sync_tools.py"
_spec = importlib.util.spec_from_file_location("sync_tools", _TOOLS)
sync_tools = sys.modules.setdefault("sync_tools", importlib.util.module_from_spec(_spec))
if not hasattr(sync_tools, "Server"):
    _spec.loader.exec_module(sync_tools)

NOWHERE = "http://127.0.0.1:1"
AWAY = {"remote": NOWHERE, "api_key": "t", "remote_timeout": 0}
ignore_away = pytest.mark.filterwarnings("ignore::ml_dash.RemoteWarning")


@pytest.fixture(autouse=True)
def no_login(monkeypatch, tmp_path):
    """No server and no token of the user's."""
    for name in ("ML_DASH_URL", "ML_DASH_API_URL", "ML_DASH_TOKEN", "ML_DASH_SPOOL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ML_DASH_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def server(tmp_path):
    if not sync_tools.has_server():
        pytest.skip("ml-dash was built without the server")
    (tmp_path / "server").mkdir()
    server = sync_tools.Server(tmp_path / "server")
    yield server
    server.stop()


def make(server, name="run", **options) -> Experiment:
    return Experiment(
        name, "digits", remote=server.url, api_key=server.token, progress=False, **options
    )


def points(server, name="run") -> list:
    lines = server.lines(server.experiment(name), "metric")
    return sorted(line["data"]["value"] for line in lines)


# --- options ------------------------------------------------------------------------------------


def test_mode_and_spool(monkeypatch):
    assert Experiment("a", "p").mode is OperationMode.LOCAL
    assert Experiment("a", "p", remote=NOWHERE).mode is OperationMode.REMOTE
    hybrid = Experiment("a", "p", dash_url=NOWHERE, local_path="here")
    assert (hybrid.mode, hybrid.local_path) == (OperationMode.HYBRID, "here")
    monkeypatch.setenv("ML_DASH_SPOOL", "spool")
    assert Experiment("a", "p", remote=NOWHERE).local_path == "spool"
    assert Experiment("a", "p").local_path is None


@pytest.mark.parametrize(
    "options",
    [
        {"remote": NOWHERE, "dash_url": "http://other"},
        {"remote": "dash.example.org"},
        {"remote": 3},
        {"api_key": "t"},
        {"remote": NOWHERE, "api_key": "t", "remote_token": "u"},
    ],
)
def test_options_that_cannot_be(options):
    with pytest.raises(ConfigurationError):
        Experiment("a", "p", **options)


def test_start_without_a_token_or_url_makes_nothing():
    with pytest.raises(AuthenticationError, match="ml-dash login"):
        Experiment("a", "p", remote=NOWHERE).run.start()
    with pytest.raises(ConfigurationError, match="ml-dash login"):
        Experiment("a", "p", dash_url=True, api_key="t").run.start()
    assert os.listdir() == []


@ignore_away
def test_the_url_and_token_of_the_environment_and_the_login(monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"remote_url": "http://127.0.0.1:2"}))
    (config / "tokens.json").write_text(json.dumps({"ml-dash-token": "t"}))

    def url() -> str:
        with Experiment("a", "p", dash_url=True, remote_timeout=0).run as experiment:
            with pytest.raises(RemoteUnavailable) as met:
                experiment.flush(remote=True, timeout=2)
            return str(met.value)

    assert "127.0.0.1:2" in url()
    monkeypatch.setenv("ML_DASH_URL", "http://127.0.0.1:3")
    with pytest.raises(AuthenticationError):  # the login's token is for its own server
        url()
    monkeypatch.setenv("ML_DASH_TOKEN", "t")
    assert "127.0.0.1:3" in url()
    monkeypatch.setenv("ML_DASH_API_URL", "http://127.0.0.1:4")
    assert "127.0.0.1:4" in url()


def test_local_runs_have_no_server(experiment):
    assert experiment.remote_status is None
    saved = experiment.files.save_text("x", to="x.txt")
    for call in (lambda: experiment.flush(remote=True), lambda: experiment.uploaded(saved)):
        with pytest.raises(ExperimentError, match="no server"):
            call()


def test_local_runs_load_nothing_of_it(run_python):
    run_python("""
        import sys, ml_dash
        with ml_dash.Experiment("a", "p").run as experiment:
            experiment.files.save_text("x", to="x.txt")
        assert "ml_dash._remote" not in sys.modules
    """)


# --- no server ----------------------------------------------------------------------------------


def test_without_a_server_everything_is_kept_and_the_end_says_how_to_send_it(capfd):
    with pytest.warns(RemoteWarning, match="onnect"), Experiment("a", "p", **AWAY).run as e:
        for i in range(1000):
            e.metrics("m").append(value=i)
        saved = e.files.save_text("x", to="x.txt")
        e.params.set(lr=0.1)
        assert e.uploaded(saved) is False
        with pytest.raises(RemoteUnavailable, match="to go") as met:
            e.flush(remote=True, timeout=1.5)
        assert isinstance(met.value, TimeoutError)
        assert e.remote_status["linesBytesLeft"] > 0
    said = capfd.readouterr().err
    assert f"ml-dash sync {e.directory} --url {NOWHERE}" in said
    assert e.status == "COMPLETED"
    assert e.verify()["losses"] == 0
    assert e.metrics("m").read(limit=0)["total"] == 1000
    with pytest.raises(ExperimentError, match="ml-dash sync"):
        e.uploaded(saved)
    with pytest.raises(ExperimentError, match="ml-dash sync"):
        e.flush(remote=True)
    assert e.remote_status["done"] is False


@ignore_away
def test_the_exit_of_the_interpreter_stops_the_thread_and_says_it(run_python):
    done = run_python(
        """
        import ml_dash
        e = ml_dash.Experiment("a", "p", remote="http://127.0.0.1:1", remote_timeout=0)
        e.run.start()
        """,
        ML_DASH_TOKEN="t",
    )
    assert "ml-dash sync" in done.stderr
    assert "Traceback" not in done.stderr
    assert Experiment("a", "p", read_only=True).run.start().status == "COMPLETED"


@ignore_away
def test_a_failed_run_keeps_its_own_exception():
    with pytest.raises(ValueError, match="mine"), Experiment("a", "p", **AWAY).run:
        raise ValueError("mine")


@ignore_away
def test_without_a_timeout_an_absent_server_is_given_up(monkeypatch):
    from ml_dash import _remote

    monkeypatch.setattr(_remote, "PATIENCE_S", 1.0)
    with Experiment("a", "p", **{**AWAY, "remote_timeout": None}).run as e:
        saved = e.files.save_text("x", to="x.txt")
        with pytest.raises(RemoteUnavailable):
            e.flush(remote=True)
        assert e.uploaded(saved, timeout=None) is False
    with pytest.raises(ConfigurationError), Experiment("b", "p", **AWAY).run as e:
        e.flush(remote=True, timeout=-1)


@ignore_away
def test_read_only_sends_nothing():
    with Experiment("a", "p", **AWAY).run:
        pass
    looked = Experiment("a", "p", read_only=True, remote=NOWHERE).run.start()
    assert looked.remote_status is None


@ignore_away
def test_ctrl_c_ends_the_wait(run_python):
    """The wait for a server at the end can be left; what was written is kept."""
    done = run_python(
        """
        import os, signal, threading, time, ml_dash
        e = ml_dash.Experiment("a", "p", remote="http://127.0.0.1:1", remote_timeout=300)
        e.run.start()
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            e.run.complete()
        except KeyboardInterrupt:
            print("left", e.status)
        """,
        ML_DASH_TOKEN="t",
    )
    assert done.stdout == "left COMPLETED\n"
    assert "ml-dash sync" in done.stderr


# --- a server -----------------------------------------------------------------------------------


def test_everything_arrives(server, capfd):
    run = make(server, description="first", tags=["a"])
    with run.run as e:
        e.params.set(lr=0.1, model={"depth": 3})
        for i in range(300):
            e.metrics("loss").append(value=i)
        e.log("hello")
        e.tracks("pose").append(x=1.0, _ts=5.0)
        small = e.files(prefix="/a", tags=["t"]).save_blob(b"small", to="small.bin")
        large = e.files.save_blob(bytes(9_000_000), to="large.bin")
        e.flush(remote=True, timeout=60)
        assert e.uploaded(small) and e.uploaded(large["id"])
        assert e.files("a/small.bin").uploaded() and e.files.uploaded("large.bin")
        status = e.remote_status
        assert (status["filesSent"], status["filesLeft"], status["error"]) == (2, 0, None)
        assert status["place"] == "ada/digits/run"
        remote = server.experiment("run")
        assert status["experiment"] == remote["id"]
        assert remote["status"] == "RUNNING"
        assert len(points(server)) == 300
    remote = server.experiment("run")
    assert (remote["status"], remote["description"]) == ("COMPLETED", "first")
    data = server.get(f"/api/v1/experiments/{remote['id']}/parameters")["data"]
    assert (data["lr"], data["model.depth"]) == (0.1, 3)
    assert points(server) == list(range(300))
    theirs = {file["id"]: file for file in server.files(remote)}
    for mine in (small, large):
        assert theirs[mine["id"]]["checksum"] == mine["checksum"]
    assert server.content(remote, theirs[small["id"]]) == b"small"
    assert [line["message"] for line in server.lines(remote, "log")] == ["hello"]
    assert capfd.readouterr().err == ""
    assert e.remote_status["done"] and e.uploaded(small)


def test_uploaded_waits_for_one_file(server):
    with make(server).run as e:
        saved = e.files.save_blob(b"x" * 1000, to="x.bin")
        assert e.uploaded(saved, timeout=60)
        assert e.files(file_id=saved["id"]).uploaded(timeout=None)
        assert e.uploaded("123", timeout=60) is False  # no such file: not waited for
        with pytest.raises(NotFoundError):
            e.files("nothing.bin").uploaded()


def test_a_flush_that_takes_too_long_says_what_is_left(server):
    with make(server).run as e:
        e.flush(remote=True, timeout=60)
        e.files.save_blob(bytes(30_000_000), to="large.bin")
        with pytest.raises(TimedOutError, match="to go"):
            e.flush(remote=True, timeout=0)


def test_the_end_shows_what_it_waits_for_on_a_terminal(tmp_path):
    for option, shown in (("None", True), ("False", False)):
        ours, theirs = pty.openpty()
        code = f"""import ml_dash
ml_dash.Experiment("a", "p", remote={NOWHERE!r}, api_key="t", progress={option},
                   remote_timeout=1.5).run.start().run.complete()"""
        environment = {key: os.environ[key] for key in os.environ if key != "ML_DASH_PROGRESS"}
        process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
        os.close(theirs)
        said = ""
        try:
            while piece := os.read(ours, 4096):
                said += piece.decode()
        except OSError:  # all of the other side is closed
            pass
        os.close(ours)
        assert process.wait(60) == 0
        assert ("to be sent" in said) is shown
        assert "ml-dash sync" in said


def test_a_failure_and_its_reason_arrive(server):
    with pytest.raises(ValueError), make(server).run:
        raise ValueError("no such layer")
    remote = server.experiment("run")
    assert remote["status"] == "FAILED"
    reasons = [line.get("error") for line in server.lines(remote, "records")]
    assert "ValueError: no such layer" in reasons


@ignore_away
def test_the_server_is_killed_and_comes_back(server, capfd):
    with make(server).run as e:
        for i in range(100):
            e.metrics("m").append(value=i)
        e.flush(remote=True, timeout=60)
        server.kill()
        for i in range(100, 200):
            e.metrics("m").append(value=i)
        saved = e.files.save_blob(b"meanwhile", to="x.bin")
        with pytest.raises(TimeoutError):
            e.flush(remote=True, timeout=1)
        assert not e.uploaded(saved)
        server.start()
        e.flush(remote=True, timeout=60)
        assert e.uploaded(saved)
        server.kill()
        threading.Timer(1.5, server.start).start()
        e.metrics("m").append(value=200)
    assert points(server) == list(range(201))  # the end waited for it
    assert server.experiment("run")["status"] == "COMPLETED"
    assert capfd.readouterr().err == ""


def test_a_wrong_token_warns_and_flush_raises(server, capfd):
    server.token = "mld_wrong"
    with pytest.warns(RemoteWarning), make(server).run as e:
        saved = e.files.save_text("kept", to="x.txt")
        with pytest.raises(AuthenticationError):
            e.flush(remote=True, timeout=60)
        with pytest.raises(AuthenticationError):
            e.uploaded(saved)
        assert e.remote_status["failed"]
        e.files.save_text("kept", to="y.txt")
    assert "ml-dash sync" in capfd.readouterr().err
    with pytest.raises(AuthenticationError):
        e.files.list()  # never what is here alone
    assert len(Experiment("run", "digits", read_only=True).run.start().files.list()) == 2


def test_a_file_that_cannot_be_sent_is_told(server, capfd):
    with make(server, remote_timeout=0).run as e:
        e.flush(remote=True, timeout=60)
        server.kill()
        saved = e.files.save_blob(b"x" * 100, to="x.bin")
        where = e._core.stored_path(saved["id"])
        os.chmod(where, 0o600)
        Path(where).write_bytes(b"y" * 100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.start()
            with pytest.raises(TimeoutError):
                e.flush(remote=True, timeout=0)
        good = e.files.save_blob(b"good", to="good.bin")
        for _ in range(2):
            with pytest.raises(NotSentError, match="x.bin") as met:
                e.flush(remote=True, timeout=60)
            ((name, reason),) = met.value.failures
            assert saved["id"] in name and "not what was saved" in reason
            assert pickle.loads(pickle.dumps(met.value)).failures == met.value.failures
        with pytest.warns(RemoteWarning, match="x.bin"):
            assert e.uploaded(good)
        assert e.uploaded(saved, timeout=10) is False
        assert e.remote_status["filesFailed"] == 1
    assert "x.bin" in capfd.readouterr().err


def test_fork(server):
    with make(server).run as e:
        e.metrics("m").append(value=1)
        e.flush(remote=True, timeout=60)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                e.metrics("m").append(value=2)
                saved = e.files.save_text("child", to="child.txt")
                for call in (
                    lambda: e.flush(remote=True),
                    lambda: e.uploaded(saved),
                    lambda: e.remote_status,
                ):
                    with pytest.raises(ExperimentError, match="forked"):
                        call()
                with make(server, "own").run as own:  # a run of its own has a thread of its own
                    own.metrics("m").append(value=7)
                e.run.complete()
                with make(server).run as again:  # the parent's folder, opened here
                    again.metrics("m").append(value=4)
                    again.flush(remote=True, timeout=60)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        e.metrics("m").append(value=3)
    assert points(server) == [1, 2, 3, 4]
    assert points(server, "own") == [7]
    assert [f["filename"] for f in server.files(server.experiment("run"))] == ["child.txt"]


def test_double_start_shares_one_thread(server):
    first = make(server)
    first.run.start()
    second = make(server)  # a notebook's cell that is run again
    second.run.start()
    assert first._uplink._sender is second._uplink._sender
    first.metrics("m").append(value=1)
    second.metrics("m").append(value=2)
    second.run.complete()
    first.metrics("m").append(value=3)
    first.flush(remote=True, timeout=60)
    first.run.complete()
    assert points(server) == [1, 2, 3]
    third = make(server)
    with third.run:  # continued
        third.metrics("m").append(value=4)
    assert points(server) == [1, 2, 3, 4]


def test_a_second_start_after_a_refusal_tries_anew(server):
    token, server.token = server.token, "mld_wrong"
    with pytest.warns(RemoteWarning), make(server).run as e:
        with pytest.raises(AuthenticationError):
            e.flush(remote=True, timeout=60)
        again = make(server, remote_timeout=0)  # while the refused one is still open
        again.run.start()
        assert again._uplink._sender is not e._uplink._sender
        again.run.complete()
    server.token = token
    with make(server).run as e:
        e.metrics("m").append(value=1)
    assert points(server) == [1]


def test_a_spawned_copy_sends_too(server, run_python):
    run_python(
        """
        import multiprocessing, os, sys, ml_dash

        def work(experiment):
            with experiment.run as e:
                e.metrics("m").append(value=os.getpid() * 0 + 2)

        e = ml_dash.Experiment("run", "digits", remote=sys.argv[1], remote_token=sys.argv[2])
        with e.run:
            e.metrics("m").append(value=1)
            import pickle
            with pickle.loads(pickle.dumps(e)).run as copy:
                copy.metrics("m").append(value=2)
            e.metrics("m").append(value=3)
        """,
        server.url,
        server.token,
    )
    assert points(server) == [1, 2, 3]


def test_exit_handler_waits_for_the_upload(server, run_python):
    done = run_python(
        """
        import sys, ml_dash
        e = ml_dash.Experiment("run", "digits", remote=sys.argv[1], api_key=sys.argv[2])
        e.run.start()
        for i in range(1000):
            e.metrics("m").append(value=i)
        e.files.save_blob(bytes(5_000_000), to="x.bin")
        """,
        server.url,
        server.token,
    )
    assert done.stderr == ""
    assert points(server) == list(range(1000))
    assert server.experiment("run")["status"] == "COMPLETED"


def test_what_was_left_is_sent_by_the_command(server, capfd):
    server.kill()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with make(server, remote_timeout=0).run as e:
            e.metrics("m").append(value=1)
    command = capfd.readouterr().err.split("to send it: ")[1].split()
    assert command[:2] == ["ml-dash", "sync"]
    server.start()
    subprocess.run(
        [sync_tools.COMMAND, *command[1:]],
        check=True,
        env={**os.environ, "ML_DASH_TOKEN": server.token},
        capture_output=True,
    )
    assert points(server) == [1]
    assert server.experiment("run")["status"] == "COMPLETED"
