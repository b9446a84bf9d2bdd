"""Opening, resuming and ending runs; where they go."""

from __future__ import annotations

import json
import os
import pickle
import re
import time
import warnings
from pathlib import Path

import ml_dash
import pytest
from ml_dash import RUN, DamagedWarning, Experiment, OperationMode, ml_dash_experiment
from ml_dash.exceptions import (
    ConfigurationError,
    ExperimentError,
    InvalidInputError,
    MlDashError,
    TooLargeError,
)


def test_context_manager():
    experiment = Experiment("a", "p")
    assert experiment.status is None
    assert experiment.id is None
    assert not os.path.exists(".ml-dash")
    with experiment.run as opened:
        assert opened is experiment
        assert experiment.status == "RUNNING"
        assert re.fullmatch("[0-9a-f]{32}", experiment.id)
        assert os.path.samefile(experiment.directory, ".ml-dash/p/a")
    assert experiment.status == "COMPLETED"
    assert experiment.data["experiment"]["endedAt"]
    assert experiment.mode is OperationMode.LOCAL


def test_layouts():
    cases = [
        (Experiment("a", "p", folder="/x/y", local_path="r1"), "r1/x/y/p/a"),
        (Experiment(name="a", project="p", dash_root="r2"), "r2/p/a"),
        (Experiment(prefix="me/proj/deep/name"), ".dash/me/proj/deep/name"),
        (Experiment(prefix="/me/proj", dash_root="r3"), "r3/me/proj"),
        (Experiment("me/proj/name", local_path="r4"), "r4/me/proj/name"),
        (Experiment(Path("me/proj/n"), local_path=Path("r4")), "r4/me/proj/n"),
        (Experiment(prefix=Path("/me/proj/n"), dash_root=Path("r5")), "r5/me/proj/n"),
        (Experiment("a", "p", folder=Path("x/{EXP.name}"), local_path=Path("r6")), "r6/x/a/p/a"),
    ]
    for experiment, place in cases:
        with experiment.run:
            assert os.path.samefile(experiment.directory, place)
    assert cases[2][0].owner == "me"
    assert cases[2][0].project == "proj"
    assert cases[2][0].name == "name"
    record = cases[2][0].run.start().files.save_text("x", to="x.txt")
    assert record["experimentId"] == "proj/me/proj/deep/name"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, "COMPLETED"),
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "CANCELLED"),
        (SystemExit(0), "COMPLETED"),
        (SystemExit(3), "FAILED"),
    ],
)
def test_exceptions_in_the_body(body, status):
    experiment = Experiment("a", "p")
    if body is None:
        with experiment.run:
            pass
    else:
        with pytest.raises(type(body)) as caught:
            with experiment.run:
                raise body
        assert caught.value is body
    assert experiment.status == status


class Odd(Exception):
    def __str__(self):
        raise RuntimeError("odd")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (ValueError("no such\nlayer \x1b[31m"), "ValueError: no such layer [31m"),
        (TooLargeError("big"), "ml_dash.exceptions.TooLargeError: big"),
        (KeyError("a"), "KeyError: 'a'"),
        (AssertionError(), "AssertionError"),
        (OSError("bad \udcff name \0"), "OSError: bad \\udcff name"),
        (RuntimeError("x" * 10_000), "RuntimeError: " + "x" * (4096 - 14) + "…"),
        (Odd(), f"{__name__}.Odd: <its message cannot be read>"),
        (SystemExit("no data"), "SystemExit: no data"),
        (KeyboardInterrupt(), None),
    ],
)
def test_error_of_a_run(body, error):
    """What the body raised is kept with the status, also for those who only read."""
    experiment = Experiment("a", "p")
    assert experiment.error is None
    with pytest.raises(type(body)), experiment.run:
        raise body
    reader = Experiment("a", "p", read_only=True).run.start()
    assert experiment.error == reader.error == error
    assert reader.data["experiment"]["error"] == error
    with open(os.path.join(experiment.directory, "experiment.json")) as stream:
        assert json.load(stream).get("error") == error
    with experiment.run:
        assert experiment.error is None
    assert experiment.error is None


