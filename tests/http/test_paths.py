"""Names that would be paths, in every place that takes a name: none becomes one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.parse

import pytest
import test_serve
from api_tools import Api, line_and_bytes
from test_files import file_record, offer, send_records
from test_serve import pytestmark  # noqa: F401

MARK = "m4rk"  # in every name; so in no path that the server ever opens
ASCII = [
    "../../../../etc/passwd",
    "..\\..\\windows",
    "/etc/passwd",
    "C:\\windows",
    "%2e%2e%2fetc",
    "%252e%252e%252f",
    "..;/x",
    "a#b",
    "a?b",
    "a;b",
    "~root",
    "$HOME",
    "`id`",
    "*",
    "[a-z]",
    "{a,b}",
    "?",
    "-rf",
    ".",
    "..",
    "...",
    " ",
    "a ",
    " a",
    "a.",
    "CON",
    ".mldash",
    "a//b",
    "./a",
    "a/../b",
    "a/./b",
    "a/",
]
UNICODE = [
    "\uff0e\uff0e\uff0fetc",  # full-width dots and slash
    "caf\u00e9",
    "cafe\u0301",  # the same to the eye
    "\u202egpj.exe",
    "a\u200bb",
    "\ufeffa",
    "K\u212a",
    "\U0001f600",
]
CONTROL = ["a\0b", "a\nb", "a\rb", "a\x1b[2Jb", "a\x7fb", "a\x85b"]
LONG = ["x" * 255, "x" * 256, "\u00e9" * 127, "\u00e9" * 128]
TWINS = ["case", "CASE", "Case", "caf\u00e9", "cafe\u0301"]
# Names with the mark in them: each as a whole, and with something before and behind it.
CORPUS = [n for name in ASCII + UNICODE + CONTROL for n in (name + MARK, MARK + name)]
CORPUS += [name[: -len(MARK)] + MARK for name in LONG] + ASCII + UNICODE


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A server under strace, with the names that it gave to the system in `trace`."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    folder = tmp_path_factory.mktemp("paths")
    script = folder / "traced"
    script.write_text(
        f"#!/bin/sh\nexec strace -D -f -qq -s 5000 -e trace=file -o {folder}/trace "
        f'{test_serve.COMMAND} "$@"\n'
    )
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASAN_OPTIONS", "detect_leaks=0")  # it cannot look for them while traced
        patch.setattr(test_serve, "COMMAND", script)
        api = Api(folder)
    api.trace = folder / "trace"
    yield api
    api.stop()


def unescaped(text: str) -> str:
    return (
        text.encode("latin-1").decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")
    )


def opened(api) -> list[str]:
    """Every path in the trace."""
    lines = api.trace.read_text(errors="replace").splitlines()
    return [unescaped(each) for line in lines for each in re.findall(r'"((?:[^"\\]|\\.)*)"', line)]


def quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def try_all(api, name: str, n: int) -> None:
    """The name in each place; any answer but a failure inside."""
    base = f"/experiments/{api.home}"
    file = str(10**6 + n)

    def ask(method: str, path: str, body: object = None) -> int:
        status, _, content = api.request(method, path, body)
        assert status < 500, (method, path, body, content)
        assert status < 400 or json.loads(content)["error"], content
        return status

    for member in ("project", "folder", "name", "run", "from"):
        wanted = {"project": "p", "folder": "", "name": f"n{n}", "run": "0" * 32, member: name}
        ask("POST", "/namespaces/ada/experiments", {**wanted, "diverged": member == "from"})
    for member in ("id", "path", "filename", "content_type", "as", "stream"):
        wanted = {**offer(file, b"abc", f"f{n}"), member: name}
        ask("POST", f"{base}/files/small", line_and_bytes({"files": [wanted]}, b"abc"))
        ask("POST", f"{base}/uploads", {**wanted, "id": name if member == "id" else f"9{file}"})
        ask("POST", f"{base}/files/status", {"files": [wanted]})
    ask("POST", f"{base}/streams/heads", {"streams": [name]})
    for member in ("stream", "file", "kind"):
        head = {
            "stream": f"{n:032x}",
            "kind": "log",
            "slot": 0,
            "file": "logs.jsonl",
            "offset": 0,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "length": 3,
            member: name,
        }
        ask("POST", f"{base}/streams", line_and_bytes({"streams": [head]}, b"{}\n"))
    ask("POST", "/tokens", {"name": name})
    ask("POST", "/namespaces", {"name": name})
    for key in ("prefix", "glob", "tag", "alias", "metadata." + name, "metadata.k"):
        ask("GET", f"{base}/files?{quoted(key)}={quoted(name)}")
    ask("GET", f"/namespaces/ada/experiments?project={quoted(name)}&name={quoted(name)}")
    for path in (
        f"{base}/files/{{}}",
        f"{base}/files/{{}}/content",
        f"{base}/streams/{{}}",
        f"{base}/uploads/{{}}",
        "/namespaces/{}/members",
        "/namespaces/{}/experiments",
        "/namespaces/ada/projects/{}/files",
        "/namespaces/ada/members/{}",
        "/experiments/{}",
        "/experiments/{}/files",
    ):
        for form in (quoted(name), quoted(quoted(name)), quoted(name).replace("%", "%25")):
            ask("GET", path.format(form))
    for method, path in (
        ("PUT", f"{base}/uploads/{{}}/parts/0"),
        ("POST", f"{base}/uploads/{{}}/commit"),
        ("DELETE", f"{base}/uploads/{{}}"),
        ("DELETE", "/namespaces/ada/members/{}"),
        ("DELETE", "/tokens/{}"),
    ):
        ask(method, path.format(quoted(name)), {} if method == "POST" else None)


def test_no_name_becomes_a_path(traced, tmp_path):
    api = traced
    api.home = api.register("home")["id"]
    around = sorted(os.listdir(api.folder))
    for n, name in enumerate(CORPUS):
        try_all(api, name, n)
    api.call("GET", "/me")
    assert sorted(os.listdir(api.folder)) == around
    paths = opened(api)
    assert any(path.startswith("uploads") or "blobs" in path for path in paths)
    assert [path for path in paths if MARK in path] == []
    assert [path for path in paths if ".." in path.split("/")] == []
    assert [path for path in paths if "passwd" in path or "windows" in path] == []
    assert not any(MARK in str(path) for path in (api.folder / "data").rglob("*"))


def test_one_name_is_one_file(traced):
    """Names that are accepted come back byte for byte; twins stay two."""
    api = traced
    base = f"/experiments/{api.register('twins')['id']}"
    names = [*TWINS, *[n for n in ASCII + UNICODE if "/" not in n and n not in (".", "..")]]
    names = sorted(set(names))
    lines, files = [], []
    for n, name in enumerate(names):
        data = f"bytes of {n}".encode()
        lines.append(
            file_record(n + 1, str(1000 + n), data, name, tags=[name], metadata={"k": name})
        )
        files.append((offer(str(1000 + n), data, name), data))
    body = line_and_bytes({"files": [each for each, _ in files]}, *[data for _, data in files])
    states = api.call("POST", f"{base}/files/small", body)["files"]
    assert {each["state"] for each in states} == {"live"}
    send_records(api, base, *lines)
    listed = api.call("GET", f"{base}/files?limit=1000")["files"]
    assert sorted(each["filename"] for each in listed) == names
    for each in listed:
        content = api.request("GET", f"{base}/files/{each['id']}/content")
        assert content[2] == f"bytes of {int(each['id']) - 1000}".encode()
        head = content[1]["content-disposition"]
        assert re.fullmatch(r"attachment; filename\*=UTF-8''[\w%.~-]*", head), head
        assert urllib.parse.unquote(head.split("''")[1]) == each["filename"]
        found = api.call("GET", f"{base}/files?tag={quoted(each['filename'])}")["files"]
        assert [f["id"] for f in found] == [each["id"]]
        found = api.call("GET", f"{base}/files?metadata.k={quoted(each['filename'])}")["files"]
        assert [f["id"] for f in found] == [each["id"]]


STORED = [
    ("text/html", b"<script>alert(1)</script>"),
    ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    (
        "application/xhtml+xml",
        b"<html xmlns='http://www.w3.org/1999/xhtml'><script>1</script></html>",
    ),
    ("application/pdf", b"%PDF-1.4 <script>"),
    ("text/plain", b"<html><script>alert(1)</script>"),
    ("application/octet-stream", b"GIF89a/*<script>*/=1;"),
    ("text/html; charset=utf-7", b"+ADw-script+AD4-"),
    ("multipart/x-mixed-replace", b"x"),
    (None, b"<script>"),
]


def test_what_is_stored_is_no_page_of_the_server(traced):
    """Downloads, and texts in JSON, are attachments and data under a policy that runs nothing."""
    api = traced
    base = f"/experiments/{api.register('stored')['id']}"
    lines = []
    for n, (kind, data) in enumerate(STORED):
        file, name = str(3000 + n), f"<script>{n}</script>.html"
        wanted = offer(file, data, name.replace("/", ""))
        wanted["content_type"] = kind
        body = line_and_bytes({"files": [wanted]}, data)
        assert api.call("POST", f"{base}/files/small", body)["files"][0]["state"] == "live"
        lines.append(file_record(n + 1, file, data, name.replace("/", ""), description="<script>"))
    send_records(api, base, *lines)
    for n, (_, data) in enumerate(STORED):
        status, headers, body = api.request("GET", f"{base}/files/{3000 + n}/content")
        assert (status, body) == (200, data)
        assert headers["content-disposition"].startswith("attachment")
        check_policy(headers)
    for path in (
        f"{base}/files",
        f"{base}/files/3000",
        f"{base}",
        "/<script>",
        f"{base}/files/<x>",
    ):
        _, headers, _ = api.request("GET", path)
        assert headers["content-type"] == "application/json"
        check_policy(headers)


def check_policy(headers: dict[str, str]) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "sandbox" in headers["content-security-policy"]
    assert headers["x-frame-options"].lower() == "deny"


def test_the_command_says_no_control_characters(traced):
    """Names end up in a terminal, where they could steer it."""
    done = subprocess.run(
        [test_serve.COMMAND, "user", "create", "a\x1b[2Jb", "--no-password"]
        + ["--data", traced.folder / "data"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert b"\x1b" not in done.stdout + done.stderr
