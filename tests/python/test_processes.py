"""Forks, spawned processes, signals, kills: nothing is lost, and only its process ends a run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from ml_dash import Experiment


def values(experiment, name="m") -> list:
    return [p["data"]["value"] for p in experiment.metrics(name).read(limit=0)["data"]]


def reopen() -> Experiment:
    return Experiment("a", "p", read_only=True).run.start()


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def child(work) -> None:
    """Runs work in a forked child; it must not fail."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert wait(pid) == 0


def test_fork_with_an_open_run():
    with Experiment("a", "p").run as experiment:
        metric = experiment.metrics("m")
        metric.append(value=1)
        experiment.files.save_text("parent", to="parent.txt")

        def work():
            metric.append(value=2)  # the builder of the parent
            experiment.metrics("m").append(value=3)
            experiment.files.save_text("child", to="child.txt")
            experiment.params.set(child=1)
            experiment.log("from the child")
            experiment.run.complete()  # ends the child's own writing only

        child(work)
        metric.append(value=4)
        assert experiment.status == "RUNNING"
        assert sorted(values(experiment)) == [1, 2, 3, 4]
        assert experiment.files.read_text("child.txt") == "child"
        assert experiment.params.get() == {"child": 1}
    assert experiment.status == "COMPLETED"
    assert experiment.verify()["losses"] == 0


def test_writer_of_the_parent_is_the_parents():
    with Experiment("a", "p").run as experiment:
        writer = experiment.files._open_writer("x.bin")
        writer.write(b"one")

        def work():
            with pytest.raises(RuntimeError, match="parent"):
                writer.write(b"child")
            writer.abandon()

        child(work)
        writer.write(b"two")
        writer.commit()
        assert experiment.files.read_bytes("x.bin") == b"onetwo"


def test_exit_of_a_fork_does_not_end_the_run(run_python):
    out = run_python(
        """
        import os, sys
        from ml_dash import Experiment
        experiment = Experiment("a", "p")
        experiment.run.start()
        if os.fork() == 0:
            sys.exit(0)  # runs the parent's atexit handlers
        os.wait()
        print(experiment.status)
        """
    ).stdout
    assert out == "RUNNING\n"
    assert reopen().status == "COMPLETED"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("pass", "COMPLETED"),
        ("raise SystemExit(1)", "COMPLETED"),
        ("1 / 0", "FAILED"),
        ("raise KeyboardInterrupt", "CANCELLED"),
        ("experiment.run.fail()", "FAILED"),
        ("import os; os._exit(0)", "RUNNING"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "RUNNING"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "RUNNING"),
    ],
)
def test_a_run_that_nobody_ends(run_python, end, status):
    """Started with start(), not in a with block: see ml_dash._lifecycle."""
    run_python(
        f"""
        from ml_dash import Experiment
        experiment = Experiment("a", "p")
        experiment.run.start()
        for i in range(1000):
            experiment.metrics("m").append(value=i)
        experiment.files.save_text("text", to="x.txt")
        del i
        {end}
        """,
        check=False,
    )
    again = reopen()
    assert again.status == status
    assert values(again) == list(range(1000))
    assert again.files.read_text("x.txt") == "text"
    assert again.verify()["losses"] == 0
    with Experiment("a", "p").run as resumed:
        resumed.metrics("m").append(value=1000)
    assert sorted(values(resumed)) == list(range(1001))


def test_excepthook_of_others_is_called(run_python):
    done = run_python(
        """
        import sys
        sys.excepthook = lambda *args: print("mine", args[0].__name__)
        from ml_dash import Experiment
        Experiment("a", "p").run.start()
        1 / 0
        """,
        check=False,
    )
    assert done.stdout == "mine ZeroDivisionError\n"
    assert reopen().status == "FAILED"


def test_sigterm_in_the_middle():
    """Terminated while appending: every acknowledged point is there."""
    code = """
        from ml_dash import Experiment
        experiment = Experiment("a", "p")
        with experiment.run:
            metric = experiment.metrics("m")
            i = 0
            while True:
                metric.append(value=i)
                i += 1
                if i % 100 == 0:
                    print(i, flush=True)
        """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged >= 5000:
            process.send_signal(signal.SIGTERM)
            break
    for line in process.stdout:
        acknowledged = int(line)
    assert process.wait() == -signal.SIGTERM
    process.stdout.close()
    found = values(reopen())
    assert len(found) >= acknowledged
    assert found == list(range(len(found)))


