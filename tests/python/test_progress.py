"""The progress bar: only on a terminal, only for what is large, and off with one option."""

from __future__ import annotations

import io
import types

import pytest
from ml_dash import Experiment, _progress

MB = 1_000_000


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    # pytest puts its own sys.stderr back before the test runs
    monkeypatch.setattr(_progress, "sys", types.SimpleNamespace(stderr=stream))
    return stream


def test_bar(terminal):
    bar = _progress.Bar("model.pt")
    bar(50 * MB, 200 * MB)
    assert "model.pt ██████░░░░░░" in terminal.getvalue()
    assert "50 of 200 MB" in terminal.getvalue()
    bar(51 * MB, 200 * MB)  # too soon to be drawn again
    assert "51 of" not in terminal.getvalue()
    bar(200 * MB, 200 * MB)
    assert terminal.getvalue().endswith("\r\033[K")


def test_small_files_have_none(terminal):
    _progress.Bar("x")(1 * MB, 10 * MB)
    assert terminal.getvalue() == ""


def test_not_without_a_terminal(monkeypatch):
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(_progress, "sys", types.SimpleNamespace(stderr=stream))
        _progress.Bar("x")(50 * MB, 200 * MB)
        assert stream is None or stream.getvalue() == ""


def test_long_names_are_cut(terminal):
    _progress.Bar("n" * 100)(50 * MB, 200 * MB)
    assert "n" * 29 + "… " in terminal.getvalue()


def save_large(**options) -> None:
    with open("big.bin", "wb") as stream:
        stream.truncate(70 * 1024 * 1024)
    with Experiment("a", "p", **options).run as experiment:
        record = experiment.files("big.bin").save()
        experiment.files(file_id=record["id"]).download(to="out.bin")


def test_saves_and_downloads_show_it(terminal):
    save_large()
    assert terminal.getvalue().count("big.bin ") >= 1


def test_off(terminal, monkeypatch):
    save_large(progress=False)
    monkeypatch.setenv("ML_DASH_PROGRESS", "0")
    save_large()
    assert terminal.getvalue() == ""
