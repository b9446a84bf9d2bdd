"""Requests that are wrong in every part: each is refused by name, and changes nothing."""

from __future__ import annotations

import copy
import ctypes
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_tools import Api, line_and_bytes, sha256
from test_files import offer
from test_serve import pytestmark  # noqa: F401
from test_streams import append

STREAM = "0123456789abcdef" * 2
LINE = b'{"index":0,"data":{"x":1}}\n'
SMALL = offer("100", b"abc")
OPERATORS = [{"$ne": 1}, {"$gt": ""}, ["x"], 5, True, 1.5]


class Place(Api):
    """A server with an experiment that holds a stream, a small file and half an upload."""

    def __init__(self, folder) -> None:
        super().__init__(folder, "--max-file-size", "50M")
        self.folder = folder
        self.base = f"/experiments/{self.register('bad')['id']}"
        self.call("POST", f"{self.base}/streams", append(STREAM, LINE))
        self.call("POST", f"{self.base}/files/small", line_and_bytes({"files": [SMALL]}, b"abc"))
        self.call("POST", f"{self.base}/uploads", {**offer("200", b""), "size_bytes": 9_000_000})

    def state(self) -> list:
        """All documents but what notes that somebody was here, and all names of files."""
        with sqlite3.connect(f"file:{self.folder}/data/meta.sqlite?mode=ro", uri=True) as db:
            rows = db.execute(
                "SELECT p.name, d.id, d.revision, d.text, d.data FROM docs d JOIN partitions p"
                " ON p.number = d.partition ORDER BY 1, 2"
            ).fetchall()
        rows = [row for row in rows if row[0] not in ("tokens", "experiments")]
        names = sorted(str(path) for path in (self.folder / "data").rglob("*"))
        return [rows, [name for name in names if not name.endswith(("-wal", "-shm"))]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("bad"))
    yield place
    place.stop()


REGISTRATION = {"project": "p", "folder": "f", "name": "n", "run": "r" * 32}
HEAD = {
    "stream": STREAM,
    "kind": "metric",
    "slot": 0,
    "file": "metrics/loss/data.jsonl",
    "offset": len(LINE),
    "sha256": sha256(LINE),
    "length": len(LINE),
}

# Route, body, bytes behind its line, and the members that must be texts, numbers or booleans. A
# list of elements is named by its one element.
BODIES = {
    "register": (
        "POST",
        "/namespaces/ada/experiments",
        REGISTRATION,
        None,
        {"project": str, "folder": str, "name": str, "run": str, "from": str, "diverged": bool},
    ),
    "append": (
        "POST",
        "{base}/streams",
        {"streams": [HEAD]},
        LINE,
        {
            "stream": str,
            "kind": str,
            "slot": int,
            "file": str,
            "offset": int,
            "sha256": str,
            "length": int,
        },
    ),
    "status": (
        "POST",
        "{base}/files/status",
        {"files": [{"id": "1", "size_bytes": 3, "sha256": sha256(b"abc")}]},
        None,
        {"id": str, "size_bytes": int, "sha256": str, "as": str, "stream": str},
    ),
    "small": (
        "POST",
        "{base}/files/small",
        {"files": [offer("300", b"abc")]},
        b"abc",
        {
            "id": str,
            "path": str,
            "filename": str,
            "size_bytes": int,
            "sha256": str,
            "content_type": str,
            "as": str,
            "stream": str,
        },
    ),
    "upload": (
        "POST",
        "{base}/uploads",
        offer("400", b"abc"),
        None,
        {
            "id": str,
            "path": str,
            "filename": str,
            "size_bytes": int,
            "sha256": str,
            "content_type": str,
            "as": str,
            "stream": str,
        },
    ),
    "token": ("POST", "/tokens", {"name": "n"}, None, {"name": str, "expires_in_s": int}),
    "team": ("POST", "/namespaces", {"name": "n"}, None, {"name": str}),
    "member": ("PUT", "/namespaces/ada/members/ada", {"role": "owner"}, None, {"role": str}),
    "login": ("POST", "/device/start", {"client": "c"}, None, {"client": str}),
    "poll": ("POST", "/device/poll", {"device_code": "c"}, None, {"device_code": str}),
}


def wrong_bodies():
    """(name of the body, body, the field to blame) for each member and each wrong value."""
    for name, (_, _, good, _, members) in BODIES.items():
        lists = next((key for key, value in good.items() if isinstance(value, list)), None)
        for member, kind in members.items():
            for value in OPERATORS:
                if isinstance(value, kind) and (kind is bool or value is not True):
                    continue
                body = copy.deepcopy(good)
                (body[lists][0] if lists else body)[member] = value
                yield name, body, f"{lists}[0].{member}" if lists else member