def test_keyboard_interrupt_stops_a_long_save(run_python):
    out = run_python(
        """
        import os, signal, threading
        from ml_dash import Experiment
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
        with open("big.bin", "wb") as stream:
            stream.truncate(1_500_000_000)
        experiment = Experiment("a", "p")
        with experiment.run:
            main = os.getpid()
            threading.Timer(0.1, lambda: os.kill(main, signal.SIGINT)).start()
            try:
                experiment.files("big.bin", progress=False).save()
            except KeyboardInterrupt:
                print("interrupted", len(experiment.files.list()), experiment.verify()["findings"])
        """
    ).stdout
    assert out == "interrupted 0 []\n"


def _spawned(experiment, number):
    with experiment.run as opened:
        for i in range(20):
            opened.metrics("m").append(value=number * 100 + i)
            opened.files.save_text(str(i), to=f"w{number}/{i}.txt")


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers(method):
    context = multiprocessing.get_context(method)
    experiment = Experiment("a", "p")
    with experiment.run:
        workers = [context.Process(target=_spawned, args=(experiment, n)) for n in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        experiment.metrics("m").append(value=-1)
        found = sorted(values(experiment))
        assert found == [-1, *(n * 100 + i for n in range(3) for i in range(20))]
        assert len(experiment.files.list()) == 60
    assert experiment.status == "COMPLETED"
    assert experiment.verify()["losses"] == 0


def test_data_loader_workers(run_python):
    pytest.importorskip("torch")
    run_python(
        """
        import torch
        from ml_dash import Experiment

        class Data(torch.utils.data.Dataset):
            def __init__(self, experiment):
                self.experiment = experiment
            def __len__(self):
                return 40
            def __getitem__(self, i):
                self.experiment.metrics("worker").append(value=i)
                return i

        if __name__ == "__main__":
            experiment = Experiment("a", "p")
            with experiment.run:
                experiment.metrics("worker").append(value=-1)
                for batch in torch.utils.data.DataLoader(Data(experiment), 4, num_workers=2):
                    experiment.metrics("main").append(value=int(batch.sum()))
        """
    )
    assert sorted(values(reopen(), "worker")) == list(range(-1, 40))
    assert len(values(reopen(), "main")) == 10
    assert reopen().status == "COMPLETED"


def test_dxp(run_python):
    run_python(
        """
        import os
        from ml_dash import dxp
        assert not os.path.exists(".ml-dash")
        assert dxp.status is None
        dxp.metrics("m").append(value=1)
        assert dxp.status == "RUNNING"
        dxp.params.set(a=1)
        dxp.log("x")
        dxp.files.save_text("x", to="x.txt")
        from ml_dash.auto_start import dxp as same
        assert same is dxp
        """
    )
    dxp = Experiment("dxp", "scratch", read_only=True).run.start()
    assert dxp.status == "COMPLETED"
    assert values(dxp) == [1]


def test_dxp_unused_leaves_nothing(run_python):
    run_python("from ml_dash import dxp")
    assert os.listdir() == []


@pytest.mark.slow
def test_many_processes_at_once():
    """Processes x saves: all there, once."""
    processes, saves = 16, 50
    code = f"""
        import sys
        from ml_dash import Experiment
        number = int(sys.argv[1])
        with Experiment("a", "p").run as experiment:
            for i in range({saves}):
                experiment.files.save_text(f"{{number}} {{i}}", to=f"{{number}}/{{i}}.txt")
                experiment.metrics("m").append(value=number * 1000 + i)
        """
    running = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(n)])
        for n in range(processes)
    ]
    assert [process.wait() for process in running] == [0] * processes
    again = reopen()
    assert again.status == "COMPLETED"
    wanted = {(f"/{n}", f"{i}.txt") for n in range(processes) for i in range(saves)}
    found = [(f["path"], f["filename"]) for f in again.files.list()]
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert sorted(values(again)) == sorted(
        n * 1000 + i for n in range(processes) for i in range(saves)
    )
    assert again.verify()["losses"] == 0


def test_threads_and_close():
    """Closing while other threads read and write neither crashes nor hangs."""
    import threading

    for _ in range(5):
        experiment = Experiment("a", "p").run.start()
        stop = time.monotonic() + 0.2

        def work(experiment=experiment, stop=stop):
            try:
                while time.monotonic() < stop:
                    experiment.metrics("m").append(value=1)
                    experiment.files.list()
                    experiment.flush()
            except RuntimeError:
                pass

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        core = experiment._core
        experiment.run.complete()
        core.close()
        for thread in threads:
            thread.join()


def test_more_metrics_than_descriptors(run_python):
    done = run_python(
        """
        import resource
        from ml_dash import Experiment

        with Experiment("baseline", "digits").run as experiment:
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
            for step in range(2):
                for i in range(100):
                    experiment.metrics(f"m{i}").append(value=step)
            experiment.files.save_blob(b"x", to="a.bin")
            print(sum(len(experiment.metrics(f"m{i}").read()["data"]) for i in range(100)))
        """
    )
    assert done.stdout == "200\n"
