"""Makes docs/benchmarks.md of build/bench/results.json: table.py > docs/benchmarks.md."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTRODUCTION = """# Benchmarks

Made by `make bench` (then `python3 bench/table.py > docs/benchmarks.md`); one case by
`make build && .venv/bin/python bench/run.py CASE`, of the server by `bench/server.py CASE`, which
adds to the same results. Each figure is the median of five runs, ours and the peer's in turn, each
in a fresh process and folder, after sync and a pause. The final flush to disk is not inside.
Absolute figures differ from machine to machine: compare within a row.
"""
UNITS = {
    "seconds": "s",
    "per_second": "/s",
    "rss_growth_mb": "MB memory",
    "flush_seconds": "s final flush",
    "copy_seconds": "s for copying the tensors",
    "open_seconds": "s for open",
    "list_seconds": "s for list",
    "again_seconds": "s for a second time",
    "start_seconds": "s to start",
    "server_rss_growth_mb": "MB memory of the server",
    "server_rss_mb": "MB memory of the server",
    "client_rss_mb": "MB memory of the client",
    "step_ms": "ms a step",
    "p50_ms": "ms median",
    "median_ms": "ms median",
    "p99_ms": "ms p99",
}
TITLES = {
    "save_1gb": "Save one file of 1 GB, warm, default promise",
    "saves_4k": "10,000 saves of 4 KB with tags and metadata, distinct names",
    "saves_syscalls": "System calls per save, first and last 1,000 of 10,000",
    "saves_durable": "2,000 saves of 4 KB with durable=True",
    "listing": "list() of 10,000 files; open and list 100,000",
    "points": "200,000 metric points, one a call, from Python",
    "batch": "append_batch of 1,000,000 points",
    "torch": "save_torch of a state_dict of 500 MB",
    "torch_background": "save_torch(background=True): time until it returns",
    "video": "save_video, 300 frames of 480 x 640 x 3 doubles",
    "import_time": "import ml_dash",
    "server_upload": "Server: one file of 1 GB over loopback, hashed on both sides",
    "server_small_files": "Server: 10,000 files of 4 KB by `ml-dash sync`",
    "server_sync_points": "Server: 1,000,000 metric points by `ml-dash sync`",
    "server_training_steps": "Server: a training step of 2 ms with remote mode on",
    "server_crowded": "Server: a quick request beside 990 idle or dripping connections",
    "server_million": "Server: start and lists with 1,000,000 files",
}


def figures(side):
    if "error" in side:
        return f"failed: {side['error']}"
    known = [number(value) + " " + UNITS[key] for key, value in side.items() if key in UNITS]
    known += [
        f"{key.replace('_', ' ')}: {figures(value) if isinstance(value, dict) else number(value)}"
        for key, value in side.items()
        if isinstance(value, dict) or not known
    ]
    return ", ".join(known)


def number(value):
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rows(case):
    for name, value in case.items():
        if isinstance(value, dict):
            yield name.replace("_", " "), figures(value)
        elif name != "must":
            yield name.replace("_", " "), str(value)


if __name__ == "__main__":
    results = json.loads((ROOT / "build/bench/results.json").read_text())
    print(INTRODUCTION)
    print(f"Machine: {results.pop('machine')}.")
    for name, case in results.items():
        print(f"\n## {TITLES[name]}\n\nWanted: {case.get('must', '')}. Case `{name}`.\n")
        print("| | |\n|---|---|")
        for label, text in rows(case):
            print(f"| {label} | {text} |")
