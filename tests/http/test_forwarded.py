"""Clients behind proxies: each has an address of its own, and none can choose it."""

from __future__ import annotations

import json
import socket

from account_tools import PASSWORD, Browser, Site
from http_tools import Client
from test_serve import pytestmark, run  # noqa: F401


def ask(server, source: str, forwarded: list[str], token: str = "bad") -> int:
    """The status of a request with a wrong token that comes from an address."""
    sock = socket.socket()
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", server.port))
    client = Client(sock)
    lines = "".join(f"X-Forwarded-For: {value}\r\n" for value in forwarded)
    client.send(
        f"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\n{lines}"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    status = client.answer().status
    client.close()
    return status


def clients(site) -> list[str]:
    """Who asked, by the log."""
    lines = [json.loads(line) for line in site.server.log.read_text().splitlines()]
    return [line["client"] for line in lines if "method" in line]


def test_by_default_no_header_is_believed(tmp_path):
    site = Site(tmp_path)
    site.user("ada")
    statuses = [ask(site.server, "127.0.0.1", [f"192.0.2.{n}"]) for n in range(40)]
    assert statuses == [401] * 30 + [429] * 10
    site.stop()
    assert set(clients(site)) == {"127.0.0.1"}


def test_a_trusted_proxy_says_who_it_is(tmp_path):
    site = Site(tmp_path, "--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8")
    token = site.user("ada", password=PASSWORD)
    server = site.server
    for n in range(30):
        # What the client wrote itself stands before what the proxies added.
        chain = [f"198.51.100.{n}, 10.9.9.9", "192.0.2.1, 10.0.0.7"]
        assert ask(server, "127.0.0.1", chain) == 401
    assert ask(server, "127.0.0.1", ["192.0.2.1"]) == 429
    assert ask(server, "127.0.0.1", ["192.0.2.2"]) == 401  # others have their own limit
    assert ask(server, "127.0.0.1", ["192.0.2.1"], token) == 200  # as does a good token
    assert ask(server, "127.0.0.1", []) == 401

    # Whoever comes past the proxy may write what they like.
    for n in range(30):
        assert ask(server, "127.0.0.9", [f"192.0.2.{100 + n}"]) == 401
    assert ask(server, "127.0.0.9", ["192.0.2.200"]) == 429
    assert ask(server, "127.0.0.1", ["192.0.2.200"]) == 401

    # Sign-ins, too: ten that failed from one address, five of one account.
    def sign_in(address: str, name: str, password: str) -> int:
        browser = Browser(site)
        browser.get("/device")
        browser.post("/device", {"X-Forwarded-For": address}, username=name, password=password)
        return browser.status

    assert [sign_in("192.0.2.3", f"nobody{n}", "wrong pass") for n in range(11)][-2:] == [403, 429]
    assert sign_in("192.0.2.3", "ada", PASSWORD) == 429
    assert sign_in("192.0.2.4", "ada", PASSWORD) == 303
    # /metrics is open to this machine alone, which no forwarded request is.
    assert server.ask("/metrics", headers="X-Forwarded-For: 127.0.0.1\r\n").status == 401
    site.stop()
    seen = set(clients(site))
    assert {"192.0.2.1", "192.0.2.2", "127.0.0.1", "127.0.0.9", "192.0.2.4"} <= seen
    assert not any(each.startswith(("198.51.100.", "10.")) for each in seen)


def test_what_is_no_address_is_refused_at_start(tmp_path):
    for text in ("proxy.example", "10.0.0.0/33", "10.0.0.0/", ""):
        done = run("--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--trusted-proxy", text)
        assert done.returncode != 0
        assert "address of a proxy" in done.stderr
