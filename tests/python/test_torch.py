"""save_torch: what comes back, what it costs, and saving in the background."""

from __future__ import annotations

import io
import sys
import textwrap
import threading
import traceback

import pytest
from ml_dash import Experiment
from ml_dash.exceptions import TimedOutError, TooLargeError

torch = pytest.importorskip("torch")


def load(experiment, record):
    return torch.load(io.BytesIO(experiment.files(file_id=record["id"]).read_bytes()))


def network():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    net.add_module("tied", torch.nn.Linear(4, 4))
    net.tied.weight = net[0].weight
    return net


def everything():
    """Every kind of value that a checkpoint may hold."""
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(3, 4)).sum().backward()
    optimizer.step()
    return {
        "net": net,
        "state": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "half": torch.rand(3).half(),
        "view": net[0].weight.detach()[1:],
        "transposed": torch.rand(2, 3).t(),
        "not a leaf": net[0].weight * 2,
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8),
        "empty": torch.empty(0),
        "complex": torch.rand(3, dtype=torch.complex64),
        "plain": (1, "a", {2}, None, [0.5]),
    }


def same(left, right):
    assert type(left) is type(right)
    if isinstance(left, torch.nn.Module):
        same(left.state_dict(), right.state_dict())
    elif isinstance(left, torch.Tensor):
        assert left.requires_grad == right.requires_grad
        if left.is_sparse:
            left, right = left.to_dense(), right.to_dense()
        if left.is_quantized:
            left, right = left.int_repr(), right.int_repr()
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for one, other in zip(left, right):
            same(one, other)
    else:
        assert left == right


@pytest.mark.parametrize("background", [False, True])
def test_what_was_saved_comes_back(experiment, background):
    value = everything()
    saved = experiment.files(prefix="/models").save_torch(value, "all.pt", background=background)
    record = saved.result() if background else saved
    assert (record["path"], record["filename"]) == ("/models", "all.pt")
    back = load(experiment, record)
    same(back, value)
    # What shares memory goes on sharing it.
    assert back["net"].tied.weight is back["net"][0].weight
    assert back["view"].data_ptr() == back["net"][0].weight.data_ptr() + 16
    assert back["state"]["0.weight"].data_ptr() == back["net"][0].weight.data_ptr()
    assert back["state"]._metadata == value["state"]._metadata


@pytest.mark.parametrize("background", [False, True])
def test_the_file_is_that_of_torch_save(experiment, background):
    net = network()
    expected = io.BytesIO()
    torch.save(net, expected)
    saved = experiment.files.save_torch(net, "net.pt", background=background)
    record = saved.result() if background else saved
    assert experiment.files(file_id=record["id"]).read_bytes() == expected.getvalue()


def test_the_record_of_files_and_options_of_torch(experiment):
    record = experiment.files(tags=["best"]).save_torch(
        {"a": 1}, "a.pt", metadata={"epoch": 3}, _use_new_zipfile_serialization=False
    )
    assert record["tags"] == ["best"]
    assert record["metadata"] == {"epoch": 3}
    assert load(experiment, record) == {"a": 1}
    with pytest.raises(TypeError, match="nope"):
        experiment.files.save_torch({"a": 1}, "a.pt", nope=1)


@pytest.mark.parametrize("background", [False, True])
def test_what_cannot_be_pickled_is_told_at_once(experiment, stored_files, background):
    with pytest.raises(TypeError, match="pickle"):
        experiment.files.save_torch({"a": threading.Lock()}, "a.pt", background=background)
    assert stored_files(experiment) == []


# --- in the background ----------------------------------------------------------------------------


def test_the_training_may_go_on_at_once(experiment):
    weights = {"a": torch.ones(1_000_000), "step": 5}
    saves = []
    for step in range(5):
        weights["a"].fill_(step)
        saves.append(experiment.files.save_torch(weights, f"{step}.pt", background=True))
        assert saves[-1].staged()
        weights["a"].fill_(-1)
    for step, save in enumerate(saves):
        assert load(experiment, save.result(timeout=60))["a"].eq(step).all()
        assert save.done()


def test_the_end_of_the_run_waits(tmp_path):
    with Experiment("a", "b", local_path="root").run as experiment:
        for index in range(3):
            experiment.files.save_torch(torch.rand(2_000_000), f"{index}.pt", background=True)
    with Experiment("a", "b", local_path="root").run as experiment:
        found = experiment.files().list()
        assert [file["filename"] for file in found] == ["0.pt", "1.pt", "2.pt"]
        assert all(load(experiment, file).shape == (2_000_000,) for file in found)


class Gate:
    """Pickled for a copy at once; pickled to be saved only when the gate is open."""

    opened = threading.Event()

    def __reduce__(self):
        if threading.current_thread() is not threading.main_thread():
            assert Gate.opened.wait(60)
        return Gate, ()


