"""Makes docs/benchmarks.md of build/bench/results.json: table.py > docs/benchmarks.md."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTRODUCTION = """# Benchmarks

Made by `make bench` (then `python3 bench/table.py > docs/benchmarks.md`); one case by
`make build && .venv/bin/python bench/run.py CASE`. Each figure is the median of five runs, ours and
the peer's in turn, each in a fresh process and folder, after sync and a pause. The final flush to
disk is not inside. Absolute figures differ from machine to machine: compare within a row.
"""
UNITS = {
    "seconds": "s",
    "per_second": "/s",
    "rss_growth_mb": "MB memory",
    "flush_seconds": "s final flush",
    "copy_seconds": "s for copying the tensors",
    "open_seconds": "s for open",
    "list_seconds": "s for list",
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
}


def figures(side):
    if "error" in side:
        return f"failed: {side['error']}"
    return ", ".join(
        f"{value:,.0f} {UNITS[key]}" if value >= 1000 else f"{value:.3g} {UNITS[key]}"
        for key, value in side.items()
        if key in UNITS
    )


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