def test_error_of_decorated_functions():
    @ml_dash_experiment("a", "p")
    def train(experiment):
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        train()
    assert Experiment("a", "p", read_only=True).run.start().error == "ValueError: no data"


def test_fail_with_a_reason():
    experiment = Experiment("a", "p").run.start()
    experiment.run.fail("diverged\nat step 3")
    assert (experiment.status, experiment.error) == ("FAILED", "diverged at step 3")
    experiment.run.start()
    experiment.run.fail(error=ValueError("no data"))
    assert (experiment.status, experiment.error) == ("FAILED", "ValueError: no data")
    experiment.run.start()
    experiment.run.fail()
    assert (experiment.status, experiment.error) == ("FAILED", None)


def test_error_of_a_program_that_ends_by_one(run_python):
    run_python(
        """
        from ml_dash import Experiment

        Experiment("a", "p").run.start()
        raise LookupError("no data")
        """,
        check=False,
    )
    assert Experiment("a", "p", read_only=True).run.start().error == "LookupError: no data"


def test_calls():
    for end, status in (("complete", "COMPLETED"), ("fail", "FAILED"), ("cancel", "CANCELLED")):
        experiment = Experiment(status, "p")
        assert experiment.run.start() is experiment
        assert experiment.run.start() is experiment
        getattr(experiment.run, end)()
        experiment.run.complete()  # twice is fine, the first counts
        assert experiment.status == status


def test_decorators():
    experiment = Experiment("a", "p")

    @experiment.run
    def train(exp, lr, *, steps=1):
        """Trains."""
        assert exp is experiment
        assert exp.status == "RUNNING"
        return lr * steps

    assert train(0.5, steps=4) == 2.0
    assert train.__doc__ == "Trains."
    assert experiment.status == "COMPLETED"

    @ml_dash_experiment("b", "p", tags=["x"])
    def main(value, experiment):
        experiment.params.set(v=value)
        return experiment

    assert main(3).params.get() == {"v": 3}
    assert main(4).status == "COMPLETED"

    @ml_dash_experiment(prefix="me/p/c", dash_root="r")
    def other(*, experiment):
        return experiment.directory

    assert os.path.samefile(other(), "r/me/p/c")


def test_without_run():
    """An experiment is its own context manager and decorator."""
    experiment = Experiment("a", "p")
    with experiment as opened:
        assert opened is experiment
        assert experiment.status == "RUNNING"
    assert experiment.status == "COMPLETED"
    with pytest.raises(ValueError, match="x"), experiment:
        raise ValueError("x")
    assert experiment.status == "FAILED"

    @experiment
    def train(exp, lr, *, steps=1):
        """Trains."""
        assert exp is experiment
        assert exp.status == "RUNNING"
        return lr * steps

    assert train(0.5, steps=4) == 2.0
    assert train.__doc__ == "Trains."
    assert experiment.status == "COMPLETED"


def test_before_the_start():
    experiment = Experiment("a", "p")
    for use in (
        lambda: experiment.files,
        lambda: experiment.params,
        lambda: experiment.metrics,
        lambda: experiment.tracks,
        lambda: experiment.logs,
        lambda: experiment.log("x"),
        lambda: experiment.log(),
        lambda: experiment.bindrs("x"),
        lambda: experiment.flush(),
    ):
        with pytest.raises(ExperimentError, match="not open"):
            use()
        with pytest.raises(RuntimeError):
            use()
    experiment.run.complete()  # nothing to end
    assert os.listdir() == []


def test_after_the_end():
    with Experiment("a", "p").run as experiment:
        metric = experiment.metrics("m")
        metric.append(value=1)
        record = experiment.files.save_text("text", to="t.txt")
        experiment.params.set(a=1)
        experiment.log("line")
    assert metric.read()["total"] == 1
    assert experiment.files(file_id=record["id"]).read_text() == "text"
    assert len(experiment.files.list()) == 1
    assert experiment.params.get() == {"a": 1}
    assert experiment.logs.read()[0]["message"] == "line"
    for write in (
        lambda: metric.append(value=2),
        lambda: experiment.metrics("n").append_batch([{"a": 1}]),
        lambda: experiment.files.save_text("x", to="x.txt"),
        lambda: experiment.files.delete("t.txt"),
        lambda: experiment.params.set(b=1),
        lambda: experiment.log("late"),
        lambda: experiment.tracks("t").append(x=1),
    ):
        with pytest.raises(ExperimentError, match="ended"):
            write()
    with experiment.run:
        experiment.metrics("m").append(value=2)
    assert experiment.metrics("m").read()["total"] == 2


