"""save_torch: torch.save straight into a file of the experiment, also behind the training's back.

In the background the tensors are copied first, so that the training may change them as soon as the
call returns; a thread writes the copies. Torch and the library let go of the GIL while they write
large pieces.
"""

from __future__ import annotations

import concurrent.futures
import io
import os
import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any

from . import _lifecycle
from .exceptions import InvalidInputError, MissingPackageError, TimedOutError

if TYPE_CHECKING:
    from .files import FileBuilder, FileDict

_TORCH_OPTIONS = ("pickle_module", "pickle_protocol", "_use_new_zipfile_serialization")
# Copies in memory at a time: one that is being written and the next.
_COPIES = 2
_COPY_THREADS = 4


class BackgroundSave:
    """A save_torch(background=True) under way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._future: concurrent.futures.Future[FileDict] = concurrent.futures.Future()
        self._collected = False
        self._pid = os.getpid()

    def staged(self, timeout: float | None = None) -> bool:
        """True once the tensors may be changed: always, since the call returned after the copy."""
        return True

    def done(self) -> bool:
        """Whether result() would return or raise at once."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> FileDict:
        """The saved file's record. Waits for it, `timeout` seconds at most (None: no limit).

        Raises what went wrong in the background, or TimedOutError.
        """
        try:
            error = self._future.exception(timeout)
        except concurrent.futures.TimeoutError:
            raise TimedOutError(f"{self.name!r} was not saved within {timeout} s") from None
        self._collected = True
        if error is not None:
            raise error
        return self._future.result()

    def settle(self) -> BaseException | None:
        """Waits for the end, and returns an error that nobody was told of by result().

        In a child that was forked off meanwhile None: the thread is the parent's.
        """
        if self._pid != os.getpid():
            return None
        error = self._future.exception()
        return None if self._collected else error

    def __repr__(self) -> str:
        return f"<BackgroundSave {self.name!r} {'done' if self.done() else 'under way'}>"


def save_torch(
    files: FileBuilder, obj: Any, name: str, *, background: bool = False, **options: Any
) -> FileDict | BackgroundSave:
    """Saves a module, a state_dict or any object with torch.save, without a temporary copy.

    background: copies the tensors (to the CPU; what shares memory goes on sharing), returns a
        BackgroundSave and writes on a thread. At most two copies are in memory: a third save waits
        for the first. The end of the run waits for all, and raises what failed unless result() did.
    options: of torch.save (pickle_module, pickle_protocol), and of the file's record, such as tags.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InvalidInputError(f"the file's name must be a str, not {type(name).__name__}")
    torch = _require_torch()
    how = {option: options.pop(option) for option in _TORCH_OPTIONS if option in options}
    if background:
        return _save_in_background(torch, files, obj, name, how, options)
    with files._open_writer(name, **options) as writer:
        _write(torch, writer, obj, how)
        return writer.commit()


def _require_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError(
            f'save_torch needs torch ({error}): pip install "ml-dash[torch]"'
        ) from error
    return torch


def _write(torch: Any, writer: Any, obj: Any, how: dict[str, Any]) -> None:
    output = _Output(writer)
    torch.save(obj, output, **how)
    if output.error is not None:
        raise output.error


class _Output:
    """The writer, as torch uses it.

    An exception that passes through torch's C++ ends the process (a full disk would): it is kept,
    and raised by the caller.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.error: BaseException | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._writer.write(data)
            except BaseException as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing to do; torch.save asks for it."""


# --- in the background ----------------------------------------------------------------------------

_slots = threading.BoundedSemaphore(_COPIES)


def _forget_slots() -> None:
    """The parent's threads are not in the child."""
    global _slots
    _slots = threading.BoundedSemaphore(_COPIES)


os.register_at_fork(after_in_child=_forget_slots)


def _save_in_background(
    torch: Any,
    files: FileBuilder,
    obj: Any,
    name: str,
    how: dict[str, Any],
    record: dict[str, Any],
) -> BackgroundSave:
    slots = _slots
    slots.acquire()
    try:
        copies = [_copy(torch, obj)]
        writer = files._open_writer(name, **record)
        handle = BackgroundSave(os.fspath(name))
        # torch holds the GIL while it checks a tensor's bytes, tens of milliseconds at a time: the
        # thread begins when the call is about to return.
        begin = threading.Event()
        alone = _ends_without_us(files._experiment._pid)
        arguments = (begin, torch, writer, copies, how, slots, handle, alone)
        # Not a daemon: the interpreter waits for it before it ends.
        threading.Thread(target=_run, args=arguments, name=f"save of {name}").start()
    except BaseException:
        slots.release()
        raise
    try:
        files._register_background(handle)
        return handle
    finally:
        begin.set()


