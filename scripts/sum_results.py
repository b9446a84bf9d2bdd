"""Sums up a test run: sum_results.py FOLDER, with JUnit files and a file `steps` in it.

Names what failed and what was skipped; the last line is the sum. Exit status 1 if anything failed,
or if nothing ran at all.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def cases_of(path: Path) -> list[tuple[str, str, str]]:
    """(verdict, name, reason) of each test case of a JUnit file."""
    cases = []
    for case in ElementTree.parse(path).iter("testcase"):
        verdict, reason = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                verdict = "failed"
            elif child.tag == "skipped" and verdict == "passed":
                verdict, reason = "skipped", child.get("message") or ""
        name = " ".join(filter(None, [case.get("classname"), case.get("name")]))
        cases.append((verdict, f"{path.stem}: {name}", reason))
    return cases


def main(folder: Path) -> int:
    results = []
    for path in sorted(folder.glob("*.xml")):
        results += cases_of(path)
    steps = folder / "steps"
    for line in steps.read_text().splitlines() if steps.exists() else []:
        verdict, name = line.split(" ", 1)
        results.append((verdict, name, ""))
    for verdict in ("skipped", "failed"):
        for _, name, reason in sorted(r for r in results if r[0] == verdict):
            print(f"{verdict}: {name}" + (f" ({reason})" if reason else ""))
    count = {v: sum(r[0] == v for r in results) for v in ("passed", "failed", "skipped")}
    if count["skipped"]:
        print(f"{count['skipped']} skipped")
    print(f"{count['passed']} passed, {count['failed']} failed")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
