"""Files in the calls of both generations, versions, aliases, lists, deletion."""

from __future__ import annotations

import io
import os
import pickle
import stat
import time
from pathlib import Path

import pytest
from ml_dash import Experiment
from ml_dash.exceptions import (
    ChecksumError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    NotJsonError,
)
from ml_dash.files import (
    compute_sha256,
    generate_snowflake_id,
    get_mime_type,
    verify_checksum,
)


def write(name: str, data: bytes = b"content") -> str:
    with open(name, "wb") as stream:
        stream.write(data)
    return name


def eventually(condition) -> bool:
    """Older versions go in the background, once the newer one is durable."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def place(file) -> str:
    return file["path"].rstrip("/") + "/" + file["filename"]


def test_where_files_go(experiment):
    write("m.pt")
    files = experiment.files
    assert place(files("m.pt").save()) == "/m.pt"
    assert place(files(file_path="m.pt", prefix="a").save()) == "/a/m.pt"
    assert place(files("m.pt", prefix="/a/b/").save()) == "/a/b/m.pt"
    assert place(files("m.pt", prefix="/a").save(to="renamed.pt")) == "/a/renamed.pt"
    assert place(files("checkpoints").upload("m.pt")) == "/checkpoints/m.pt"
    assert place(files("checkpoints").upload("m.pt", to="last.pt")) == "/checkpoints/last.pt"
    assert place(files("checkpoints").upload("m.pt", to="x/y.pt")) == "/checkpoints/x/y.pt"
    assert place(files.upload("m.pt", to="models/last.pt")) == "/models/last.pt"
    assert place(files.upload("m.pt", to="models/")) == "/models/m.pt"
    assert place(files(dir="d").save_json({}, to="c.json")) == "/d/c.json"
    assert place(files(prefix="/d").save_json({}, "c.json")) == "/d/c.json"
    assert place(files("e/c.json").save_json({})) == "/e/c.json"
    assert place(files.save_text("x", to="t/a.txt")) == "/t/a.txt"
    assert place(files("texts").save("m.pt")) == "/texts/m.pt"
    assert place(files("texts").save(b"x", to="b.bin")) == "/texts/b.bin"
    assert place(files("texts").save({"a": 1}, to="b.json")) == "/texts/b.json"


def test_contents_come_back(experiment):
    files = experiment.files
    files.save_json({"lr": 0.1, "nan": float("nan")}, to="c.json")
    assert '"lr": 0.1' in files.read_text("c.json")
    assert "NaN" in files("c.json").read_text()
    files.save_text("zwölf\r\n", to="t.txt")
    assert files("t.txt").read_text("utf-8") == "zwölf\r\n"
    files.save_blob(bytearray(b"abc"), to="b.bin")
    assert files.read_bytes("b.bin") == b"abc"
    files.save_blob(b"", to="empty.bin")
    assert files.read_bytes("empty.bin") == b""
    thing = {"a": list(range(100_000)), "b": b"x" * 300_000}
    record = files("pickles").save_pkl(thing, "thing.pkl")
    assert pickle.loads(files(file_id=record["id"]).read_bytes()) == thing
    assert record["sizeBytes"] > 300_000


def test_save_image(experiment):
    np = pytest.importorskip("numpy")
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((4, 6, 3))
    pixels[:, :, 0] = 1.0
    record = experiment.files.save_image(pixels, to="a.png")
    assert record["contentType"] == "image/png"
    stored = image.open(io.BytesIO(experiment.files.read_bytes("a.png")))
    assert stored.size == (6, 4)
    assert stored.getpixel((0, 0)) == (255, 0, 0)
    experiment.files("images").save_image(pixels, to="a.jpg", quality=80)
    stored = image.open(io.BytesIO(experiment.files.read_bytes("images/a.jpg")))
    assert stored.format == "JPEG"
    for shape in ((3,), (2, 2, 5), (0, 4)):
        with pytest.raises(InvalidInputError, match="image"):
            experiment.files.save_image(np.zeros(shape), to="b.png")
    with pytest.raises(InvalidInputError, match="extension"):
        experiment.files.save_image(pixels, to="b.what")
    assert len(experiment.files.list()) == 2


def test_list_conditions(experiment):
    files = experiment.files
    for i in range(6):
        tags = ["even" if i % 2 == 0 else "odd", "all"]
        folder = "/images" if i < 3 else "/images/deep"
        files(prefix=folder, tags=tags, metadata={"i": i, "kind": "x"}).save_text(
            str(i), to=f"{i}.{'png' if i < 4 else 'txt'}"
        )
    files.save_text("r", to="root.png")

    def names(found):
        return [f["filename"] for f in found]

    assert names(files.list()) == ["0.png", "1.png", "2.png", "3.png", "4.txt", "5.txt", "root.png"]
    assert names(files.list("*.txt")) == ["4.txt", "5.txt"]
    assert names(files("images").list("*.png")) == ["0.png", "1.png", "2.png", "3.png"]
    assert names(files("images").list("deep/*.png")) == ["3.png"]
    assert names(files("images/deep").list()) == ["3.png", "4.txt", "5.txt"]
    assert names(files("images/**/*.txt").list()) == ["4.txt", "5.txt"]
    assert names(files(prefix="/images", tags=["odd"]).list()) == ["1.png", "3.png", "5.txt"]
    assert names(files.list(tags=["odd", "even"], limit=2, offset=1)) == ["1.png", "2.png"]
    assert names(files.list(all_tags=["odd", "all"])) == ["1.png", "3.png", "5.txt"]
    assert names(files.list(all_tags=["odd", "even"])) == []
    assert names(files.list(metadata={"i": 4, "kind": "x"})) == ["4.txt"]
    assert names(files.list(metadata={"i": 4, "kind": "y"})) == []
    assert names(files(prefix="/nowhere").list()) == []


def test_versions_and_aliases():
    with Experiment("a", "p", keep=2).run as experiment:
        files = experiment.files
        first = files.save_text("1", to="m/x.txt")
        files(file_id=first["id"]).alias("best")
        for text in "2345":
            files.save_text(text, to="m/x.txt")
        (newest,) = files.list()
        assert files.read_text("m/x.txt") == "5"
        assert newest["newest"] is True
        assert eventually(lambda: len(files.versions("m/x.txt")) == 3)
        texts = [files(file_id=f["id"]).read_text() for f in files.versions("m/x.txt")]
        assert texts == ["1", "4", "5"]
        assert files("m/x.txt").info(alias="best")["id"] == first["id"]
        assert files("m/x.txt").read_bytes(alias="best") == b"1"
        files("x.txt", prefix="m").alias("best")
        assert files("m/x.txt").info(alias="best")["id"] == newest["id"]
        files("m/x.txt").remove_alias("best")
        with pytest.raises(NotFoundError):
            files("m/x.txt").info(alias="best")
        assert len(files.list(versions=True)) >= 2
    with Experiment("b", "p", keep="all").run as experiment:
        for text in "12345":
            experiment.files.save_text(text, to="x.txt")
        assert len(experiment.files.versions("x.txt")) == 5


def test_replaced_version_is_superseded(experiment):
    old = experiment.files.save_text("1", to="x.txt")
    new = experiment.files.save_text("2", to="x.txt")
    experiment.flush()
    for _ in range(3):  # the older one goes once the newer one is durable
        experiment.files.save_text("other", to="y.txt")
    try:
        assert experiment.files(file_id=old["id"]).read_text() == "1"
    except FileNotFoundError as error:
        assert new["id"] in str(error)
    assert experiment.files(file_id=new["id"]).read_text() == "2"


def test_delete_restore(experiment):
    files = experiment.files
    a = files.save_text("a", to="d/a.txt")
    files.save_text("b", to="d/b.txt")
    gone = files(file_id=a["id"]).delete()
    assert gone["id"] == a["id"]
    assert gone["deletedAt"]
    assert [f["filename"] for f in files.list()] == ["b.txt"]
    assert [f["filename"] for f in files.list(deleted=True)] == ["a.txt", "b.txt"]
    assert not files("d/a.txt").exists()
    assert not files(file_id=a["id"]).exists()
    files(file_id=a["id"]).delete()  # twice is fine
    assert files("d/a.txt").restore()["deletedAt"] is None
    assert files.read_text("d/a.txt") == "a"
    assert len(files("d").delete("*.txt")) == 2
    assert files.list() == []
    with pytest.raises(NotFoundError):
        files("d").delete("*.txt")
    with pytest.raises(NotFoundError):
        files.delete("d/nothing.txt")
    files.restore("d/b.txt")
    assert files.delete("d/b.txt")["filename"] == "b.txt"


def test_update(experiment):
    record = experiment.files(tags=["a"], metadata={"x": 1}).save_text("t", to="t.txt")
    changed = experiment.files(
        file_id=record["id"], description="now", tags=["b", "c"], metadata={"y": 2}
    ).update()
    assert (changed["description"], changed["tags"], changed["metadata"]) == (
        "now",
        ["b", "c"],
        {"y": 2},
    )
    assert changed["checksum"] == record["checksum"]
    assert experiment.files(file_id=record["id"]).update()["tags"] == ["b", "c"]
    cleared = experiment.files(file_id=record["id"], tags=[], description="").update()
    assert cleared["tags"] == []


def test_duplicate(experiment):
    record = experiment.files(prefix="/models", tags=["x"]).save_text("t", to="a.txt")
    copy = experiment.files().duplicate(record, to="models/latest.txt")
    assert place(copy) == "/models/latest.txt"
    assert copy["checksum"] == record["checksum"]
    assert copy["tags"] == ["x"]
    assert copy["id"] != record["id"]
    experiment.files.duplicate(record["id"], to="/root.txt")
    assert experiment.files.read_text("root.txt") == "t"
    with pytest.raises(NotFoundError):
        experiment.files.duplicate("123", to="x.txt")


def test_pathlib_paths(experiment, tmp_path):
    """A pathlib path is taken wherever a str is."""
    source = tmp_path / "w.bin"
    source.write_bytes(b"weights")
    saved = experiment.files(source, prefix=Path("/models")).save()
    assert place(saved) == "/models/w.bin"
    assert place(experiment.files(source, prefix=Path("models")).save(to=Path("b/c.bin"))) == (
        "/models/b/c.bin"
    )
    assert place(experiment.files(Path("up")).upload(source, to=Path("d.bin"))) == "/up/d.bin"
    assert place(experiment.files(dir=Path("x")).save_text("t", Path("a.txt"))) == "/x/a.txt"
    assert place(experiment.files().save_json({}, to=Path("x/a.json"))) == "/x/a.json"
    assert place(experiment.files().save_pkl({}, to=Path("x/a.pkl"))) == "/x/a.pkl"
    assert place(experiment.files.duplicate(saved, Path("x/w.bin"))) == "/x/w.bin"
    assert len(experiment.files(prefix=Path("x")).list(Path("*.txt"))) == 1
    assert len(experiment.files.list(prefix=Path("/x"))) == 4
    assert experiment.files(Path("x/a.txt")).exists()
    assert experiment.files.exists(Path("x/a.txt"))
    assert experiment.files.info(Path("x/a.txt"))["filename"] == "a.txt"
    assert experiment.files.read_text(Path("x/a.txt")) == "t"
    assert len(experiment.files.versions(Path("x/a.txt"))) == 1
    files = experiment.files(Path("x/a.txt"), dest_path=tmp_path / "out.txt")
    assert files.download() == str(tmp_path / "out.txt")
    assert experiment.files(Path("x/*.txt")).download(to=tmp_path / "o") == [f"{tmp_path}/o/a.txt"]
    assert experiment.files().download(Path("x/a.txt"), to=tmp_path) == str(tmp_path / "a.txt")
    experiment.files.delete(Path("x/*.pkl"))
    experiment.files.restore(Path("x/a.pkl"))
    experiment.files(Path("x/a.pkl")).delete()
    with pytest.raises(NotFoundError, match=r"'\*\.pkl'"):
        experiment.files.delete(Path("*.pkl"))


def test_bindrs(experiment):
    experiment.files(bindrs=["paper", "talk"]).save_text("a", to="a.txt")
    experiment.files().save_text("b", to="b.txt")
    assert [f["filename"] for f in experiment.bindrs("paper").list()] == ["a.txt"]
    assert experiment.bindrs("none").list() == []


def test_download_many(experiment):
    files = experiment.files
    for name in ("a.png", "b.png", "c.txt"):
        files("images").save_text(name, to=name)
    files("images/deep").save_text("deep", to="a.png")
    paths = files("images").download("[b-c].*", to="out/new")
    assert sorted(paths) == ["out/new/b.png", "out/new/c.txt"]
    with pytest.raises(ExistsError, match="tree=True"):
        files("images").download("*.png", to="out")
    paths = files.download("images/**", to="tree", tree=True)
    assert sorted(paths) == [
        "tree/images/a.png",
        "tree/images/b.png",
        "tree/images/c.txt",
        "tree/images/deep/a.png",
    ]
    with open("tree/images/deep/a.png") as stream:
        assert stream.read() == "deep"
    with pytest.raises(NotFoundError):
        files.download("*.nothing")


def test_download_destinations(experiment):
    record = experiment.files.save_text("text", to="x.txt")
    files = experiment.files(file_id=record["id"])
    os.mkdir("folder")
    assert os.path.samefile(files.download(to="folder"), "folder/x.txt")
    write("there.txt", b"old")
    with pytest.raises(ExistsError):
        files.download(to="there.txt", overwrite=False)
    with open("there.txt", "rb") as stream:
        assert stream.read() == b"old"
    files.download(to="there.txt")
    with open("there.txt", "rb") as stream:
        assert stream.read() == b"text"
    sink = io.BytesIO()
    assert files.download(to=sink) is sink
    assert sink.getvalue() == b"text"
    assert files.download(to="new/folder/x.txt") == "new/folder/x.txt"
    with pytest.raises(OSError, match=r"there\.txt"):
        files.download(to="there.txt/x.txt")


def test_download_into_the_working_directory(experiment):
    """Under its own name: a file in the way is replaced, one with the same bytes left alone."""
    files = experiment.files(file_id=experiment.files.save_text("text", to="deep/x.txt")["id"])
    first = files.download()
    os.utime("x.txt", (1, 1))
    for again in (
        files.download(),
        experiment.files("deep/x.txt").download(),
        os.path.normpath(experiment.files("deep").download("*.txt")[0]),
    ):
        assert again == first == "x.txt"
        assert os.stat("x.txt").st_mtime == 1
    for other in (b"TEXT", b"longer text"):
        write("x.txt", other)
        with pytest.raises(ExistsError):
            files.download(overwrite=False)
        assert files.download() == first
        with open("x.txt", "rb") as stream:
            assert stream.read() == b"text"
    write("elsewhere.txt", b"text")
    os.remove("x.txt")
    os.symlink("elsewhere.txt", "x.txt")
    files.download()
    assert not os.path.islink("x.txt")
    experiment.files.delete("deep/x.txt")
    with pytest.raises(NotFoundError):
        experiment.files("deep/x.txt").download()


def test_download_spares_devices_and_pipes(experiment):
    files = experiment.files(file_id=experiment.files.save_text("text", to="x.txt")["id"])
    os.mkfifo("pipe")
    os.symlink("pipe", "link")
    for destination in ("pipe", "link"):
        with pytest.raises(InvalidInputError, match="device or pipe"):
            files.download(to=destination)
    assert stat.S_ISFIFO(os.lstat("pipe").st_mode)
    assert os.path.islink("link")


def test_changed_bytes_are_refused(experiment):
    record = experiment.files.save_blob(os.urandom(200_000), to="x.bin")
    stored = experiment._core.stored_path(record["id"])
    os.chmod(stored, 0o644)
    with open(stored, "r+b") as stream:
        stream.seek(100_000)
        stream.write(b"changed")
    with pytest.raises(ChecksumError):
        experiment.files(file_id=record["id"], dest_path="out.bin").download()
    assert os.listdir() == ["root"]
    with pytest.raises(ChecksumError):
        experiment.files.read_bytes("x.bin")
    report = experiment.verify()
    assert report["losses"] == 1
    assert [f["problem"] for f in report["findings"] if f["loss"]] == ["checksum"]


def test_grown_bytes_are_refused(experiment):
    record = experiment.files.save_text("text", to="x.txt")
    stored = experiment._core.stored_path(record["id"])
    os.chmod(stored, 0o644)
    with open(stored, "ab") as stream:
        stream.write(b"more")
    with pytest.raises(ChecksumError):
        experiment.files.read_bytes("x.txt")
    with pytest.raises(ChecksumError):
        experiment.files.download("x.txt", to="out.txt")


def test_move_spares_the_run_folder(experiment):
    record = experiment.files.save_text("text", to="x.txt")
    stored = experiment._core.stored_path(record["id"])
    for own in (stored, os.path.join(experiment.directory, ".mldash", "records.jsonl")):
        with pytest.raises(InvalidInputError, match="own"):
            experiment.files(own, move=True, prefix="/moved").save()
    assert experiment.files.read_text("x.txt") == "text"
    assert experiment.verify()["losses"] == 0


def test_move(experiment):
    write("big.bin", b"x" * 100_000)
    record = experiment.files("big.bin", move=True).save()
    assert not os.path.exists("big.bin")
    assert experiment.files(file_id=record["id"]).read_bytes() == b"x" * 100_000


def test_durable_keep_and_content_type(experiment):
    record = experiment.files(
        durable=True, keep="all", content_type="application/x-mine"
    ).save_text("a", to="a.txt")
    assert record["contentType"] == "application/x-mine"
    experiment.files.save_text("b", to="a.txt", keep=3, tags=["t"], durable=True)
    assert experiment.files.info("a.txt")["tags"] == ["t"]
    with pytest.raises(TypeError, match="colour"):
        experiment.files.save_text("b", to="a.txt", colour="red")


def test_gc_frees_what_was_deleted(experiment, stored_files):
    record = experiment.files.save_text("a", to="a.txt")
    experiment.files.delete("a.txt")
    assert len(stored_files(experiment)) == 1
    assert experiment.gc(dry_run=True)["bytesFreed"] <= 1
    assert len(stored_files(experiment)) == 1
    assert experiment.gc()["filesRemoved"] == 1
    assert stored_files(experiment) == []
    with pytest.raises(NotFoundError):
        experiment.files(file_id=record["id"]).restore()


def test_json_refuses_a_set(experiment):
    with pytest.raises(NotJsonError):
        experiment.files.save_json({1, 2}, to="x.json")
    with pytest.raises(TypeError):
        experiment.files(metadata={"a": {1, 2}}).save_text("x", to="x.txt")
    assert experiment.files.list() == []


def test_metadata_takes_numpy(experiment):
    np = pytest.importorskip("numpy")
    metadata = {"acc": np.float32(0.5), "n": np.int64(3), "v": np.arange(3)}
    record = experiment.files(metadata=metadata).save_text("x", to="x.txt")
    assert record["metadata"] == {"acc": 0.5, "n": 3, "v": [0, 1, 2]}


def test_helpers():
    write("x.bin", b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert compute_sha256("x.bin") == digest
    assert verify_checksum("x.bin", digest.upper())
    assert not verify_checksum("x.bin", "0" * 64)
    assert get_mime_type("a/b.png") == "image/png"
    assert get_mime_type("b.pth") == "application/octet-stream"
    ids = [generate_snowflake_id() for _ in range(10_000)]
    assert len(set(ids)) == 10_000
    assert sorted(ids, key=int) == ids


def test_unicode_names(experiment):
    for name in ("größe.txt", "数据.txt", "with space.txt", "emoji🎉.txt"):
        experiment.files("ordner/ü").save_text(name, to=name)
        assert experiment.files.read_text(f"ordner/ü/{name}") == name


def test_progress_option(experiment):
    calls = []
    write("big.bin", os.urandom(20_000_000))
    experiment.files("big.bin", progress=lambda done, total: calls.append((done, total))).save()
    assert calls
    assert all(0 <= done <= total == 20_000_000 for done, total in calls)
    with pytest.raises(InterruptedError):
        experiment.files("big.bin", prefix="/again", progress=lambda *_: False).save()

    def broken(done, total):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        experiment.files("big.bin", prefix="/again", progress=broken).save()
    assert len(experiment.files.list()) == 1


def test_deleting_the_newest_brings_no_replaced_one_back(experiment):
    """Whether the older version is retired already or not must make no difference."""
    for content in (b"1", b"2", b"3"):
        experiment.files.save_blob(content, to="a.bin", keep=1)
    newest = experiment.files().list()[0]
    experiment.files(file_id=newest["id"]).delete()
    assert experiment.files().list() == []

    kept = [experiment.files.save_blob(c, to="b.bin", keep="all") for c in (b"1", b"2")]
    experiment.files(file_id=kept[1]["id"]).delete()
    assert [f["id"] for f in experiment.files().list()] == [kept[0]["id"]]
