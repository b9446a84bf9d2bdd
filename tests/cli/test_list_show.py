"""What list and show print, for people and for programs."""

from __future__ import annotations

import math

import pytest

LOSS = [1.0 / (i + 1) for i in range(100)]


def names(answer: dict) -> list[str]:
    return [f["path"].rstrip("/") + "/" + f["filename"] for f in answer["files"]]


def test_list_experiments(cli, root):
    answer = cli.json("list", root)
    one, two = answer["experiments"]
    assert (one["project"], one["name"], two["name"]) == ("digits", "first", "second")
    assert one["status"] == "COMPLETED" and one["description"] == "one\nrun"
    assert one["tags"] == ["a", "b"] and one["totalFiles"] == 6 and one["totalMetrics"] == 1
    assert one["totalBytes"] == len("weights 0" + "best" + "figure" + "notes" + 2 * "twice")
    lines = cli("list").stdout.splitlines()
    assert lines[0].split() == "EXPERIMENT STATUS STARTED TOOK METRICS FILES SIZE TAGS".split()
    assert lines[1].startswith("digits/first  COMPLETED  20") and lines[1].endswith("a, b")
    assert lines[2].startswith("other/second  COMPLETED")
    assert len(lines) == 3 and lines[0].index("STARTED") == lines[1].index(" 20") + 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "/models/model.pt /models/best.pt /figures/loss.png /notes.txt "
             "/figures/same.txt /models/same.txt"),
        (["--prefix", "/models"], "/models/model.pt /models/best.pt /models/same.txt"),
        (["-p", "models", "--glob", "*.pt"], "/models/model.pt /models/best.pt"),
        (["--glob=*.txt"], "/notes.txt /figures/same.txt /models/same.txt"),
        (["--tag", "best"], "/models/best.pt /figures/loss.png"),
        (["--tag", "big", "--tag", "other"], "/models/best.pt"),
        (["--all-tags", "best", "--all-tags", "big"], "/models/best.pt"),
        (["--all-tags", "best", "--all-tags", "other"], ""),
        (["--meta", "step=2"], "/models/model.pt"),
        (["--meta", 'step="2"'], ""),
        (["--meta", "kind=loss"], "/figures/loss.png"),
        (["--meta", "kind=loss", "--meta", "step=2"], ""),
        (["--versions", "--glob", "model.*"],
         "/models/model.pt /models/model.pt /models/model.pt"),
        (["--deleted", "--prefix", "old"], "/old/gone.txt"),
    ],
)  # fmt: skip
def test_list_files(cli, first, options, expected):
    answer = cli.json("list", first, *options)
    assert names(answer) == expected.split()
    text = cli("list", first, *options).stdout
    for name in expected.split():
        assert f"{name[1:]}  " in text
    count = len(expected.split())
    assert text.splitlines()[-1].startswith(f"{count} file{'s' * (count != 1)}, ")


def test_a_file_in_json(cli, first):
    (file,) = cli.json("list", first, "--tag", "big")["files"]
    assert file["id"].isdigit() and file["sizeBytes"] == 4 and len(file["checksum"]) == 64
    assert file["tags"] == ["best", "big"] and file["metadata"] is None
    assert file["deletedAt"] is None and file["newest"] is True and file["damaged"] is False
    assert file["uploadedAt"].endswith("Z")


def test_deleted_and_older_are_named(cli, first):
    lines = cli("list", first, "--versions", "--deleted").stdout.splitlines()
    assert sum(" older" in line for line in lines) == 2
    (gone,) = [line for line in lines if "gone.txt" in line]
    assert " deleted" in gone


def test_one_experiment_of_a_root_by_options(cli, root):
    assert names(cli.json("list", root / "other", "--files")) == ["/x.txt"]
    assert "name one" in cli("list", root, "--files", code=2).stderr


def test_show_for_people(cli, first):
    text = cli("show", first).stdout
    lines = text.splitlines()
    assert lines[0] == "digits/first"
    assert "  status      COMPLETED" in lines
    assert "  description one\\nrun" in lines
    assert "Parameters (4)" in lines and "Metrics (1)" in lines and "Tracks (1)" in lines
    assert "  name  adam\\x1b[31m" in lines and f"  big   {2**70}" in lines
    (loss,) = [line for line in lines if line.startswith("  train/loss  ")]
    assert loss.split()[1:6] == ["loss", "100", "0.01", "0.01", "1"]
    assert len(loss.split()[6]) == 24 and loss.split()[6].startswith("█▃▂▂▂▂▁")
    (track,) = [line for line in lines if "robot/pos" in line]
    assert track.split() == ["robot/pos", "3", "2.0", "s", "x"]
    assert any(line.endswith("warn  odd \\x1b[2J\\ntext") for line in lines)
    assert "Files (6, 34 B)" in lines
    assert "\x1b" not in text


