"""Measures ML-Dash beside its peers and prints JSON: run.py [--quick] [CASE...].

Each figure is the median of five runs, ours and the peer's in turn, each in a fresh process and
folder, after sync and a pause. The result also goes to build/bench/results.json.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / ".venv/bin/python"
PEERS = ROOT / "build/peers/bin/python"
CLIENT_061 = ROOT / "build/clients/0.6.1/bin/python"
CLIENT_011 = ROOT / "build/clients/0.11.0/bin/python"


class Bench:
    def __init__(self, quick):
        self.quick = quick
        self.repeats = 1 if quick else 5
        self.work = Path(
            tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR", ROOT / "build"))
        )
        self.loops = self.work / "loops"
        subprocess.run(
            ["gcc", "-O2", "-D_GNU_SOURCE", "-o", self.loops, ROOT / "bench/loops.c"], check=True
        )
        self.folders = 0

    def settle(self):
        os.sync()
        time.sleep(0.2 if self.quick else 1.0)

    def folder(self):
        self.folders += 1
        return self.work / f"run{self.folders}"

    def sweep(self):
        """Removes a case's folders after it, never during: on a disk mounted with `discard`, freed
        blocks slow the writer that comes next by up to ten times (a loop of 10,000 small saves took
        0.6 s, and 3 to 7 s right after such a removal)."""
        folders = [self.work / f"run{i}" for i in range(1, self.folders + 1)]
        if not any(folder.exists() for folder in folders):
            return
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        os.sync()
        time.sleep(1 if self.quick else 30)

    def worker(self, python, name, **arguments):
        """One run of a worker in a fresh folder; its JSON."""
        root = arguments.pop("root", None) or self.folder()
        self.settle()
        environment = dict(
            os.environ,
            HOME=str(self.work / "home"),
            ML_DASH_NO_VERSION_CHECK="1",
            PYTHONWARNINGS="ignore",
        )
        command = [
            str(python),
            str(ROOT / "bench/workers.py"),
            name,
            json.dumps(dict(arguments, root=str(root))),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=self.work
        )
        if done.returncode != 0:
            return {"error": done.stderr.strip().splitlines()[-1:]}
        return json.loads(done.stdout.strip().splitlines()[-1])

    def loop(self, mode, *arguments):
        root = self.folder()
        self.settle()
        out = subprocess.run(
            [self.loops, mode, root, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
        )
        return {"seconds": float(out.stdout)}

    def alternate(self, **sides):
        """Medians of each side, run in turn."""
        results = {name: [] for name in sides}
        for _ in range(self.repeats):
            for name, run in sides.items():
                results[name].append(run())
        return {name: median(runs) for name, runs in results.items()}

    def small_files(self, count):
        folder = self.work / "small"
        if not folder.exists():
            folder.mkdir()
            for i in range(count):
                (folder / f"{i}.bin").write_bytes(hashlib.sha256(str(i).encode()).digest() * 128)
        return folder


def median(runs):
    failed = [r for r in runs if "error" in r]
    if failed:
        return failed[0]
    return {key: statistics.median(r[key] for r in runs) for key in runs[0]}


def ratio(results, ours, other, key="seconds"):
    try:
        return round(results[ours][key] / results[other][key], 3)
    except (KeyError, ZeroDivisionError):
        return None


def save_1gb(b):
    size = (64 if b.quick else 1024) << 20
    source = b.work / "big.bin"
    with open(source, "wb") as f:
        block = os.urandom(1 << 20)
        for _ in range(size >> 20):
            f.write(block)
    source.read_bytes()  # warm

    def openssl():
        b.settle()
        start = time.perf_counter()
        subprocess.run(["openssl", "dgst", "-sha256", source], check=True, capture_output=True)
        return {"seconds": time.perf_counter() - start}

    r = b.alternate(
        ours=lambda: b.worker(OURS, "save_one_ours", source=str(source)),
        openssl=openssl,
        mldash061=lambda: b.worker(CLIENT_061, "save_one_mldash061", source=str(source)),
        mlflow=lambda: b.worker(PEERS, "save_one_mlflow", source=str(source)),
    )
    source.unlink()
    return dict(
        r, must="ours <= 1.1 x openssl; rss_growth_mb < 64", ratio=ratio(r, "ours", "openssl")
    )


def saves_4k(b):
    count = 1000 if b.quick else 10000
    folder = str(b.small_files(count))
    r = b.alternate(
        ours=lambda: b.worker(OURS, "saves_ours", folder=folder, count=count),
        loop=lambda: b.loop("save", count, folder),
        mlflow=lambda: b.worker(PEERS, "saves_mlflow", folder=folder, count=count),
    )
    r["mldash061_first_300"] = b.worker(
        CLIENT_061, "saves_mldash061", folder=folder, count=min(count, 300)
    )
    for side in ("ours", "loop", "mlflow"):
        if "seconds" in r[side]:
            r[side]["per_second"] = round(count / r[side]["seconds"])
    return dict(
        r,
        must="ours >= 5 x mlflow's rate",
        ratio=ratio(r, "mlflow", "ours"),
        of_loop=ratio(r, "loop", "ours"),
    )


def saves_syscalls(b):
    count = 1000 if b.quick else 10000
    part = count // 10
    folder = str(b.small_files(count))
    log = b.work / "strace.log"
    arguments = json.dumps(
        {"root": str(b.folder()), "folder": folder, "count": count, "part": part}
    )
    subprocess.run(
        ["strace", "-o", log, str(OURS), str(ROOT / "bench/workers.py"), "saves_marked", arguments],
        check=True,
        capture_output=True,
        cwd=b.work,
    )
    marks = {}
    with open(log) as f:
        for number, line in enumerate(f):
            if "/bench-mark-" in line:
                marks[int(line.split("/bench-mark-")[1].split('"')[0])] = number
    first = (marks[part] - marks[0] - 1) / part
    last = (marks[count] - marks[count - part] - 1) / part
    return {"first_per_save": first, "last_per_save": last, "must": "the same (main thread)"}


def saves_durable(b):
    count = 200 if b.quick else 2000
    folder = str(b.small_files(10000 if not b.quick else 1000))
    r = b.alternate(
        ours=lambda: b.worker(OURS, "saves_ours", folder=folder, count=count, durable=True),
        loop=lambda: b.loop("durable", count, folder),
    )
    return dict(r, must="ours >= 0.8 x the loop's rate", ratio=ratio(r, "loop", "ours"))


def listing(b):
    small, large = (1000, 10000) if b.quick else (10000, 100000)
    r = {"list": median([b.worker(OURS, "list_ours", count=small) for _ in range(b.repeats)])}
    root = b.folder()
    b.worker(OURS, "list_ours", root=root, count=large)
    runs = [b.worker(OURS, "open_and_list_ours", root=root, count=large) for _ in range(b.repeats)]
    return dict(
        r,
        open_and_list=median(runs),
        must=f"list({small}) <= 0.030 s; open and list({large}) <= 0.5 s",
    )


def points(b):
    count = 20000 if b.quick else 200000
    r = b.alternate(
        ours=lambda: b.worker(OURS, "points_ours", count=count),
        ours_beside_busy_thread=lambda: b.worker(OURS, "points_ours", count=count, busy=True),
        mldash011=lambda: b.worker(CLIENT_011, "points_mldash011", count=count),
        trackio=lambda: b.worker(PEERS, "points_trackio", count=min(count, 20000)),
        loop=lambda: b.loop("append", count),
    )
    for name, side in r.items():
        if "seconds" in side:
            side["per_second"] = round(
                (min(count, 20000) if name == "trackio" else count) / side["seconds"]
            )
    return dict(
        r,
        must="ours >= 10 x mldash011; beside a busy thread >= 100,000/s",
        ratio=ratio(r, "mldash011", "ours"),
    )


def batch(b):
    count = 100000 if b.quick else 1000000
    r = median([b.worker(OURS, "batch_ours", count=count) for _ in range(b.repeats)])
    if "seconds" in r:
        r["per_second"] = round(count / r["seconds"])
    return {"ours": r, "must": ">= 1,500,000 points/s"}


def torch(b):
    megabytes = 50 if b.quick else 500
    r = b.alternate(
        ours=lambda: b.worker(OURS, "torch_ours", megabytes=megabytes),
        torch_save=lambda: b.worker(OURS, "torch_save", megabytes=megabytes),
    )
    return dict(
        r, must="ours <= 1.2 x torch.save; rss_growth_mb < 32", ratio=ratio(r, "ours", "torch_save")
    )


def torch_background(b):
    megabytes = 50 if b.quick else 500
    r = median([b.worker(OURS, "torch_background", megabytes=megabytes) for _ in range(b.repeats)])
    return {
        "ours": r,
        "must": "<= 1.3 x copying the tensors",
        "ratio": round(r["seconds"] / r["copy_seconds"], 3) if "seconds" in r else None,
    }


def video(b):
    count = 30 if b.quick else 300
    r = b.alternate(
        ours=lambda: b.worker(OURS, "video_ours", count=count),
        pyav=lambda: b.worker(OURS, "video_pyav", count=count),
        imageio=lambda: b.worker(PEERS, "video_imageio", count=count),
    )
    return dict(r, must="ours <= 1.1 x pyav fed directly", ratio=ratio(r, "ours", "pyav"))


def import_time(b):
    def run(code):
        start = time.perf_counter()
        subprocess.run([OURS, "-c", code], check=True, cwd=b.work)
        return {"seconds": time.perf_counter() - start}

    b.settle()
    sides = {"python": [], "ml_dash": []}
    for _ in range(11):
        sides["python"].append(run("pass"))
        sides["ml_dash"].append(run("import ml_dash"))
    r = {name: median(runs) for name, runs in sides.items()}
    r["over_python_ms"] = round(1000 * (r["ml_dash"]["seconds"] - r["python"]["seconds"]), 1)
    return dict(r, must="<= 50 ms over python's start")


CASES = [
    save_1gb,
    saves_4k,
    saves_syscalls,
    saves_durable,
    listing,
    points,
    batch,
    torch,
    torch_background,
    video,
    import_time,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one small run of each case, to see that they work"
    )
    parser.add_argument("cases", nargs="*", help="; ".join(c.__name__ for c in CASES))
    arguments = parser.parse_args()
    b = Bench(arguments.quick)
    out = ROOT / "build/bench"
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    results = json.loads(path.read_text()) if path.exists() and arguments.cases else {}
    day = time.strftime("%Y-%m-%d")
    results["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}, {day}"
    )
    try:
        for case in CASES:
            if arguments.cases and case.__name__ not in arguments.cases:
                continue
            start = time.perf_counter()
            results[case.__name__] = result = case(b)
            took = time.perf_counter() - start
            b.sweep()
            print(f"{case.__name__} ({took:.0f} s): {json.dumps(result)}", file=sys.stderr)
            path.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        shutil.rmtree(b.work, ignore_errors=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