def test_resume():
    with Experiment("a", "p", description="first", tags=["x"]).run as first:
        first.params.set(a=1)
        first.metrics("m").append(value=1)
        first.log("one")
    with Experiment("a", "p", tags=["y", "z"]).run as second:
        assert second.id == first.id
        second.metrics("m").append(value=2)
        second.log("two")
        assert second.params.get() == {"a": 1}
        info = second.data["experiment"]
        assert (info["description"], info["tags"]) == ("first", ["y", "z"])
        values = [p["data"]["value"] for p in second.metrics("m").read()["data"]]
        assert values == [1, 2]
        assert [line["message"] for line in second.logs.read()] == ["one", "two"]


def test_two_handles_in_one_process():
    with Experiment("a", "p").run as first:
        first.metrics("m").append(value=1)
        second = Experiment("a", "p").run.start()  # a notebook cell run twice
        assert second.id == first.id
        second.metrics("m").append(value=2)
        first.metrics("m").append(value=3)
        assert first.metrics("m").read()["total"] == 3
        second.run.complete()
        first.files.save_text("x", to="x.txt")
    assert Experiment("a", "p").run.start().metrics("m").read()["total"] == 3


def test_what_an_experiment_is():
    metadata = {"nested": {"a": [1, None]}}
    with Experiment(
        "a", "p", description="d", tags=("x",), bindrs=["b"], metadata=metadata
    ).run as experiment:
        pass
    with open(".ml-dash/p/a/experiment.json") as stream:
        view = json.load(stream)
    assert view["name"] == "a"
    assert view["project"] == "p"
    assert view["description"] == "d"
    assert view["tags"] == ["x"]
    assert view["bindrs"] == ["b"]
    assert view["metadata"] == metadata
    assert repr(experiment) == "<Experiment p/a>"


def test_folder_templates(monkeypatch):
    experiment = Experiment("a", "p")
    experiment.run.folder = "sweeps/{RUN.project}/{RUN.name}"
    assert re.fullmatch(r"sweeps/p/a_\d{8}_\d{6}", experiment.folder)
    experiment.run.folder = "{EXP.id}"
    first = experiment.folder
    experiment.run.folder = "{EXP.id}"
    assert experiment.folder == first
    experiment.run.folder = "{now:%Y}/{EXP.date}"
    assert experiment.folder == time.strftime("%Y/%Y%m%d")
    experiment.run.folder = "{{literal}}"
    assert experiment.folder == "{literal}"
    for bad in ("{nothing}", "{RUN.__class__}", "{now.__class__}", "{open", "close}"):
        with pytest.raises(InvalidInputError):
            experiment.run.folder = bad
    experiment.run.folder = None
    with experiment.run:
        with pytest.raises(RuntimeError, match="folder"):
            experiment.run.folder = "late"
        with pytest.raises(RuntimeError, match="prefix"):
            experiment.run.prefix = "late"
    assert Experiment("a", "p", folder="{RUN.timestamp}").folder.count("_") == 1


def test_prefix_templates():
    experiment = Experiment(prefix="me/proj/{EXP.date}/run")
    assert re.fullmatch(r"me/proj/\d{8}/run", experiment.prefix)
    experiment.run.prefix = "me/other/{EXP.name}"
    assert (experiment.prefix, experiment.project, experiment.name) == (
        "me/other/run",
        "other",
        "run",
    )


