"""`ml-dash serve` killed at each call that changes the disk, while it takes in what a client sends.

Afterwards a fresh server on the same data shows all that was acknowledged and nothing half, the
client that repeats itself gets success with one effect, and what is stored fits together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import server_tools as tools
from crash_tools import FULL
from server_tools import (
    FILES,
    LOG,
    METRIC,
    METRIC_1,
    RECORDS,
    RECORDS_1,
    Client,
    Died,
    Faults,
    Place,
    Server,
    inspect,
)

POINTS = 16  # of each flow, unless all are asked for
AT_ONCE = 16  # servers: they mostly wait for the sweeper, which comes every 5 s

pytestmark = [
    pytest.mark.skipif(not tools.has_server(), reason="built without the server"),
    pytest.mark.timeout(3000),
]


# ---- what clients do ----


def upload(client: Client) -> None:
    client.upload("201", *FILES["201"])


def small(client: Client) -> None:
    client.small(*[(file, *FILES[file]) for file in ("211", "212", "213", "214")])


METRIC_2 = b"".join(b'{"index":%d,"data":{"loss":%d}}\n' % (n, n * n) for n in range(2, 10_000))
LOG_1 = b'{"message":"first"}\n'
MORE_RECORDS = tools.record(1000, type="params", data={"lr": 0.1}) + tools.file_record(
    1001, "214", *FILES["214"]
)


def append(client: Client) -> None:
    """The second append makes the lane due: it is sealed at once."""
    client.append(
        "append 1", (RECORDS, "records", RECORDS_1, MORE_RECORDS), (LOG, "log", b"", LOG_1)
    )
    client.append("append 2", (METRIC, "metric", METRIC_1, METRIC_2), (LOG, "log", LOG_1, LOG_1))


def wait_sealed(client: Client) -> None:
    tools.wait_until_none(client.server, tools.UNSEALED)


DELETIONS = (
    tools.record(1000, type="delete", id="102", at=tools.NOW)
    + tools.record(1001, type="retire", id="104", by="103")
    + tools.record(1002, type="removed", id="105")
)


def delete(client: Client) -> None:
    client.append("delete", (RECORDS, "records", RECORDS_1, DELETIONS))
    client.call("drop", "DELETE", "/uploads/202")


def wait_swept(client: Client) -> None:
    tools.wait_until_none(client.server, tools.DUE)


def nothing(client: Client) -> None:
    pass


Step = Callable[[Client], None]
# What is sent, and what to wait for afterwards, as long as the server lives.
FLOWS: dict[str, tuple[Step, Step]] = {
    "upload": (upload, nothing),
    "small": (small, nothing),
    "append": (append, wait_sealed),
    "delete": (delete, nothing),
}


# ---- killing ----


class World:
    """Data that each attempt begins with, and what a client sees after each step."""

    def __init__(
        self, shim: Path, folder: Path, send: Step, wait: Step, place: Place | None = None
    ) -> None:
        self.shim, self.folder, self.send, self.wait = shim, folder, send, wait
        self.place = place or tools.prepare(folder)
        self.steps: list[str] = []
        self.seen: list[dict[str, object]] = []
        self.calls = 0

    def copy(self, name: object) -> Path:
        return tools.copy_of(self.folder / "data", self.folder / str(name))

    def run_clean(self) -> None:
        """Notes the steps and what is seen after each; then how many calls there are to die at."""
        data = self.copy("clean")
        server = Server(data)
        client = Noting(server, self.place)
        client.seen.append(client.look())
        self.send(client)
        self.wait(client)
        assert server.stop() == 0
        assert inspect(data) == ([], [])
        self.steps, self.seen = client.acked, client.seen
        for name in ("counted 1", "counted 2"):
            data = self.copy(name)
            faults = Faults(self.shim, Path(f"{data}.fault"))
            client = Client(Server(data, faults), self.place)
            faults.arm()
            self.send(client)
            self.wait(client)
            self.calls = max(self.calls, faults.count)
            faults.disarm()
            assert client.server.stop() == 0

    def attempt(self, at: int, how: str) -> str | None:
        """What is wrong after dying at the at-th call; None: nothing."""
        data = self.copy(f"{how}-{at}")
        faults = Faults(self.shim, Path(f"{data}.fault"))
        client = Client(Server(data, faults), self.place)
        faults.arm(how, at)
        try:
            self.send(client)
            self.wait(client)
        except Died:
            pass
        client.server.kill()
        try:
            self.go_on(data, client.acked)
            self.clean_up(data)
        except (AssertionError, Died, tools.Refused) as error:
            return f"{how} at {at} after {client.acked}: {type(error).__name__} {error}"
        shutil.rmtree(data)
        return None

    def go_on(self, data: Path, acked: list[str]) -> None:
        """What was acknowledged is there, and the client that repeats all of it has its way."""
        with running(data) as server:
            client = Client(server, self.place)
            assert acked == self.steps[: len(acked)]
            now, later = self.seen[len(acked)], self.seen[min(len(acked) + 1, len(self.steps))]
            between(client.look(), now, later)
            self.send(client)
            seen = client.look()
            assert seen == self.seen[-1], f"after repeating: {differences(seen, self.seen[-1])}"
        orphans, _ = inspect(data)
        strays = [name for name in orphans if name.startswith("upload ")]
        assert strays == orphans and len(strays) < 2, f"orphans: {orphans}"

    def clean_up(self, data: Path) -> None:
        """In the end nothing is left that is of no use."""
        orphans, _ = inspect(data)
        for name in orphans:
            os.utime(data / "blobs/uploads" / name.split()[1], (1, 1))
        tools.make_due(data)
        with running(data) as server:
            client = Client(server, self.place)
            wait_swept(client)
            tools.wait_for(lambda: not strays_of(data, orphans))
            seen = client.look()
            assert seen == self.seen[-1], f"after cleaning: {differences(seen, self.seen[-1])}"
        assert inspect(data) == ([], [])


def strays_of(data: Path, orphans: list[str]) -> list[str]:
    return [name for name in orphans if (data / "blobs/uploads" / name.split()[1]).exists()]


@contextmanager
def running(data: Path) -> Iterator[Server]:
    """A server without faults, which must stop well."""
    server = Server(data)
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


class Noting(Client):
    """Looks after each step."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.seen: list[dict[str, object]] = []

    def call(self, name: str, *arguments, **headers) -> dict:
        told = super().call(name, *arguments, **headers)
        self.seen.append(self.look())
        return told


