"""Files: experiment.files("model.pth", prefix="/models").save(), .files().list() and the rest.

Every path, prefix and name may be a str or a pathlib path.

`experiment.files` is both a function that returns a FileBuilder and a FileBuilder itself, so that
experiment.files(prefix="/models").save_json(...) and experiment.files.save_json(...) both work.

Files are returned as dicts, the flat file object: id, experimentId, path (the prefix), filename,
description, tags, bindrs, contentType, sizeBytes, checksum (SHA-256), metadata, uploadedAt,
updatedAt, deletedAt, and aliases, newest, damaged.
"""

from __future__ import annotations

import os
import stat

from . import _progress
from ._ids import generate_snowflake_id
from .exceptions import (
    ExistsError,
    ExperimentError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    SupersededError,
)

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO, Any, Callable, Union

    from ._core import Experiment as RunFolder
    from ._core import Writer
    from ._torch import BackgroundSave
    from .experiment import Experiment

    FileDict = dict[str, Any]  # see the module's docstring
    FileDicts = list[FileDict]  # FileBuilder.list hides the built-in
    PathLike = Union[str, "os.PathLike[str]"]

__all__ = [
    "BindrsBuilder",
    "FileBuilder",
    "FilesAccessor",
    "compute_sha256",
    "generate_snowflake_id",
    "get_mime_type",
    "verify_checksum",
]


_RECORD = ("description", "tags", "bindrs", "metadata", "content_type", "keep", "durable")


def _clean_prefix(prefix: Any) -> str:
    """Of "models", "/models" and "/models/" the one form "/models"; the library checks the rest."""
    if prefix is None:
        return "/"
    if isinstance(prefix, os.PathLike):
        prefix = os.fspath(prefix)
    if not isinstance(prefix, str):
        raise InvalidNameError(f"a prefix must be a string or path, not {type(prefix).__name__}")
    return "/" + prefix[prefix.startswith("/") :].removesuffix("/")


def _join(prefix: str, below: PathLike) -> str:
    text = os.fspath(below)
    return _clean_prefix(prefix.rstrip("/") + "/" + text[text.startswith("/") :])


def _split(prefix: str, path: str) -> tuple[str, str]:
    """The prefix and the file name of `path`, which is relative to `prefix`."""
    if "//" in path:
        raise InvalidNameError(f"{path!r} has an empty part: remove one '/'")
    path = path[path.startswith("/") :]
    directory, slash, name = path.rpartition("/")
    if not slash:
        return prefix, name
    return prefix.rstrip("/") + "/" + directory, name


def _is_glob(path: PathLike | None) -> bool:
    text = None if path is None else os.fspath(path)
    return isinstance(text, str) and any(char in text for char in "*?[")