def test_default_prefix(monkeypatch):
    monkeypatch.setenv("ML_DASH_USER", "alice")
    script = os.path.abspath("src/train.py")
    first = Experiment(entry=script, project_root=os.getcwd())
    second = Experiment(entry=script, project_root=os.getcwd())
    pattern = r"alice/scratch/\d{4}/\d\d-\d\d/src/train/\d\d\.\d\d\.\d\d/\d{3}"
    assert re.fullmatch(pattern, first.prefix)
    assert first.prefix != second.prefix
    assert re.fullmatch(
        pattern.replace("alice/scratch", "bob/x"),
        Experiment(project="bob/x", entry=script, project_root=os.getcwd()).prefix,
    )
    monkeypatch.setattr(RUN, "prefix", "{user}/fixed/{job_counter:03d}")
    assert re.fullmatch(r"carol/fixed/\d{3}", Experiment(user="carol").prefix)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a", "project": "p", "remote": "x"}, "must be a URL"),
        ({"prefix": "a/b", "api_key": "t"}, "needs a server"),
        ({"name": "a"}, "needs a project"),
        ({"name": "a", "prefix": "a/b"}, "not both"),
        ({"folder": "a"}, "folder"),
        ({"name": "a", "project": "p", "local_path": "x", "dash_root": "y"}, "one option"),
        ({"name": "a", "project": "p", "tags": "tag"}, "list of strings"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        Experiment(**options)
    assert isinstance(caught.value, (ValueError, MlDashError))
    assert os.listdir() == []


def test_unknown_option():
    with pytest.raises(TypeError, match="colour"):
        Experiment("a", "p", colour="red")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "..", "project": "p"},
        {"name": "a/b", "project": "p"},
        {"name": "a", "project": ".."},
        {"name": "a\0b", "project": "p"},
        {"name": "", "project": "p"},
        {"name": "x" * 300, "project": "p"},
        {"name": "a", "project": "p", "folder": "../out"},
        {"name": "a\nb", "project": "p"},
        {"name": "\udcff", "project": "p"},
        {"prefix": "a/../../b"},
        {"prefix": "a/.mldash/b"},
        {"name": "a", "project": "p", "metadata": {"x": float("nan")}},
        {"name": "a", "project": "p", "metadata": {"x": {1}}},
        {"name": "a", "project": "p", "tags": [1]},
        {"name": "a", "project": "p", "keep": 0},
        {"name": "a", "project": "p", "keep": "some"},
        {"name": "a", "project": "p", "max_file_size": -1},
    ],
)
def test_bad_options_make_nothing(options):
    with pytest.raises((InvalidInputError, TypeError)):
        Experiment(**options).run.start()
    assert os.listdir() == []


def test_max_file_size():
    with Experiment("a", "p", max_file_size=1000).run as experiment:
        experiment.files.save_blob(b"x" * 1000, to="fits.bin")
        with pytest.raises(TooLargeError, match="1000|1,000"):
            experiment.files.save_blob(b"x" * 1001, to="big.bin")
        with open("big.bin", "wb") as stream:
            stream.write(b"x" * 2000)
        with pytest.raises(ValueError, match="1000|1,000"):
            experiment.files("big.bin").save()
        assert len(experiment.files.list()) == 1


def test_read_only():
    with Experiment("a", "p").run as experiment:
        experiment.files.save_text("x", to="x.txt")
    assert Experiment("a", "p", _write_protected=True).run.start().status == "COMPLETED"
    reader = Experiment("a", "p", read_only=True)
    with reader.run:
        assert reader.files.read_text("x.txt") == "x"
        assert reader.status == "COMPLETED"
        with pytest.raises(ExperimentError):
            reader.files.save_text("y", to="y.txt")
    with pytest.raises(FileNotFoundError):
        Experiment("none", "p", read_only=True).run.start()
    assert not os.path.exists(".ml-dash/p/none")


def test_pickle():
    experiment = Experiment("a", "p", tags=["t"], progress=lambda *_: True)
    with experiment.run:
        experiment.params.set(a=1)
        copy = pickle.loads(pickle.dumps(experiment))
    assert copy.status is None
    assert (copy.name, copy.project, copy.tags) == ("a", "p", ["t"])
    with copy.run:
        assert copy.params.get() == {"a": 1}
        assert copy.id == experiment.id


