"""Each rule of scripts/style_budget.py finds what breaks it, and nothing in what does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_budget() -> ModuleType:
    spec = importlib.util.spec_from_file_location("style_budget", ROOT / "scripts/style_budget.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


budget = load_budget()


def findings(root: Path, files: dict[str, str]) -> list[tuple[str, str]]:
    """(rule, place) of what breaks the budget in a tree of these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        folder = root / "python" if name.startswith("python/") else path.parent
        with (folder / "meson.build").open("a", encoding="utf-8") as build:
            build.write(f"'{path.relative_to(folder).as_posix()}'\n")
    return [(f.rule, f.place) for f in budget.check(root, [], {})]


def function(name: str, lines: int) -> str:
    """A function of so many lines, name line and braces counted."""
    return f"int {name}(void)\n{{\n" + "    work();\n" * (lines - 3) + "}\n"


def test_columns(tmp_path: Path) -> None:
    fits = "/* " + "é" * 94 + " */\n"
    assert len(fits) == 101
    assert findings(tmp_path, {"src/base/a.c": fits}) == []
    too_wide = {"src/base/a.c": fits.replace("/*", "/**"), "tests/unit/b.py": "#" * 101}
    assert findings(tmp_path, too_wide) == [
        ("columns", "src/base/a.c"),
        ("columns", "tests/unit/b.py"),
    ]


def test_length_of_a_file(tmp_path: Path) -> None:
    assert findings(tmp_path, {"src/run/a.c": "\n" * 1000}) == []
    assert findings(tmp_path, {"src/run/a.c": "\n" * 1001}) == [("file", "src/run/a.c")]


def test_length_of_a_function(tmp_path: Path) -> None:
    short = "".join(function(f"short{i}", 5) for i in range(4))
    assert findings(tmp_path, {"src/run/a.c": short + function("f", 70)}) == []
    assert findings(tmp_path, {"src/run/a.c": short + function("f", 71)}) == [
        ("function", "src/run/a.c:f")
    ]


def test_median_length(tmp_path: Path) -> None:
    assert findings(tmp_path, {"src/run/a.c": function("f", 20) + function("g", 20)}) == []
    assert findings(tmp_path, {"src/run/a.c": function("f", 21) + function("g", 21)}) == [
        ("median", "src")
    ]


def test_complexity(tmp_path: Path) -> None:
    def branches(count: int) -> str:
        return "void f(int a)\n{\n" + "    if (a) a++;\n" * count + "}\n"

    assert findings(tmp_path, {"src/base/a.c": branches(14)}) == []
    assert findings(tmp_path, {"src/base/a.c": branches(15)}) == [("complexity", "src/base/a.c:f")]


def test_includes_point_one_way(tmp_path: Path) -> None:
    fine = {
        "src/base/a.c": '#include "base/buf.h"\n#include <sys/stat.h>\n',
        "src/run/a.c": '#include "base/buf.h"\n#include "run/b.h"\n#include "mldash/file.h"\n',
        "src/cli/a.c": '#include "run/b.h"\n#include "command.h"\n',
        "python/ext/a.c": '#include "run/b.h"\n',
    }
    assert findings(tmp_path, fine) == []
    wrong = {
        "src/base/a.c": '#include "run/b.h"\n',
        "src/run/a.c": "#  include <cli/b.h>\n",
        "src/cli/a.c": '#include "../../python/ext/b.h"\n',
        "python/ext/a.c": '#include "cli/b.h"\n',
        "include/mldash/a.h": '#include "base/buf.h"\n',
    }
    found = findings(tmp_path, wrong)
    assert sorted(found) == sorted(("include", name) for name in wrong)


@pytest.mark.parametrize("call", ["rename", "fsync", "fdatasync", "syncfs", "openat2", "link"])
def test_durable_calls_belong_to_one_file(tmp_path: Path, call: str) -> None:
    text = f"void f(void)\n{{\n    {call}(1, 2);\n}}\n"
    assert findings(tmp_path, {"src/base/fs.c": text}) == []
    assert findings(tmp_path, {"src/base/a.c": text}) == [("durable", "src/base/a.c")]


def test_a_system_call_by_number_is_found(tmp_path: Path) -> None:
    text = "void f(void)\n{\n    syscall(SYS_openat2, 1);\n}\n"
    assert findings(tmp_path, {"src/run/a.c": text}) == [("durable", "src/run/a.c")]


@pytest.mark.parametrize("call", ["strcpy", "sprintf", "strcat", "gets", "strtok", "alloca"])
def test_banned_calls(tmp_path: Path, call: str) -> None:
    text = f"void f(void)\n{{\n    {call} (a, b);\n}}\n"
    assert findings(tmp_path, {"src/base/fs.c": text}) == [("banned", "src/base/fs.c")]


def test_words_in_comments_literals_and_members_are_no_calls(tmp_path: Path) -> None:
    text = (
        "/* fsync(fd) and\n   strcpy(a, b) */\n// rename(a, b)\n"
        'void f(void)\n{\n    put("sprintf(\\" fsync(");\n    s.link(1);\n    s->rename(1);\n'
        "    fs_rename(1);\n    snprintf(a, 1, b);\n}\n"
    )
    assert findings(tmp_path, {"src/run/a.c": text}) == []


def test_a_source_that_no_list_names(tmp_path: Path) -> None:
    (tmp_path / "src/run").mkdir(parents=True)
    (tmp_path / "src/run/a.c").write_text("int a;\n")
    (tmp_path / "src/run/meson.build").write_text("run_sources = files('ba.c')\n")
    assert findings(tmp_path, {}) == [("unlisted", "src/run/a.c")]


def test_a_unit_test_that_no_list_names(tmp_path: Path) -> None:
    (tmp_path / "tests/unit/base").mkdir(parents=True)
    (tmp_path / "tests/unit/base/test_a.c").write_text("int a;\n")
    build = tmp_path / "tests/unit/meson.build"
    build.write_text("unit_tests = ['base/test_b']\n")
    assert findings(tmp_path, {}) == [("unlisted", "tests/unit/base/test_a.c")]
    build.write_text("unit_tests = ['base/test_a']\n")
    assert findings(tmp_path, {}) == []


def test_exceptions_go_by_name_and_only_where_needed(tmp_path: Path) -> None:
    findings(tmp_path, {"src/run/a.c": "\n" * 1001})
    assert budget.check(tmp_path, [], {("file", "src/run/a.c"): "a table"}) == []
    left = budget.check(tmp_path, [], {("file", "src/run/b.c"): "a table"})
    assert [f.rule for f in left] == ["file", "exception"]


def test_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings(tmp_path, {"src/base/a.c": "int a;\n"})
    assert budget.main([str(tmp_path)]) == 0
    findings(tmp_path, {"src/base/a.c": "\n" * 1001})
    assert budget.main([str(tmp_path)]) == 1
    assert "src/base/a.c: file: 1001 lines, at most 1000" in capsys.readouterr().out
