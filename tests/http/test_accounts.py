"""Users, tokens, namespaces and members: over HTTP, and by the administrator's commands."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import itertools
import json
import os
import pty
import re
import subprocess
import termios
import time
import urllib.parse

import pytest
from account_tools import PASSWORD, SECRET, Site
from http_tools import ROOT
from test_serve import COMMAND, pytestmark  # noqa: F401

addresses = itertools.count(1)
NOBODY = b'{"error":"auth","message":"a valid token is needed"}'


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """ada owns the team lab; bob reads, cleo writes there, eve is no member; boss administers."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.tokens = {name: site.user(name) for name in ("ada", "bob", "cleo", "eve")}
    site.tokens["boss"] = site.user("boss", "--admin")
    site.run("namespace", "create", "lab", "ada")
    site.run("namespace", "add", "lab", "bob", "reader")
    site.run("namespace", "add", "lab", "cleo")
    yield site
    site.stop()


@pytest.fixture(autouse=True)
def own_address(request):
    """Wrong tokens are counted per address: each test on the shared server has one of its own."""
    if "site" in request.fixturenames:
        n = next(addresses)
        request.getfixturevalue("site").address = f"127.0.{1 + n // 250}.{1 + n % 250}"


def jwt(claims: dict, secret: str = SECRET, header: dict | None = None) -> str:
    """Made with nothing of ours."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode())
    text = f"{head}.{part(json.dumps(claims).encode())}"
    return f"{text}.{part(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"


def test_me(site):
    me = site.get("/api/v1/me", site.tokens["ada"])
    assert me["user"]["username"] == "ada"
    assert me["admin"] is False
    assert me["token_id"]
    roles = {n["name"]: n["role"] for n in me["namespaces"]}
    assert roles == {"ada": "owner", "lab": "owner"}
    assert site.get("/api/v1/me", site.tokens["boss"])["admin"] is True
    roles = {n["name"]: n["role"] for n in site.get("/api/v1/me", site.tokens["bob"])["namespaces"]}
    assert roles == {"bob": "owner", "lab": "reader"}


def test_tokens_are_shown_once_and_revoked_at_once(site):
    ada, bob = site.tokens["ada"], site.tokens["bob"]
    answer = site.ask("POST", "/api/v1/tokens", ada, {"name": "laptop ä", "expires_in_s": 3600})
    made = json.loads(answer.body)
    assert answer.status == 200
    assert re.fullmatch(r"mld_[\w-]{43}", made["token"])
    assert made["expires"] > made["created"]
    assert site.get("/api/v1/me", made["token"])["user"]["username"] == "ada"
    listed = {t["id"]: t for t in site.get("/api/v1/tokens", ada)["tokens"]}
    assert listed[made["id"]]["name"] == "laptop ä"
    assert listed[made["id"]]["last_used"]
    assert made["token"] not in json.dumps(list(listed.values()))
    assert site.ask("DELETE", f"/api/v1/tokens/{made['id']}", bob).status == 404
    assert site.get("/api/v1/me", made["token"])
    assert site.ask("DELETE", f"/api/v1/tokens/{made['id']}", ada).status == 200
    assert site.ask("GET", "/api/v1/me", made["token"]).status == 401
    assert site.ask("DELETE", f"/api/v1/tokens/{made['id']}", ada).status == 404
    for body in ({"name": 5}, {"expires_in_s": "1"}, {"expires_in_s": 0}, {"expires_in_s": -1}):
        assert site.ask("POST", "/api/v1/tokens", ada, body).status == 400
    assert site.ask("POST", "/api/v1/tokens", ada, {"name": "x" * 300}).status == 400


def test_members(site):
    ada, bob, eve = site.tokens["ada"], site.tokens["bob"], site.tokens["eve"]
    assert site.ask("POST", "/api/v1/namespaces", ada, {"name": "team2"}).status == 200
    assert site.ask("POST", "/api/v1/namespaces", eve, {"name": "team2"}).status == 409
    assert site.ask("POST", "/api/v1/namespaces", eve, {"name": "bob"}).status == 409
    assert site.ask("POST", "/api/v1/namespaces", eve, {"name": "api"}).status == 400
    path = "/api/v1/namespaces/team2/members"
    assert site.ask("GET", path, eve).status == 404
    assert site.ask("PUT", f"{path}/bob", ada, {"role": "reader"}).status == 200
    members = {m["username"]: m["role"] for m in site.get(path, bob)["members"]}
    assert members == {"ada": "owner", "bob": "reader"}
    assert site.ask("PUT", f"{path}/eve", bob, {"role": "reader"}).status == 403
    assert site.ask("PUT", f"{path}/eve", ada, {"role": "god"}).status == 400
    assert site.ask("PUT", f"{path}/nobody", ada, {"role": "reader"}).status == 404
    assert site.get(f"{path}/bob", ada) == {"username": "bob", "role": "reader"}
    assert site.ask("GET", f"{path}/eve", ada).status == 404
    assert site.ask("DELETE", f"{path}/ada", ada).status == 409  # the last owner
    assert site.ask("DELETE", f"{path}/bob", ada).status == 200
    assert site.ask("GET", path, bob).status == 404  # at once
    assert site.ask("DELETE", "/api/v1/namespaces/ada/members/ada", ada).status == 409


def routes() -> list[tuple[str, str, str]]:
    """(method, path, permission) of every row of the server's table."""
    text = (ROOT / "src/server/routes.c").read_text()
    for name, path in re.findall(r'#define (\w+) "([^"]+)"', text):
        text = re.sub(rf'\b{name} "', f'"{path}', text)
        text = re.sub(rf"\b{name},", f'"{path}",', text)
    rows = re.findall(r'\{\s*"([A-Z]+)",\s*"([^"]+)",\s*PERMISSION_([A-Z]+)', text)
    assert len(rows) == text.count("PERMISSION_")
    assert len(rows) > 15
    return rows


