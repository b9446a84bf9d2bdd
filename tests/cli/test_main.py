"""Commands, options, help, messages and exit codes."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ml_dash import Experiment

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
    for word, nearest in (("irst", "first"), ("digit/first", "digits/first"), ("otehr", "other")):
        assert f"did you mean '{nearest}'?" in cli("show", word, code=3).stderr


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


def listed(cli, *words):
    lines = cli("list", *words).stdout.splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("EXPERIMENT")]


def test_a_project_stands_for_its_experiments(cli, root):
    for place in ("digits/third", "deep/er/fourth", "digits2/fifth", "more/digits"):
        project, name = place.rsplit("/", 1)
        with Experiment(
            name, project.split("/")[-1], folder=project.rpartition("/")[0] or None
        ).run:
            pass
    assert listed(cli, "digits") == listed(cli, "digits/") == ["digits/first", "digits/third"]
    assert listed(cli, root / "digits") == ["digits/first", "digits/third"]
    assert listed(cli, "deep") == listed(cli, "deep/er") == ["deep/er/fourth"]
    assert len(cli.json("list", "digits")["experiments"]) == 2
    assert cli("list", "deep", "--files").stdout.startswith("0 files")
    assert cli.json("show", "deep")["experiment"]["name"] == "fourth"
    assert "2 experiments" in cli("verify", "digits").stdout
    # Where one experiment is asked for, a name goes before a project; that of two is told.
    assert cli.json("show", "digits")["experiment"]["project"] == "more"
    shutil.rmtree(root / "more")
    several = cli("show", "digits", code=2).stderr
    assert "2 experiments" in several and "digits/third" in several and "other" not in several


def test_a_data_folder_does_not_hide_a_project(cli, root):
    os.mkdir("digits")
    assert listed(cli, "digits") == ["digits/first"]
    os.mkdir("empty")
    assert "no experiment in 'empty' or below it" in cli("list", "empty", code=3).stderr


def test_both_roots(cli, root):
    with Experiment(prefix="alice/digits/run").run as e:
        e.files.save_text("x", to="x.txt")
    text = cli("list").stdout
    ours, theirs = text.split("\n\n")
    assert ours.startswith(".ml-dash:\nEXPERIMENT") and "digits/first" in ours
    assert theirs.startswith(".dash:\nEXPERIMENT") and "alice/digits/run" in theirs
    assert "alice" not in ours and "first" not in theirs
    found = cli.json("list")["experiments"]
    assert [e["name"] for e in found] == ["first", "second", "run"]
    assert listed(cli, "alice") == ["alice/digits/run"]
    assert cli("show", "alice/digits/run").stdout.startswith("alice/digits/run")
    assert cli("show", "first").stdout.startswith("digits/first")
    assert "below .ml-dash or .dash" in cli("show", "nothing", code=3).stderr
    assert "3 experiments" in cli("verify").stdout
    shutil.copytree(root / "digits/first", ".dash/digits/first")
    both = cli("show", "digits/first", code=2).stderr
    assert "2 experiments" in both and "'.ml-dash/digits/first'" in both
    shutil.rmtree(root)
    assert cli("list").stdout.startswith("EXPERIMENT")