def differences(got: dict, want: dict) -> list[str]:
    keys = [key for key in {*got, *want} if got.get(key) != want.get(key)]
    return [f"{key}: {got.get(key)}, not {want.get(key)}" for key in keys]


def between(got: dict, now: dict, later: dict) -> None:
    """Each thing is as it was acknowledged, or as the step under way makes it; streams, which come
    in one request, all together."""
    for key in {*got, *now, *later}:
        allowed = (now.get(key), later.get(key))
        assert got.get(key) in allowed, f"{key}: {got.get(key)}, none of {allowed}"
    streams = [{k: v for k, v in each.items() if k[:6] == "stream"} for each in (got, now, later)]
    assert streams[0] in streams[1:], f"a request was taken in half: {streams}"


def chosen(calls: int) -> list[tuple[int, str]]:
    """(call, how) to die at."""
    if FULL:
        return [(at, how) for how in ("kill", "torn") for at in range(1, calls + 1)]
    at_most = min(calls, POINTS)
    points = sorted({1 + i * (calls - 1) // max(1, at_most - 1) for i in range(at_most)})
    return [(at, "torn" if i % 3 == 1 else "kill") for i, at in enumerate(points)]


def attempt_all(points: list, work: Callable) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [text for text in pool.map(lambda point: work(*point), points) if text]
    print(f"{len(points)} deaths, {len(found)} failures")
    assert not found, "\n".join(found[:10])


@pytest.mark.parametrize("name", FLOWS)
def test_kill_at_each_call(fault_shim, scratch, name):
    world = World(fault_shim, scratch, *FLOWS[name])
    world.run_clean()
    print(f"{name}: {world.calls} calls, steps {world.steps}")
    assert world.calls > 5
    assert world.seen[0] != world.seen[-1]
    attempt_all(chosen(world.calls), world.attempt)


# ---- dying while starting, and while sweeping ----


def die_in(data: Path, shim: Path, at: int, how: str, wait: Step = nothing) -> int:
    """Starts a server that dies at the at-th call of all; how many calls there were."""
    faults = Faults(shim, Path(f"{data}.fault"))
    faults.arm(how, at)
    try:
        server = Server(data, faults)
    except Died:
        return faults.count
    try:
        wait(Client(server, Place("", "", "")))
    except Died:
        pass
    server.kill()
    return faults.count


def kill_in(
    world: World, data: Path, points: range, send: Step, done: Callable[[Path], bool]
) -> None:
    """Sends to a copy of `data` and kills the server at some call after which the copy is as
    wanted; the copy takes the place of `data`."""
    for at in points:
        copy = tools.copy_of(data, Path(f"{data}.{at}"))
        faults = Faults(world.shim, Path(f"{data}.fault"))
        client = Client(Server(copy, faults), world.place)
        faults.arm("kill", at)
        try:
            send(client)
            wait_sealed(client)
        except Died:
            pass
        client.server.kill()
        try:
            wanted = done(copy)
        except AssertionError:  # something half that the next start removes
            wanted = False
        if wanted:
            shutil.rmtree(data)
            copy.rename(data)
            return
        shutil.rmtree(copy)
    raise AssertionError("dying at no call leaves that")


def leave_work(world: World, data: Path) -> None:
    """Files to be removed, bytes that no document names yet, a blob of a seal that never was, an
    upload whose name is lost."""
    with running(data) as server:
        delete(Client(server, world.place))

    def pending(copy: Path) -> list[str]:
        return inspect(copy)[1]

    def points(client: Client) -> None:
        client.append("points", (METRIC, "metric", METRIC_1, METRIC_2))

    kill_in(world, data, range(20, 60), small, lambda copy: len(pending(copy)) > 1)
    kill_in(
        world,
        data,
        range(30, 200),
        points,
        lambda copy: any("lanes/" in key for key in pending(copy)),
    )
    kill_in(world, data, range(10, 60), upload, lambda copy: inspect(copy)[0] != [])
    (stray,) = inspect(data)[0]
    os.utime(data / "blobs/uploads" / stray.split()[1], (1, 1))
    tools.make_due(data)


def test_kill_while_sweeping(fault_shim, scratch):
    """Whoever dies while it removes bytes is followed by one that does the rest, and no more."""
    world = World(fault_shim, scratch, nothing, wait_swept)
    data = scratch / "data"
    leave_work(world, data)
    last = tools.copy_of(data, scratch / "last")
    with running(last) as server:
        client = Client(server, world.place)
        before = client.look()
        wait_swept(client)
        after = client.look()
    left, pending = inspect(last)
    assert (left, pending) == ([], [])
    assert sorted(k for k, v in after.items() if v != before.get(k)) == []
    held = {Path(p).name for p in (last / "blobs").rglob("*") if p.is_file()}
    assert len(held) < len({p.name for p in (data / "blobs").rglob("*") if p.is_file()})
    calls = die_in(tools.copy_of(data, scratch / "counted"), fault_shim, 0, "nothing", wait_swept)

    def attempt(at: int, how: str) -> str | None:
        copy = tools.copy_of(data, scratch / f"{how}-{at}")
        die_in(copy, fault_shim, at, how, wait_swept)
        try:
            with running(copy) as server:
                client = Client(server, world.place)
                assert client.look() == before
                wait_swept(client)
                assert client.look() == after
            assert inspect(copy) == ([], [])
        except (AssertionError, Died, tools.Refused) as error:
            return f"{how} at {at}: {type(error).__name__} {error}"
        return None

    print(f"sweeping: {calls} calls")
    attempt_all(chosen(calls), attempt)


@pytest.mark.parametrize("name", ["first", "again"])
def test_kill_while_starting(fault_shim, scratch, name):
    """The first start of all, and one after a crash."""
    first = name == "first"
    template = scratch / "template"
    template.mkdir()
    place = Place("", "", "") if first else tools.prepare(template)
    if not first:
        world = World(fault_shim, template, append, wait_sealed, place)
        kill_in(world, template / "data", range(50, 150), append, lambda copy: wal_bytes(copy) > 0)
    counted = tools.copy_of(template, scratch / "counted")
    calls = die_in(counted / "data", fault_shim, 0, "nothing")
    assert calls > 5

    def attempt(at: int, how: str) -> str | None:
        folder = tools.copy_of(template, scratch / f"{how}-{at}")
        die_in(folder / "data", fault_shim, at, how)
        try:
            if first:
                tools.prepare(folder)
            else:
                with running(folder / "data") as server:
                    client = Client(server, place)
                    append(client)
            assert inspect(folder / "data")[0] == []
        except (AssertionError, Died, tools.Refused) as error:
            return f"{how} at {at}: {type(error).__name__} {error}"
        return None

    print(f"{name} start: {calls} calls")
    attempt_all(chosen(calls), attempt)


def wal_bytes(data: Path) -> int:
    logs = [data / "meta.sqlite-wal", data / "blobs/small.sqlite-wal"]
    return sum(path.stat().st_size for path in logs if path.exists())
