"""verify finds what is lost; gc frees what nobody needs, and nothing else."""

from __future__ import annotations

import json
import os

import pytest

TIME = "2024-01-31T12:00:00Z"
X_SHA256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def snapshot(folder) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_ino, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_all_is_well(cli, root):
    before = snapshot(root)
    lines = cli("verify").stdout.splitlines()
    assert lines[0].startswith("ok    digits/first: ")
    assert lines[-1] == "2 experiments, 0 with losses"
    assert snapshot(root) == before
    report = cli.json("verify", "first")["experiments"][0]
    assert report["losses"] == 0 and report["filesChecked"] >= 6 and report["linesChecked"] > 100


def test_changed_bytes(cli, stored, root, first):
    stored(first, "loss.png").write_text("fIgure")
    done = cli("verify", code=1)
    assert "LOST  digits/first" in done.stdout and "loss.png" in done.stdout
    assert "ok    other/second" in done.stdout
    assert "2 experiments, 1 with losses" in done.stdout
    one, two = cli.json("verify", code=1)["experiments"]
    (loss,) = [f for f in one["findings"] if f["loss"]]
    assert loss["problem"] == "checksum" and loss["name"].endswith("/loss.png")
    assert two["losses"] == 0
    assert cli("verify", first, "--quick").returncode == 0  # the size is the same


@pytest.mark.parametrize("change", ["size", "missing"])
def test_quick_finds(cli, stored, first, change):
    path = stored(first, "loss.png")
    if change == "size":
        path.write_text("longer than before")
    else:
        path.unlink()
    answer = cli.json("verify", "-q", first, code=1)["experiments"][0]
    (loss,) = [f for f in answer["findings"] if f["loss"]]
    assert loss["problem"] == change and "loss.png" in loss["name"]


def test_a_garbled_line_is_named(cli, first):
    path = first / "metrics/train/loss/data.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[50] = b"#" * (len(lines[50]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    done = cli("verify", first, code=1)
    assert "metrics/train/loss/data.jsonl" in done.stdout
    shown = cli("show", first)
    assert "ml-dash: warning: " in shown.stderr and "99" in shown.stdout


def test_gc(cli, stored, first):
    gone = stored(first, "gone.txt")
    before = snapshot(first)
    done = cli("gc", first, "--dry-run")
    assert "digits/first: would free 8 B in 1 file" in done.stdout
    assert snapshot(first) == before
    answer = cli.json("gc", first)["experiments"][0]
    assert (answer["filesRemoved"], answer["bytesFreed"], answer["dryRun"]) == (1, 8, False)
    assert not gone.exists()
    assert "freed 0 B in 0 files" in cli("gc", first).stdout
    assert cli("verify", first).stdout.startswith("ok")


def test_gc_keeps_what_show_says(cli, first):
    before = cli.json("show", first)
    cli("gc", first)
    assert cli.json("show", first) == before


def test_gc_of_a_root(cli, root):
    text = cli("gc").stdout
    assert "digits/first: freed 8 B in 1 file\n" in text
    assert "other/second: freed 0 B in 0 files\n" in text
    assert text.endswith("in all: freed 8 B in 1 file\n")


def test_failures_do_not_stop_the_others(cli, root, first):
    os.mkdir("empty")
    done = cli("verify", "empty", first, code=3)
    assert "'empty'" in done.stderr and "ok    digits/first" in done.stdout


def test_gc_of_a_folder_of_another_tool(cli, tmp_path):
    """It gets no status by being tidied, and its deleted file goes."""
    file = {"path": "/", "filename": "a.txt", "sizeBytes": 1, "checksum": X_SHA256}
    files = [{**file, "id": "1"}, {**file, "id": "2", "filename": "b.txt", "deletedAt": TIME}]
    folder = tmp_path / "other"
    for record in files:
        (folder / "files" / record["id"]).mkdir(parents=True)
        (folder / "files" / record["id"] / record["filename"]).write_text("x")
    (folder / "experiment.json").write_text(json.dumps({"name": "e", "project": "p"}))
    (folder / "files/.files_metadata.json").write_text(json.dumps({"files": files}))
    before = cli.json("show", folder)
    assert before["experiment"]["status"] == "UNKNOWN"
    assert cli.json("gc", folder)["experiments"][0]["filesRemoved"] == 1
    after = cli.json("show", folder)
    assert after["experiment"]["status"] == "UNKNOWN"
    assert [f["filename"] for f in after["files"]] == ["a.txt"]
    assert (folder / "files/1/a.txt").exists() and not (folder / "files/2/b.txt").exists()