def send(place, name: str, body) -> tuple[int, str, dict]:
    method, path, _, data, _ = BODIES[name]
    body = body if data is None else line_and_bytes(body, data)
    return place.refused(method, path.format(base=place.base), body)


def test_members_of_other_types_are_refused_by_name(place):
    """Also what other databases would take for an operator."""
    before, n = place.state(), 0
    for name, body, field in wrong_bodies():
        status, error, told = send(place, name, body)
        assert (status, error) == (400, "invalid"), (name, body, told)
        assert told["field"] == field, (name, body, told)
        assert told["message"], told
        n += 1
    assert n > 200
    assert place.state() == before


TEXTS = ["", "..", ".", "a/b", "/", "a\0b", "a\r\nX: y", "\x1b[2J", "x" * 256, "a\u0085b"]
WRONG_VALUES = [
    *[("register", "project", value) for value in TEXTS],
    *[("register", "name", value) for value in TEXTS],
    *[
        ("register", "folder", v)
        for v in ("..", "a/../b", "a//b", "./a", "a\0", "a\nb", "y" * 1100)
    ],
    *[("register", "run", value) for value in ("", "a:b", "x" * 101, "a\nb")],
    *[
        ("append", "stream", value)
        for value in ("", "../x", "0" * 31, "0" * 33, "G" * 32, "A" * 32)
    ],
    *[("append", "sha256", value) for value in ("", "0" * 63, "0" * 65, "Z" * 64, "A" * 64)],
    *[("append", "kind", value) for value in ("", "records ", "metrics", "RECORDS")],
    *[("append", "slot", value) for value in (-1, 1024, 2**31)],
    *[("append", "offset", value) for value in (-1, 2**63 - 1)],
    *[("append", "length", value) for value in (-1, 0, 1, 10**6)],
    *[("append", "file", value) for value in ("", "a\nb", "a\0b", "x" * 5000)],
    *[
        ("small", "id", v)
        for v in ("", "../1", "1/2", ".", "a b", "%2e", "1\n", "x" * 300, "\u0661")
    ],
    *[("small", "path", value) for value in ("", "models", "/a\nb", "/\0", "/" + "x" * 5000)],
    *[("small", "filename", value) for value in ("", "a/b", "a\r\nX: y", "a\0", "x" * 1025)],
    *[("small", "sha256", value) for value in ("", "0" * 63, "A" * 64)],
    *[("small", "size_bytes", value) for value in (-1, 2, 4)],
    *[("small", "content_type", value) for value in ("", "text/plain\r\nX: y", "x" * 256)],
    *[(n, "as", v) for n in ("status", "small", "upload") for v in ("1", "", "../1", "a" * 300)],
    *[("upload", "id", value) for value in ("", "../1", "..", "1/2")],
    *[("upload", "size_bytes", value) for value in (-1, 0, 50 * 2**20 + 1, 2**63 - 1)],
    *[("token", "expires_in_s", value) for value in (0, -1, 2**62)],
    ("token", "name", "x" * 300),
    *[
        ("team", "name", value)
        for value in ("", "..", "a/b", "-x", "api", "x" * 65, "a\nb", "\u00e4")
    ],
    *[("member", "role", value) for value in ("", "god", "OWNER", "none")],
    ("login", "client", "x" * 201),
]


def test_values_that_are_none_are_refused_by_name(place):
    before = place.state()
    for name, member, value in WRONG_VALUES:
        body = copy.deepcopy(BODIES[name][2])
        lists = next((key for key, each in body.items() if isinstance(each, list)), None)
        (body[lists][0] if lists else body)[member] = value
        status, _, told = send(place, name, body)
        assert status == (413 if member == "size_bytes" and value > 2**20 else 400), (body, told)
        if isinstance(value, str) and "\0" in value:
            assert told["field"] == "body", told  # no JSON of ours has NUL
        else:
            wanted = {f"{lists}[0].{member}", member} if lists else {member}
            assert told["field"] in wanted, (body, told)
    assert place.state() == before