class FileBuilder:
    """What to save, find or change: made by experiment.files(...), used by one of its methods.

    file_path: the local file that save() saves; for other methods the file's path in the
        experiment ("models/best.pt"), or a folder of the experiment to work in.
    prefix: folder in the experiment, "/" unless told.
    description, tags, bindrs, metadata: kept with the file; metadata is a dict without NaN.
        For list() they are conditions.
    file_id: an existing file, for download, delete, update, restore, alias.
    dest_path: where download() writes: a path, a folder, or an object with write().
    content_type: MIME type, by the name's extension unless told.
    keep: how many versions of this name stay: a number or "all"; the experiment's unless told.
    durable: the call returns once the file survives power loss.
    move: save() removes the source once its bytes are durable here.
    progress: see Experiment.
    """

    def __init__(
        self,
        experiment: Experiment,
        file_path: PathLike | None = None,
        prefix: PathLike | None = None,
        *,
        dir: PathLike | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        metadata: dict[str, Any] | None = None,
        file_id: str | None = None,
        dest_path: PathLike | IO[bytes] | None = None,
        content_type: str | None = None,
        keep: int | str | None = None,
        durable: bool = False,
        move: bool = False,
        progress: _progress.ProgressOption = None,
    ) -> None:
        self._experiment = experiment
        self._first = file_path
        self._prefix = _clean_prefix(prefix)
        if dir is not None:
            self._prefix = _join(self._prefix, dir)
        self._record: dict[str, Any] = {
            "description": description,
            "tags": tags,
            "bindrs": bindrs,
            "metadata": metadata,
            "content_type": content_type,
            "keep": keep,
            "durable": durable,
        }
        self._file_id = file_id
        self._dest_path = dest_path
        self._move = move
        self._progress = progress

    # --- where ----------------------------------------------------------------------------------

    @property
    def _core(self) -> RunFolder:
        return self._experiment._core

    def _at(self, prefix: str) -> FileBuilder:
        """The same record in another folder."""
        return FileBuilder(self._experiment, prefix=prefix, progress=self._progress, **self._record)

    def _directory(self) -> str:
        """The folder that files(...) named."""
        if self._first is None:
            return self._prefix
        return _join(self._prefix, self._first)

    def _path(self, path: PathLike | None) -> tuple[str, str]:
        """Prefix and name of an existing file."""
        if path is not None:
            return _split(self._directory(), os.fspath(path))
        if self._first is None:
            raise InvalidInputError('which file? files("models/best.pt") or files(file_id=...)')
        return _split(self._prefix, os.fspath(self._first))

    def _target(self, to: PathLike | None, file_name: PathLike | None = None) -> tuple[str, str]:
        """Prefix and name of a file to be saved from memory."""
        to = to if to is not None else file_name
        if to is not None:
            return _split(self._directory(), os.fspath(to))
        if self._first is None:
            raise InvalidInputError('under which name? for example to="name.json"')
        return _split(self._prefix, os.fspath(self._first))

    def _options(self, record: dict[str, Any]) -> dict[str, Any]:
        for name in record:
            if name not in _RECORD:
                raise TypeError(f"no option {name!r}; there are {', '.join(_RECORD)}")
        return {**self._record, **record}

    def _bar(self, label: str, progress: _progress.ProgressOption = None) -> Any:
        for option in (progress, self._progress, self._experiment._progress):
            if option is not None:
                return _progress.for_call(option, label)
        return _progress.for_call(None, label)

    def _names_many(self, pattern: PathLike | None) -> bool:
        if pattern is None and self._file_id is None:
            return _is_glob(self._first)
        return _is_glob(pattern)

    def _resolve(self, path: PathLike | None = None, alias: str | None = None) -> FileDict:
        """The record of an existing file, by id or by path."""
        file_id = self._file_id
        if file_id is not None and path is None:
            return self._experiment._look_up(lambda core: core.get(file_id))
        prefix, name = self._path(path)
        return self._experiment._look_up(lambda core: core.find(prefix, name, alias))

    def _open_writer(
        self,
        filename: str,
        seekable: bool = False,
        content_type: str | None = None,
        **record: Any,
    ) -> Writer:
        """A writer for a file in this builder's folder: write(), then commit() or abandon()."""
        if content_type is not None:
            record["content_type"] = content_type
        return self._core.writer(
            filename, prefix=self._directory(), seekable=seekable, **self._options(record)
        )

    def _register_background(self, save: BackgroundSave) -> None:
        """The end of the run waits for it, and raises its error unless the program did."""
        saves = self._experiment._saves
        saves[:] = [other for other in saves if not other.done() or other.settle()]
        saves.append(save)

    # --- saving ---------------------------------------------------------------------------------

    def save(self, content: Any = None, *, to: PathLike | None = None, **record: Any) -> FileDict:
        """Saves the file that files("path") named, or `content`, and returns the file object.

        content: a path (str or PathLike), bytes, a dict or list (saved as JSON), or an array (as
            an image); with content, files("folder") names a folder.
        to: another name, or path below the prefix, than the source's own; needed for content that
            is no path.

        Raises NotFoundError, AccessError, InvalidInputError (a folder or device, a bad name),
        SourceChangedError, TooLargeError, NoSpaceError; nothing is left behind then.
        """
        if content is None:
            if self._first is None:
                raise InvalidInputError('save() needs a file: files("model.pth").save()')
            return self._save_path(self._first, self._prefix, to, record)
        if isinstance(content, (str, os.PathLike)):
            return self.upload(content, to=to, **record)
        if isinstance(content, (bytes, bytearray, memoryview)):
            return self.save_blob(content, to=to, **record)
        if isinstance(content, (dict, list)):
            return self.save_json(content, to=to, **record)
        if hasattr(content, "__array_interface__"):
            return self.save_image(content, to=to, **record)
        raise InvalidInputError(
            f"save() takes a path, bytes, a dict, a list or an array, not"
            f" {type(content).__name__}; save_pkl() takes any object"
        )

    def upload(self, fpath: PathLike, *, to: PathLike | None = None, **record: Any) -> FileDict:
        """Saves the file at `fpath`; files("checkpoints") names the folder for it.

        to: another name, or path below the folder; with "/" at its end a folder.
        """
        return self._save_path(fpath, self._directory(), to, record)

    def _save_path(
        self, source: PathLike, prefix: str, to: PathLike | None, record: dict[str, Any]
    ) -> FileDict:
        name: str | None = None
        if to is not None:
            prefix, name = _split(prefix, os.fspath(to))
        options = self._options(record)
        return self._core.save(
            source,
            filename=name or None,
            prefix=prefix,
            move=self._move,
            progress=self._bar(os.path.basename(os.fspath(source))),
            **options,
        )

    def _save_bytes(
        self,
        data: Any,
        to: PathLike | None,
        file_name: PathLike | None,
        record: dict[str, Any],
    ) -> FileDict:
        prefix, name = self._target(to, file_name)
        return self._core.save_bytes(
            data, name, prefix=prefix, progress=self._bar(name), **self._options(record)
        )

    def save_blob(
        self,
        data: Any,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        **record: Any,
    ) -> FileDict:
        """Saves a bytes-like object."""
        return self._save_bytes(data, to, file_name, record)

    save_bytes = save_blob

    def save_text(
        self,
        content: str,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        encoding: str = "utf-8",
        **record: Any,
    ) -> FileDict:
        """Saves a string; line ends stay as they are."""
        return self._save_bytes(content.encode(encoding), to, file_name, record)

    def save_json(
        self,
        content: Any,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        indent: int | None = 2,
        **record: Any,
    ) -> FileDict:
        """Saves a value as JSON text; arrays become lists, NaN stays NaN.

        Raises NotJsonError (a TypeError and ValueError) for what JSON has no form for.
        """
        import json

        from ._json import plain
        from .exceptions import NotJsonError

        try:
            text = json.dumps(content, indent=indent, default=plain)
        except TypeError as error:
            raise NotJsonError(str(error)) from None
        return self._save_bytes(text.encode(), to, file_name, record)

    def save_pkl(
        self,
        content: Any,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        **record: Any,
    ) -> FileDict:
        """Pickles an object straight into the store."""
        import pickle

        prefix, name = self._target(to, file_name)
        with self._at(prefix)._open_writer(name, **record) as writer:
            pickle.dump(content, writer, protocol=pickle.HIGHEST_PROTOCOL)
        return writer.record

    def save_image(
        self,
        array: Any,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        quality: int = 95,
        **record: Any,
    ) -> FileDict:
        """Saves an array (H, W), (H, W, 3) or (H, W, 4) as PNG, JPEG or what the name says.

        Floats are 0 to 1; other numbers 0 to 255. quality: of JPEG and WebP, 1 to 100.
        """
        from . import _images

        prefix, name = self._target(to, file_name)
        return _images.save_image(self._at(prefix), array, name, quality=quality, **record)

    def save_torch(
        self,
        model: Any,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        background: bool = False,
        **options: Any,
    ) -> Any:
        """Saves a module, a state_dict or any object with torch.save, without a temporary copy.

        background: copy the tensors, return a handle with staged() and result() at once, and write
            on another thread.
        """
        from . import _torch

        prefix, name = self._target(to, file_name)
        builder = self._at(prefix)
        return _torch.save_torch(builder, model, name, background=background, **options)

    def save_fig(
        self,
        fig: Any = None,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        **options: Any,
    ) -> FileDict:
        """Saves a matplotlib figure as PNG, PDF or SVG, by its name, and closes it.

        save_fig("loss.png", dpi=150) saves the current figure, save_fig(fig, "loss.png") another;
        options are those of Figure.savefig.
        """
        from . import _figures

        if isinstance(fig, (str, os.PathLike)):
            fig, file_name = None, os.fspath(fig)
        if to is None and file_name is None and self._first is None:
            file_name = "figure.png"
        prefix, name = self._target(to, file_name)
        return _figures.save_fig(self._at(prefix), fig, name, **options)

    def save_video(
        self,
        frame_stack: Any,
        file_name: PathLike | None = None,
        *,
        to: PathLike | None = None,
        fps: float = 20,
        **options: Any,
    ) -> FileDict:
        """Saves frames as MP4 or GIF, by the name, `fps` frames a second.

        frame_stack: an array (N, H, W) or (N, H, W, C), or any iterable of frames (H, W) or
            (H, W, C), a generator, too: frames are encoded one by one. Floats are 0 to 1.
        """
        from . import _videos

        prefix, name = self._target(to, file_name)
        return _videos.save_video(self._at(prefix), frame_stack, name, fps=fps, **options)

    def duplicate(self, source: str | FileDict, to: PathLike) -> FileDict:
        """A new file with the bytes of another: its tags and metadata, unless files() gave some.

        source: a file id or file object. to: its path in the experiment, "models/latest.pt".
        """
        file_id = source["id"] if isinstance(source, dict) else source
        prefix, name = _split("/", os.fspath(to))
        record = self._change(file_id, lambda core: core.duplicate(file_id, prefix, name))
        changes = self._changes()
        return self._core.update_file(record["id"], **changes) if changes else record

    # --- finding --------------------------------------------------------------------------------

    def list(
        self,
        pattern: PathLike | None = None,
        *,
        prefix: PathLike | None = None,
        tags: Iterable[str] | None = None,
        all_tags: Iterable[str] | None = None,
        metadata: dict[str, Any] | None = None,
        bindr: str | None = None,
        versions: bool = False,
        deleted: bool = False,
        offset: int = 0,
        limit: int = 0,
    ) -> FileDicts:
        """File objects in order of saving: the newest version of each that is not deleted.

        pattern: "*.png" is matched against names, one with "/" against paths below the prefix;
            "**" spans folders.
        prefix: in this folder or below it; that of files(...) unless told.
        tags: any of these. all_tags: each of these. metadata: each of these values.
        versions: older versions, too. deleted: deleted ones, too. limit: 0 is no limit.
        """
        folder = self._prefix if prefix is None else _clean_prefix(prefix)
        if prefix is None and self._first is not None:
            first = os.fspath(self._first)
            if pattern is None and _is_glob(first):
                pattern = first
            else:
                folder = _join(folder, first)
        return self._experiment._fresh().list(
            prefix=None if folder == "/" else folder,
            glob=None if pattern is None else os.fspath(pattern).lstrip("/"),
            any_tags=(self._record["tags"] if tags is None else tags) or None,
            all_tags=all_tags or None,
            metadata=(self._record["metadata"] if metadata is None else metadata) or None,
            bindr=bindr,
            versions=versions,
            deleted=deleted,
            offset=offset,
            limit=limit,
        )

    def info(self, path: PathLike | None = None, *, alias: str | None = None) -> FileDict:
        """The file object of one file, by id or path, or its version with an alias."""
        return self._resolve(path, alias)

    def exists(self, path: PathLike | None = None) -> bool:
        """Whether there is a file with this id or at this path that is not deleted."""
        try:
            return self._resolve(path)["deletedAt"] is None
        except NotFoundError:
            return False

    def uploaded(self, path: PathLike | None = None, *, timeout: float | None = 0) -> bool:
        """Whether this file, by id or path, is at the server: see Experiment.uploaded."""
        file_id = self._file_id if path is None else None
        return self._experiment.uploaded(file_id or self._resolve(path)["id"], timeout)

    def versions(self, path: PathLike | None = None) -> FileDicts:
        """All versions of one file that are kept, the oldest first."""
        if self._file_id is not None and path is None:
            record = self._resolve()
            prefix, name = record["path"], record["filename"]
        else:
            prefix, name = self._path(path)
        found = self._experiment._fresh().list(prefix=prefix, filename=name, versions=True)
        return [file for file in found if file["path"] == prefix]

    # --- reading --------------------------------------------------------------------------------

    def download(
        self,
        pattern: PathLike | None = None,
        *,
        to: PathLike | IO[bytes] | None = None,
        alias: str | None = None,
        overwrite: bool = True,
        tree: bool = False,
        progress: _progress.ProgressOption = None,
    ) -> Any:
        """Copies a file out, checked against its SHA-256, and returns its path.

        pattern: the file's path, or a pattern as of list(): then all that match, as a list of
            paths; `to` is their folder, made when missing. tree keeps their folders below it.
        to (or dest_path): a path, a folder, or an object with write(). Unless told, the file's
            own name in the working directory; a file there that has the same bytes already is
            left as it is.
        overwrite: a file that is in the way is replaced, whole; with False, ExistsError.
        alias: the version with this alias.

        Raises ChecksumError when the stored bytes changed; nothing is left at `to` then. To an
        object with write() bytes go before the check is done: use them once this returned.
        """
        to = self._dest_path if to is None else to
        if self._names_many(pattern):
            return self._download_all(pattern, to, overwrite, tree, progress)
        if hasattr(to, "write"):
            stream: Any = to
            file_id = self._resolve(pattern, alias)["id"]
            self._experiment._look_up(lambda core: core.read(file_id, stream.write))
            return stream
        where: dict[str, Any]
        if self._file_id is not None and pattern is None:
            where, label = {"id": self._file_id}, self._file_id
        else:
            prefix, label = self._path(pattern)
            where = {"prefix": prefix, "filename": label, "alias": alias}
        if to is None and overwrite:
            there = _same_here(self._resolve(pattern, alias))
            if there is not None:
                return there
        where.update(destination=to, refuse_existing=not overwrite)
        return self._experiment._look_up(_downloader(progress=self._bar(label, progress), **where))

    def _download_all(
        self, pattern: PathLike | None, to: Any, overwrite: bool, tree: bool, progress: Any
    ) -> Any:
        found = self._matches(pattern)
        folder = os.fspath(to) if to is not None else "."
        places: dict[str, FileDict] = {}
        for file in found:
            below = file["path"].strip("/") if tree else ""
            place = os.path.join(folder, below, file["filename"])
            if place in places:
                raise ExistsError(
                    f"two files are named {file['filename']!r}: download them with tree=True"
                )
            places[place] = file
        for place, file in places.items():
            if to is None and overwrite and not tree and _same_here(file) is not None:
                continue
            os.makedirs(os.path.dirname(place) or ".", exist_ok=True)
            bar = self._bar(file["filename"], progress)
            options = {"id": file["id"], "destination": place, "refuse_existing": not overwrite}
            self._experiment._look_up(_downloader(progress=bar, **options))
        return list(places)

    def _matches(self, pattern: PathLike | None) -> FileDicts:
        found = self.list(pattern)
        if not found:
            wanted = os.fspath(pattern or self._first or "")
            raise NotFoundError(f"no file matches {wanted!r}: see files().list()")
        return found

    def read_bytes(self, path: PathLike | None = None, *, alias: str | None = None) -> bytes:
        """A file's bytes, checked against its SHA-256."""
        file_id = self._resolve(path, alias)["id"]
        return self._experiment._look_up(lambda core: core.read_bytes(file_id))

    def read_text(self, encoding: str = "utf-8") -> str:
        """A file's text, checked against its SHA-256."""
        return self.read_bytes().decode(encoding)

    # --- changing -------------------------------------------------------------------------------

    def _changes(self) -> dict[str, Any]:
        names = ("description", "tags", "bindrs", "metadata")
        return {name: self._record[name] for name in names if self._record[name] is not None}

    def update(self) -> FileDict:
        """Changes the description, tags, bindrs or metadata that files(...) gave of a file."""
        file_id = self._resolve()["id"]
        changes = self._changes()
        return self._change(file_id, lambda core: core.update_file(file_id, **changes))

    def _change(self, file_id: str, change: Callable[[RunFolder], Any]) -> Any:
        """What changes a file of this folder. Those of others are only read: an alias of ours, say,
        would not keep them there."""
        try:
            return change(self._core)
        except SupersededError:
            raise
        except NotFoundError:
            if not self._experiment._is_mirrored(file_id):
                raise
        raise ExperimentError(
            f"file {file_id} was saved in another folder of this experiment: change it there"
        )

    def delete(self, pattern: PathLike | None = None) -> Any:
        """Marks a file as deleted and returns its file object; a pattern deletes all that match
        and returns a list. The bytes stay until gc(): see restore()."""
        if self._file_id is not None and pattern is None:
            return self._delete(self._file_id)
        if self._names_many(pattern):
            return [self._delete(file["id"]) for file in self._matches(pattern)]
        return self._delete(self._resolve(pattern)["id"])

    def _delete(self, file_id: str) -> FileDict:
        deleted: FileDict = self._change(file_id, lambda core: core.delete(file_id))
        return deleted

    def restore(self, path: PathLike | None = None) -> FileDict:
        """Takes a deletion back: by id, or the last deleted file of this path.

        Raises NotFoundError when gc() has freed the bytes.
        """
        if self._file_id is not None and path is None:
            return self._restore(self._file_id)
        prefix, name = self._path(path)
        lister = self._experiment._fresh()
        found = lister.list(prefix=prefix, filename=name, versions=True, deleted=True)
        gone = [file for file in found if file["path"] == prefix and file["deletedAt"]]
        if not gone:
            raise NotFoundError(f"no deleted file {_join(prefix, name)!r}")
        return self._restore(max(gone, key=lambda file: file["deletedAt"])["id"])

    def _restore(self, file_id: str) -> FileDict:
        restored: FileDict = self._change(file_id, lambda core: core.restore(file_id))
        return restored

    def alias(self, alias: str, path: PathLike | None = None) -> FileDict:
        """Names this version, "best" for example; the name moves here from any other version.

        A version with an alias stays, whatever `keep` says.
        """
        file_id = self._resolve(path)["id"]
        self._change(file_id, lambda core: core.set_alias(file_id, alias))
        return self._core.get(file_id)

    def remove_alias(self, alias: str, path: PathLike | None = None) -> None:
        """Takes a version's alias away."""
        record = self._resolve(path)
        place = (record["path"], record["filename"])
        self._change(record["id"], lambda core: core.remove_alias(*place, alias))