ROLES = {"READ": 1, "WRITE": 2, "OWN": 3}


@pytest.fixture(scope="module")
def experiment(site) -> str | None:
    """The id of an experiment in lab; None while the server has none."""
    path = "/api/v1/namespaces/lab/experiments"
    if not any(path.replace("lab", "{namespace}") == row[1] for row in routes()):
        return None
    body = {"project": "p", "folder": "", "name": "e", "run": "0" * 32}
    return json.loads(site.ask("POST", path, site.tokens["ada"], body).body)["id"]


@pytest.fixture(scope="module")
def dead(site) -> list[str | None]:
    """What is no token, or no longer one."""
    short = site.token("ada", "--expires", "1s")
    revoked = json.loads(site.run("token", "create", "ada", "--json"))
    site.run("token", "revoke", revoked["id"])
    time.sleep(1.1)
    return [None, "", "mld_" + "x" * 43, short, revoked["token"], "a.b.c"]


def fill(path: str, namespace: str, experiment: str) -> str:
    path = path.replace("{namespace}", namespace).replace("{experiment}", experiment)
    return re.sub(r"\{\w+(\.\.\.)?\}", "x", path)


def bodies(site, row: tuple[str, str, str], path: str, token: str | None) -> tuple[int, bytes]:
    answer = site.ask(row[0], path, token, {} if row[0] in ("POST", "PUT", "PATCH") else None)
    return answer.status, answer.body


@pytest.mark.parametrize("row", routes(), ids=" ".join)
def test_the_matrix_of_every_route(site, experiment, dead, row):
    """Nobody, wrong and ended tokens: 401. Foreign and missing: the same 404. Lower roles: 403."""
    permission = row[2]
    if permission == "PUBLIC":
        return
    here = fill(row[1], "lab", experiment or "1")
    for token in dead:
        assert bodies(site, row, here, token) == (401, NOBODY)
    missing = bodies(site, row, fill(row[1], "nothing", "17"), site.tokens["eve"])
    if permission in ROLES:
        assert missing[0] == 404
        assert bodies(site, row, here, site.tokens["eve"]) == missing
        assert bodies(site, row, here, site.tokens["boss"]) == missing
    if permission == "ADMIN":
        assert missing[0] == 404
    if permission in ROLES and (experiment or "{experiment}" not in row[1]):
        for name, role in (("bob", 1), ("cleo", 2)):
            status = bodies(site, row, here, site.tokens[name])[0]
            assert (status == 403) == (role < ROLES[permission]), (name, status)


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "lab%2F", "lab%00", "lab ", "LAB", "lab%0A", "x" * 300, "ns:lab", "%"]
)
def test_odd_names_are_missing_or_refused(site, name):
    path = f"/api/v1/namespaces/{urllib.parse.quote(name, safe='%')}/members"
    assert site.ask("GET", path, site.tokens["ada"]).status in (400, 404)


