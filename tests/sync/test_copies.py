"""Copies of one folder, and ids that two machines made, at a real server."""

from __future__ import annotations

import json
import shutil

import ml_dash
from sync_tools import sync


def make_run(root, name="run"):
    return ml_dash.Experiment(name=name, project="digits", local_path=str(root), progress=False)


def add(e, label: str) -> None:
    for i in range(10):
        e.metrics("loss").append(value=float(i))
    e.files().save_text(label, to=f"{label}.txt")


def test_an_older_copy_has_nothing_to_send(server, tmp_path):
    with make_run(tmp_path / "runs").run as e:
        add(e, "first")
    folder = tmp_path / "runs/digits/run"
    shutil.copytree(folder, tmp_path / "old/digits/run")
    with make_run(tmp_path / "runs").run as e:
        add(e, "second")
    sync(server, folder)
    report = sync(server, tmp_path / "old/digits/run")
    assert "copied" not in report["stderr"]
    assert (report["filesSent"], report["linesBytesSent"]) == (0, 0)
    assert len(server.experiments()) == 1
    # Once it is resumed, it is a history of its own.
    with make_run(tmp_path / "old").run as e:
        add(e, "third")
    report = sync(server, tmp_path / "old/digits/run")
    assert "copied" in report["stderr"]
    names = {f["filename"] for f in server.files({"id": report["experiment"]})}
    assert names == {"first.txt", "third.txt"}
    names = {f["filename"] for f in server.files(server.experiment("run"))}
    assert names == {"first.txt", "second.txt"}


def test_three_resumed_copies_are_three_experiments(server, tmp_path):
    """Each is complete, each point once, however often and in which order they go on."""
    with make_run(tmp_path / "one").run as e:
        add(e, "shared")
    roots = ("one", "two", "three")
    for root in roots[1:]:
        shutil.copytree(tmp_path / "one", tmp_path / root)
    experiments: dict[str, str] = {}
    for turn, order in enumerate((roots, roots[::-1], ("two", "one", "three"))):
        for root in order:
            with make_run(tmp_path / root).run as e:
                for i in range(5):
                    e.metrics("loss").append(value=float(turn), by=root, i=i)
                e.files().save_text(root, to=f"{root} {turn}.txt")
            for _ in range(2):
                report = sync(server, tmp_path / root / "digits/run")
                assert experiments.setdefault(root, report["experiment"]) == report["experiment"]
                assert report["filesFailed"] == 0 and report["stderr"].count("copied") <= 1
            assert report["filesSent"] == report["linesBytesSent"] == 0  # the second time
    assert len(set(experiments.values())) == 3
    assert {e["name"] for e in server.experiments()} == {"run", "run (copy 2)", "run (copy 3)"}
    for root in roots:
        remote = {"id": experiments[root]}
        names = {f["filename"] for f in server.files(remote)}
        assert names == {"shared.txt"} | {f"{root} {turn}.txt" for turn in range(3)}
        points = server.lines(remote, "metric")
        own = [(p["data"]["value"], p["data"]["i"]) for p in points if "by" in p["data"]]
        assert own == [(float(turn), i) for turn in range(3) for i in range(5)]
        assert {p["data"]["by"] for p in points if "by" in p["data"]} == {root}
        assert [p["index"] for p in points] == list(range(25))


def other_machine(folder, id_here: str, id_there: str) -> None:
    """Gives a file of a finished run another id, as if it had been made at the same moment as
    one on another machine."""
    for path in (folder / ".mldash").glob("records*.jsonl"):
        lines = []
        for line in path.read_bytes().splitlines():
            if id_here.encode() in line:
                record = json.loads(line)
                record.pop("crc")
                record["id"] = id_there
                text = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
                line = text[:-1] + b',"crc":"%08x"}' % crc32c(text[:-1])
            lines.append(line + b"\n")
        path.write_bytes(b"".join(lines))
    shutil.move(folder / "files" / id_here, folder / "files" / id_there)
    for path in (folder / ".mldash").glob("mark*.json"):
        path.unlink()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_one_id_of_two_machines_is_two_files(server, tmp_path):
    ids = {}
    for root, size in (("one", 5), ("two", 200_000)):
        with make_run(tmp_path / root).run as e:
            ids[root] = e.files().save_blob(b"x" * size, to=f"{root}.txt")["id"]
    other_machine(tmp_path / "two/digits/run", ids["two"], ids["one"])
    for root in ("one", "two"):
        report = sync(server, tmp_path / root / "digits/run")
        assert (report["filesSent"], report["filesFailed"]) == (1, 0), report
    files = server.files(server.experiment("run"))
    assert {f["filename"]: f["sizeBytes"] for f in files} == {"one.txt": 5, "two.txt": 200_000}
    for root in ("one", "two"):
        report = sync(server, tmp_path / root / "digits/run")
        assert report["filesSent"] == 0
    assert len(server.files(server.experiment("run"))) == 2