class FilesAccessor(FileBuilder):
    """experiment.files: a FileBuilder without any options, and the function that makes others."""

    def __call__(
        self, file_path: PathLike | None = None, prefix: PathLike | None = None, **options: Any
    ) -> FileBuilder:
        """A FileBuilder; see there for the options."""
        return FileBuilder(self._experiment, file_path, prefix, **options)

    def read_text(self, path: PathLike, encoding: str = "utf-8") -> str:  # type: ignore[override]
        """The text of the file at this path, checked against its SHA-256."""
        return self.read_bytes(path).decode(encoding)


class BindrsBuilder:
    """experiment.bindrs(name): the files of one bindr."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        self._experiment = experiment
        self._name = name

    def list(self) -> FileDicts:
        """Files whose bindrs have this name."""
        return self._experiment._fresh().list(bindr=self._name)


def _downloader(**options: Any) -> Callable[[RunFolder], str]:
    return lambda core: core.download(**options)


def _same_here(file: FileDict) -> str | None:
    """The path of a file in the working directory that has this file's name and bytes."""
    name: str = file["filename"]
    if file["deletedAt"] is not None or file["damaged"]:
        return None
    try:
        status = os.lstat(name)
        if not stat.S_ISREG(status.st_mode) or status.st_size != file["sizeBytes"]:
            return None
        same = verify_checksum(name, file["checksum"])
    except OSError:  # whatever is wrong with it, the download tells
        return None
    return name if same else None


def compute_sha256(file_path: PathLike) -> str:
    """The SHA-256 of a local file, as 64 hex digits."""
    import hashlib

    digest = hashlib.sha256()
    with open(file_path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def verify_checksum(file_path: PathLike, expected_checksum: str) -> bool:
    """Whether a local file has this SHA-256."""
    return compute_sha256(file_path) == expected_checksum.lower()


def get_mime_type(file_path: PathLike) -> str:
    """The MIME type that a name's extension stands for, else application/octet-stream."""
    import mimetypes

    return mimetypes.guess_type(os.fspath(file_path))[0] or "application/octet-stream"