def test_foreign_tokens(site):
    now = int(time.time())
    good = {"sub": "88", "iss": "idp", "username": "grace", "iat": now, "exp": now + 600}
    bad = [
        jwt(good, secret="x" * 32),
        jwt(good, header={"alg": "none"}),
        jwt(good, header={"alg": "None"}).rsplit(".", 1)[0] + ".",
        jwt(good, header={"alg": "HS512"}),
        jwt(good, header={"alg": "RS256"}),
        jwt(good, header={"alg": "HS256", "crit": ["x"]}),
        jwt({**good, "exp": now - 120}),
        jwt({**good, "nbf": now + 120}),
        jwt({**good, "iat": now + 120}),
        jwt({"sub": "88", "iat": now - 8 * 86400}),
        jwt({"sub": "88"}),
        jwt(good)[:-1],
        jwt({**good, "pad": "x" * 9000}),
        jwt(good) + "=",
    ]
    for token in bad:
        answer = site.ask("GET", "/api/v1/me", token)
        assert (answer.status, answer.body) == (401, NOBODY)
    assert "grace" not in site.run("user", "list")
    me = site.get("/api/v1/me", jwt(good))
    assert me["user"]["username"] == "grace"
    assert me["token_id"] is None
    assert [n["name"] for n in me["namespaces"]] == ["grace"]
    again = site.get("/api/v1/me", jwt({**good, "username": "ada"}))
    assert again["user"] == me["user"]
    taken = site.get("/api/v1/me", jwt({**good, "sub": "89", "username": "ada"}))
    assert taken["user"]["username"] == "ada-2"
    assert site.ask("GET", "/api/v1/namespaces/lab/members", jwt(good)).status == 404


def test_the_age_of_foreign_tokens_is_a_setting(tmp_path):
    site = Site(tmp_path, JWT_EXPIRATION="1h")
    now = int(time.time())
    for age, status in ((0, 200), (3500, 200), (3700, 401), (7 * 86400, 401)):
        token = jwt({"sub": "88", "iat": now - age})
        assert site.ask("GET", "/api/v1/me", token).status == status, age
    site.stop()


def test_guessing_is_slowed_down(tmp_path):
    site = Site(tmp_path)
    token = site.user("ada")
    statuses = [site.ask("GET", "/api/v1/me", f"mld_{i:043d}").status for i in range(60)]
    assert statuses == [401] * 30 + [429] * 30
    assert int(site.ask("GET", "/api/v1/me", "mld_x").headers["retry-after"]) >= 1
    assert site.ask("GET", "/health").status == 200
    site.stop()
    assert token not in site.server.log.read_text()


def test_commands(tmp_path):
    site = Site(tmp_path)
    site.run("user", "create", "ada", "--password-stdin", text=PASSWORD + "\n")
    assert "taken" in site.run("user", "create", "ada", "--no-password", code=3)
    assert "own" in site.run("user", "create", "api", "--no-password", code=3)
    assert "bytes" in site.run("user", "create", "bob", "--password-stdin", text="x\n", code=3)
    assert "terminal" in site.run("user", "create", "bob", code=3)
    site.run("user", "create", "bob", "--no-password")
    users = {u["username"]: u for u in json.loads(site.run("user", "list", "--json"))["users"]}
    assert users["ada"]["hasPassword"]
    assert not users["bob"]["hasPassword"]
    token = site.token("ada", "--name", "ci", "--expires", "30d")
    assert site.ask("GET", "/api/v1/me", token).status == 200
    listed = json.loads(site.run("token", "list", "ada", "--json"))["tokens"]
    assert [t["name"] for t in listed] == ["ci"]
    assert listed[0]["expiresUs"] - listed[0]["createdUs"] == 30 * 86400 * 10**6
    assert "ci" in site.run("token", "list", "ada")
    assert token not in site.run("token", "list", "ada", "--json")
    site.run("user", "promote", "bob")
    assert "administrator" in site.run("user", "list")
    site.run("user", "password", "bob", "--password-stdin", text=PASSWORD + "2\n")
    assert "no user" in site.run("token", "create", "eve", code=3)
    assert "no token" in site.run("token", "revoke", "0" * 16, code=3)
    assert "no server's database" in site.run("user", "list", "--data", tmp_path / "x", code=3)
    site.run("namespace", "create", "lab", "ada")
    site.run("namespace", "add", "lab", "bob", "reader")
    assert "bob" in site.run("namespace", "members", "lab")
    assert "owner" in site.run("namespace", "remove", "lab", "ada", code=3)
    site.run("namespace", "remove", "lab", "bob")
    assert "bob" not in site.run("namespace", "members", "lab")
    assert "role" in site.run("namespace", "add", "lab", "bob", "god", code=3)
    site.stop()


