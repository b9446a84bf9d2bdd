"""Files written piece by piece."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
import zipfile

import pytest
from ml_dash.exceptions import ExperimentError, InvalidInputError, NotSeekableError


def open_writer(experiment, name="x.bin", **options):
    return experiment.files(prefix="/w")._open_writer(name, **options)


def test_sequential(experiment):
    writer = open_writer(experiment, description="d")
    data = os.urandom(300_000)
    assert writer.write(data[:10]) == 10
    assert writer.write(memoryview(data)[10:200_000]) == 199_990
    assert writer.tell() == 200_000
    writer.write(bytearray(data[200_000:]))
    writer.flush()
    assert (writer.seekable(), writer.readable(), writer.writable()) == (False, False, True)
    assert writer.name == "x.bin"
    assert writer.record is None
    assert experiment.files.list() == []
    record = writer.commit()
    assert record["checksum"] == hashlib.sha256(data).hexdigest()
    assert record["path"] == "/w"
    assert record["description"] == "d"
    assert writer.closed
    assert writer.record == record
    assert experiment.files.read_bytes("w/x.bin") == data
    for call in (lambda: writer.write(b"x"), writer.commit, writer.tell, writer.flush):
        with pytest.raises(ExperimentError, match="committed"):
            call()
    writer.abandon()
    assert len(experiment.files.list()) == 1


def test_seekable(experiment):
    with open_writer(experiment, seekable=True) as writer:
        writer.write(b"0123456789" * 10_000)
        assert writer.seek(5) == 5
        writer.write(b"abc")
        assert writer.seek(-2, 1) == 6
        assert writer.read(4) == b"bc89"
        assert writer.seek(-3, 2) == 99_997
        assert writer.read() == b"789"
        assert writer.truncate(20) == 20
        writer.seek(20)
        writer.write(b"end")
        with pytest.raises(InvalidInputError):
            writer.seek(-1)
        with pytest.raises(InvalidInputError):
            writer.seek(0, 7)
    stored = experiment.files.read_bytes("w/x.bin")
    assert stored == b"01234abc890123456789end"
    assert writer.record["checksum"] == hashlib.sha256(stored).hexdigest()


def test_zip_into_a_writer(experiment):
    for seekable in (True, False):
        with open_writer(experiment, "a.zip", seekable=seekable) as writer:
            with zipfile.ZipFile(writer, "w") as archive:
                archive.writestr("a.txt", "text" * 1000)
        path = experiment.files("w/a.zip").download(to="a.zip")
        with zipfile.ZipFile(path) as archive:
            assert archive.read("a.txt") == b"text" * 1000


def test_sequential_does_not_seek(experiment):
    writer = open_writer(experiment)
    for call in (lambda: writer.seek(0), writer.read, writer.truncate):
        with pytest.raises(NotSeekableError, match="seekable=True"):
            call()
        with pytest.raises(io.UnsupportedOperation):
            call()
    writer.abandon()


def test_abandon(experiment, stored_files):
    with pytest.raises(ZeroDivisionError):
        with open_writer(experiment) as writer:
            writer.write(b"x" * 100_000)
            raise ZeroDivisionError
    assert writer.closed
    forgotten = open_writer(experiment)
    forgotten.write(b"x" * 100_000)
    del forgotten
    open_writer(experiment).abandon()
    assert experiment.files.list() == []
    assert stored_files(experiment) == []
    assert experiment.verify()["findings"] == []


def test_bad_names_make_nothing(experiment, stored_files):
    for name in ("", "..", "a/b", "x" * 300):
        with pytest.raises(InvalidInputError):
            open_writer(experiment, name)
    with pytest.raises(TypeError):
        with open_writer(experiment) as writer:
            writer.write("text")
    assert stored_files(experiment) == []


def test_open_writer_at_the_end(experiment):
    """Ending a run while a writer is open neither crashes nor keeps half a file."""
    writer = open_writer(experiment)
    writer.write(b"x" * 100_000)
    experiment.run.complete()
    experiment._core.close()
    with pytest.raises(ExperimentError):
        writer.commit()
        raise ExperimentError("committed before the close took effect")
    del writer


def test_two_threads_take_turns(experiment):
    """A second thread is refused while the first writes; nothing is torn."""
    writer = open_writer(experiment)
    block = b"x" * 4_000_000
    refused = []

    def work():
        for _ in range(10):
            try:
                writer.write(block)
            except ExperimentError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.commit()["sizeBytes"] == (20 - len(refused)) * len(block)


def test_large_writes_release_the_gil(experiment):
    """Python goes on in another thread while one call writes 400 MB."""
    writer = open_writer(experiment)
    block = bytearray(400_000_000)
    done = threading.Event()
    longest = 0.0

    def watch():
        nonlocal longest
        last = time.perf_counter()
        while not done.is_set():
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    writer.write(block)
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    writer.abandon()
    assert longest < seconds / 2


def test_memory_is_the_caller_s_again_after_a_write(experiment):
    """Hashing goes on after the return, of a copy."""
    digest = hashlib.sha256()
    with experiment.files._open_writer("large.bin") as writer:
        for length in (1, 12_500_000, 300_000, (1 << 20) + 1, 70, 5_000_000, 1 << 20, 9_000_000):
            data = bytearray(os.urandom(1000) * (length // 1000 + 1))[:length]
            digest.update(data)
            end, nothing = memoryview(data)[length // 2 :], bytes(length - length // 2)
            writer.write(data)
            end[:] = nothing
    assert writer.record["checksum"] == digest.hexdigest()
    record = experiment.verify()
    assert record["findings"] == []
