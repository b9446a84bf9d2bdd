"""Experiment: what a run keeps, and where."""

from __future__ import annotations

import os
from enum import Enum

from . import _lifecycle, logs, templates
from ._core import Experiment as RunFolder
from ._damage import DamageWatch
from .exceptions import ConfigurationError, ExperimentError
from .files import BindrsBuilder, FilesAccessor
from .metrics import MetricsManager
from .params import ParametersBuilder
from .run import RUN, RunManager
from .tracks import TracksManager

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable, TypeVar

    from ._progress import ProgressOption
    from ._reading import Reading
    from ._remote import Uplink
    from ._torch import BackgroundSave
    from .files import FileDict

    Answer = TypeVar("Answer")
    Function = TypeVar("Function", bound=Callable[..., Any])

# What a pickled copy does not have; see Experiment._forget.
_OF_PROCESS = (
    "_opened",
    "_id",
    "_damage",
    "_saves",
    "_metrics",
    "_tracks",
    "_files",
    "_pid",
    "_uplink",
    "_reading",
    "run",
)
_RUN_OPTIONS = ("user", "entry", "project_root", "job_name")
_WAIT_S = {"COMPLETED": 600.0}  # for the upload at the end of a run; of others:
_WAIT_OTHERS_S = 30.0


class OperationMode(Enum):
    """Where an experiment is kept."""

    LOCAL = "local"
    REMOTE = "remote"
    HYBRID = "hybrid"


