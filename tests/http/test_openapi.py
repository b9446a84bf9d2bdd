"""docs/openapi.yaml: it is the table of routes, and a live server answers as it says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest
import yaml
from http_tools import ROOT
from test_serve import COMMAND, Command, pytestmark  # noqa: F401

DOCUMENT = ROOT / "docs/openapi.yaml"
METHODS = {"get", "put", "post", "delete", "head", "options", "patch", "trace"}
EXAMPLES = 5  # of each operation, besides some hundred that are derived from the schemas
SEED = 20260101
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


def described() -> set[tuple[str, str]]:
    document = yaml.safe_load(DOCUMENT.read_text())
    return {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method in METHODS
    }


def routes() -> list[tuple[str, str, str]]:
    """Method, path and permission of each row of server_routes, macros of paths put in."""
    text = (ROOT / "src/server/routes.c").read_text()
    macros = dict(re.findall(r'^#define (\w+) ("[^"]*")$', text, re.MULTILINE))
    table = text[text.index("server_routes[]") :]
    rows = re.findall(r'\{"([A-Z]+)",\s*([^,]+),\s*PERMISSION_(\w+),', table)
    assert len(rows) == table.count("PERMISSION_")
    found = []
    for method, path, permission in rows:
        for name, value in macros.items():
            path = re.sub(rf"\b{name}\b(?=\s|$)", value, path)
        found.append((method, "".join(re.findall(r'"([^"]*)"', path)), permission))
    return found


def test_it_has_every_route_and_no_other():
    assert described() == {(method, path) for method, path, _ in routes()}
    assert len(described()) == len(routes())


def test_it_says_which_routes_are_public():
    document = yaml.safe_load(DOCUMENT.read_text())
    for method, path, permission in routes():
        security = document["paths"][path][method.lower()].get("security", document["security"])
        is_open = security == [] or {} in security
        assert is_open == (permission == "PUBLIC"), (method, path)


def test_parameters_of_paths_are_described():
    document = yaml.safe_load(DOCUMENT.read_text())
    known = document["components"]["parameters"]
    names = []
    for path, item in document["paths"].items():
        given = [
            known[p["$ref"].rsplit("/", 1)[1]] if "$ref" in p else p
            for p in item.get("parameters", [])
        ]
        assert [p["name"] for p in given] == re.findall(r"\{(\w+)\}", path), path
        names += [op["operationId"] for method, op in item.items() if method in METHODS]
    assert len(names) == len(set(names))


def admin(*words: object) -> str:
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Filled:
    """A server with a user, a team, and an experiment with a metric, parameters and files."""

    def __init__(self, folder) -> None:
        self.server = Command(folder)
        data = folder / "data"
        for name in ("ada", "bob"):
            admin("user", "create", name, "--no-password", "--data", data)
        made = admin("token", "create", "ada", "--json", "--data", data)
        self.token = json.loads(made)["token"]
        spare = admin("token", "create", "ada", "--json", "--data", data)
        self.spare = json.loads(spare)["id"]  # to be revoked
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.record(folder)
        experiments = self.get("/api/v1/namespaces/ada/experiments")["experiments"]
        self.experiment = experiments[0]["id"]
        base = f"/api/v1/experiments/{self.experiment}"
        self.files = self.get(f"{base}/files")["files"]
        self.streams = self.get(f"{base}/streams")["streams"]

    def record(self, folder) -> None:
        from ml_dash import Experiment

        (folder / "small.txt").write_bytes(b"small")
        (folder / "large.bin").write_bytes(hashlib.sha256(b"").digest() * 4096)
        root = folder / "runs"
        with Experiment("baseline", project="digits", local_path=str(root)).run as experiment:
            experiment.params.set(lr=0.1, model={"depth": 3})
            for epoch in range(5):
                experiment.metrics("loss").append(value=1.0 / (epoch + 1), epoch=epoch)
            experiment.log("hello")
            for name in ("small.txt", "large.bin"):
                experiment.files(str(folder / name), tags=["t"], metadata={"k": 1}).save()
        done = subprocess.run(
            [COMMAND, "sync", "--url", self.url, root],
            env={**os.environ, "ML_DASH_TOKEN": self.token},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    def get(self, path: str) -> dict:
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    made = Filled(tmp_path_factory.mktemp("openapi"))
    yield made
    made.server.stop()


@pytest.mark.timeout(300)
def test_a_live_server_answers_as_described(filled, tmp_path):
    """Requests made up from the description, fitting and not: never a 5xx, never an answer that is
    not described."""
    ids = {
        "path.namespace": "ada",
        "path.project": "digits",
        "path.experiment": filled.experiment,
        "path.file": filled.files[0]["id"],
        "path.stream": filled.streams[0]["stream"],
        "path.username": "bob",
        "path.token": filled.spare,
    }
    config = "[parameters]\n" + "".join(f'"{k}" = {json.dumps(v)}\n' for k, v in ids.items())
    (tmp_path / "schemathesis.toml").write_text(config)
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli"]
        + ["--config-file", tmp_path / "schemathesis.toml", "run", DOCUMENT, "--url", filled.url]
        + ["--header", f"Authorization: Bearer {filled.token}"]
        + ["--checks", ",".join(CHECKS)]
        + ["--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--no-shrink"]
        + ["--seed", str(SEED), "--generation-database", "none", "--suppress-health-check", "all"]
        + ["--request-timeout", "20", "--warnings", "off", "--continue-on-failure", "--no-color"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert re.search(r"Tested: (\d+)", done.stdout)[1] == str(len(described()))
    generated = int(re.search(r"(\d+) generated", done.stdout)[1])
    assert generated > 10 * len(described()), done.stdout[-500:]
    answered = filled.get("/api/v1/me")["user"]["username"]
    assert answered == "ada"  # the token was good to the end
    problems = [
        line
        for line in filled.server.log.read_text().splitlines()
        if json.loads(line).get("level") == "error"
    ]
    assert problems == []
