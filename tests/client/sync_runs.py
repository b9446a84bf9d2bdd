"""Run folders for the tests, and what of them must be at the server."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ml_dash import Experiment
from sync_server import Stored

LARGE = 3_400_000  # several parts of the reference server


def make_run(name: str = "first", root: str = ".ml-dash", large: bool = True, **options) -> Path:
    """A finished run with some of everything."""
    with Experiment(name, "digits", local_path=root, **options).run as e:
        fill(e, large)
        return Path(e.directory)


def fill(e: Experiment, large: bool = True, label: str = "") -> None:
    e.params.set(lr=0.001, odd=float("nan"))
    for i in range(50):
        e.metrics("train/loss").append(loss=1.0 / (i + 1), step=i)
    for i in range(5):
        e.tracks("robot/pos").append(x=i, _ts=10.0 + i)
    e.log("begin", level="info")
    for i in range(20):
        e.files.save_text(f"{label}text {i}", to=f"notes/{label}{i:02}.txt", tags=["note"])
    e.files.save_blob(b"", to=f"{label}empty.bin")
    if large:
        e.files.save_blob(os.urandom(LARGE), to=f"models/{label}big.bin")
    e.log("end", level="warn")


def records_of(folder: Path) -> list[dict]:
    lines: list[dict] = []
    for path in sorted((folder / ".mldash").glob("records*.jsonl")):
        lines += [json.loads(line) for line in path.read_bytes().splitlines()]
    return lines


def files_of(folder: Path) -> dict[str, tuple[str, bytes]]:
    """id -> (checksum, bytes) of each file record whose bytes are there."""
    found = {}
    for record in records_of(folder):
        if record["type"] == "file":
            inside = record["path"].strip("/")
            path = folder / "files" / inside / record["id"] / record["filename"]
            if path.exists():
                found[record["id"]] = (record["checksum"], path.read_bytes())
    return found


def streams_of(folder: Path) -> dict[str, bytes]:
    """file name -> bytes, of all shards."""
    paths = [
        *folder.glob(".mldash/records*.jsonl"),
        *folder.glob("logs/logs*.jsonl"),
        *folder.glob("metrics/**/data*.jsonl"),
        *folder.glob("tracks/**/data*.jsonl"),
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def check_is_there(stored: Stored, folder: Path) -> None:
    """Everything of the folder is at the server once, byte for byte."""
    sent = {stored.kinds[stream][2]: bytes(data) for stream, data in stored.streams.items()}
    assert len(sent) == len(stored.streams), "two streams of one file"
    assert sent == streams_of(folder)
    assert {id: (a["sha256"], d) for id, (a, d) in stored.files.items()} == files_of(folder)
    assert stored.uploads == {}