def test_result_with_a_timeout(experiment):
    Gate.opened.clear()
    save = experiment.files.save_torch(Gate(), "slow.pt", background=True)
    assert save.staged()
    assert not save.done()
    with pytest.raises(TimedOutError, match=r"slow\.pt") as caught:
        save.result(timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    Gate.opened.set()
    assert save.result(timeout=60)["filename"] == "slow.pt"


def test_at_most_two_copies(experiment):
    Gate.opened.clear()
    saves = [experiment.files.save_torch(Gate(), f"{i}.pt", background=True) for i in range(2)]
    third = threading.Thread(
        target=lambda: saves.append(experiment.files.save_torch({}, "2.pt", background=True))
    )
    third.start()
    third.join(0.2)
    assert third.is_alive()
    Gate.opened.set()
    third.join(60)
    assert [save.result(60)["filename"] for save in saves] == ["0.pt", "1.pt", "2.pt"]


@pytest.fixture
def small():
    """An experiment that takes no file above 100 kB."""
    return Experiment("a", "b", local_path="root", max_file_size=100_000)


def test_an_error_of_the_store_does_not_end_the_process(small, stored_files):
    with small.run as experiment:
        with pytest.raises(TooLargeError):
            experiment.files.save_torch([torch.rand(20_000) for _ in range(3)], "big.pt")
        assert stored_files(experiment) == []


def test_an_error_in_the_background_is_raised_by_result(small, stored_files):
    with small.run as experiment:
        save = experiment.files.save_torch(torch.rand(100_000), "big.pt", background=True)
        for _ in range(2):
            with pytest.raises(TooLargeError):
                save.result()
        assert stored_files(experiment) == []
    assert small.status == "COMPLETED"


def test_an_error_that_nobody_asked_for_is_raised_at_the_end(small):
    run = small.run
    experiment = run.start()
    experiment.files.save_torch(torch.rand(100_000), "big.pt", background=True)
    with pytest.raises(TooLargeError):
        run.complete()
    assert small.status == "COMPLETED"
    run.complete()


def save_two_too_large(experiment):
    for name in ("one.pt", "two.pt"):
        experiment.files.save_torch(torch.rand(100_000), name, background=True)


def check_both_are_named(text):
    for name in ("one.pt", "two.pt"):
        assert f"saving '{name}' in the background failed: {TooLargeError.__module__}.Too" in text


needs_notes = pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes")


@needs_notes
def test_each_error_of_the_background_is_named_at_the_end(small):
    with pytest.raises(TooLargeError) as caught, small.run as experiment:
        save_two_too_large(experiment)
    check_both_are_named("".join(traceback.format_exception(caught.value)))


@needs_notes
def test_an_error_of_the_body_names_those_of_the_background(small):
    with pytest.raises(KeyError) as caught, small.run as experiment:
        save_two_too_large(experiment)
        raise KeyError("body")
    check_both_are_named("".join(traceback.format_exception(caught.value)))


PROGRAM = """
    import os, sys, torch
    from ml_dash import Experiment

    experiment = Experiment("a", "b", local_path="root", max_file_size=100_000).run.start()

    def save():
        for name in ("one.pt", "two.pt"):
            experiment.files.save_torch(torch.rand(100_000), name, background=True)
"""


@pytest.mark.parametrize(
    "how",
    [
        "save()",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=save); p.start();"
        "p.join()",
        "def end(): save(); experiment.run.complete()",
    ],
    ids=["at the exit", "in a child", "in a child that ends its part"],
)
def test_an_error_of_the_background_is_told_somewhere(run_python, how):
    code = textwrap.dedent(PROGRAM) + how
    if how.startswith("def"):
        code += "\nimport multiprocessing as m\np = m.get_context('fork').Process(target=end)\n"
        code += "p.start(); p.join()\n"
    if sys.version_info >= (3, 11) or "fork" in code:
        check_both_are_named(run_python(code).stderr)


def test_a_program_that_just_ends(run_python, tmp_path):
    run_python(
        """
        import torch
        from ml_dash import Experiment

        experiment = Experiment("a", "b", local_path="root").run.start()
        experiment.files.save_torch(torch.rand(3_000_000), "last.pt", background=True)
        """
    )
    with Experiment("a", "b", local_path="root").run as experiment:
        assert [file["filename"] for file in experiment.files().list()] == ["last.pt"]


def test_memory_of_a_large_save(run_python):
    """100 MB more than there is memory for copies: none is made."""
    run_python(
        """
        import torch
        from ml_dash import Experiment

        def grown():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

        weights = {str(i): torch.rand(2_500_000) for i in range(10)}
        with Experiment("a", "b", local_path="root").run as experiment:
            experiment.files.save_torch({"warm": torch.rand(1000)}, "warm.pt")
            before = grown()
            experiment.files.save_torch(weights, "large.pt")
            more = grown() - before
        assert more < 32 * 1024, f"{more} kB"
        """
    )


def test_without_torch(run_python):
    run_python(
        """
        import sys
        sys.modules["torch"] = None
        from ml_dash import Experiment

        with Experiment("a", "b", local_path="root").run as experiment:
            try:
                experiment.files.save_torch({}, "a.pt")
            except ImportError as error:
                assert 'pip install "ml-dash[torch]"' in str(error)
            else:
                raise AssertionError
        """
    )