def _run(
    begin: threading.Event,
    torch: Any,
    writer: Any,
    copies: list[Any],
    how: dict[str, Any],
    slots: threading.BoundedSemaphore,
    handle: BackgroundSave,
    alone: bool,
) -> None:
    outcome: Any
    future = handle._future
    begin.wait()
    try:
        with writer:
            _write(torch, writer, copies[0], how)
        outcome, value = future.set_result, writer.record
    except BaseException as error:
        outcome, value = future.set_exception, error
        if alone:
            print(f"ml_dash: {_failure(handle.name, error)}", file=sys.stderr)
    copies.clear()
    slots.release()
    outcome(value)


def _ends_without_us(run_pid: int) -> bool:
    """Whether this process may end without ending the run: a forked child does not own it, and
    children of multiprocessing leave without the handlers of atexit."""
    processes = sys.modules.get("multiprocessing.process")
    return run_pid != os.getpid() or (
        processes is not None and processes.parent_process() is not None
    )


def _failure(name: str, error: BaseException) -> str:
    return f"saving {name!r} in the background failed: {_lifecycle.text_of(error)}"


def settle_all(
    saves: list[BackgroundSave], error: BaseException | None = None
) -> BaseException | None:
    """Returns the first error: `error`, else that of a save which nobody was told of. Each failed
    save is named in its notes."""
    for save in saves:
        failed = save.settle()
        if failed is not None:
            if error is None:
                error = failed
            _lifecycle.add_note(error, _failure(save.name, failed))
    return error


def _copy(torch: Any, obj: Any) -> Any:
    """A copy of the object and of the storages that its tensors are views of.

    It goes through pickle, as torch.save does: what can be saved can be copied, and what cannot
    is told here and now.
    """
    storages = _Storages(torch)
    pickled = io.BytesIO()
    pickler = _Pickler(pickled, pickle.HIGHEST_PROTOCOL)
    pickler.storages = storages
    pickler.dump(obj)
    storages.copy_all()
    pickled.seek(0)
    unpickler = _Unpickler(pickled)
    unpickler.storages = storages
    return unpickler.load()


class _Pickler(pickle.Pickler):
    storages: _Storages

    def persistent_id(self, obj: Any) -> Any:
        return self.storages.put(obj)


class _Unpickler(pickle.Unpickler):
    storages: _Storages

    def persistent_load(self, pid: Any) -> Any:
        return self.storages.take(pid)


class _Storages:
    """Copies of storages on the CPU, one for each, however many tensors are views of it."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._typed = torch.storage.TypedStorage
        self._is_storage = torch.is_storage
        # By address; the original is kept, so that no other comes to lie there meanwhile.
        self._originals: dict[int, Any] = {}
        self._copies: dict[int, Any] = {}

    def put(self, obj: Any) -> Any:
        """What stands for a storage in the pickle; None for all other objects."""
        if not isinstance(obj, self._typed):
            return (self._put(obj), None) if self._is_storage(obj) else None
        if hasattr(obj, "_untyped_storage"):  # torch 2; it warns without _internal
            return self._put(obj._untyped_storage), {"dtype": obj.dtype, "_internal": True}
        return self._put(obj._storage), {"dtype": obj.dtype}

    def _put(self, untyped: Any) -> int:
        key: int = untyped._cdata
        self._originals[key] = untyped
        return key

    def copy_all(self) -> None:
        """Copies what was put, on a few threads: new memory costs more than the copying does."""
        threads = min(_COPY_THREADS, os.cpu_count() or 1, len(self._originals))
        if threads < 2:
            copies = [self._copy(original) for original in self._originals.values()]
        else:
            with concurrent.futures.ThreadPoolExecutor(threads) as pool:
                copies = list(pool.map(self._copy, self._originals.values()))
        self._copies = dict(zip(self._originals, copies))

    def _copy(self, untyped: Any) -> Any:
        if untyped.device.type != "cpu":
            return untyped.cpu()
        # As a tensor, since only these are copied without the GIL.
        copy = self._torch.empty(0, dtype=self._torch.uint8).set_(untyped).clone()
        return (
            copy.untyped_storage() if hasattr(copy, "untyped_storage") else copy.storage()._storage
        )

    def take(self, pid: Any) -> Any:
        key, typed = pid
        copy = self._copies[key]
        return copy if typed is None else self._typed(wrap_storage=copy, **typed)