def test_revoking_reaches_a_running_server(tmp_path):
    """By another process, within 30 s of the last use that was remembered."""
    site = Site(tmp_path)
    kept, gone = site.user("ada"), site.token("ada")
    disabled = site.user("bob")
    for token in (kept, gone, disabled):
        assert site.ask("GET", "/api/v1/me", token).status == 200
    ids = {t["id"] for t in site.get("/api/v1/tokens", kept)["tokens"]}
    site.run("token", "revoke", (ids - {site.get("/api/v1/me", kept)["token_id"]}).pop())
    site.run("user", "disable", "bob")
    limit = time.monotonic() + 30
    while 200 in [site.ask("GET", "/api/v1/me", t).status for t in (gone, disabled)]:
        assert time.monotonic() < limit
        time.sleep(1)
    assert site.ask("GET", "/api/v1/me", kept).status == 200
    site.run("user", "enable", "bob")
    assert site.ask("GET", "/api/v1/me", disabled).status == 200
    site.stop()


def test_revoking_all_of_a_user(tmp_path):
    site = Site(tmp_path)
    tokens = [site.user("ada"), site.token("ada")]
    claims = {"sub": "1", "name": "grace", "iat": int(time.time()), "exp": int(time.time()) + 900}
    tokens.append(jwt(claims))
    other = site.user("bob")
    for token in tokens:
        assert site.ask("GET", "/api/v1/me", token).status == 200
    site.run("user", "revoke", "ada")
    site.run("user", "revoke", "grace")
    assert "no user" in site.run("user", "revoke", "eve", code=3)
    limit = time.monotonic() + 30
    while 200 in [site.ask("GET", "/api/v1/me", t).status for t in tokens]:
        assert time.monotonic() < limit
        time.sleep(1)
    assert site.ask("GET", "/api/v1/me", other).status == 200
    assert site.ask("GET", "/api/v1/me", site.token("ada")).status == 200
    assert json.loads(site.run("token", "list", "ada", "--json"))["tokens"][1:] == []
    later = jwt({**claims, "iat": int(time.time())})
    assert site.ask("GET", "/api/v1/me", later).status == 200
    site.stop()


def prompt(site, words: list[str], typed: list[bytes]) -> tuple[int, str, bool]:
    """The command on a terminal: exit code, what the terminal showed, whether it echoes again."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=site.environment(),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    shown = b""
    for line in typed:
        while not shown.endswith(b": "):
            shown += os.read(main, 4096)
        os.write(main, line)
        shown += b"|"
    code = process.wait(timeout=60)
    echoes = bool(termios.tcgetattr(main)[3] & termios.ECHO)
    os.close(terminal)
    while True:
        try:
            more = os.read(main, 4096)
        except OSError:
            break
        shown += more
    os.close(main)
    return code, shown.decode(), echoes


def test_the_password_is_asked_without_showing_it(tmp_path):
    site = Site(tmp_path)
    line = PASSWORD.encode() + b"\n"
    code, shown, echoes = prompt(site, ["user", "create", "ada"], [line, line])
    assert (code, echoes) == (0, True), shown
    assert PASSWORD not in shown
    code, shown, echoes = prompt(site, ["user", "create", "bob"], [line, b"other password\n"])
    assert (code, echoes) == (3, True)
    assert "not the same" in shown
    code, shown, echoes = prompt(site, ["user", "create", "bob"], [b"half\x03"])
    assert (code, echoes) == (130, True), shown
    users = json.loads(site.run("user", "list", "--json"))["users"]
    assert [(u["username"], u["hasPassword"]) for u in users] == [("ada", True)]
    site.stop()


def test_no_secret_is_written_anywhere(tmp_path):
    site = Site(tmp_path)
    token = site.user("ada", password=PASSWORD)
    made = json.loads(site.ask("POST", "/api/v1/tokens", token, {"name": "x"}).body)["token"]
    foreign = jwt({"sub": "1", "exp": int(time.time()) + 60})
    answers = b""
    for secret in (token, made, foreign, "mld_" + "canary" * 7 + "c"):
        for path in ("/api/v1/me", "/health", "/metrics", "/api/v1/nothing", f"/{secret}"):
            answers += site.ask("GET", path, secret).body
            answers += site.ask("GET", f"{path}?token={secret}").body
        answers += site.ask("POST", "/api/v1/tokens", secret, {"name": ["bad"]}).body
    out = site.stop()
    kept = b"".join(p.read_bytes() for p in site.data.rglob("*") if p.is_file())
    written = out + site.server.log.read_text() + answers.decode() + site.spoken
    for secret in (token, made, foreign, PASSWORD, SECRET, "canarycanary"):
        assert secret not in written
        assert secret.encode() not in kept