QUERIES = [
    *[
        (f"{{base}}/files?limit={v}", "limit")
        for v in ("0", "-1", "1001", 2**31, 2**63, "x", "1e3")
    ],
    *[(f"{{base}}/files?after={v}", "after") for v in ("00", "zz", "..", "%27", "0" * 4000)],
    ("{base}/files?versions=some", "versions"),
    ("{base}/files?alias=a%0ab", "alias"),
    ("{base}/files?prefix=/a/../b", "prefix"),
    ("{base}/files?prefix=a%0ab", "prefix"),
    (f"{{base}}/files?glob={'*' * 4097}", "glob"),
    (f"{{base}}/files?metadata.k={'x' * 201}", "metadata"),
    ("{base}/files?" + "&".join(["tag=a"] * 17), "tag"),
    ("{base}/files?" + "&".join([f"metadata.k{i}=1" for i in range(17)]), "metadata"),
    ("{base}/files?" + "a&" * 200, "target"),
    ("{base}/files?tag=%ff", "target"),
    ("{base}/files?tag=%00", "target"),
    ("{base}/files?tag=%c0%ae", "target"),
    ("{base}/files?tag=%e0%80%ae", "target"),
    ("{base}/files?tag=%", "target"),
    ("{base}/files?tag=%zz", "target"),
    ("{base}/streams?kind=x", "kind"),
    ("{base}/series?kind=log", "kind"),
    (f"{{base}}/streams/{STREAM}?from=-1", "from"),
    (f"{{base}}/streams/{STREAM}?from=9&to=8", "from"),
    (f"{{base}}/streams/{STREAM}?to=1000000", "to"),
    (f"{{base}}/streams/{STREAM}?to={2**64}", "to"),
    ("/namespaces/ada/experiments?limit=99999999999", "limit"),
    ("/namespaces/ada/experiments?status=a%0ab", "status"),
    ("/namespaces/ada/projects?after=x", "after"),
]


def test_queries_that_are_none_are_refused_by_name(place):
    for path, field in QUERIES:
        status, error, told = place.refused("GET", path.format(base=place.base))
        assert (status, error) in ((400, "invalid"), (400, "name")), (path, told)
        assert told["field"] == field, (path, told)


NO_JSON = [
    b"",
    b"{",
    b"[]",
    b'"x"',
    b"null",
    b"{} {}",
    b"{}x",
    b'{"name":"a","name":"b"}',
    b'{"name":1e999}',
    b'{"name":"\\u0000"}',
    b'{"name":"\\ud800"}',
    b'{"name":"\xff"}',
    b'{"name":"\xc0\xae"}',
    b"{'name':'x'}",
    b'{"name":NaN}',
    b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}",
    b'{"a":' * 33 + b"1" + b"}" * 33,
    b"\xef\xbb\xbf{}",
    b"csos\nsystem\n(S'id'\ntR.",  # a pickle; and text that others would fill in or evaluate
    b"{{7*7}}",
    b"${7*7}",
]


def test_what_is_no_json_object_is_refused(place):
    before = place.state()
    for name, (method, path, _, data, _) in BODIES.items():
        for text in NO_JSON:
            body = text if data is None else text.replace(b"\n", b" ") + b"\n" + data
            status, error, told = place.refused(method, path.format(base=place.base), body)
            if len(text) > 100000 and status == 413:  # a form is smaller
                continue
            assert (status, error) == (400, "invalid"), (name, text[:40], told)
            assert told["field"] == "body", (name, text[:40], told)
    # Many members are no harm: those that are not known are passed over.
    many = {**REGISTRATION, "name": "", **{f"k{i}": 0 for i in range(60000)}}
    assert send(place, "register", many)[2]["field"] == "name"
    assert place.state() == before


def test_bodies_larger_than_their_route_are_refused(place):
    before = place.state()
    for path, size in (
        ("/tokens", (1 << 20) + 1),
        (f"{place.base}/streams", (8 << 20) + 1),
        (f"{place.base}/files/small", (8 << 20) + 1),
        (f"{place.base}/uploads/200/commit", 1025),
        ("/device/poll", (1 << 20) + 1),
    ):
        client = place.server.connect()
        client.send(
            f"POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
            f"Authorization: Bearer {place.token}\r\n\r\n"
        )
        answer = client.answer()
        told = json.loads(answer.body)
        assert (answer.status, told["error"], told["field"]) == (413, "too_large", "Content-Length")
        assert client.is_closed()
    assert place.state() == before


def zstd(data: bytes) -> bytes:
    """Packed by the library that the server has."""
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = library.ZSTD_compressBound.restype = ctypes.c_size_t
    room = ctypes.create_string_buffer(library.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    length = library.ZSTD_compress(
        room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)), 1
    )
    return room.raw[:length]


