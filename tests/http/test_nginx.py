"""The example configuration of nginx, with real requests and with abuse."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import ssl
import subprocess
import time

import pytest
from nginx_tools import NAME, Behind, find_nginx
from test_serve import COMMAND

pytestmark = pytest.mark.skipif(find_nginx() is None, reason="there is no nginx here")


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    pair = Behind(tmp_path_factory.mktemp("nginx"))
    yield pair
    pair.stop()
    assert pair.handled() == len(pair.forwarded())  # of all tests here, once all is written


def call(behind, method, path, body=None, **headers):
    """(status, headers, body) of one request through nginx."""
    context = ssl.create_default_context(cafile=str(behind.folder / "cert.pem"))
    context.check_hostname = False  # it is 127.0.0.1 that we connect to
    connection = http.client.HTTPSConnection("127.0.0.1", behind.port, context=context, timeout=60)
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    sent = {"Host": NAME, "Authorization": f"Bearer {behind.token}"}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    connection.request(method, path, data, sent)
    answer = connection.getresponse()
    got = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, got


def ok(answer):
    status, _, body = answer
    assert status == 200, answer
    return json.loads(body)


def register(behind, name):
    wanted = {"project": "digits", "name": name, "run": hashlib.md5(name.encode()).hexdigest()}
    return ok(call(behind, "POST", "/api/v1/namespaces/ada/experiments", wanted))["id"]


def upload(behind, experiment, file_id, data):
    """Sends a file in parts, and its record."""
    base = f"/api/v1/experiments/{experiment}"
    offer = {
        "id": file_id,
        "path": "/",
        "filename": "big.bin",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    begun = ok(call(behind, "POST", f"{base}/uploads", offer))
    size = begun["part_size_bytes"]
    for n in range(begun["parts"]):
        part = data[n * size : (n + 1) * size]
        digest = hashlib.sha256(part).hexdigest()
        sent = call(
            behind, "PUT", f"{base}/uploads/{file_id}/parts/{n}", part, X_Part_SHA256=digest
        )
        assert ok(sent) == {"part": n}
    return ok(call(behind, "POST", f"{base}/uploads/{file_id}/commit", b"{}"))


def test_an_upload_of_several_parts(behind):
    experiment = register(behind, "upload")
    data = bytes(range(256)) * (20 << 12)  # 20 MiB: three parts
    done = upload(behind, experiment, "383970939454357504", data)
    assert (done["state"], done["verified"]) == ("live", "whole")
    # A part's bytes go through as they are, so a wrong one is seen.
    offer = {
        "id": "383970939454357505",
        "path": "/",
        "filename": "b",
        "size_bytes": 70000,
        "sha256": "0" * 64,
    }
    base = f"/api/v1/experiments/{experiment}/uploads"
    ok(call(behind, "POST", base, offer))
    status, _, _ = call(
        behind, "PUT", f"{base}/{offer['id']}/parts/0", b"x" * 70000, X_Part_SHA256="0" * 64
    )
    assert status == 422


def test_a_synced_file_and_ranges_of_it(behind, tmp_path, monkeypatch):
    content = bytes(range(256)) * 1000
    (tmp_path / "model.bin").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    from ml_dash import Experiment

    with Experiment("ranges", project="digits").run as experiment:
        experiment.files("model.bin").save()
    sync(behind, tmp_path)
    listed = ok(call(behind, "GET", "/api/v1/namespaces/ada/projects/digits/files"))["files"]
    file = next(f for f in listed if f["filename"] == "model.bin")
    path = f"/api/v1/experiments/{file['experiment_id']}/files/{file['id']}/content"
    status, headers, body = call(behind, "GET", path)
    assert (status, body) == (200, content)
    assert headers["x-checksum-sha256"] == hashlib.sha256(content).hexdigest()
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    status, headers, body = call(behind, "GET", path, Range="bytes=1000-1999")
    assert (status, body) == (206, content[1000:2000])
    assert headers["content-range"] == f"bytes 1000-1999/{len(content)}"
    status, headers, body = call(behind, "GET", path, Range="bytes=-10")
    assert (status, body) == (206, content[-10:])
    assert call(behind, "GET", path, Range=f"bytes={len(content)}-")[0] == 416
    assert call(behind, "GET", path, If_None_Match=headers["etag"])[0] == 304


def sync(behind, folder):
    """`ml-dash sync` through nginx. The address is one that the test's certificate has, too."""
    done = subprocess.run(
        [COMMAND, "sync", "--url", f"https://127.0.0.1:{behind.port}"],
        cwd=folder,
        env={
            **os.environ,
            "ML_DASH_TOKEN": behind.token,
            "SSL_CERT_FILE": str(behind.folder / "cert.pem"),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_for_the_machine_itself_is_not_for_others(behind):
    assert call(behind, "GET", "/metrics")[0] == 403
    status, _, body = call(behind, "GET", "/metrics/")
    assert status == 404, body


def test_pages_of_the_login(behind):
    status, headers, body = call(behind, "GET", "/device")
    assert status == 200
    assert "Secure" in headers["set-cookie"]
    assert b"<form" in body
    status, _, body = call(behind, "POST", "/api/v1/device/start", {"client": "test"})
    assert json.loads(body)["verification_uri"] == f"https://{NAME}/device"


def test_the_server_knows_the_clients_address(behind):
    """nginx says it, and what the client itself says goes no further."""
    context = ssl.create_default_context(cafile=str(behind.folder / "cert.pem"))
    context.check_hostname = False
    for address, forged in (("127.0.0.7", "192.0.2.1"), ("127.0.0.8", "127.0.0.1")):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", behind.port, context=context, timeout=60, source_address=(address, 0)
        )
        sent = {"Host": NAME, "X-Forwarded-For": forged, "Forwarded": f"for={forged}"}
        connection.request("GET", "/api/v1/me", None, {**sent, "X-Real-IP": forged})
        answer = connection.getresponse()
        assert answer.status == 401
        request_id = answer.getheader("X-Request-Id")
        connection.close()
        end = time.monotonic() + 20
        while request_id not in behind.server.log.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        lines = map(json.loads, behind.server.log.read_text().splitlines())
        assert [line["client"] for line in lines if line["id"] == request_id] == [address]


TOP = f"Host: {NAME}\r\n"
POST = f"POST /api/v1/tokens HTTP/1.1\r\n{TOP}"
GET = f"GET /api/v1/limits HTTP/1.1\r\n{TOP}"
HIDDEN = f"GET /health?hidden HTTP/1.1\r\n{TOP}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"

ABUSE = {
    "both lengths": f"{POST}Content-Length: 4\r\n{CHUNKED}\r\n0\r\n\r\n{HIDDEN}",
    "both, the other way": f"{POST}{CHUNKED}Content-Length: 4\r\n\r\n0\r\n\r\n{HIDDEN}",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a length that is none": f"{POST}Content-Length: +0\r\n\r\n{HIDDEN}",
    "another encoding": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "two encodings": f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a blank before the colon": f"{POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a tab behind": f"{POST}Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a bad chunk": f"{POST}{CHUNKED}\r\nxyz\r\n{HIDDEN}",
    "a negative chunk": f"{POST}{CHUNKED}\r\n-1\r\n{HIDDEN}",
    "a chunk too large": f"{POST}{CHUNKED}\r\nffffffffffffffff1\r\n{HIDDEN}",
    "a chunk longer than it says": f"{POST}{CHUNKED}\r\n2\r\n{{}}x\r\n0\r\n\r\n{HIDDEN}",
    "bare LF between chunks": f"{POST}{CHUNKED}\r\n2\n{{}}\n0\n\n{HIDDEN}",
    "bare LF behind a chunk": f"{POST}{CHUNKED}\r\n2\r\n{{}}\n0\r\n\r\n{HIDDEN}",
    "a chunk's extension": f'{POST}{CHUNKED}\r\n2;a="\n0\r\n\r\n"\r\n{{}}\r\n0\r\n\r\n{HIDDEN}',
    "trailers": f"{POST}{CHUNKED}\r\n2\r\n{{}}\r\n0\r\nContent-Length: 50\r\n\r\n{HIDDEN}",
    "a folded line": f"{GET}X: a\r\n Transfer-Encoding: chunked\r\n\r\n{HIDDEN}",
    "a folded encoding": f"{POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "bare LF in the head": f"GET /api/v1/limits HTTP/1.1\nHost: {NAME}\nX: a\n\n{HIDDEN}",
    "bare CR in the head": f"{GET}X: a\rContent-Length: 50\r\n\r\n{HIDDEN}",
    "NUL in the head": f"{GET}X: a\0b\r\n\r\n{HIDDEN}",
    "two hosts": f"{GET}Host: localhost\r\n\r\n{HIDDEN}",
    "a body with GET": f"{GET}Content-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a version that is none": f"GET /api/v1/limits HTTP/1.2\r\n{TOP}\r\n{HIDDEN}",
    "escaped line ends": f"GET /api/v1/limits%0d%0aX:%20y HTTP/1.1\r\n{TOP}\r\n{HIDDEN}",
}


marks = itertools.count()


@pytest.mark.parametrize("name", ABUSE)
def test_both_sides_see_the_same_requests(behind, name):
    """nginx may refuse it, or pass it on; but never does the server see one request more than nginx
    has sent, which is how requests of one client get to be mixed with those of another."""
    client = behind.connect()
    client.send(ABUSE[name])
    client.send(f"GET /health?last HTTP/1.1\r\n{TOP}Connection: close\r\n\r\n")
    while client.more():
        pass
    client.close()
    for status in (500, 502, 503, 504):
        assert b"HTTP/1.1 %d" % status not in client.buffer, client.buffer
    mark = f"/health?mark={next(marks)}"
    assert call(behind, "GET", mark)[0] == 200
    # Lines are written a moment after the answer.
    end = time.monotonic() + 20
    while True:
        forwarded = behind.forwarded()
        marked = any(mark in entry["request"] for entry in forwarded)
        if marked and behind.handled() == len(forwarded):
            break
        assert time.monotonic() < end, (behind.handled(), forwarded[-6:])
        time.sleep(0.05)
