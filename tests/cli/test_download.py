"""Downloads: what is chosen, where it goes, and what stays when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ml_dash import Experiment


def below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_by_name(cli, first, out):
    done = cli("download", first, "best.pt", "-o", "here.pt")
    assert Path("here.pt").read_text() == "best"
    assert "here.pt" in done.stdout and "4 B, checked" in done.stdout
    cli("download", first, "/models/best.pt")
    assert Path("best.pt").read_text() == "best"
    cli("download", first, "models/same.txt", "-o", f"{out}/")
    assert below(out) == ["same.txt"]
    assert "2 files are named 'same.txt'" in cli("download", first, "same.txt", code=2).stderr
    assert "no file 'none.pt'" in cli("download", first, "none.pt", code=3).stderr
    for word, nearest in (
        ("note.txt", "notes.txt"),
        ("bestt.pt", "best.pt"),
        ("model/best.pt", "models/best.pt"),
        ("/models/bets.pt", "models/best.pt"),
    ):
        assert f"did you mean '{nearest}'?" in cli("download", first, word, code=3).stderr
    assert "did you mean" not in cli("download", first, "something/else.bin", code=3).stderr
    assert "gone.txt" in cli("download", first, "gone.txt", code=3).stderr


def test_by_id_and_alias(cli, first, root):
    versions = cli.json("list", first, "--versions", "--glob", "model.pt")["files"]
    oldest = versions[0]
    assert oldest["metadata"] == {"step": 0}
    cli("download", first, oldest["id"], "-o", "old.pt")
    assert Path("old.pt").read_text() == "weights 0"
    cli("download", first, "model.pt", "-o", "new.pt")
    assert Path("new.pt").read_text() == "weights 2"
    with Experiment("first", "digits", local_path=root).run as e:
        e.files(file_id=oldest["id"]).alias("best")
    cli("download", "first", "model.pt@best", "-o", "best.pt")
    assert Path("best.pt").read_text() == "weights 0"
    assert "worst" in cli("download", first, "model.pt@worst", code=3).stderr
    assert " best" in cli("list", first, "--versions").stdout


def test_several_keep_their_prefixes(cli, first, out):
    cli("download", first, "**/*.txt", "-o", out)
    assert below(out) == ["figures/same.txt", "models/same.txt", "notes.txt"]
    assert "no file matches '*.x'" in cli("download", first, "*.x", code=3).stderr


def test_all(cli, first, out):
    answer = cli.json("download", first, "--all", "-o", out)
    assert below(out) == [
        "figures/loss.png",
        "figures/same.txt",
        "models/best.pt",
        "models/model.pt",
        "models/same.txt",
        "notes.txt",
    ]
    assert (out / "models/model.pt").read_text() == "weights 2"
    assert {f["filename"]: f["sizeBytes"] for f in answer["files"]}["notes.txt"] == 5
    assert all(Path(f["destination"]).is_file() for f in answer["files"])
    assert cli("download", first, "--all", "-q", "-o", out).stdout == ""


def test_named_ones_go_side_by_side(cli, first, out):
    cli("download", first, "best.pt", "figures/loss.png", "notes.txt", "best.pt", "-o", out)
    assert below(out) == ["best.pt", "loss.png", "notes.txt"]
    words = ("download", first, "models/same.txt", "figures/same.txt", "-o", "two")
    assert "several files would become 'same.txt'" in cli(*words, code=2).stderr
    assert not Path("two").exists()


def test_to_stdout(cli, first):
    assert cli("download", first, "best.pt", "-o", "-").stdout == "best"
    assert "only one" in cli("download", first, "--all", "-o", "-", code=2).stderr


def test_no_clobber(cli, first):
    Path("best.pt").write_text("mine")
    cli("download", first, "best.pt", "-n", code=3)
    assert Path("best.pt").read_text() == "mine"
    cli("download", first, "best.pt")
    assert Path("best.pt").read_text() == "best"


def test_changed_bytes_never_arrive(cli, stored, first, out):
    stored(first, "loss.png").write_text("fIgure")
    done = cli("download", first, "--all", "-o", out, code=1)
    assert "loss.png" in done.stderr
    assert below(out) == [
        "figures/same.txt",
        "models/best.pt",
        "models/model.pt",
        "models/same.txt",
        "notes.txt",
    ]
    cli("download", first, "figures/loss.png", "-o", "new/place/loss.png", code=1)
    assert not Path("new").exists()
    Path("mine.png").write_text("mine")
    cli("download", first, "figures/loss.png", "-o", "mine.png", code=1)
    assert Path("mine.png").read_text() == "mine"


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def rewrite_record(folder: Path, name: str, old: bytes, new: bytes) -> None:
    """Changes a file's record and its checksum, as somebody of bad will would."""
    path = folder / ".mldash/records.jsonl"
    lines = path.read_bytes().split(b"\n")
    for i, line in enumerate(lines):
        if b'"type":"file"' in line and name.encode() in line:
            body = line[: line.rindex(b',"crc"')]
            assert old in body
            body = body.replace(old, new)
            lines[i] = body + b',"crc":"%08x"}' % crc32c(body)
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"path":"/"', b'"path":"/../x"', ["--all", "-o", "a/b"]),
        (b'"path":"/"', b'"path":"/x/../../../y"', ["**/notes.txt", "-o", "a/b"]),
        (b'"filename":"notes.txt"', b'"filename":"../notes.txt"', ["--all", "-o", "a/b"]),
    ],
)
def test_a_name_must_not_leave_the_destination(cli, first, old, new, words):
    (first / "files/.files_metadata.json").unlink()
    rewrite_record(first, "notes.txt", old, new)
    done = cli("download", first, *words, code=3)
    assert "leads out of the destination" in done.stderr
    assert sorted(os.listdir()) in ([".ml-dash"], [".ml-dash", "a"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(cli, command, tmp_path, number):
    size = 400 << 20
    with open("big.bin", "wb") as big:
        big.truncate(size)
    with Experiment("big", "p", local_path="root").run as e:
        e.files("big.bin", prefix="/deep").save()
    process = subprocess.Popen(
        [command, "download", "root/p/big", "*.bin", "-o", "out/dir"], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        counts = Path(f"/proc/{process.pid}/io").read_text().split()
        if int(counts[counts.index("rchar:") + 1]) > 8 << 20:
            break
    assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.startswith(b"ml-dash: ")
    assert not Path("out/dir/deep").exists() and not Path("out").exists()
    assert not [name for name in os.listdir() if name not in ("big.bin", "root")]
