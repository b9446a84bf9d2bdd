"""A disk that fails or is full while the server takes in what a client sends.

No data is lost after a 200, the error is one that clients come back from, and the server goes on by
itself or says by /health that it does not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import server_tools as tools
from crash_tools import FULL
from server_tools import (
    FILES,
    LOG,
    MB,
    METRIC,
    METRIC_1,
    RECORDS,
    RECORDS_1,
    ROOM,
    SYNC,
    WRITE,
    Client,
    Died,
    Faults,
    Refused,
    Server,
    inspect,
)
from test_server_kill import FLOWS, World, attempt_all, between, differences, running

POINTS = 8  # of each flow and error, unless all are asked for
# Whoever gets these comes back later; 500 is for what the server cannot tell.
COME_BACK = {500, 503, 507}

pytestmark = [
    pytest.mark.skipif(not tools.has_server(), reason="built without the server"),
    pytest.mark.timeout(3000),
]


def health(client: Client) -> tuple[int, dict]:
    status, _, content = client.raw("GET", "/health")
    return status, json.loads(content)


class Failing(World):
    """One call fails; the client tries again until it has its way, or /health says why not."""

    kind = ""

    def fail(self, at: int, code: int, mask: int) -> str | None:
        data = self.copy(f"{code}-{mask}-{at}")
        faults = Faults(self.shim, Path(f"{data}.fault"))
        client = Client(Server(data, faults), self.place)
        try:
            faults.arm("error", at, error=code, mask=mask)
            answer = self.send_once(client)
            self.check_error(client, answer)
            if not self.has_its_way(client):
                assert health(client)[0] == 503, "neither works nor tells"
                self.stop(client.server)
                client = Client(Server(data), self.place)
                assert self.has_its_way(client), "it does not work after a new start either"
            seen = client.look()
            assert seen == self.seen[-1], differences(seen, self.seen[-1])
            client = self.until_healthy(client, data)
            self.stop(client.server)
            orphans, _ = inspect(data)
            assert all(name.startswith("upload ") for name in orphans), orphans
        except (AssertionError, Died, Refused) as error:
            where = f"{errno.errorcode[code]} of call {at} (kinds {mask}, {faults.hits} hits)"
            return f"{where} after {client.acked}: {type(error).__name__} {error}"
        finally:
            client.server.kill()
        shutil.rmtree(data)
        return None

    def until_healthy(self, client: Client, data: Path) -> Client:
        """The metadata's store recovers by itself, within seconds; that of small files with the
        next start."""
        for _ in range(30):
            if health(client)[0] == 200:
                return client
            time.sleep(0.1)
        told = health(client)[1]
        assert told["meta"]["ok"], told
        self.stop(client.server)
        client = Client(Server(data), self.place)
        assert health(client)[0] == 200
        return client

    def send_once(self, client: Client) -> Refused | None:
        try:
            self.send(client)
        except Refused as error:
            return error
        return None

    def check_error(self, client: Client, answer: Refused | None) -> None:
        """What was acknowledged is there at once, and whatever was not is not there in half."""
        if answer is not None:
            assert answer.status in COME_BACK, answer
        acked = client.acked
        now, later = self.seen[len(acked)], self.seen[min(len(acked) + 1, len(self.steps))]
        got = client.look()
        if "upload 201" not in got and "bytes 201" not in got:
            # Parts count with the commit; those that a disk failed are dropped.
            now, later = (
                {k: v for k, v in each.items() if k != "upload 201"} for each in (now, later)
            )
            later.pop("bytes 201", None)
        between(got, now, later)

    def has_its_way(self, client: Client) -> bool:
        return any(self.send_once(client) is None for _ in range(2))

    def stop(self, server: Server) -> None:
        assert server.stop() == 0, f"it ended with {server.process.returncode}"


def count_calls(world: World, mask: int) -> int:
    data = world.copy(f"count-{mask}")
    faults = Faults(world.shim, Path(f"{data}.fault"))
    client = Client(Server(data, faults), world.place)
    faults.arm(mask=mask)
    world.send(client)
    world.wait(client)
    client.server.kill()
    shutil.rmtree(data)
    return faults.count


ERRORS = [(errno.EIO, WRITE), (errno.ENOSPC, WRITE), (errno.EIO, SYNC), (errno.ENOSPC, SYNC)]
ERRORS += [(errno.ENOSPC, ROOM)]


@pytest.mark.parametrize("name", FLOWS)
def test_error_of_each_call(fault_shim, scratch, name):
    world = Failing(fault_shim, scratch, *FLOWS[name])
    world.run_clean()
    points = []
    for code, mask in ERRORS:
        calls = count_calls(world, mask)
        step = 1 if FULL else max(1, calls // POINTS)
        points += [(at, code, mask) for at in range(1, calls + 1, step)]
    attempt_all(points, world.fail)


def test_failures_leak_nothing(fault_shim, tmp_path):
    """Many failures one after the other: no descriptor stays open, and then all works."""
    place = tools.prepare(tmp_path)
    data = tmp_path / "data"
    faults = Faults(fault_shim, tmp_path / "faults")
    server = Server(data, faults)
    client = Client(server, place)

    def fail_all(rounds: range) -> None:
        for at in rounds:
            for name, mask in (
                ("upload", WRITE),
                ("upload", ROOM),
                ("small", SYNC),
                ("append", 15),
            ):
                faults.arm("error", 1 + at, error=errno.ENOSPC, mask=mask)
                try:
                    FLOWS[name][0](client)
                except Refused as error:
                    assert error.status in COME_BACK, error
                faults.disarm()
                client.raw("DELETE", f"{client.base}/uploads/201")

    try:
        fail_all(range(4))
        before = server.descriptors()
        fail_all(range(4, 24))
        tools.wait_for(lambda: server.descriptors() <= before + 2)
    finally:
        faults.disarm()
        assert server.stop() == 0
    with running(data) as server:
        client = Client(server, place)
        for name in ("upload", "small", "append"):
            FLOWS[name][0](client)
        assert health(client)[0] == 200
    orphans, _ = inspect(data)
    assert orphans == []


# ---- a disk that is full ----


@pytest.fixture
def small_disk():
    """160 MB of memory as a file system of its own."""
    with tempfile.TemporaryDirectory(prefix="mldash-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", name]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"mounting a tmpfs needs root: {done.stderr.strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def fill(path: Path) -> None:
    """Takes all that is left, to the last byte."""
    with open(path, "ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def refused(send: Callable[[], object]) -> int:
    try:
        send()
    except Refused as error:
        return error.status
    return 200


def send_until_full(client: Client) -> tuple[dict[str, bytes], bytes, dict[str, int]]:
    """Small files and points until neither goes any more: what was acknowledged of each, and the
    last status of each."""
    files: dict[str, bytes] = {}
    points, last = b"", {"small": 200, "append": 200}
    for n in range(400):
        file, data = str(1000 + n), tools.some_bytes(40_000, n)
        last["small"] = refused(lambda: client.small((file, f"f{n}", data)))  # noqa: B023
        if last["small"] == 200:
            files[file] = data
        more = tools.some_bytes(20_000, n).hex().encode() + b"\n"
        last["append"] = refused(
            lambda: client.append("more", (LOG, "log", points, more))  # noqa: B023
        )
        if last["append"] == 200:
            points += more
        if 200 not in last.values():
            break
    return files, points, last


def test_full_disk(small_disk):
    place = tools.prepare(small_disk)
    data = small_disk / "data"
    server = Server(data, log=small_disk.parent / f"{small_disk.name}.log")
    client = Client(server, place)
    try:
        use_full_disk(client, small_disk / "ballast")
        seen = client.look()
    finally:
        assert server.stop() == 0
    assert inspect(data)[0] == []
    with running(data) as server:
        assert Client(server, place).look() == seen


def use_full_disk(client: Client, ballast: Path) -> None:
    before = client.look()
    told = client.begin("201", *FILES["201"])
    client.part("201", FILES["201"][1], 0, told["part_size_bytes"])
    assert health(client)[0] == 200
    fill(ballast)
    assert health(client)[0] == 503
    os.truncate(ballast, ballast.stat().st_size - 3 * MB)
    # What was promised has its room.
    client.part("201", FILES["201"][1], 1, told["part_size_bytes"])
    # New things have none, and leave nothing.
    big = tools.some_bytes(4 * MB, 1)
    assert refused(lambda: client.begin("900", "big.bin", big)) == 507
    files, points, last = send_until_full(client)
    assert last == {"small": 507, "append": 507}
    fill(ballast)
    assert client.raw("GET", f"{client.base}/uploads/900")[0] == 404
    seen = client.look()
    assert {k: v for k, v in seen.items() if k in before and "upload" not in k} == {
        k: v for k, v in before.items() if "upload" not in k
    }
    assert files and points
    assert client.missing(files) == []
    assert client.get(f"/streams/{LOG}") == points
    # Dropping needs room for metadata, which a disk without a byte may not have; a little will do,
    # and what it frees can be used.
    drop = ("DELETE", f"{client.base}/uploads/202")
    assert client.raw(*drop)[0] in (200, 507)
    os.truncate(ballast, ballast.stat().st_size - 4 * MB)
    assert client.raw(*drop)[0] == 200
    assert client.raw("DELETE", f"{client.base}/uploads/201")[0] == 200
    client.upload("201", *FILES["201"])
    ballast.unlink()
    tools.wait_for(lambda: health(client)[0] == 200)
    assert (client.server.data / "blobs/reserve").exists()
    client.small(*[(file, *FILES[file]) for file in ("211", "212", "213")])
    client.append("points", (METRIC, "metric", METRIC_1, METRIC_1))
    client.append(
        "record", (RECORDS, "records", RECORDS_1, tools.file_record(2000, "900", "big.bin", big))
    )
    client.upload("900", "big.bin", big)
    assert client.get("/files/900/content") == big
    client.append("more", (LOG, "log", points, b"the end\n"))
    assert client.get(f"/streams/{LOG}") == points + b"the end\n"
    assert client.missing(files) == []
