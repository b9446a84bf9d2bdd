"""Every Python block of docs/python.md and README.md, run in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dash
import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks_of(page: str) -> list[tuple[int, str]]:
    """(line, code) of each block."""
    text = (ROOT / page).read_text()
    return [
        (text.count("\n", 0, match.start(1)) + 1, match[1])
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def run_block(page: str, line: int, code: str, names: dict) -> None:
    # Empty lines, so that a traceback has the page's line numbers.
    exec(compile("\n" * (line - 1) + code, page, "exec"), names)  # noqa: S102  our own page


@pytest.fixture
def names(workdir):
    """What a reader of the pages has: a model, its file, a figure, an image."""
    np = pytest.importorskip("numpy")
    pytest.importorskip("PIL")
    plt = pytest.importorskip("matplotlib.pyplot")
    torch = pytest.importorskip("torch")
    for name in ("model.pth", "best.pth"):
        (workdir / name).write_bytes(b"weights")
    plt.plot([0.5, 0.4])
    return {"model": torch.nn.Linear(3, 2), "pixels": np.zeros((4, 4)), "train": lambda model: 0.5}


def test_python_page(names, run_python, workdir):
    blocks = blocks_of("docs/python.md")
    assert len(blocks) >= 12
    for line, code in blocks:
        if "import dxp" in code:  # of the whole program, so in one of its own
            setup = "import torch\nmodel = torch.nn.Linear(3, 2)\n"
            run_python(setup + code)
        else:
            run_block("docs/python.md", line, code, names)
    experiment = names["experiment"]
    assert Path(experiment.directory) == workdir / ".ml-dash/digits/baseline"
    assert experiment.status == "RUNNING"
    experiment.run.complete()
    assert [step["data"]["epoch"] for step in experiment.metrics("loss").read()["data"]] == [
        *range(10)
    ]
    assert experiment.params.get() == {"lr": 0.001, "model.depth": 18}
    assert experiment.params.get(flatten=False) == {"lr": 0.001, "model": {"depth": 18}}
    assert {f"{f['path']}/{f['filename']}".lstrip("/") for f in experiment.files.list()} == {
        "models/model.pth",
        "models/latest.pth",
        "checkpoints/last.pth",
        "config/args.json",
        "images/a.png",
    }
    assert (workdir / "out/a.png").exists()
    assert (workdir / "copy.pth").read_bytes() == b"weights"
    (metric,) = [m for m in experiment.metrics.list_all() if m["name"] == "train/loss"]
    assert metric["totalDataPoints"] == "3"
    assert experiment.verify()["losses"] == 0
    dxp = ml_dash.Experiment("dxp", "scratch", read_only=True).run.start()
    assert dxp.status == "COMPLETED"
    assert [file["filename"] for file in dxp.files.list()] == ["model.pt"]


def test_front_page(names):
    ((line, code),) = blocks_of("README.md")
    run_block("README.md", line, code, names)
    experiment = names["experiment"]
    assert experiment.status == "COMPLETED"
    found = [(file["path"], file["filename"]) for file in experiment.files.list()]
    assert sorted(found) == [("/", "model.pt"), ("/figures", "loss.png"), ("/models", "best.pth")]
    assert experiment.metrics("loss").stats()["totalDataPoints"] == "100"
