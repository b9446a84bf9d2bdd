"""Commands, options, help, messages and exit codes."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

COMMANDS = ["list", "show", "download", "verify", "gc", "version"]


def test_version(cli):
    number = cli.json("version")["version"]
    assert cli("version").stdout == f"ml-dash {number}\n" == cli("--version").stdout
    assert number.count(".") == 2


def test_help_names_all_commands(cli):
    text = cli("--help").stdout
    assert cli("help").stdout == text == cli("-h").stdout
    for command in COMMANDS:
        assert f"  {command} " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(cli, name):
    text = cli(name, "--help").stdout
    assert text.startswith(f"usage: ml-dash {name}")
    assert "--json" in text
    assert cli("help", name).stdout == text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "did you mean 'list'?"),
        (["dwnload"], "did you mean 'download'?"),
        (["frobnicate"], "ml-dash --help lists them"),
        (["list", "--jsn"], "did you mean --json?"),
        (["list", "--frobnicate"], "--help lists them"),
        (["list", "-x"], "there is no option -x"),
        (["list", "--prefix"], "--prefix needs a value"),
        (["list", "--json=1"], "--json takes no value"),
        (["list", "a", "b"], "too many arguments"),
        (["list", "--meta", "k"], "--meta needs KEY=VALUE"),
        (["show", "--logs", "-1"], "not negative"),
        (["show", "--logs=many"], "not 'many'"),
        (["download"], "something is missing"),
        (["download", "."], "name the files"),
        (["version", "x"], "too many arguments"),
    ],
)
def test_wrong_usage(cli, root, words, said):
    if "--meta" in words:
        words = [*words, ".ml-dash/digits/first"]
    done = cli(*words, code=2)
    assert said in done.stderr
    assert done.stdout == ""


def test_no_command(command):
    done = subprocess.run([command], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: ml-dash")


def test_failures_are_3_and_name_what_is_missing(cli):
    assert "no .ml-dash" in cli("list", code=3).stderr
    assert "'nothing'" in cli("show", "nothing", code=3).stderr
    os.mkdir("empty")
    assert "'empty'" in cli("verify", "empty", code=3).stderr


def test_messages_are_one_harmless_line(cli):
    done = cli("show", "a\x1b[2J\nb", code=3)
    assert "\\x1b[2J\\nb" in done.stderr and done.stderr.count("\n") == 1


def test_a_full_disk_is_a_failure(command, root):
    for words in (["list", str(root)], ["--help"], ["list", "--help"], ["version", "--json"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [command, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 3
        assert done.stderr.startswith("ml-dash: cannot write the output")


@pytest.mark.parametrize("name", ["list", "show", "verify"])
def test_colour_only_on_a_terminal(cli, run_on_terminal, first, name):
    assert "\x1b[3" in run_on_terminal(name, str(first), TERM="xterm")
    assert "\x1b" not in run_on_terminal(name, str(first), TERM="xterm", NO_COLOR="1")
    assert "\x1b" not in run_on_terminal(name, str(first), TERM="dumb")
    assert "\x1b[3" in run_on_terminal(name, str(first), TERM="xterm", NO_COLOR="")
    assert "\x1b" not in cli(name, str(first)).stdout
    assert "\x1b" not in cli(name, str(first), TERM="xterm").stdout


def test_names_of_experiments(cli, root):
    def name_of(*words):
        return cli.json("show", *words)["experiment"]["name"]

    assert name_of("digits/first") == name_of("first") == name_of(root / "digits/first") == "first"
    assert name_of(root / "other") == "second"
    several = cli("show", code=2).stderr
    assert "digits/first" in several and "other/second" in several
    assert "no experiment of this name" in cli("show", "third", code=3).stderr
    assert "no experiment of this name" in cli("show", "irst", code=3).stderr


def test_a_name_of_two_needs_its_project(cli, root):
    os.rename(root / "other/second", root / "other/first")
    assert "2 experiments" in cli("list", "first", code=2).stderr
    assert cli("list", "other/first").stdout.startswith("NAME")


def test_a_whole_name_is_not_the_end_of_another(cli, root):
    shutil.copytree(root / "digits", root / "zoo/digits")
    shown = cli.json("show", "digits/first")["experiment"]
    assert shown["directory"] == str(root / "digits/first")


def test_dash_is_the_second_choice(cli, root):
    os.rename(".ml-dash", ".dash")
    assert "digits/first" in cli("list").stdout
