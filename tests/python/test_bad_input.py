"""Bad input gets a clear error and leaves nothing behind."""

from __future__ import annotations

import os
import socket

import pytest
from ml_dash import Experiment
from ml_dash.exceptions import (
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    SourceChangedError,
)


@pytest.fixture(autouse=True)
def nothing_left(experiment, stored_files):
    """No record, no bytes and no debris after the error, and the experiment goes on."""
    yield
    assert experiment.files.list() == []
    assert stored_files(experiment) == []
    report = experiment.verify()
    assert report["findings"] == []
    experiment.files.save_text("fine", to="fine.txt")


def save(experiment, name, **options):
    return experiment.files(name, **options).save()


def test_missing_file(experiment):
    with pytest.raises(FileNotFoundError, match="missing.pth"):
        save(experiment, "missing.pth")


def test_a_folder(experiment):
    os.mkdir("folder")
    with pytest.raises(InvalidInputError, match="folder"):
        save(experiment, "folder")


def test_devices_and_sockets(experiment):
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "socket", "/dev/zero"):
            with pytest.raises((InvalidInputError, OSError)):
                save(experiment, name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(experiment):
    with open("secret", "w") as stream:
        stream.write("x")
    os.chmod("secret", 0)
    with pytest.raises(PermissionError, match="secret"):
        save(experiment, "secret")


def test_changed_while_read(experiment):
    with open("log.bin", "wb") as stream:
        stream.write(os.urandom(30_000_000))

    def grow(done, total):
        with open("log.bin", "ab") as stream:
            stream.write(b"more")

    with pytest.raises(SourceChangedError, match="log.bin"):
        save(experiment, "log.bin", progress=grow)


NAMES = {
    "dots": "..",
    "dot": ".",
    "empty": "",
    "nul": "a\0b",
    "newline": "a\nb",
    "escape": "a\x1bb",
    "delete": "a\x7fb",
    "long": "x" * 256,
    "surrogate": "a\udcffb",
    "reserved": ".files_metadata.json",
    "ours": ".mldash",
    "double": "a//b",
    "up": "a/../b",
    "up and out": "../../b",
}


@pytest.mark.parametrize("name", list(NAMES))
def test_names(experiment, name):
    with pytest.raises(InvalidInputError):
        experiment.files.save_text("x", to=NAMES[name])
    if name != "empty":
        with pytest.raises(InvalidInputError):
            experiment.files("dir", prefix=NAMES[name] + "/x").save_text("x", to="x.txt")


def test_name_of_a_source_that_is_not_utf8(experiment):
    name = os.fsdecode(b"bad\xff.bin")
    with open(name, "wb") as stream:
        stream.write(b"x")
    with pytest.raises(InvalidNameError):
        save(experiment, name)


@pytest.mark.parametrize("prefix", [3, b"models", ["a"]])
def test_prefix_types(experiment, prefix):
    with pytest.raises((InvalidInputError, TypeError)):
        experiment.files(prefix=prefix).save_text("x", to="x.txt")


@pytest.mark.parametrize(
    "metadata", [{"a": float("nan")}, {"a": {1}}, {"a": object()}, [1], "text", 3]
)
def test_metadata(experiment, metadata):
    with pytest.raises(InvalidInputError):
        experiment.files(metadata=metadata).save_text("x", to="x.txt")


@pytest.mark.parametrize("tags", ["one", [1], [None], [["a"]], ["a\0b"], 3])
def test_tags(experiment, tags):
    with pytest.raises((InvalidInputError, TypeError)):
        experiment.files(tags=tags).save_text("x", to="x.txt")


def test_unknown_ids(experiment):
    files = experiment.files(file_id="12345")
    for call in (files.download, files.delete, files.update, files.restore, files.read_bytes):
        with pytest.raises(NotFoundError, match="12345"):
            call()
    with pytest.raises(NotFoundError):
        experiment.files("models/none.pt").download()
    with pytest.raises(InvalidInputError, match="which file"):
        experiment.files().download()
    assert sorted(os.listdir()) == ["root"]


def test_missing_arguments(experiment):
    with pytest.raises(InvalidInputError, match="needs a file"):
        experiment.files(prefix="/models").save()
    with pytest.raises(InvalidInputError, match="which name"):
        experiment.files().save_text("x")
    with pytest.raises(InvalidInputError, match="save_pkl"):
        experiment.files().save(3, to="x")
    with pytest.raises(TypeError):
        experiment.files("a", colour=1)


def test_buffers(experiment):
    for data in ("text", 3, None):
        with pytest.raises((TypeError, InvalidInputError)):
            experiment.files.save_blob(data, to="x.bin")


def test_pickle_that_fails_half_way(experiment):
    class Bad:
        def __reduce__(self):
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        experiment.files.save_pkl([b"x" * 1_000_000, Bad()], to="x.pkl")


def test_read_only_folder(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    os.mkdir("locked", 0o555)
    with pytest.raises(PermissionError):
        Experiment("a", "p", local_path="locked").run.start()
    assert os.listdir("locked") == []


def test_root_is_a_file():
    with open("file", "w"):
        pass
    with pytest.raises(OSError, match="file"):
        Experiment("a", "p", local_path="file").run.start()
