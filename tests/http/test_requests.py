"""What a well-behaved client sees."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from http_tools import GOOD

BODY = bytes(range(256)) * 4096  # 1 MiB


def chunked(data: bytes, size: int) -> bytes:
    out = b""
    for i in range(0, len(data), size):
        piece = data[i : i + size]
        out += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    return out + b"0\r\n\r\n"


def test_answers_with_safe_headers(server):
    answer = server.ask("/hello")
    assert answer.status == 200
    assert answer.body == b"hello"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "deny"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-request-id"]


def test_every_error_is_json_with_safe_headers(server):
    for answer in (
        server.ask("/none"),
        server.ask("/me"),
        server.ask("/fail"),
        server.raw("x\r\n"),
    ):
        if answer.status == 0:  # not even a request line: closed by the library
            continue
        assert json.loads(answer.body)["error"]
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_routes(server):
    assert json.loads(server.ask("/items/a%2Fb%20?q=x+y%26").body) == {"item": "a/b ", "q": "x y&"}
    assert server.ask("/items/special").body == b"hello"
    assert server.ask("/rest/a/b//c%20").body == b"a/b//c "
    assert server.ask("/items/%00").status == 400
    assert server.ask("/items/%ff").status == 400
    assert server.ask("/items").status == 404
    answer = server.ask("/hello", method="DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "get, head")
    assert server.ask("/hello", method="OPTIONS").status == 204


def test_no_token_wrong_token_and_foreign_things(server):
    none, wrong = server.ask("/me"), server.ask("/me", headers="Authorization: Bearer bad\r\n")
    assert none.status == wrong.status == 401
    assert none.body == wrong.body
    assert none.headers["www-authenticate"] == "bearer"
    assert server.ask("/me", headers=GOOD).body == b"ada"
    assert server.ask("/namespaces/foreign", headers=GOOD).status == 404


def test_keep_alive_also_after_errors(server):
    client = server.connect()
    for target, status in [("/hello", 200), ("/none", 404), ("/me", 401), ("/fail", 500)] * 3:
        client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.answer().status == status
    client.send(f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{GOOD}Content-Length: 3\r\n\r\nabc")
    assert client.answer().body == b"abc"
    client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert client.answer().status == 200
    assert client.is_closed()


def test_pipelining(server):
    client = server.connect()
    echo = f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{GOOD}Content-Length: %d\r\n\r\n%s"
    bodies = [f"body {i}" * i for i in range(1, 40)]
    client.send("".join(echo % (len(body), body) for body in bodies))
    assert [client.answer().body.decode() for _ in bodies] == bodies


def test_head_says_what_get_would(server):
    for target in ("/hello", "/memory?bytes=5000", "/download?bytes=700000"):
        client = server.connect()
        client.send(f"HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        first, second = client.answer(head=True), client.answer(head=True)
        assert first.status == second.status == 200
        assert first.headers["content-length"] == server.ask(target).headers["content-length"]
        client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.answer().body == b"hello"


@pytest.mark.parametrize("piece", [1, 17, 1000, 65536, 1 << 20])
def test_bodies_in_pieces(server, piece):
    data = BODY[: 2000 * piece]
    digest = hashlib.sha256(data).hexdigest()
    for framing, body in (
        (f"Content-Length: {len(data)}\r\n", data),
        ("Transfer-Encoding: chunked\r\n", chunked(data, piece)),
    ):
        client = server.connect()
        client.send(f"PUT /upload HTTP/1.1\r\nHost: localhost\r\n{GOOD}{framing}\r\n")
        step = max(piece, 1)
        for i in range(0, len(body), step):
            client.send(body[i : i + step])
        assert json.loads(client.answer().body) == {"bytes": len(data), "sha256": digest}
        client.send(
            f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{GOOD}{framing}\r\n".encode() + body
        )
        assert client.answer().body == data
        client.close()


def test_empty_bodies(server):
    empty = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    for framing in (
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "\r\n",
    ):
        answer = server.raw(f"PUT /upload HTTP/1.1\r\nHost: localhost\r\n{GOOD}{framing}")
        assert json.loads(answer.body) == empty


def test_an_upload_larger_than_the_ring_to_a_slow_handler(server):
    data = BODY * 3
    answer = server.ask("/upload?nap=20", "PUT", GOOD, data)
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(data).hexdigest()


def test_expect_continue(server):
    client = server.connect()
    for target, method in (("/upload", "PUT"), ("/echo", "POST")):
        client.send(
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{GOOD}Content-Length: 3\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        assert client.answer().status == 100
        client.send("abc")
        assert client.answer().status == 200


def test_expect_continue_is_refused_before_the_body(server):
    for target, headers, status in (
        ("/upload", "", 401),
        ("/limited", GOOD, 413),
        ("/echo", GOOD, 413),
    ):
        method = "POST" if target == "/echo" else "PUT"
        answer = server.raw(
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 2000000\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        assert answer.status == status


def test_json(server):
    def post(body: bytes) -> int:
        return server.ask("/json", "POST", "", body).status

    assert post(b'{"a":[1,2]}') == 200
    assert post(b'{"a":1,"a":2}') == 400
    assert post(b'{"a":1e999}') == 400
    assert post(b'{"a":"\\u0000"}') == 400
    assert post(b"[]") == 400


def test_header_injection(server):
    answer = server.ask("/header?value=a%0d%0aX-Evil:%201")
    assert answer.status == 200
    assert "x-evil" not in answer.headers
    assert "x-value" not in answer.headers
    assert server.ask("/header?value=fine").headers["x-value"] == "fine"


def test_failures_inside_stay_inside(server):
    answer = server.ask("/fail")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert server.ask("/nothing").status == 500


def test_cross_origin(start):
    app = "https://app.example.org"
    server = start(origin=app)
    answer = server.ask("/hello", headers=f"Origin: {app}\r\n")
    assert answer.headers["access-control-allow-origin"] == app
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in answer.headers
    foreign = server.ask("/hello", headers="Origin: https://evil.example\r\n")
    assert foreign.status == 200
    assert "access-control-allow-origin" not in foreign.headers
    preflight = server.ask(
        "/echo", "OPTIONS", f"Origin: {app}\r\nAccess-Control-Request-Method: POST\r\n"
    )
    assert preflight.status == 204
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    for origin in ("https://evil.example", "null", app + ".evil"):
        answer = server.ask("/echo", "POST", f"Origin: {origin}\r\n{GOOD}", b"x")
        assert answer.status == 403
    assert server.ask("/echo", "POST", f"Origin: {app}\r\n{GOOD}", b"x").status == 200
    assert server.ask("/echo", "POST", f"Origin: http://localhost\r\n{GOOD}", b"x").status == 200


def test_host_names(start):
    server = start(host="dash.example.org")
    for host in ("localhost", "127.0.0.1:99", "[::1]:3000", "dash.example.org:443"):
        assert server.ask("/hello", host=host).status == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io"):
        assert server.ask("/hello", host=host).status == 421
    assert start().ask("/hello", host="dash.example.org").status == 421


def test_log_and_metrics(start):
    server = start()
    server.ask("/items/secret-item?q=secret-query", headers=GOOD)
    server.ask("/me", headers=GOOD)
    server.ask("/me", headers="Authorization: Bearer secret-token\r\n")
    server.ask("/fail")
    server.ask("/secret-path")
    server.ask("/upload", "PUT", GOOD, b"x" * 1000)
    metrics = server.ask("/metrics").body.decode()
    assert 'requests_total{method="GET",route="/me",status="401"} 1\n' in metrics
    assert 'requests_total{method="",route="",status="404"} 1\n' in metrics
    assert 'request_seconds_count{kind="streaming"} 1\n' in metrics
    assert "mldash_http_received_bytes_total 1000\n" in metrics
    for line in metrics.splitlines():
        assert re.fullmatch(r"#.*|[a-z_]+(\{.*\})? [0-9.]+", line)
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert "secret-" not in server.log.read_text()
    assert any("/secret/path broke" in line.get("message", "") for line in lines)
    by_route = {line.get("route"): line for line in lines if "status" in line}
    assert by_route["/me"]["client"] == "127.0.0.1"
    assert by_route["/upload"]["user"] == "ada"
    assert by_route["/upload"]["bytes_in"] == 1000
    assert by_route["/items/{item}"]["status"] == 200
    assert len({line["id"] for line in lines if "status" in line}) == 7