class Experiment:
    """One experiment: files, parameters, metrics, tracks and logs in a folder of its own.

    Experiment("baseline", "digits")                 .ml-dash/digits/baseline
    Experiment(name=, project=, folder=, local_path=)    {local_path}/{folder}/{project}/{name}
    Experiment(prefix="alice/digits/baseline")       .dash/alice/digits/baseline
    Experiment()                                     a prefix made of user, date and script: RUN

    name, project, folder: its place; folder may be a template, see RunManager.folder.
    prefix: instead of the three, "owner/project/.../name"; a template, too.
    description (or readme), tags, bindrs, metadata: kept with it, replaced when given again;
        metadata is a dict without NaN.
    local_path (or dash_root): the root folder, made when missing.
    keep: how many versions of a file stay: a number, or "all"; 1 unless told.
    max_file_size: bytes; a larger file is refused with TooLargeError. 5 GiB unless told.
    progress: of saves and downloads above 64 MB: False is off, a function is called with
        (done_bytes, total_bytes) and stops the call by returning False; unless told, a bar when
        stderr is a terminal and the environment does not say ML_DASH_PROGRESS=0.
    echo_logs: print log lines, too.
    read_only: look at an experiment that exists; nothing is written, its status stays.
    remote (or dash_url): a server's URL, which gets all of it while the run goes on; True is
        $ML_DASH_API_URL, $ML_DASH_URL or that of `ml-dash login`. The root folder is then
        $ML_DASH_SPOOL unless told. Reading sees what the server has and what is still local.
    api_key (or remote_token): who asks there; else $ML_DASH_TOKEN or that of `ml-dash login`.
    remote_timeout: seconds that the end of the run waits for the upload, 0: none; unless told 600,
        or 30 when it did not complete.
    read_timeout: seconds that reading waits for a server that does not answer, before
        RemoteUnavailable; unless told $ML_DASH_READ_TIMEOUT, or 10.
    user, entry, project_root, job_name: of the default prefix, see RUN.

    Nothing is made before the run starts: `with experiment.run:`, or `with experiment:`, which is
    the same. Any number of processes may open one experiment; opening it again resumes it. A
    pickled copy is an unopened one.
    """

    def __init__(
        self,
        name: str | os.PathLike[str] | None = None,
        project: str | None = None,
        *,
        prefix: str | os.PathLike[str] | None = None,
        description: str | None = None,
        readme: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        metadata: dict[str, Any] | None = None,
        remote: str | bool | None = None,
        api_key: str | None = None,
        local_path: str | os.PathLike[str] | None = None,
        dash_url: str | bool | None = None,
        dash_root: str | os.PathLike[str] | None = None,
        remote_token: str | None = None,
        remote_timeout: float | None = None,
        read_timeout: float | None = None,
        keep: int | str | None = None,
        max_file_size: int | None = None,
        progress: ProgressOption = None,
        echo_logs: bool = False,
        read_only: bool = False,
        _write_protected: bool = False,
        **run_options: Any,
    ) -> None:
        if local_path is not None and dash_root is not None:
            raise ConfigurationError("local_path and dash_root are two names of one option")
        if api_key is not None and remote_token is not None:
            raise ConfigurationError("api_key and remote_token are two names of one option")
        self.local_path = local_path if local_path is not None else dash_root
        self._place_remote(remote, dash_url, api_key if api_key is not None else remote_token)
        self._remote_timeout = remote_timeout
        self._read_timeout = read_timeout
        for option in run_options:
            if option not in _RUN_OPTIONS:
                raise TypeError(f"Experiment() got an unexpected keyword argument {option!r}")
        self.name = templates.text_of(name)
        self.project = project
        self.folder = templates.text_of(folder)
        self.prefix = templates.text_of(prefix)
        self.description = description if description is not None else readme
        self.tags = None if tags is None else _strings("tags", tags)
        self.bindrs_names = None if bindrs is None else _strings("bindrs", bindrs)
        self.metadata = metadata
        self._keep = keep
        self._max_file_size = max_file_size
        self._progress = progress
        self._echo_logs = echo_logs
        self._read_only = read_only or _write_protected
        self._forget()
        self.run = RunManager(self)
        self._place(run_options)

    def _forget(self) -> None:
        """The state of an experiment that is not open."""
        self._opened: RunFolder | None = None
        self._id: str | None = None
        self._damage: DamageWatch | None = None
        self._uplink: Uplink | None = None
        self._reading: Reading | None = None
        self._pid = os.getpid()
        self._saves: list[BackgroundSave] = []
        self._metrics: MetricsManager | None = None
        self._tracks: TracksManager | None = None
        self._files = FilesAccessor(self)

    def _place(self, run_options: dict[str, Any]) -> None:
        """Settles which of the two layouts it is, and expands templates."""
        if self.prefix is None and self.project is None and self.name and "/" in self.name:
            self.prefix, self.name = self.name, None
        if self.prefix is not None:
            if self.name or self.folder:
                raise ConfigurationError("give a prefix, or name, project and folder, not both")
            self.run.prefix = self.prefix
        elif self.name is None:
            if self.folder:
                raise ConfigurationError("a folder needs a name and a project, too")
            self._set_prefix(RUN.expand_prefix({**run_options, "project": self.project}))
        elif self.project is None:
            raise ConfigurationError(
                f"Experiment({self.name!r}) needs a project, or a prefix: 'owner/project/name'"
            )
        elif self.folder is not None and "{" in self.folder:
            self.run.folder = self.folder

    def _place_remote(
        self, remote: str | bool | None, dash_url: str | bool | None, token: str | None
    ) -> None:
        """Settles whether there is a server, and then where the local folder is."""
        self.mode = OperationMode.LOCAL
        self._url: str | bool | None = None
        self._token = token
        if remote or dash_url:
            from . import _remote

            self._url = _remote.url_of(remote, dash_url)
            self.mode = OperationMode.REMOTE if self.local_path is None else OperationMode.HYBRID
            if self.local_path is None:
                self.local_path = os.environ.get("ML_DASH_SPOOL") or None
        elif token is not None:
            raise ConfigurationError("a token needs a server: remote='https://...'")

    def _set_prefix(self, prefix: str) -> None:
        """Takes a prefix apart: owner/project/.../name."""
        self.prefix = prefix
        parts = prefix.strip("/").split("/")
        self.project = parts[1] if len(parts) > 1 else None
        self.name = parts[-1]

    # --- the run --------------------------------------------------------------------------------

    def __enter__(self) -> Experiment:
        return self.run.__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self.run.__exit__(kind, value, traceback)

    def __call__(self, function: Function) -> Function:
        """Decorator, as `experiment.run` is: the function gets the experiment first."""
        return self.run(function)

    def _open(self) -> Experiment:
        if self._is_open:
            return self
        if self._opened is not None:
            self._opened.close()
            self._forget()
        server = None
        if self._url is not None:
            from . import _reading, _remote

            patience = _reading.patience_of(self._read_timeout)
            if not self._read_only:
                server = _remote.settle(self._url, self._token)  # before anything is made
        self._opened = RunFolder(
            **self._place_options(),
            root=self.local_path,
            description=self.description,
            tags=self.tags,
            bindrs=self.bindrs_names,
            metadata=self.metadata,
            keep=self._keep,
            max_file_bytes=self._max_file_size,
            read_only=self._read_only,
            mirrored=self._read_only and self._url is not None,
        )
        self._pid = os.getpid()
        self._damage = DamageWatch(self._opened)
        self._damage.look(3)
        if self._url is not None:
            self._reading = _reading.Reading(self, self._opened, server, patience)
        if server is not None:
            try:
                self._uplink = _remote.Uplink(self.directory, server)
            except BaseException:
                self._opened.close()
                self._forget()
                raise
        if not self._read_only:
            _lifecycle.opened(self)
        return self

    def _place_options(self) -> dict[str, Any]:
        """Where it is, as the library takes it."""
        if self.prefix is not None:
            return {"prefix": self.prefix.strip("/")}
        folder = (self.folder or "").strip("/") or None
        return {"name": self.name, "project": self.project, "folder": folder}

    def _close(self, status: str, error: BaseException | str | None = None) -> None:
        core = self._opened
        if core is None or core.ended or self._read_only:
            return
        for save in self._saves:
            save.settle()  # an interrupt here leaves the run open
        _lifecycle.ended(self)
        saves, self._saves = self._saves, []
        failed: BaseException | None = None
        try:
            core.end(status, _lifecycle.reason_of(error) if status == "FAILED" else None)
        except BaseException as met:
            failed = met
        if saves:
            from ._torch import settle_all

            failed = settle_all(saves, failed)
        if self._uplink is not None:
            self._finish_upload(status if failed is None else "FAILED")
        if failed is not None:
            raise failed

    def _finish_upload(self, status: str) -> None:
        """Waits for the server to have it all; never raises for what the server does."""
        from ._progress import for_upload

        assert self._uplink is not None
        wait = self._remote_timeout
        if wait is None:
            wait = _WAIT_S.get(status, _WAIT_OTHERS_S)
        line = for_upload(self._progress, repr(self))
        self._uplink.finish(repr(self), wait, line)

    @property
    def _is_open(self) -> bool:
        core = self._opened
        return core is not None and not core.ended and not core.closed

    @property
    def _core(self) -> RunFolder:
        """The open run folder; ExperimentError before the start."""
        if self._opened is None:
            raise ExperimentError(
                f"{self!r} is not open: use `with experiment:` or experiment.run.start()"
            )
        return self._opened

    def _fresh(self) -> RunFolder:
        """What lists are read from: with a server, all that it has is there, or it raises."""
        core = self._core
        return core if self._reading is None else self._reading.fresh()

    def _look_up(self, ask: Callable[[RunFolder], Answer]) -> Answer:
        """What is asked for by name or id: the server is asked when it is not here."""
        core = self._core
        return ask(core) if self._reading is None else self._reading.look_up(ask)

    def _fresh_or_own(self, has_own: Callable[[RunFolder], Any]) -> RunFolder:
        """As _fresh; without an answer of the server what is known, if `has_own` of our folder."""
        core = self._core
        return core if self._reading is None else self._reading.fresh_or_own(has_own)

    def _is_mirrored(self, file_id: str) -> bool:
        """Whether a file that this folder does not have was read from the server."""
        return self._reading is not None and self._reading.has_file(file_id)

    def flush(self, remote: bool = False, timeout: float | None = None) -> None:
        """Returns once everything so far survives power loss. Raises when an fsync failed.

        remote: and once the server has it, too. Raises TimedOutError after `timeout` seconds, which
            says what is left; RemoteUnavailable, which is a TimeoutError, too, when it is because
            the server is away, or has been for a minute with no timeout; NotSentError when all else
            is there but some files cannot be sent, as does each later one; and AuthenticationError
            and the like when it will not take it.
        """
        self._core.flush()
        if remote:
            self._needed_uplink().flush(timeout)
        if self._uplink is not None:
            self._uplink.look(2)

    def uploaded(self, file: str | FileDict, timeout: float | None = 0) -> bool:
        """Whether a file's bytes are at the server, acknowledged: as far as is known now, or once
        they are, after at most `timeout` seconds (None: as flush(remote=True)).

        file: its id, or file object. False, too, for one that will never be sent: a version that
            was replaced before, or a damaged file, of which a RemoteWarning told.
        """
        file_id = file["id"] if isinstance(file, dict) else file
        uplink = self._needed_uplink()
        if timeout != 0 and self._is_open:
            self._core.flush()
        answer = uplink.has(file_id, timeout)
        uplink.look(2)
        return answer

    def _needed_uplink(self) -> Uplink:
        self._core  # noqa: B018  raises before the start
        if self._uplink is None:
            raise ExperimentError(f"{self!r} has no server: Experiment(..., remote='https://...')")
        return self._uplink

    @property
    def remote_status(self) -> dict[str, Any] | None:
        """What the server has and lacks now, after the end what it had then; None without a server.

        {filesSent, filesThere, filesLeft, filesFailed, bytesSent, bytesLeft, linesBytesSent,
        linesBytesLeft, requests, done, failed, error, message, experiment, place}: files that were
        sent, were there already, wait, and cannot be sent; bytes of files, and of lines (records,
        points, logs); whether all that was known here is there; whether it stopped for good; the
        last failure; and the experiment's id and place at the server.
        """
        if self._uplink is None:
            return None
        self._uplink.look(2)
        return self._uplink.status()

    # --- what it keeps --------------------------------------------------------------------------

    @property
    def files(self) -> FilesAccessor:
        """Files, checkpoints, figures, videos: experiment.files("model.pth").save()."""
        if self._opened is None:
            return self._core  # type: ignore[return-value]  # raises
        if self._uplink is not None:
            self._uplink.look(2)
        return self._files

    @property
    def params(self) -> ParametersBuilder:
        """Parameters: experiment.params.set(lr=0.001)."""
        if self._opened is None:
            return self._core  # type: ignore[return-value]  # raises
        return ParametersBuilder(self)

    @property
    def metrics(self) -> MetricsManager:
        """Metrics: experiment.metrics("loss").append(value=0.5, epoch=3)."""
        if self._metrics is None:
            self._metrics = MetricsManager(self._core, self._damage, self._reading)
        if self._uplink is not None:
            self._uplink.look(2)
        return self._metrics

    @property
    def tracks(self) -> TracksManager:
        """Tracks: experiment.tracks("robot/pose").append(x=1.0, _ts=0.5)."""
        if self._tracks is None:
            self._tracks = TracksManager(self._core, self._damage, self._reading)
        return self._tracks

    def log(
        self,
        message: str | None = None,
        level: str | logs.LogLevel | None = None,
        metadata: dict[str, Any] | None = None,
        **extra: Any,
    ) -> Any:
        """Writes a log line at a level ("info" unless told), with metadata and more by name.

        Without a message it returns a LogBuilder: experiment.log().info("text", step=3).
        """
        fields = {**metadata, **extra} if metadata else extra
        if message is None:
            self._core  # noqa: B018  raises before the start
            return logs.LogBuilder(self, fields)
        logs.write(self, "info" if level is None else level, message, fields)
        if self._uplink is not None:
            self._uplink.look(2)
        return None

    @property
    def logs(self) -> logs.LogBuilder:
        """Log lines: experiment.logs.info("text", step=3), .read()."""
        self._core  # noqa: B018  raises before the start
        return logs.LogBuilder(self)

    def bindrs(self, name: str) -> BindrsBuilder:
        """The files of one bindr: experiment.bindrs("paper").list()."""
        self._core  # noqa: B018  raises before the start
        return BindrsBuilder(self, name)

    # --- about it -------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """32 hex digits; None before the first start."""
        if self._id is None and self._opened is not None:
            self._id = self._opened.info()["id"] or None
        return self._id

    @property
    def data(self) -> dict[str, Any] | None:
        """What the experiment is and holds now; None before the first start."""
        if self._opened is None:
            return None
        info = self._opened.info()
        return {"experiment": info, "project": {"name": info["project"], "slug": info["project"]}}

    @property
    def status(self) -> str | None:
        """RUNNING, COMPLETED, FAILED or CANCELLED; None before the first start."""
        return None if self._opened is None else self._opened.info()["status"]

    @property
    def error(self) -> str | None:
        """Why the run FAILED, "ValueError: what it said"; None when it did not or none was told."""
        return None if self._opened is None else self._opened.info()["error"]

    @property
    def directory(self) -> str:
        """The absolute path of the run folder."""
        return self._core.info()["directory"]

    @property
    def owner(self) -> str | None:
        """The first part of the prefix; None in the layout of name and project."""
        return None if self.prefix is None else self.prefix.strip("/").split("/")[0]

    @property
    def readme(self) -> str | None:
        """Another name of the description."""
        return self.description

    def verify(self, quick: bool = False) -> dict[str, Any]:
        """Checks every record, line and stored byte (quick: sizes only); writes nothing.

        Returns {"findings": [{problem, name, detail, offset, bytes, loss}], "losses": n, counts}.
        """
        return self._core.verify(quick=quick)

    def gc(self, dry_run: bool = False, offline: bool = False) -> dict[str, Any]:
        """Frees the bytes of deleted files and of versions that `keep` let go.

        dry_run: only report. offline: the caller knows that nobody else writes.
        """
        return self._core.gc(dry_run=dry_run, offline=offline)

    def __repr__(self) -> str:
        parts = (self.folder, self.project, self.name)
        place = self.prefix or "/".join(part for part in parts if part)
        return f"<Experiment {place}>"

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in _OF_PROCESS:
            state.pop(name, None)
        if callable(state["_progress"]):
            state["_progress"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
        self.run = RunManager(self)


def _strings(what: str, values: Iterable[str]) -> list[str]:
    if isinstance(values, (str, bytes)):
        raise ConfigurationError(f"{what} must be a list of strings, not one string: [{values!r}]")
    return list(values)


def ml_dash_experiment(
    name: str | os.PathLike[str] | None = None, project: str | None = None, **options: Any
) -> Callable[[Function], Function]:
    """Decorator: each call of the function is a run; it gets the keyword `experiment`.

    @ml_dash_experiment("baseline", "digits")
    def train(experiment): ...

    The arguments are those of Experiment.
    """

    import functools

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with Experiment(name, project, **options).run as experiment:
                return function(*args, **{**kwargs, "experiment": experiment})

        return wrapper  # type: ignore[return-value]

    return decorate
