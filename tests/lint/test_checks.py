"""Each check of scripts/lint.sh accepts a small good tree and refuses it with one fault in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEADER = """#ifndef MLDASH_ERROR_H
#define MLDASH_ERROR_H

#define MLD_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

MLD_API const char *mld_version(void);

#ifdef __cplusplus
}
#endif
#endif
"""
SOURCE = """#include "mldash/error.h"

const char *mld_version(void)
{
    return "1";
}
"""
PACKAGE = '''"""A package."""


def twice(number: int) -> int:
    """Twice the number."""
    return 2 * number
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of the project's layout that every check accepts."""
    for name, text in {
        "include/mldash/error.h": HEADER,
        "src/base/version.c": SOURCE,
        "src/base/meson.build": "base_sources = files('version.c')\n",
        "python/ml_dash/__init__.py": PACKAGE,
        "scripts/hello.sh": "#!/usr/bin/env bash\necho hello\n",
    }.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lint(tree: Path, check: str) -> tuple[int, str]:
    command = [str(ROOT / "scripts/lint.sh"), "--tree", str(tree), check]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    return done.returncode, done.stdout + done.stderr


def build_library(tree: Path, source: str = SOURCE) -> None:
    """The shared library of the tree, where the check of symbols looks for it."""
    write(tree / "src/base/version.c", source)
    library = tree / "build/release/libmldash.so"
    library.parent.mkdir(parents=True)
    flags = ["-shared", "-fPIC", "-fvisibility=hidden", f"-I{tree}/include"]
    subprocess.run(
        [os.environ.get("CC", "cc"), *flags, "-o", str(library), str(tree / "src/base/version.c")],
        check=True,
    )


@pytest.mark.parametrize("check", "format tidy ruff mypy stubs budget headers shell".split())
def test_a_good_tree_is_accepted(tree: Path, check: str) -> None:
    status, output = lint(tree, check)
    assert status == 0, output


def refused(tree: Path, check: str, *words: str) -> None:
    status, output = lint(tree, check)
    assert status != 0, output
    for word in words:
        assert word in output, output


def test_unformatted_c_is_refused(tree: Path) -> None:
    write(tree / "src/base/version.c", SOURCE.replace("{\n", "{\n  "))
    refused(tree, "format", "src/base/version.c")


def test_unformatted_header_is_refused(tree: Path) -> None:
    write(tree / "include/mldash/error.h", HEADER.replace("(void)", "( void )"))
    refused(tree, "format", "include/mldash/error.h")


def test_unformatted_python_is_refused(tree: Path) -> None:
    write(tree / "python/ml_dash/__init__.py", PACKAGE.replace("2 * ", "2*"))
    refused(tree, "format", "__init__.py")


def test_a_bug_in_c_is_refused(tree: Path) -> None:
    bug = "#include <stdlib.h>\n\nint leak(void);\nint leak(void)\n{\n    return !malloc(7);\n}\n"
    write(tree / "src/base/version.c", bug)
    refused(tree, "tidy", "version.c", "clang-analyzer")


def test_a_bug_in_a_header_is_refused_although_the_source_was_clean(tree: Path) -> None:
    assert lint(tree, "tidy")[0] == 0
    bug = "static inline int same(int a)\n{\n    return a == a;\n}\n"
    write(tree / "include/mldash/error.h", HEADER.replace("MLD_API const", bug + "MLD_API const"))
    refused(tree, "tidy", "error.h", "misc-redundant")


def test_an_unused_import_is_refused(tree: Path) -> None:
    write(tree / "python/ml_dash/more.py", "import os\n")
    refused(tree, "ruff", "more.py", "F401")


def test_a_wrong_type_is_refused(tree: Path) -> None:
    write(tree / "python/ml_dash/__init__.py", PACKAGE.replace("2 * number", '"2"'))
    refused(tree, "mypy", "__init__.py", "return-value")


def test_a_stub_that_says_too_much_is_refused(tree: Path) -> None:
    write(tree / "python/ml_dash/_core.pyi", "def no_such_function_at_all() -> int: ...\n")
    refused(tree, "stubs", "no_such_function_at_all")


def test_a_header_that_needs_another_is_refused(tree: Path) -> None:
    text = HEADER.replace("const char *mld_version(void)", "size_t mld_version(void)")
    write(tree / "include/mldash/error.h", text)
    refused(tree, "headers", "size_t")


def test_a_header_that_cplusplus_refuses_is_refused(tree: Path) -> None:
    text = HEADER.replace("mld_version(void)", "mld_version(int class)")
    write(tree / "include/mldash/error.h", text)
    refused(tree, "headers", "class")


def test_the_exact_symbols_are_accepted(tree: Path) -> None:
    build_library(tree)
    status, output = lint(tree, "symbols")
    assert status == 0, output


def test_a_stray_symbol_is_refused(tree: Path) -> None:
    stray = '__attribute__((visibility("default"))) int stray;\n'
    build_library(tree, SOURCE + stray)
    refused(tree, "symbols", "+stray")


def test_a_missing_symbol_is_refused(tree: Path) -> None:
    build_library(tree, "typedef int none;\n")
    refused(tree, "symbols", "-mld_version")


def test_a_broken_script_is_refused(tree: Path) -> None:
    write(tree / "scripts/hello.sh", "if true; then echo\n")
    refused(tree, "shell", "hello.sh")


def test_the_style_budget_is_one_of_the_checks(tree: Path) -> None:
    write(tree / "src/base/meson.build", "base_sources = files()\n")
    refused(tree, "budget", "unlisted")


def test_an_unknown_check_is_refused(tree: Path) -> None:
    refused(tree, "everything", "no such check")
