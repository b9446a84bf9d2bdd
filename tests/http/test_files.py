"""Files over HTTP: small ones, uploads, contents, lists."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_tools import Api, line_and_bytes, sha256
from test_streams import append


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(**members) -> bytes:
    line = json.dumps(members, separators=(",", ":"))[:-1].encode()
    return line + b',"crc":"%08x"}\n' % crc32c(line)


def file_record(clock: int, file: str, data: bytes, name: str = "a.txt", **more) -> bytes:
    return record(
        type="file",
        clock=clock,
        id=file,
        path="/models",
        filename=name,
        contentType="text/plain",
        sizeBytes=len(data),
        checksum=sha256(data),
        uploadedAt="2026-01-01T00:00:00.000000Z",
        **more,
    )


def offer(file: str, data: bytes, name: str = "a.txt") -> dict:
    return {
        "id": file,
        "path": "/models",
        "filename": name,
        "size_bytes": len(data),
        "sha256": sha256(data),
        "content_type": "text/plain",
    }


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    api = Api(tmp_path_factory.mktemp("api"), "--max-file-size", "50M")
    yield api
    api.stop()


@pytest.fixture
def place(api, request):
    return f"/experiments/{api.register(request.node.name)['id']}"


def send_records(api, place, *lines: bytes, stream: str = "a" * 32, before: bytes = b"") -> bytes:
    data = b"".join(lines)
    api.call("POST", f"{place}/streams", append(stream, data, before, kind="records"))
    return before + data


def put_small(api, place, *files: tuple[dict, bytes]) -> list[str]:
    body = line_and_bytes({"files": [each for each, _ in files]}, *[data for _, data in files])
    return [each["state"] for each in api.call("POST", f"{place}/files/small", body)["files"]]


def upload(api, place, wanted: dict, data: bytes) -> dict:
    told = api.call("POST", f"{place}/uploads", wanted)
    size = told["part_size_bytes"]
    for n in range(told["parts"]):
        part = data[n * size : (n + 1) * size]
        path = f"{place}/uploads/{wanted['id']}/parts/{n}"
        assert api.call("PUT", path, part, X_Part_SHA256=sha256(part)) == {"part": n}
    return api.call("POST", f"{place}/uploads/{wanted['id']}/commit", {})


def test_small_files(api, place):
    files = [(offer(str(100 + n), b"x" * n, f"f{n}"), b"x" * n) for n in range(50)]
    assert put_small(api, place, *files) == ["live"] * 50
    assert put_small(api, place, *files) == ["live"] * 50
    assert put_small(api, place, (offer("100", b"other"), b"other")) == ["id_taken"]
    assert put_small(api, place, (offer("200", b"abc"), b"abd")) == ["checksum"]
    lines = [file_record(n + 1, str(100 + n), b"x" * n, f"f{n}") for n in range(50)]
    assert api.call("GET", f"{place}/files")["files"] == []
    send_records(api, place, *lines)
    listed = api.call("GET", f"{place}/files")
    assert [each["id"] for each in listed["files"]] == [str(149 - n) for n in range(50)]
    asked = [{"id": "101", "size_bytes": 1, "sha256": sha256(b"x")}]
    asked.append({"id": "999", "size_bytes": 1, "sha256": sha256(b"x")})
    states = api.call("POST", f"{place}/files/status", {"files": asked})["files"]
    assert [each["state"] for each in states] == ["live", "absent"]
    for wrong in (
        line_and_bytes({"files": [offer("1", b"abc")]}, b"ab"),
        line_and_bytes({"files": [offer("1", b"abc")]}, b"abcd"),
        line_and_bytes({"files": [{**offer("1", b"abc"), "path": "no/slash"}]}, b"abc"),
        line_and_bytes({"files": [{**offer("1", b"abc"), "filename": "a/b"}]}, b"abc"),
        line_and_bytes({"files": [{**offer("1", b"abc"), "filename": "a\r\nX: y"}]}, b"abc"),
        line_and_bytes({"files": [offer("../1", b"abc")]}, b"abc"),
        line_and_bytes({"files": [offer("1", b"abc")] * 2}, b"abcabc"),
        line_and_bytes({"files": [offer(str(n), b"") for n in range(1001)]}),
    ):
        assert api.refused("POST", f"{place}/files/small", wrong)[0] == 400


def test_the_same_at_once(api, place):
    files = [(offer(str(100 + n), b"y", f"f{n}"), b"y") for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: put_small(api, place, *files), range(16)))
    assert told == [["live"] * 20] * 16


def test_upload(api, place):
    data = os.urandom(9_000_000)
    wanted = offer("7", data)
    send_records(api, place, file_record(1, "7", data))
    told = upload(api, place, wanted, data)
    assert told["state"] == "live"
    assert api.call("POST", f"{place}/uploads", wanted)["state"] == "live"
    status, headers, content = api.request("GET", f"{place}/files/7/content")
    assert (status, content == data) == (200, True)
    assert headers["etag"] == f'"{sha256(data)}"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith("attachment")
    etag = headers["etag"]
    assert api.request("GET", f"{place}/files/7/content", If_None_Match=etag)[0] == 304
    for text, part in {
        "bytes=0-9": data[:10],
        "bytes=8999990-": data[-10:],
        "bytes=-5": data[-5:],
        "bytes=5-5": data[5:6],
        "bytes=8999990-99999999": data[-10:],
    }.items():
        status, headers, content = api.request("GET", f"{place}/files/7/content", Range=text)
        assert (status, content) == (206, part), text
        assert headers["content-range"].endswith(f"/{len(data)}")
    for text in ("bytes=9000000-", "bytes=-0"):
        assert api.request("GET", f"{place}/files/7/content", Range=text)[0] == 416
    for text in ("bytes=5-1", "bytes=a-b", "bytes=0-1,3-4", "lines=1-2"):
        status, _, content = api.request("GET", f"{place}/files/7/content", Range=text)
        assert (status, len(content)) == (200, len(data)), text


def test_uploads_go_wrong(api, place):
    data = os.urandom(9_000_000)
    wanted = offer("8", data)
    path = f"{place}/uploads/8"
    told = api.call("POST", f"{place}/uploads", wanted)
    size = told["part_size_bytes"]
    part = data[:size]
    wrong = sha256(b"other")
    assert api.refused("PUT", f"{path}/parts/0", part, X_Part_SHA256=wrong)[:2] == (422, "checksum")
    assert api.call("GET", path)["have"] == []
    status, error, told = api.refused("POST", f"{path}/commit", {})
    assert (status, error, told["missing"]) == (409, "state", [[0, told["missing"][-1][1]]])
    api.call("PUT", f"{path}/parts/0", part, X_Part_SHA256=sha256(part))
    assert api.call("POST", f"{place}/uploads", wanted)["have"] == [[0, 0]]
    short = part[:100]
    for n in ("x", "-1", "100000", "5000", "0"):
        assert api.refused("PUT", f"{path}/parts/{n}", short, X_Part_SHA256=sha256(short))[0] == 400
    assert api.refused("POST", f"{place}/uploads", offer("8", b"z"))[:2] == (409, "id_taken")
    big = {**offer("9", b"z"), "size_bytes": 50 * 2**20 + 1}
    assert api.refused("POST", f"{place}/uploads", big)[:2] == (413, "too_large")
    assert api.call("DELETE", path) == {}
    assert api.call("DELETE", path) == {}
    assert api.refused("GET", path)[:2] == (410, "gone")
    assert api.refused("POST", f"{path}/commit", {})[:2] == (410, "gone")
    late = api.refused("PUT", f"{path}/parts/0", short, X_Part_SHA256=sha256(short))
    assert late[:2] == (410, "gone")
    assert api.refused("GET", f"{place}/uploads/99")[:2] == (404, "not_found")
    assert upload(api, place, wanted, data)["state"] == "live"


def test_versions_and_superseded(api, place):
    one, two = b"one", b"two"
    assert put_small(api, place, (offer("1", one), one), (offer("2", two), two)) == ["live"] * 2
    sent = send_records(
        api,
        place,
        file_record(1, "1", one, description="old"),
        file_record(2, "2", two),
        record(type="alias", clock=3, path="/models", filename="a.txt", alias="best", id="1"),
    )
    assert [each["id"] for each in api.call("GET", f"{place}/files")["files"]] == ["2"]
    both = api.call("GET", f"{place}/files?versions=all")["files"]
    assert [(each["id"], each["newest"], each["aliases"]) for each in both] == [
        ("2", True, []),
        ("1", False, ["best"]),
    ]
    sent = send_records(api, place, record(type="retire", clock=4, id="1", by="2"), before=sent)
    status, error, told = api.refused("GET", f"{place}/files/1/content")
    assert (status, error, told["by"]) == (404, "superseded", "2")
    assert api.refused("GET", f"{place}/files/77/content")[:2] == (404, "not_found")
    send_records(api, place, record(type="delete", clock=5, id="2", at="t"), before=sent)
    assert api.call("GET", f"{place}/files")["files"] == []
    assert [f["id"] for f in api.call("GET", f"{place}/files?deleted=true")["files"]] == ["2"]


def test_lists(api, place):
    lines, files = [], []
    for n in range(200):
        tags = ["odd" if n % 2 else "even", f"m{n % 10}"]
        data = b"%d" % n
        lines.append(
            file_record(
                n + 1, str(1000 + n), data, f"f{n:03}", tags=tags, metadata={"n": n, "s": f"x{n}"}
            )
        )
        files.append((offer(str(1000 + n), data, f"f{n:03}"), data))
    put_small(api, place, *files)
    send_records(api, place, *lines)

    def ids(query: str, where: str = f"{place}/files") -> list[int]:
        found, after = [], ""
        while after is not None:
            page = api.call("GET", f"{where}?{query}&limit=30&after={after}")
            found += [int(each["id"]) - 1000 for each in page["files"]]
            after = page["next"]
        return found

    assert ids("tag=odd") == list(range(199, 0, -2))
    assert ids("tag=odd&tag=m3") == list(range(193, 0, -10))
    assert ids("tag=odd&tag=even") == []
    assert ids("metadata.n=17") == [17]
    assert ids("metadata.n=17.0") == [17]
    assert ids("metadata.s=x5&tag=odd") == [5]
    assert ids("glob=f00*") == list(range(9, -1, -1))
    assert ids("glob=/models/f00[12]") == [2, 1]
    assert ids("prefix=/models") == list(range(199, -1, -1))
    assert ids("prefix=/mod") == []
    project = "/namespaces/ada/projects/digits/files"
    assert ids("tag=m3&tag=odd&metadata.n=13", project) == [13]
    assert api.refused("GET", f"{place}/files?after=00")[0] == 400
    assert api.refused("GET", f"{place}/files?" + "&".join(["tag=a"] * 17))[0] == 400
    assert api.refused("GET", "/namespaces/ada/projects/none/files")[0] == 404
