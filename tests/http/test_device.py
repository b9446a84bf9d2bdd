"""The login of a device: JSON for the device, pages for the browser, and `ml-dash login`."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from account_tools import PASSWORD, Browser, Site
from test_serve import COMMAND, pytestmark  # noqa: F401


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.ada = site.user("ada", password=PASSWORD)
    yield site
    site.stop()


def start(site, client: str = "ml-dash on laptop") -> dict:
    answer = site.ask("POST", "/api/v1/device/start", body={"client": client})
    assert answer.status == 200, answer
    return json.loads(answer.body)


def poll(site, login: dict) -> tuple[int, dict]:
    answer = site.ask("POST", "/api/v1/device/poll", body={"device_code": login["device_code"]})
    return answer.status, json.loads(answer.body)


def test_from_start_to_token(site):
    login = start(site)
    assert login["verification_uri"] == f"{site.url}/device"
    assert login["verification_uri_complete"].endswith(f"/device?code={login['user_code']}")
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", login["user_code"])
    assert (login["expires_in"], login["interval"]) == (600, 2)
    status, body = poll(site, login)
    assert (status, body["error"]) == (400, "authorization_pending")
    browser = Browser(site)
    page = browser.sign_in(login["user_code"], username="ada", password=PASSWORD)
    assert "ml-dash on laptop" in page
    assert "127.0.0.1" in page
    assert login["user_code"] in page
    assert poll(site, login)[0] == 400  # signing in is no approval
    assert "logged in" in browser.post("/device/decide", decision="approve")
    status, body = poll(site, login)
    assert (status, body["username"]) == (200, "ada")
    assert site.get("/api/v1/me", body["token"])["user"]["username"] == "ada"
    names = [t["name"] for t in site.get("/api/v1/tokens", body["token"])["tokens"]]
    assert "ml-dash on laptop" in names
    assert poll(site, login)[1]["error"] == "expired_token"  # once


def test_a_token_signs_in_too_and_a_login_can_be_refused(site):
    login = start(site)
    browser = Browser(site)
    page = browser.sign_in(login["user_code"].lower().replace("-", ""), token=site.ada)
    browser.post("/device/decide", decision="deny")
    assert poll(site, login)[1]["error"] == "access_denied"
    browser.page = page
    browser.post("/device/decide", decision="approve")
    assert browser.status == 404


def test_the_token_is_handed_out_once(site):
    login = start(site)
    browser = Browser(site)
    browser.sign_in(login["user_code"], token=site.ada)
    browser.post("/device/decide", decision="approve")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: poll(site, login)[0], range(8)))
    assert sorted(answers) == [200] + [400] * 7


def test_pages_protect_themselves(site):
    login = start(site, "<script>alert(1)</script>\"'&")
    browser = Browser(site)
    browser.get(f"/device?code={login['user_code']}%22%3E%3Cscript%3E")
    assert "<script" not in browser.page
    cookie = browser.headers["Set-Cookie"]
    for word in ("HttpOnly", "SameSite=Strict", "Path=/device", "Max-Age=600"):
        assert word in cookie
    assert "Secure" not in cookie  # this server is reached by http
    policy = browser.headers["Content-Security-Policy"]
    for word in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert word in policy
    assert browser.headers["X-Frame-Options"] == "DENY"
    assert browser.headers["Cache-Control"] == "no-store"
    assert browser.headers["Referrer-Policy"] == "same-origin"
    page = browser.sign_in(login["user_code"], token=site.ada)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;" in page
    assert "<script" not in page
    assert browser.get("/device/style.css")
    assert browser.headers["Content-Type"].startswith("text/css")


def test_cookies_are_secure_behind_tls(tmp_path):
    site = Site(tmp_path, "--public-url", "https://dash.example.org")
    browser = Browser(site)
    browser.open("GET", "/device", Host="dash.example.org")
    assert "; Secure" in browser.headers["Set-Cookie"]
    assert start(site)["verification_uri"] == "https://dash.example.org/device"
    site.stop()


def test_forged_forms_are_refused(site):
    login = start(site)
    victim, attacker = Browser(site), Browser(site)
    victim.sign_in(login["user_code"], username="ada", password=PASSWORD)
    page = victim.page
    attacker.get("/device")
    stolen = attacker.hidden()["form"]
    for fields, headers in [
        ({"form": ""}, {}),
        ({"form": stolen}, {}),  # of another session
        ({}, {"Origin": "https://evil.example"}),
        ({}, {"Origin": "null"}),
        ({}, {"Cookie": ""}),
        ({}, {"Cookie": "ml_dash_login=" + attacker.cookies["ml_dash_login"]}),
        ({}, {"Content-Type": "text/plain"}),
        ({}, {"Host": "evil.example"}),
    ]:
        victim.page = page
        victim.post("/device/decide", headers=headers, decision="approve", **fields)
        assert victim.status in (400, 403, 421), (fields, headers, victim.page)
    assert poll(site, login)[1]["error"] == "authorization_pending"
    victim.page = page
    victim.post("/device/decide", decision="approve")
    assert victim.status == 200
    # A sign-in needs its own page's token, too.
    attacker.post("/device", form="", username="ada", password=PASSWORD)
    assert attacker.status == 403


def test_wrong_passwords_are_slowed_down(site):
    site.user("bob", password=PASSWORD)
    browser = Browser(site)
    statuses = []
    for _ in range(7):
        browser.get("/device")
        browser.post("/device", username="ada", password="wrong password")
        statuses.append(browser.status)
    assert statuses == [403] * 5 + [429] * 2
    browser.get("/device")
    browser.post("/device", username="ada", password=PASSWORD)
    assert browser.status == 429  # also the right one, for a minute
    assert browser.headers["Retry-After"]
    browser.get("/device")
    browser.post("/device", username="bob", password=PASSWORD)
    assert browser.status == 303  # others are not hit
    browser = Browser(site)
    for name in ("nobody1", "nobody2", "nobody3", "nobody4", "nobody5"):
        browser.get("/device")
        browser.post("/device", username=name, password="wrong password")
        assert "is wrong" in browser.page
    browser.get("/device")
    browser.post("/device", username="nobody6", password="wrong password")
    assert browser.status == 429  # one address has so many tries for all names
    site.run("user", "list")
    log = site.server.log.read_text()
    assert PASSWORD not in log
    assert "wrong password" not in log


def test_codes_cannot_be_guessed(site):
    browser = Browser(site)
    browser.get("/device")
    browser.post("/device", token=site.ada)
    statuses = []
    for code in ("BBBB-BBBB", "x", "CCCC-CCCC", "DDDD-DDDD", "%00", "FFFF-FFFF", "GGGG-GGGG"):
        browser.get(f"/device?code={code}")
        statuses.append(browser.status)
    assert statuses == [404] * 4 + [400, 404, 429]
    login = start(site)
    browser.get(f"/device?code={login['user_code']}")
    assert browser.status == 429


def test_disabled_users_do_not_sign_in(site):
    login = start(site)
    browser = Browser(site)
    browser.sign_in(login["user_code"], username="ada", password=PASSWORD)
    browser.post("/device/decide", decision="approve")
    site.run("user", "disable", "ada")
    assert poll(site, login)[1]["error"] == "access_denied"
    browser.get("/device")
    assert "Sign in" in browser.page
    browser.post("/device", username="ada", password=PASSWORD)
    assert "is wrong" in browser.page


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"device_code":5}', b'{"device_code":"x"', b'{"device_code":"x"}']
)
def test_odd_polls(site, body):
    answer = site.server.ask("/api/v1/device/poll", "POST", "", body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"] in ("invalid", "expired_token")


def test_starts_and_polls_are_limited(site):
    login = start(site)
    errors = [poll(site, login)[1]["error"] for _ in range(61)]
    assert errors == ["authorization_pending"] * 60 + ["slow_down"]
    answer = site.ask("POST", "/api/v1/device/start", body={"client": "x" * 201})
    assert answer.status == 400
    statuses = [
        site.ask("POST", "/api/v1/device/start", body={"client": "x"}).status for _ in range(20)
    ]
    assert statuses == [200] * 18 + [429] * 2


def test_ml_dash_login(site):
    environment = site.environment(ML_DASH_CONFIG_DIR=str(site.folder / "settings"))
    process = subprocess.Popen(
        [COMMAND, "login", site.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    seen = ""
    while "Waiting" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    code = re.search(r"device\?code=([A-Z]{4}-[A-Z]{4})", seen).group(1)
    browser = Browser(site)
    browser.sign_in(code, username="ada", password=PASSWORD)
    assert "ml-dash on " in browser.page
    browser.post("/device/decide", decision="approve")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert out == f"logged in to {site.url} as ada\n"
    tokens = site.folder / "settings/tokens.json"
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    token = json.loads(tokens.read_text())["ml-dash-token"]
    assert token not in seen + out
    settings = {"ML_DASH_CONFIG_DIR": str(site.folder / "settings")}
    assert site.run("whoami", **settings).startswith(f"ada at {site.url}\n")
    assert json.loads(site.run("whoami", "--json", **settings))["user"]["username"] == "ada"
    assert site.run("logout", **settings) == "logged out\n"
    assert site.ask("GET", "/api/v1/me", token).status == 401
    assert "nobody is logged in" in site.run("whoami", code=3, **settings)
    assert site.run("logout", **settings) == "nobody was logged in\n"


def test_ml_dash_login_with_a_token(site):
    folder = site.folder / "home/.dash"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"remote_url": "http://old.example", "mine": [1, {}]}')
    (folder / "tokens.json").write_text('{"other": "kept", "ml-dash-token": "old"}')
    out = site.run("login", "--token-stdin", "--url", site.url + "/", text=site.ada + "\n")
    assert out == f"logged in to {site.url} as ada\n"
    assert json.loads((folder / "config.json").read_text()) == {
        "remote_url": site.url,
        "mine": [1, {}],
    }
    assert json.loads((folder / "tokens.json").read_text()) == {
        "other": "kept",
        "ml-dash-token": site.ada,
    }
    wrong = site.run("login", "--token-stdin", site.url, text="mld_wrong\n", code=3)
    assert "mld_wrong" not in wrong
    assert "token" in wrong
    assert site.run("whoami").startswith("ada")  # what was there stays
    assert "no token" in site.run("login", "--token-stdin", site.url, text="\n", code=3)
    assert "no URL" in site.run("login", "--token-stdin", "dash", text="x\n", code=3)
    gone = site.run("login", "--token-stdin", "http://127.0.0.1:1", text="x\n", code=3)
    assert "127.0.0.1:1" in gone
    assert site.run("whoami", ML_DASH_TOKEN=site.ada, ML_DASH_URL=site.url, HOME="/x")