def garble(path, number):
    with open(path, "rb") as stream:
        lines = stream.read().splitlines(keepends=True)
    lines[number] = b'{"garbled' + b"#" * (len(lines[number]) - 10) + b"\n"
    with open(path, "wb") as stream:
        stream.write(b"".join(lines))


def test_damaged_records_are_a_warning_at_open():
    with Experiment("a", "p").run as experiment:
        for i in range(10):
            experiment.params.set(**{f"p{i}": i})
    garble(".ml-dash/p/a/.mldash/records.jsonl", 5)
    again = Experiment("a", "p")
    with pytest.warns(DamagedWarning) as caught, again.run:
        pass
    assert [warning.filename for warning in caught] == [__file__]
    assert len(again.params.get()) == 9
    assert again.verify()["losses"] >= 1


KEPT = [0, 1, 2, 3, 5, 6, 7, 8, 9]


def write_series():
    with Experiment("a", "p").run as experiment:
        for i in range(10):
            experiment.metrics("m").append(value=i)
            experiment.tracks("t").append(value=i, _ts=float(i))
            experiment.log(str(i))


def garble_series():
    garble(".ml-dash/p/a/metrics/m/data.jsonl", 4)
    garble(".ml-dash/p/a/tracks/t/data.jsonl", 4)
    garble(".ml-dash/p/a/logs/logs.jsonl", 4)


def series_reads(experiment):
    return (
        lambda: [p["data"]["value"] for p in experiment.metrics("m").read()["data"]],
        lambda: [entry["value"] for entry in experiment.tracks("t").read()["entries"]],
        lambda: [int(line["message"]) for line in experiment.logs.read()],
    )


def test_damaged_series_are_a_warning_at_open():
    write_series()
    garble_series()
    again = Experiment("a", "p")
    with pytest.warns(DamagedWarning) as caught:
        again.run.start()
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert [read() for read in series_reads(again)] == [KEPT] * 3
    again.run.complete()
    names = {finding["name"] for finding in again.verify()["findings"]}
    assert {"metrics/m/data.jsonl", "tracks/t/data.jsonl", "logs/logs.jsonl"} <= names


def test_what_is_damaged_later_is_a_warning_when_read():
    write_series()
    again = Experiment("a", "p")
    with again.run:
        garble_series()
        for read in series_reads(again):
            with pytest.warns(DamagedWarning) as caught:
                assert read() == KEPT
            assert [warning.filename for warning in caught] == [__file__]
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert read() == KEPT  # said once


def test_no_warning_without_damage():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with Experiment("a", "p").run as experiment:
                experiment.metrics("m").append(value=1)
    assert experiment.verify()["losses"] == 0


def test_local_storage():
    storage = ml_dash.LocalStorage("root")
    folder = storage.create_experiment("p", "a", folder="f", tags=["x"])
    assert os.path.samefile(folder, "root/f/p/a")
    storage.write_parameters("p", "a", data={"lr": 1})
    storage.append_to_metric("p", "a", metric_name="m", data={"value": 1})
    storage.append_batch_to_metric("p", "a", "m", [{"value": 2}])
    storage.write_log("p", "a", message="hello", timestamp="2024-01-01T00:00:00Z")
    with open("x.txt", "w") as stream:
        stream.write("text")
    record = storage.write_file("p", "a", file_path="x.txt", prefix="/d", tags=["t"])
    assert storage.list_files("p", "a", prefix="/d", tags=["t"])[0]["id"] == record["id"]
    assert os.path.samefile(storage.read_file("p", "a", record["id"], "y.txt"), "y.txt")
    assert storage.update_file_metadata("p", "a", record["id"], "d")["description"] == "d"
    assert storage.delete_file("p", "a", record["id"])["deletedAt"]
    storage.flush()
    other = ml_dash.LocalStorage("root")
    assert other.read_parameters("p", "a") == {"lr": 1}
    assert other.read_metric_data("p", "a", "m")["total"] == 2
    assert other.get_metric_stats("p", "a", "m")["totalDataPoints"] == "2"
    assert other.list_metrics("p", "a")[0]["name"] == "m"
    with pytest.raises(FileNotFoundError):
        other.read_parameters("p", "nothing")