def test_a_body_that_unpacks_a_thousandfold(place):
    before, memory = place.state(), place.server.resident_kib()
    for size, status in ((64 << 20, 413), (8 << 20, 400)):
        packed = zstd(b"\0" * size)
        assert len(packed) < size // 1000
        told = place.refused("POST", f"{place.base}/streams", packed, Content_Encoding="zstd")
        assert told[0] == status
        assert told[2]["field"] == "body"
    for junk in (b"", b"junk", packed[:-3], packed[:9]):
        told = place.refused("POST", f"{place.base}/streams", junk, Content_Encoding="zstd")
        assert (told[0], told[2]["field"]) == (400, "body")
    told = place.refused("POST", f"{place.base}/streams", b"{}", Content_Encoding="gzip")
    assert (told[0], told[2]["field"]) == (400, "Content-Encoding")
    assert place.server.resident_kib() - memory < 300 << 10  # with sanitizers; far less without
    assert place.state() == before


def test_parts_that_do_not_fit(place):
    before = place.state()
    part = f"{place.base}/uploads/200/parts"
    good = {"X_Part_SHA256": sha256(b"x")}
    for path, headers, field in (
        (f"{part}/x", good, "n"),
        (f"{part}/-1", good, "n"),
        (f"{part}/{2**31}", good, "n"),
        (f"{part}/0", {}, "X-Part-SHA256"),
        (f"{part}/0", {"X_Part_SHA256": "x" * 64}, "X-Part-SHA256"),
        (f"{part}/0", {"X_Part_SHA256": "0" * 63}, "X-Part-SHA256"),
    ):
        status, error, told = place.refused("PUT", path, b"x", **headers)
        assert (status, error, told["field"]) == (400, "invalid", field), told
    assert place.refused("PUT", f"{part}/0", b"x", **good)[:2] == (400, "invalid")  # too short
    assert place.refused("PUT", f"{part}/9999", b"x", **good)[0] == 400
    assert place.refused("PUT", f"{place.base}/uploads/777/parts/0", b"x", **good)[0] == 404
    client = place.server.connect()
    client.send(
        f"PUT /api/v1{part}/0 HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {place.token}\r\n"
        f"X-Part-SHA256: {sha256(b'x')}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    assert json.loads(client.answer().body)["field"] == "Content-Length"
    assert place.state() == before


def test_lies_about_what_was_sent(place):
    """Offsets that are less, more and none; other bytes under the same offset; two at once."""
    before = place.state()
    path = f"{place.base}/streams"
    for data, sent, answer in (
        (LINE, LINE + LINE, (409, "offset")),  # more than there is
        (b"y" * 9 + b"\n", b"", (409, "diverged")),  # other bytes where there are some
        (LINE, b"z" * len(LINE), (409, "diverged")),  # other bytes before
        (LINE, LINE[:5], (400, "invalid")),  # in the middle, and beyond the end: garbled lines
    ):
        status, error, told = place.refused("POST", path, append(STREAM, data, sent))
        assert (status, error) in (answer, (409, "diverged")), told
        if status == 409:
            assert told["streams"][0]["offset"] == len(LINE)
            assert told["streams"][0]["sha256"] == sha256(LINE)
    both = [append(STREAM, b'{"writer":%d}\n' % n, LINE) for n in range(8)]
    after = place.state()
    assert after == before
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: place.request("POST", path, body)[0], both))
    assert sorted(answers) == [200] + [409] * 7
    held = place.request("GET", f"{path}/{STREAM}")[2]
    assert held.startswith(LINE)
    assert held.count(b"\n") == 2


def test_ranges_outside_a_file(place):
    name = "500"
    sent = line_and_bytes({"files": [offer(name, b"0123456789")]}, b"0123456789")
    place.call("POST", f"{place.base}/files/small", sent)
    from test_files import file_record, send_records

    send_records(place, place.base, file_record(1, name, b"0123456789"))
    path = f"{place.base}/files/{name}/content"
    for text in ("bytes=10-", "bytes=-0", f"bytes={2**63 - 1}-"):
        status, _, told = place.refused("GET", path, Range=text)
        assert (status, told["field"]) == (416, "Range")
    for text in ("bytes=0-0,-1", "bytes=" + ",".join(["0-1"] * 500), "bytes=9-0", "bytes=a-", "x"):
        assert place.request("GET", path, Range=text)[0] == 200  # no range of ours: all of it
    status, headers, body = place.request("HEAD", path, Range="bytes=2-3")
    assert (status, headers["content-length"], body) == (206, "2", b"")
