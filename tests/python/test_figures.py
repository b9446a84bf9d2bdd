"""save_fig: formats, options, what is closed, and what is refused."""

from __future__ import annotations

import hashlib
import io

import pytest
from ml_dash import Experiment
from ml_dash.exceptions import ExperimentError, InvalidInputError, MlDashError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
Image = pytest.importorskip("PIL.Image")

STARTS = {"png": b"\x89PNG", "pdf": b"%PDF-", "svg": b"<?xml", "jpg": b"\xff\xd8", "tiff": b"II*"}


@pytest.fixture(autouse=True)
def no_figures():
    plt.close("all")
    yield
    plt.close("all")


def draw():
    figure = plt.figure(figsize=(4, 3))
    plt.plot([0.5, 0.4, 0.3, 0.2])
    return figure


@pytest.mark.parametrize("kind", sorted(STARTS))
def test_formats(experiment, kind):
    draw()
    record = experiment.files(prefix="/plots").save_fig(f"loss.{kind}")
    data = experiment.files(file_id=record["id"]).read_bytes()
    assert data.startswith(STARTS[kind])
    assert (record["path"], record["filename"]) == ("/plots", f"loss.{kind}")
    assert record["sizeBytes"] == len(data)
    assert record["checksum"] == hashlib.sha256(data).hexdigest()


def test_the_current_figure_is_saved_and_closed(experiment):
    draw()
    other = draw()
    experiment.files.save_fig("loss.png")
    assert not plt.fignum_exists(other.number)
    assert len(plt.get_fignums()) == 1


def test_a_given_figure_is_saved_and_closed(experiment):
    first, second = draw(), draw()
    first.suptitle("the first")
    record = experiment.files.save_fig(first, "loss.svg")
    assert plt.get_fignums() == [second.number]
    assert b"the first" in experiment.files(file_id=record["id"]).read_bytes()


def test_a_figure_of_its_own_without_pyplot(experiment):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    axes = figure.add_subplot()
    axes.plot([1, 2])
    waiting = draw()
    record = experiment.files.save_fig(figure, "own.png", dpi=50)
    image = Image.open(io.BytesIO(experiment.files(file_id=record["id"]).read_bytes()))
    assert image.size == (100, 50)
    assert plt.get_fignums() == [waiting.number]
    assert experiment.files.save_fig(axes, "axes.png")["sizeBytes"] > 0


def test_options_of_savefig(experiment):
    figure = draw()
    record = experiment.files.save_fig(
        figure, "plot.png", dpi=200, transparent=True, metadata={"Title": "loss"}
    )
    image = Image.open(io.BytesIO(experiment.files(file_id=record["id"]).read_bytes()))
    assert image.size == (800, 600)
    assert image.convert("RGBA").getpixel((0, 0))[3] == 0
    assert image.text["Title"] == "loss"
    record = experiment.files.save_fig(draw(), "plot.dat", format="pdf", bbox_inches="tight")
    assert experiment.files(file_id=record["id"]).read_bytes().startswith(b"%PDF")


def test_the_record_of_files(experiment):
    draw()
    record = experiment.files(prefix="/v", tags=["plot"], metadata={"epoch": 3}).save_fig("l.png")
    assert record["tags"] == ["plot"]
    assert record["metadata"] == {"epoch": 3}
    assert record["contentType"] == "image/png"


def test_no_current_figure(experiment, stored_files):
    with pytest.raises(InvalidInputError, match="no current figure"):
        experiment.files.save_fig("loss.png")
    assert plt.get_fignums() == []
    assert stored_files(experiment) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("loss.xyz", "xyz"), ("loss", "no extension"), ("loss.mp4", "use .*pdf.*png.*svg")],
)
def test_unknown_formats(experiment, stored_files, name, message):
    figure = draw()
    with pytest.raises(ValueError, match=message) as caught:
        experiment.files.save_fig(figure, name)
    assert isinstance(caught.value, MlDashError)
    assert plt.fignum_exists(figure.number)
    assert stored_files(experiment) == []


def test_what_is_no_figure(experiment):
    with pytest.raises(InvalidInputError, match="list"):
        experiment.files.save_fig([1, 2, 3], "loss.png")


def test_a_failed_save_leaves_the_figure_open(experiment, stored_files):
    figure = draw()
    with pytest.raises(TypeError):
        experiment.files.save_fig(figure, "loss.png", no_such_option=1)
    with pytest.raises(ValueError):
        experiment.files.save_fig(figure, "../loss.png")
    assert plt.fignum_exists(figure.number)
    assert stored_files(experiment) == []


def test_before_the_start():
    draw()
    with pytest.raises(ExperimentError):
        Experiment("baseline", "digits", local_path="root").files.save_fig("loss.png")


def test_the_backend_is_left_alone(run_python):
    run_python(
        """
        import sys
        from ml_dash import Experiment

        with Experiment("a", "b", local_path="root").run as experiment:
            try:
                experiment.files.save_fig("loss.png")
            except ValueError as error:
                assert "no current figure" in str(error)
            else:
                raise AssertionError
            assert "matplotlib.pyplot" not in sys.modules
            from matplotlib.figure import Figure

            figure = Figure()
            figure.add_subplot().plot([1, 2])
            experiment.files.save_fig(figure, "loss.png")
            assert "matplotlib.pyplot" not in sys.modules
        """
    )


def test_without_matplotlib(run_python):
    run_python(
        """
        import sys
        sys.modules["matplotlib"] = sys.modules["matplotlib.figure"] = None
        from ml_dash import Experiment

        with Experiment("a", "b", local_path="root").run as experiment:
            for arguments in (["loss.png"], [object(), "loss.png"]):
                try:
                    experiment.files.save_fig(*arguments)
                except ImportError as error:
                    assert 'pip install "ml-dash[figures]"' in str(error)
                else:
                    raise AssertionError
        """
    )
