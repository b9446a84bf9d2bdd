"""Experiments and streams over HTTP, and run folders that the real syncer sends."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_tools import Api, environment, line_and_bytes, sha256
from test_serve import COMMAND

STREAM = "0123456789abcdef" * 2
POINTS = b'{"index":0,"data":{"loss":1.5}}\n{"index":1,"data":{"loss":NaN}}\n'


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    api = Api(tmp_path_factory.mktemp("api"))
    yield api
    api.stop()


def append(stream: str, data: bytes, before: bytes = b"", kind: str = "metric", **more) -> bytes:
    head = {
        "stream": stream,
        "kind": kind,
        "slot": 0,
        "file": "metrics/loss/data.jsonl",
        "offset": len(before),
        "sha256": sha256(before),
        "length": len(data),
        **more,
    }
    return line_and_bytes({"streams": [head]}, data)


def test_register(api):
    first = api.register("one")
    assert first["created"] and first["project"] == "digits" and first["folder"] == "a/b"
    again = api.register("one", run="cd" * 16)
    assert (again["id"], again["created"]) == (first["id"], False)
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(lambda _: api.register("crowd"), range(16)))
    assert len({each["id"] for each in many}) == 1
    assert sum(each["created"] for each in many) == 1

    copies = [api.register("one", diverged=True) for _ in range(2)]
    assert copies[0]["id"] == copies[1]["id"] != first["id"]
    assert copies[0]["name"] == "one (copy 2)"
    # A third copy of the same run folder, which diverges from the second.
    third = api.register("one", diverged=True, **{"from": copies[0]["id"]})
    assert third["name"] == "one (copy 3)"

    page = api.call("GET", "/namespaces/ada/experiments?project=digits&folder=a/b&name=one")
    assert [each["id"] for each in page["experiments"]] == [first["id"]]
    seen, after = [], ""
    while after is not None:
        page = api.call("GET", f"/namespaces/ada/experiments?limit=1&after={after}")
        seen += [each["name"] for each in page["experiments"]]
        after = page["next"]
    assert seen[:4] == ["one (copy 3)", "one (copy 2)", "crowd", "one"]
    for wanted in (
        {"project": "..", "name": "x"},
        {"project": "p", "name": "a/b"},
        {"project": "p", "name": "x", "folder": "../x"},
        {"project": "p", "name": 5},
    ):
        assert api.refused("POST", "/namespaces/ada/experiments", {"run": "x", **wanted})[0] == 400
    assert api.refused("POST", "/namespaces/bob/experiments", {})[0] == 404
    assert api.call("GET", "/namespaces/ada/projects")["projects"][0]["name"] == "digits"


def test_append(api):
    path = f"/experiments/{api.register('append')['id']}/streams"
    body = append(STREAM, POINTS)
    for _ in range(3):
        told = api.call("POST", path, body)
        assert told == {"streams": [{"stream": STREAM, "offset": len(POINTS)}]}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: api.call("POST", path, body), range(16)))
    status, headers, content = api.request("GET", f"{path}/{STREAM}")
    assert (status, content) == (200, POINTS)
    assert headers["x-stream-offset"] == str(len(POINTS))
    assert api.request("GET", f"{path}/{STREAM}?from=5&to=9")[2] == POINTS[5:9]

    heads = api.call("POST", f"{path}/heads", {"streams": [STREAM, "f" * 32]})["streams"]
    assert heads[0] == {"stream": STREAM, "offset": len(POINTS), "sha256": sha256(POINTS)}
    assert heads[1] == {"stream": "f" * 32, "offset": 0, "sha256": sha256(b"")}

    status, error, told = api.refused("POST", path, append(STREAM, POINTS, POINTS + b"x"))
    assert (status, error) == (409, "offset")
    assert told["streams"] == [heads[0]]
    status, error, _ = api.refused("POST", path, append(STREAM, POINTS, b"y" * len(POINTS)))
    assert (status, error) == (409, "diverged")
    for wrong in (
        append(STREAM, POINTS[:-1], POINTS),
        append(STREAM, POINTS, POINTS, kind="other"),
        append(STREAM, POINTS, POINTS, length=10**6),
        append(STREAM, POINTS, POINTS, offset=-1),
        append(STREAM, POINTS, POINTS, offset=2**63),
        append(STREAM, POINTS, POINTS) + b"more\n",
        append("xyz", POINTS),
        b"{}\n",
        b"no line",
    ):
        assert api.refused("POST", path, wrong)[:2] == (400, "invalid")
    listed = api.call("GET", path)
    assert listed["streams"][0]["offset"] == len(POINTS)
    assert listed["streams"][0]["lines"] == 2
    assert api.request("GET", f"{path}/{STREAM}")[2] == POINTS


LIMIT = 8 << 20


def full_append(names: list[str], before: list[bytes], total: int, seed: int) -> tuple[bytes, list]:
    """An append of `total` bytes to one stream for each name: of what does not compress, and a few
    spaces. And the bytes of each."""
    noise = random.Random(seed).randbytes(total).replace(b"\n", b"\r")
    length = total // len(names) // 2
    while True:
        parts = [noise[i * length : (i + 1) * length - 1] + b"\n" for i in range(len(names))]
        heads = [
            {"stream": f"{i:032x}", "kind": "metric", "file": name, "offset": len(before[i])}
            | {"sha256": sha256(before[i]), "length": length}
            for i, name in enumerate(names)
        ]
        head = json.dumps({"streams": heads}).encode()
        missing = total - len(head) - 1 - length * len(names)
        if 0 <= missing < len(names) + 10:
            return head + b" " * missing + b"\n" + b"".join(parts), parts
        length += missing // len(names)


@pytest.mark.parametrize("count", [1, 10000])
def test_the_largest_append_that_does_not_compress(api, count):
    """Nothing within the limits is refused for what it holds."""
    path = f"/experiments/{api.register(f'largest {count}')['id']}/streams"
    nothing = [b""] * count
    # Names as long as a request can carry; then short ones for the same streams.
    names = [f"{i}/{'n' * (7_500_000 // count - 400)}"[:2048] for i in range(count)]
    body, first = full_append(names, nothing, LIMIT, 1)
    assert len(body) == LIMIT
    api.call("POST", path, body)
    body, second = full_append(["x"] * count, first, LIMIT, 2)
    assert len(body) == LIMIT
    for _ in range(2):
        api.call("POST", path, body)
    for i in {0, count - 1}:
        assert api.request("GET", f"{path}/{i:032x}")[2] == first[i] + second[i]
    listed = api.call("GET", f"{path}?limit=1")["streams"]
    assert listed[0]["file"] == names[0]


def test_cursors_are_checked(api):
    path = f"/experiments/{api.register('cursors')['id']}/streams"
    for n in range(3):
        api.call("POST", path, append(f"{n:032x}", POINTS))
    page = api.call("GET", f"{path}?limit=2")
    assert len(page["streams"]) == 2
    rest = api.call("GET", f"{path}?limit=2&after={page['next']}")
    assert [each["stream"] for each in rest["streams"]] == [f"{2:032x}"]
    assert rest["next"] is None
    for cursor in ("zz", "00", page["next"][:-1] + "x", page["next"] + "00" * 5000):
        assert api.refused("GET", f"{path}?limit=2&after={cursor}")[0] in (400, 414, 431)
    assert api.refused("GET", f"{path}?kind=log&after={page['next']}")[0] == 400
    for limit in ("0", "1001", "-1", "x", str(2**31)):
        assert api.refused("GET", f"{path}?limit={limit}")[0] == 400


def sync(api, folder) -> None:
    done = subprocess.run(
        [COMMAND, "sync", "--url", api.url, "--namespace", "ada", str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(ML_DASH_TOKEN=api.token),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def standard(value):
    """A value as the server answers it: NaN and infinities are texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: standard(each) for key, each in value.items()}
    return [standard(each) for each in value] if isinstance(value, list) else value


