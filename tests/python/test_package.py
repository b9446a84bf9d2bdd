"""The package itself: what importing costs, exceptions, stubs."""

from __future__ import annotations

import ast
import inspect
import os

import ml_dash
import pytest
from ml_dash import _core, exceptions


def test_import_loads_nothing_heavy(run_python):
    out = run_python(
        """
        import sys
        before = set(sys.modules)
        import ml_dash
        for name in ("numpy", "matplotlib", "av", "torch", "PIL", "json", "datetime",
                     "asyncio", "typing_extensions", "multiprocessing", "subprocess"):
            if name in sys.modules and name not in before:
                print(name)
        """,
        PYTHONSAFEPATH="1",
    ).stdout
    heavy = set(out.split())
    assert not heavy & {"numpy", "matplotlib", "av", "torch", "PIL", "asyncio"}
    assert not heavy & {"json", "multiprocessing", "subprocess", "typing_extensions"}


def test_exception_hierarchy():
    pairs = {
        "InvalidInputError": ValueError,
        "InvalidNameError": ValueError,
        "TooLargeError": ValueError,
        "NotJsonError": TypeError,
        "NotFoundError": FileNotFoundError,
        "SupersededError": FileNotFoundError,
        "ExistsError": FileExistsError,
        "ExperimentError": RuntimeError,
        "ChecksumError": OSError,
        "AccessError": PermissionError,
        "NoSpaceError": OSError,
        "StorageError": OSError,
        "TimedOutError": TimeoutError,
        "OutOfMemoryError": MemoryError,
        "ConfigurationError": ValueError,
        "NetworkError": ConnectionError,
        "MissingPackageError": ImportError,
    }
    for name, builtin in pairs.items():
        kind = getattr(exceptions, name)
        assert issubclass(kind, exceptions.MlDashError), name
        assert issubclass(kind, builtin), name
        error = kind("one line")
        assert str(error) == "one line"
    assert exceptions.NotFoundError("x").errno == 2
    assert exceptions.NoSpaceError("x").errno == 28
    for name, kind in vars(exceptions).items():
        if inspect.isclass(kind) and kind.__module__ == exceptions.__name__:
            assert kind.__doc__, name


def test_everything_exported_exists():
    for name in ml_dash.__all__:
        assert getattr(ml_dash, name) is not None
    assert ml_dash.__version__ == _core.version
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = ml_dash.nothing_like_it


def test_stub_agrees_with_the_extension():
    """Each class and method of _core is in its stub, and nothing else is."""
    path = os.path.join(os.path.dirname(ml_dash.__file__), "_core.pyi")
    with open(path) as stream:
        tree = ast.parse(stream.read())
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        kind = getattr(_core, node.name)
        stub = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        real = {name for name in vars(kind) if not name.startswith("__")}
        assert {name for name in stub if not name.startswith("__")} == real, node.name
    names = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert {"Experiment", "Series", "Sync", "Writer", "find_experiments", "find_server"} == names


def test_public_methods_have_docstrings():
    from ml_dash.files import FileBuilder
    from ml_dash.metrics import MetricBuilder, MetricsManager
    from ml_dash.run import RunManager
    from ml_dash.tracks import TrackBuilder

    kinds = (ml_dash.Experiment, FileBuilder, MetricBuilder, MetricsManager, TrackBuilder)
    for kind in (*kinds, RunManager, _core.Experiment, _core.Series, _core.Writer):
        assert kind.__doc__
        for name, member in vars(kind).items():
            if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                assert inspect.getdoc(getattr(kind, name)), f"{kind.__name__}.{name}"


def test_typed_marker():
    assert os.path.exists(os.path.join(os.path.dirname(ml_dash.__file__), "py.typed"))


def test_find_experiments():
    with ml_dash.Experiment("a", "p", local_path="root").run:
        pass
    with ml_dash.Experiment("b", "p", local_path="root", folder="deep/er").run:
        pass
    found = sorted(os.path.relpath(path, "root") for path in _core.find_experiments("root"))
    assert found == ["deep/er/p/b", "p/a"]
    with pytest.raises(FileNotFoundError):
        _core.find_experiments("none")


def test_wrong_arguments_of_the_extension():
    for call in (
        lambda: _core.Experiment("a", "p"),
        lambda: _core.Experiment(colour=1),
        lambda: _core.Experiment(name=1, project="p"),
        lambda: _core.find_experiments(3),
    ):
        with pytest.raises(TypeError):
            call()
    with ml_dash.Experiment("a", "p").run as experiment:
        core = experiment._core
        for call in (
            lambda: core.list(3),
            lambda: core.get(),
            lambda: core.get(3),
            lambda: core.get("a", id="b"),
            lambda: core.find("a"),
            lambda: core.series(int, 0, "x"),
            lambda: core.series("x", 0, "x"),
            lambda: core.save_bytes(b"x", "x.txt", None),
        ):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(ValueError, match="COMPLETED"):
            core.end("DONE")


def test_no_memory_growth():
    """A million bytes would show: 300 rounds of everything, after a warm-up."""
    import tracemalloc

    with ml_dash.Experiment("a", "p", keep=1).run as experiment:

        def everything():
            metric = experiment.metrics("m")
            metric.append(value=1.5, text="x" * 100, array=[1, 2], none=None)
            metric.append_batch([{"a": 1}, {"b": 2.0}])
            metric.read(limit=5)
            metric.stats()
            experiment.params.set(a={"b": 1})
            experiment.params.get()
            experiment.log("line", a=1)
            record = experiment.files(tags=["a"], metadata={"x": 1}).save_text("x", to="x.txt")
            experiment.files.list()
            experiment.files.info("x.txt")
            experiment.files(file_id=record["id"]).read_bytes()
            with experiment.files._open_writer("y.txt") as writer:
                writer.write(b"x")
            for bad in (lambda: metric.append(value={1}), lambda: experiment.files.info("none")):
                try:
                    bad()
                except (TypeError, FileNotFoundError):
                    pass

        for _ in range(50):
            everything()
        tracemalloc.start()
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            everything()
        grown = tracemalloc.get_traced_memory()[0] - first
        tracemalloc.stop()
    assert grown < 100_000, f"{grown} bytes in 300 rounds"
