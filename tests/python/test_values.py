"""What metrics, parameters and logs take: every kind of value comes back as it went in."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import pathlib

import pytest
from ml_dash.exceptions import InvalidInputError

VALUES = {
    "float": 0.1,
    "small": 5e-324,
    "large": 1.7976931348623157e308,
    "negative zero": -0.0,
    "int": 42,
    "min64": -(2**63),
    "max64": 2**63 - 1,
    "beyond": 2**64 + 1,
    "true": True,
    "false": False,
    "none": None,
    "text": "zwölf 🎉",
    "quotes": 'a "b" \\ \n \t \x01',
    "nul": "a\0b",
    "surrogate": "\ud800 lone \udfff",
    "empty": "",
    "list": [1, 2.5, "x", None, [True]],
    "infinity": math.inf,
    "-infinity": -math.inf,
}


def same(a, b) -> bool:
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return a == b and type(a) is type(b) and (a != 0 or str(a) == str(b))


@pytest.mark.parametrize("name", list(VALUES))
def test_metric_round_trip(experiment, name):
    value = VALUES[name]
    experiment.metrics("m").append(value=value)
    experiment.metrics("m").append_batch([{"value": value}, {name: value}])
    data = [point["data"] for point in experiment.metrics("m").read()["data"]]
    assert same(data[0]["value"], value)
    assert same(data[1]["value"], value)
    assert same(data[2][name], value)


@pytest.mark.parametrize("name", list(VALUES))
def test_param_round_trip(experiment, name):
    experiment.params.set(p=VALUES[name])
    assert same(experiment.params.get()["p"], VALUES[name])


def test_nan(experiment):
    experiment.metrics("m").append(value=math.nan, list=[math.nan, math.inf])
    experiment.params.set(a=math.nan, b=-math.inf)
    data = experiment.metrics("m").read()["data"][0]["data"]
    assert math.isnan(data["value"])
    assert math.isnan(data["list"][0])
    assert data["list"][1] == math.inf
    assert math.isnan(experiment.params.get()["a"])
    assert experiment.params.get()["b"] == -math.inf


def test_numpy(experiment):
    np = pytest.importorskip("numpy")
    values = {
        "f16": (np.float16(0.5), 0.5),
        "f32": (np.float32(0.1), float(np.float32(0.1))),
        "f64": (np.float64(0.1), 0.1),
        "i8": (np.int8(-3), -3),
        "u64": (np.uint64(2**64 - 1), 2**64 - 1),
        "bool": (np.bool_(True), True),
        "scalar": (np.array(1.5), 1.5),
        "one": (np.array([1.5]), [1.5]),
        "matrix": (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        "nan": (np.float32("nan"), math.nan),
        "nested": ({"a": [np.int64(1), np.float32(0.5)]}, {"a": [1, 0.5]}),
    }
    experiment.metrics("m").append(**{name: given for name, (given, _) in values.items()})
    data = experiment.metrics("m").read()["data"][0]["data"]
    for name, (_, wanted) in values.items():
        assert same(data[name], wanted), name


def test_other_objects(experiment):
    class Colour(enum.Enum):
        RED = "red"

    class Number(enum.IntEnum):
        SEVEN = 7

    class Half(float):
        pass

    experiment.params.set(
        path=pathlib.Path("a/b"),
        date=datetime.date(2024, 1, 2),
        decimal=decimal.Decimal("1.5"),
        colour=Colour.RED,
        number=Number.SEVEN,
        half=Half(0.5),
        tuple=(1, 2),
    )
    assert experiment.params.get() == {
        "path": "a/b",
        "date": "2024-01-02",
        "decimal": 1.5,
        "colour": "red",
        "number": 7,
        "half": 0.5,
        "tuple": [1, 2],
    }


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", lambda: 0, 1j])
def test_unserialisable(experiment, value):
    for call in (
        lambda: experiment.metrics("m").append(good=1, value=value),
        lambda: experiment.metrics("m").append_batch([{"v": 1}, {"v": value}]),
        lambda: experiment.params.set(good=1, bad=value),
        lambda: experiment.log("text", extra=value),
        lambda: experiment.tracks("t").append(value=value),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert experiment.metrics("m").read()["data"] == []
    assert experiment.params.get() == {}
    assert experiment.logs.read() == []


def test_circular(experiment):
    value: list = []
    value.append(value)
    with pytest.raises(ValueError, match=r"JSON"):
        experiment.metrics("m").append(value=value)
    nested: dict = {}
    nested["a"] = nested
    with pytest.raises(RecursionError):
        experiment.tracks("t").append(value=nested)


def test_field_names(experiment):
    experiment.metrics("m").append(**{"a b": 1, "ü": 2, "x.y": 3})
    assert experiment.metrics("m").read()["data"][0]["data"] == {"a b": 1, "ü": 2, "x.y": 3}
    with pytest.raises(InvalidInputError):
        experiment.metrics("m").append(**{"a\0b": 1})
    with pytest.raises(InvalidInputError):
        experiment.metrics("m").append(**{"\ud800": 1})
    with pytest.raises(TypeError):
        experiment.metrics("m").append_batch([{1: 2}])
    with pytest.raises(TypeError):
        experiment.metrics("m").append_batch([1])
    with pytest.raises(TypeError):
        experiment.metrics("m").append(1)
    with pytest.raises(InvalidInputError):
        experiment.metrics("m").append()


def test_many_fields(experiment):
    fields = {f"field{i}": i for i in range(1000)}
    experiment.metrics("m").append(**fields)
    assert experiment.metrics("m").read()["data"][0]["data"] == fields


def test_large_text(experiment):
    text = "x" * 1_000_000
    experiment.metrics("m").append(text=text)
    assert experiment.metrics("m").read()["data"][0]["data"]["text"] == text