def test_a_run_folder_reads_the_same(api, tmp_path):
    """What the server says of a synced run is what the library says of its folder."""
    ml_dash = pytest.importorskip("ml_dash")
    root = tmp_path / "runs"
    with ml_dash.Experiment(
        name="real", project="digits", local_path=str(root), tags=["t1"], description="d"
    ).run as experiment:
        experiment.params.set(lr=0.1, deep={"n": 10**30, "nan": float("nan")}, text="\u00e9\n")
        experiment.params.set(lr=0.2)
        for step in range(500):
            experiment.metrics("loss").append(value=1 / (step + 1), step=step)
        experiment.log("hello", level="warn")
        for n in range(20):
            (tmp_path / f"f{n}").write_bytes(b"x" * n)
            experiment.files("models").save(
                str(tmp_path / f"f{n}"), tags=["even"] if n % 2 == 0 else [], metadata={"n": n}
            )
        (tmp_path / "big").write_bytes(bytes(range(256)) * 4000)
        big = experiment.files("models").save(str(tmp_path / "big"))
        experiment.files(file_id=big["id"]).alias("best")
        experiment.files("models").save(str(tmp_path / "f3"), description="again")
        wanted_files = {each["id"]: each for each in experiment.files().list()}
        wanted_params = experiment.params.get(flatten=True)
    folder = next(path.parent for path in root.rglob("experiment.json"))
    sync(api, folder)
    found = api.call("GET", "/namespaces/ada/experiments?project=digits&name=real")["experiments"]
    assert len(found) == 1
    view = json.loads((folder / "experiment.json").read_text())
    assert found[0]["status"] == view["status"] == "COMPLETED"
    assert (found[0]["started"], found[0]["ended"]) == (view["startedAt"], view["endedAt"])
    assert (found[0]["tags"], found[0]["description"]) == (["t1"], "d")
    path = f"/experiments/{found[0]['id']}"
    assert api.call("GET", f"{path}/parameters")["data"] == standard(wanted_params)
    files = api.call("GET", f"{path}/files?limit=1000")["files"]
    assert {each["id"] for each in files} == set(wanted_files)
    for each in files:
        wanted = wanted_files[each["id"]]
        for key in ("path", "filename", "description", "tags", "contentType", "sizeBytes"):
            assert each[key] == wanted[key], key
        for key in ("checksum", "uploadedAt", "updatedAt", "deletedAt", "metadata"):
            assert each[key] == wanted[key], key
        content = api.request("GET", f"{path}/files/{each['id']}/content")[2]
        assert sha256(content) == each["checksum"]
    series = api.call("GET", f"{path}/series?kind=metric")["series"]
    assert [each["name"] for each in series] == ["loss"]
    points = api.request("GET", f"{path}/streams/{series[0]['shards'][0]}")[2]
    assert points == (folder / "metrics/loss/data.jsonl").read_bytes()
    best = api.call("GET", f"{path}/files?alias=best")["files"]
    assert [each["filename"] for each in best] == ["big"]
    assert best[0]["aliases"] == ["best"]

    # Once more, and from a copy: nothing new.
    sync(api, folder)
    copy = tmp_path / "copy" / "digits" / "real"
    shutil.copytree(folder, copy)
    sync(api, copy)
    again = api.call("GET", f"{path}/files?limit=1000")["files"]
    assert again == files
