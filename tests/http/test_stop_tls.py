"""Stopping with requests under way, and TLS."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import ssl
import subprocess
import time

import pytest
from http_tools import GOOD, Client, find_server

HEAD = "Host: localhost\r\n"


def test_requests_under_way_are_finished(start):
    server = start(grace_ms=10000)
    sleeping, uploading, idle = (server.connect() for _ in range(3))
    idle.send(f"GET /hello HTTP/1.1\r\n{HEAD}\r\n")
    assert idle.answer().status == 200
    sleeping.send(f"GET /sleep?ms=1500 HTTP/1.1\r\n{HEAD}\r\n")
    uploading.send(f"PUT /upload HTTP/1.1\r\n{HEAD}{GOOD}Content-Length: 6\r\n\r\nabc")
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    assert idle.is_closed()
    time.sleep(0.3)
    uploading.send("def")
    answer = uploading.answer()
    assert json.loads(answer.body)["bytes"] == 6
    assert answer.headers["connection"] == "close"
    assert sleeping.answer().body == b"slept"
    assert server.process.wait(timeout=30) == 0


def test_what_takes_longer_than_the_grace_is_cut(start):
    server = start(grace_ms=300)
    clients = [server.connect() for _ in range(4)]
    clients[0].send(f"PUT /upload HTTP/1.1\r\n{HEAD}{GOOD}Content-Length: 6000000\r\n\r\nabc")
    clients[1].send(f"GET /download?bytes=900000000 HTTP/1.1\r\n{HEAD}\r\n")
    clients[2].send("GET /hello HTTP/1.1\r\n")
    clients[3].send(f"PUT /upload?nap=50 HTTP/1.1\r\n{HEAD}{GOOD}Content-Length: 60000000\r\n\r\n")
    clients[3].sock.setblocking(False)
    time.sleep(0.2)
    try:
        while True:
            clients[3].sock.send(b"y" * 65536)
    except BlockingIOError:
        pass
    time.sleep(0.2)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 0


def test_start_says_what_is_wrong(tmp_path):
    def fails(*words: str) -> str:
        done = subprocess.run([find_server(), *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        return done.stderr

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "another program" in fails(f"listen=127.0.0.1:{taken.getsockname()[1]}")
    assert "ADDRESS:PORT" in fails("listen=nowhere")
    assert "number" in fails("listen=localhost:0")
    assert "name the origins" in fails("origin=*")
    assert "is no origin" in fails("origin=example.org")
    assert "both" in fails("certificate=/none")
    assert "/none" in fails("certificate=/none", "key=/none")
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    assert "bad.pem" in fails(f"certificate={bad}", f"key={bad}")


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return {"certificate": certificate, "key": key}


def test_tls(start, pems):
    server = start(**pems)
    context = ssl.create_default_context(cafile=str(pems["certificate"]))

    def connect() -> Client:
        raw = socket.create_connection(("127.0.0.1", server.port))
        return Client(context.wrap_socket(raw, server_hostname="localhost"))

    client = connect()
    assert client.sock.version() in ("TLSv1.2", "TLSv1.3")
    data = bytes(range(256)) * 20000
    client.send(f"PUT /upload HTTP/1.1\r\n{HEAD}{GOOD}Content-Length: {len(data)}\r\n\r\n")
    client.send(data)
    assert json.loads(client.answer().body)["sha256"] == hashlib.sha256(data).hexdigest()
    client.send(f"GET /download?bytes=5000000 HTTP/1.1\r\n{HEAD}\r\n")
    assert len(client.answer().body) == 5000000
    client.send(f"PUT /half?n=1000 HTTP/1.1\r\n{HEAD}{GOOD}Content-Length: 50000000\r\n\r\n")
    client.send(b"y" * 100000)
    assert client.answer().status == 422
    client.close()
    # Plain HTTP to a TLS port, and old TLS, get nothing and hurt nobody.
    plain = server.connect()
    plain.send(f"GET /hello HTTP/1.1\r\n{HEAD}\r\n")
    assert plain.answer().status == 0
    again = connect()
    again.send(f"GET /hello HTTP/1.1\r\n{HEAD}\r\n")
    assert again.answer().body == b"hello"
    again.close()
