#!/usr/bin/env python3
"""The style budget: numbers and rules of the source. Prints what breaks them; exit status 1 then.

Usage: style_budget.py [ROOT]
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import lizard

MAX_COLUMNS = 100
MAX_FILE_LINES = 1000
MAX_FUNCTION_LINES = 70
MAX_FUNCTION_MEDIAN = 20
MAX_COMPLEXITY = 15

# (rule, place): why. The place is a path, or path:function. One that is not needed is an error.
EXCEPTIONS: dict[tuple[str, str], str] = {}

# A folder of ours: the folders whose headers it may include, besides the public ones.
LAYERS = {
    "include/mldash": [],
    "src/base": ["base"],
    "src/run": ["base", "run"],
    "src/sync": ["base", "run", "sync"],
    "src/meta": ["base", "meta"],
    "src/blob": ["base", "blob"],
    "src/server": ["base", "meta", "blob", "server"],
    "src/cli": ["base", "run", "sync", "meta", "blob", "server", "cli"],
    "python/ext": ["base", "run", "sync", "ext"],
}
DURABLE_FILES = re.compile(r"src/base/fs(_\w+)?\.c")
DURABLE_CALLS = """rename renameat renameat2 fsync fdatasync syncfs sync openat2 link linkat
    SYS_openat2 SYS_renameat2 sync_file_range""".split()
BANNED_CALLS = """strcpy strcat sprintf vsprintf gets strtok alloca strncat strncpy scanf sscanf
    fscanf atoi atol atof tmpnam mktemp tempnam system popen setjmp longjmp""".split()

CODE = {".c", ".h", ".cpp"}
TEXT = CODE | {".py", ".pyi", ".sh"}
FOLDERS = ["include", "src", "python", "tests", "bench", "examples", "scripts"]

TOKENS = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE
)


class Finding(NamedTuple):
    rule: str
    place: str
    text: str


def code_only(text: str) -> str:
    """The text with comments and literals blanked out, line numbers kept."""
    return TOKENS.sub(lambda m: " " + "\n" * m.group().count("\n"), text)


def files_of(root: Path, folders: list[str], suffixes: set[str]) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts and path.is_file():
                yield path.relative_to(root).as_posix(), path


def check_text(root: Path) -> Iterator[Finding]:
    """Columns and length of every text file of ours."""
    for name, path in files_of(root, FOLDERS, TEXT):
        lines = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_COLUMNS:
                yield Finding("columns", name, f"line {number} has {len(line)} columns")
        if len(lines) - 1 > MAX_FILE_LINES:
            yield Finding("file", name, f"{len(lines) - 1} lines, at most {MAX_FILE_LINES}")


def check_functions(root: Path, lengths: list[int]) -> Iterator[Finding]:
    """Length and complexity of C functions; the lengths are added to `lengths`."""
    for name, path in files_of(root, ["src", "python"], {".c", ".cpp"}):
        for function in lizard.analyze_file(str(path)).function_list:
            place = f"{name}:{function.name}"
            lines = function.end_line - function.start_line + 1
            lengths.append(lines)
            if lines > MAX_FUNCTION_LINES:
                yield Finding("function", place, f"{lines} lines, at most {MAX_FUNCTION_LINES}")
            if function.cyclomatic_complexity > MAX_COMPLEXITY:
                text = f"complexity {function.cyclomatic_complexity}, at most {MAX_COMPLEXITY}"
                yield Finding("complexity", place, text)
    median = statistics.median(lengths) if lengths else 0
    if median > MAX_FUNCTION_MEDIAN:
        text = f"the median function has {median} lines, at most {MAX_FUNCTION_MEDIAN}"
        yield Finding("median", "src", text)


def check_includes(root: Path) -> Iterator[Finding]:
    """Includes point one way."""
    quoted = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)
    ours = {Path(layer).name for layer in LAYERS} - {"mldash"}
    for layer, allowed in LAYERS.items():
        for name, path in files_of(root, [layer], CODE):
            for target in quoted.findall(path.read_text(encoding="utf-8")):
                first = target.split("/")[0]
                if ".." in target.split("/") or (
                    "/" in target and first in ours and first not in allowed
                ):
                    yield Finding("include", name, f"{layer} may not include {target}")


def check_calls(root: Path) -> Iterator[Finding]:
    """Functions that nobody may call, and those that only one file may."""
    banned = re.compile(rf"(?<![.>\w])({'|'.join(BANNED_CALLS)})\s*\(")
    durable = re.compile(rf"(?<![.>\w])({'|'.join(DURABLE_CALLS)})\b(?=\s*[(,])")
    for name, path in files_of(root, ["src", "python"], {".c", ".cpp", ".h"}):
        for number, line in enumerate(code_only(path.read_text(encoding="utf-8")).split("\n"), 1):
            for call in banned.findall(line):
                yield Finding("banned", name, f"line {number} calls {call}")
            if not DURABLE_FILES.fullmatch(name):
                for call in durable.findall(line):
                    text = f"line {number} calls {call}, which only src/base/fs*.c may"
                    yield Finding("durable", name, text)


def check_lists(root: Path) -> Iterator[Finding]:
    """A source that no meson.build names would silently not be compiled or run."""
    for folder in ["src/base", "src/run", "src/cli", "python", "tests/unit"]:
        build = root / folder / "meson.build"
        listed = build.read_text(encoding="utf-8") if build.is_file() else ""
        for name, path in files_of(root, [folder], {".c", ".cpp"}):
            inside = path.relative_to(root / folder)
            if f"'{inside.as_posix()}'" in listed or f"'{inside.with_suffix('')}'" in listed:
                continue
            yield Finding("unlisted", name, f"{folder}/meson.build does not name it")


def count_lines(root: Path, folders: list[str]) -> int:
    paths = files_of(root, folders, CODE | {".py"})
    return sum(path.read_text(encoding="utf-8").count("\n") for _, path in paths)


def check(root: Path, lengths: list[int], exceptions: dict[tuple[str, str], str]) -> list[Finding]:
    findings = [
        *check_text(root),
        *check_functions(root, lengths),
        *check_includes(root),
        *check_calls(root),
        *check_lists(root),
    ]
    kept = [f for f in findings if (f.rule, f.place) not in exceptions]
    used = {(f.rule, f.place) for f in findings}
    for rule, place in exceptions:
        if (rule, place) not in used:
            kept.append(Finding("exception", place, f"the exception from '{rule}' is not needed"))
    return kept


def main(arguments: list[str]) -> int:
    here = Path(__file__).resolve().parent.parent
    root = Path(arguments[0]).resolve() if arguments else here
    lengths: list[int] = []
    findings = check(root, lengths, EXCEPTIONS if root == here else {})
    for finding in findings:
        print(f"{finding.place}: {finding.rule}: {finding.text}")
    source = count_lines(root, ["src", "include", "python"])
    tests = count_lines(root, ["tests"])
    if lengths:
        ranks = statistics.quantiles(lengths, n=100) if len(lengths) > 1 else lengths * 99
        print(
            f"{len(lengths)} functions: median {statistics.median(lengths):g} lines, "
            f"p90 {ranks[89]:.0f}, longest {max(lengths)}"
        )
    print(f"{source} lines of source, {tests} of tests: ratio {tests / max(source, 1):.2f}")
    print(f"style budget: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
