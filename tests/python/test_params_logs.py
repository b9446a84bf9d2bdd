"""Parameters and log lines."""

from __future__ import annotations

import pytest
from ml_dash import Experiment, LogLevel, ParametersBuilder
from ml_dash.exceptions import InvalidInputError


def test_params(experiment):
    params = experiment.params
    params.set(lr=0.1, model={"depth": 18, "head": {"size": 10}}).log(lr=0.2)
    params.set({"model.depth": 50, "with space": True})
    assert params.get() == {
        "lr": 0.2,
        "model.depth": 50,
        "model.head.size": 10,
        "with space": True,
    }
    assert params.get(flatten=False) == {
        "lr": 0.2,
        "model": {"depth": 50, "head": {"size": 10}},
        "with space": True,
    }
    params.set()
    with pytest.raises(InvalidInputError):
        params.set({"": 1, "other": 2})
    assert "other" not in params.get()


def test_classes_are_params(experiment):
    class Base:
        lr = 0.1
        _hidden = 1

    class Args(Base):
        batch = 32

        class model:
            depth = 3

        def method(self):
            return 0

        @property
        def computed(self):
            return 1

    experiment.params.set(Args=Args)
    assert experiment.params.get() == {"Args.lr": 0.1, "Args.batch": 32, "Args.model.depth": 3}


def test_flatten():
    nested = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    flat = {"a.b": 1, "a.c.d": 2, "e": 3}
    assert ParametersBuilder.flatten_dict(nested) == flat
    assert ParametersBuilder.unflatten_dict(flat) == nested
    assert ParametersBuilder.unflatten_dict({"a": 1, "a.b": 2}) == {"a": 1, "a.b": 2}


def test_params_of_two_runs_merge():
    with Experiment("a", "p").run as experiment:
        experiment.params.set(x=1, y=1)
    with Experiment("a", "p").run as experiment:
        experiment.params.set(y=2, z=2)
        assert experiment.params.get() == {"x": 1, "y": 2, "z": 2}


def test_logs(experiment):
    experiment.log("plain")
    experiment.log("with level", "WARN", {"a": 1}, b=2)
    experiment.log("enum", LogLevel.ERROR)
    experiment.log().info("old builder", step=1)
    experiment.log(metadata={"m": 1}).debug("builder with metadata", n=2)
    experiment.logs.fatal("the end")
    lines = experiment.logs.read()
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "plain"),
        ("warn", "with level"),
        ("error", "enum"),
        ("info", "old builder"),
        ("debug", "builder with metadata"),
        ("fatal", "the end"),
    ]
    assert lines[1]["metadata"] == {"a": 1, "b": 2}
    assert lines[4]["metadata"] == {"m": 1, "n": 2}
    assert "metadata" not in lines[0]
    assert [line["sequenceNumber"] for line in lines] == list(range(6))
    assert [line["message"] for line in experiment.logs.read(level="info")] == [
        "plain",
        "old builder",
    ]
    assert [line["message"] for line in experiment.logs.read(start=1, limit=1)] == ["with level"]


def test_bad_logs(experiment):
    with pytest.raises(ValueError, match="level"):
        experiment.log("x", "alert")
    with pytest.raises(TypeError):
        experiment.log(3)
    assert experiment.logs.read() == []


@pytest.mark.parametrize("message", ["", "zwölf 🎉", "two\nlines", "nul \0 inside", "x" * 300_000])
def test_messages_come_back(experiment, message):
    experiment.log(message)
    assert experiment.logs.read()[0]["message"] == message


def test_surrogates_in_a_message(experiment):
    experiment.log("lone \udcff here")
    assert experiment.logs.read()[0]["message"] == "lone \udcff here"


def test_echo(capsys):
    with Experiment("a", "p", echo_logs=True).run as experiment:
        experiment.log("out", step=1)
        experiment.logs.error("err")
    captured = capsys.readouterr()
    assert captured.out == "[INFO] out step=1\n"
    assert captured.err == "[ERROR] err\n"


def test_levels():
    assert LogLevel.validate("INFO") == "info"
    with pytest.raises(ValueError, match="alert"):
        LogLevel.validate("alert")
    with pytest.raises(ValueError, match="3"):
        LogLevel.validate(3)


def test_warning_is_stored_as_warn(experiment):
    experiment.log("a", level="warning")
    experiment.log("b", level="WARNING")
    experiment.logs.warning("c", step=1)
    experiment.log(metadata={"m": 1}).warning("d")
    lines = experiment.logs.read(level="warning")
    assert [line["message"] for line in lines] == ["a", "b", "c", "d"]
    assert {line["level"] for line in lines} == {"warn"}
    assert lines[2]["metadata"] == {"step": 1}
    assert lines[3]["metadata"] == {"m": 1}