def test_show_for_programs(cli, first):
    answer = cli.json("show", first)
    assert answer["experiment"]["directory"] == str(first)
    parameters = answer["parameters"]
    assert parameters["lr"] == 0.001 and parameters["name"] == "adam\x1b[31m"
    assert math.isnan(parameters["bad"]) and parameters["big"] == 2**70
    (metric,) = answer["metrics"]
    assert metric["name"] == "train/loss" and metric["totalDataPoints"] == 100
    fields = {field.pop("name"): field for field in metric["fields"]}
    assert fields == {
        "loss": {
            "last": LOSS[-1],
            "min": min(LOSS),
            "max": 1.0,
            "mean": pytest.approx(sum(LOSS) / 100),
        },
        "step": {"last": 99, "min": 0, "max": 99, "mean": 49.5},
    }
    (track,) = answer["tracks"]
    assert (track["topic"], track["totalEntries"]) == ("robot/pos", 3)
    assert (track["firstTimestamp"], track["lastTimestamp"]) == (10.0, 12.0)
    assert [line["message"] for line in answer["logs"]] == ["begin", "odd \x1b[2J\ntext"]
    assert len(answer["files"]) == 6


def test_show_less(cli, first):
    text = cli("show", first, "--logs", "1", "--files", "2").stdout
    assert "begin" not in text and "odd" in text and "Logs (the last 1)" in text
    assert "notes.txt" not in text and "models/same.txt" in text
    assert [line["level"] for line in cli.json("show", first, "-l1")["logs"]] == ["warn"]
    assert "Logs" not in cli("show", first, "--logs=0").stdout


def test_many_logs_show_the_last(cli, tmp_path):
    from ml_dash import Experiment

    with Experiment("long", "p", local_path="root").run as e:
        for i in range(500):
            e.log(f"line {i}")
    lines = cli.json("show", "root", "--logs", "3")["logs"]
    assert [line["message"] for line in lines] == ["line 497", "line 498", "line 499"]


def test_the_last_lines_of_a_very_long_log(cli, first):
    """Longer than what is read at once."""
    line = (
        '{"sequenceNumber":%d,"timestamp":"2024-01-31T12:00:00Z","level":"info","message":"%d"}\n'
    )
    with open(first / "logs/logs.jsonl", "a") as stream:
        stream.writelines(line % (i, i) for i in range(2, 100_002))
    lines = cli.json("show", first, "--logs", "4")["logs"]
    assert [line["message"] for line in lines] == ["99998", "99999", "100000", "100001"]


def test_show_why_a_run_failed(cli, tmp_path):
    from ml_dash import Experiment

    with pytest.raises(ValueError, match="no such"), Experiment("bad", "p", local_path="root").run:
        raise ValueError("no such\x1b[31m\nlayer")
    lines = cli("show", "root").stdout.splitlines()
    assert lines[1].split() == ["status", "FAILED"]
    assert lines[2].split(maxsplit=1) == ["error", "ValueError: no such [31m layer"]
    assert cli.json("show", "root")["experiment"]["error"] == "ValueError: no such [31m layer"
    with Experiment("bad", "p", local_path="root").run:
        pass
    assert "error" not in cli("show", "root").stdout
    (experiment,) = cli.json("list", "root")["experiments"]
    assert experiment["error"] is None


def test_metrics_that_are_no_curves(cli, tmp_path):
    from ml_dash import Experiment

    with Experiment("odd", "p", local_path="root").run as e:
        for value in (1.0, float("nan"), float("inf"), 3.0):
            e.metrics("m").append(a=value)
        e.metrics("words").append(word="x\x1b")
        e.metrics("flat").append(a=2)
    text = cli("show", "root").stdout
    (m,) = [line for line in text.splitlines() if line.startswith("  m ")]
    assert m.split() == ["m", "a", "4", "3", "1", "3", "▁··█"]
    (words,) = [line for line in text.splitlines() if line.startswith("  words ")]
    assert words.split() == ["words", "word", "1", "x\\x1b"]
    (flat,) = [line for line in text.splitlines() if line.startswith("  flat ")]
    assert flat.split() == ["flat", "a", "1", "2", "2", "2", "▁"]
    fields = {m["name"]: m["fields"][0] for m in cli.json("show", "root")["metrics"]}
    none = {"min": None, "max": None, "mean": None}
    assert fields["words"] == {"name": "word", "last": "x\x1b", **none}


def test_wide_names_keep_the_columns(cli, tmp_path):
    from ml_dash import Experiment

    with Experiment("wide", "p", local_path="root").run as e:
        e.files(prefix="/").save_text("1", to="日本語.txt")
        e.files(prefix="/").save_text("1", to="é.txt")
        e.files(prefix="/").save_text("1", to="abcdef.txt")
    lines = cli("list", "root/p/wide").stdout.splitlines()[1:4]
    assert lines[0].startswith("日本語.txt   1 B")
    assert lines[1].startswith("é.txt        1 B")
    assert lines[2].startswith("abcdef.txt   1 B")
