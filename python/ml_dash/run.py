"""The life of a run: experiment.run as context manager, decorator, or start() and complete()."""

from __future__ import annotations

import os
import sys

from . import _lifecycle, templates
from ._ids import generate_snowflake_id
from .exceptions import ExperimentError

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Callable, TypeVar

    from .experiment import Experiment

    Function = TypeVar("Function", bound=Callable[..., Any])

_ROOT_FILES = ("pyproject.toml", "requirements.txt", "setup.py", "setup.cfg")


class RUN:
    """Defaults of prefixes for the whole program; set them before an Experiment is made.

    RUN.project = "alice/robots"
    RUN.prefix = "{project}/{now:%Y-%m-%d}/{path_stem}/{job_name}"
    """

    user: str | None = None
    """Owner; unless set: ML_DASH_USER, USER."""
    project: str = "{user}/scratch"
    prefix: str | os.PathLike[str] | None = None
    """Unless set: ML_DASH_PREFIX, or a prefix of project, date, script and time."""
    job_name: str = "{now:%H.%M.%S}/{job_counter:03d}"
    entry: str | None = None
    """The program's file; unless set, the script that was started."""
    project_root: str | None = None
    """Unless set, the nearest folder above `entry` with a pyproject.toml or the like."""
    readme: str | None = None
    job_counter: int = 0
    """How many experiments this program made."""
    debug: bool = "pydevd" in sys.modules

    _PREFIX = "{project}/{now:%Y/%m-%d}/{path_stem}/{job_name}"

    @classmethod
    def _value(cls, given: dict[str, Any], name: str) -> Any:
        return given[name] if given.get(name) is not None else getattr(cls, name)

    @classmethod
    def expand_prefix(cls, given: dict[str, Any]) -> str:
        """The default prefix of a new experiment, with the attributes `given` in place of ours."""
        cls.job_counter += 1
        values: dict[str, Any] = {
            "now": _now(),
            "user": cls._value(given, "user") or _user(),
            "job_counter": cls.job_counter,
            "path_stem": lambda: cls._path_stem(given),
            "id": generate_snowflake_id,
        }
        values["project"] = templates.expand(cls._value(given, "project"), values)
        values["job_name"] = templates.expand(cls._value(given, "job_name"), values)
        prefix = cls.prefix or os.environ.get("ML_DASH_PREFIX") or cls._PREFIX
        return templates.expand(prefix, values)

    @classmethod
    def _path_stem(cls, given: dict[str, Any]) -> str:
        """The script's path below the project's root, without its extension."""
        entry = cls._value(given, "entry") or getattr(sys.modules.get("__main__"), "__file__", None)
        if entry is None:
            return "interactive"
        path = os.path.abspath(os.fspath(entry))
        root = cls._value(given, "project_root") or _project_root(os.path.dirname(path))
        return os.path.splitext(os.path.relpath(path, root))[0].replace("../", "")


def _project_root(folder: str) -> str:
    current = folder
    while True:
        if any(os.path.exists(os.path.join(current, name)) for name in _ROOT_FILES):
            return current
        above = os.path.dirname(current)
        if above == current:
            return folder
        current = above


def _user() -> str:
    for name in ("ML_DASH_USER", "USER"):
        if os.environ.get(name):
            return os.environ[name]
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a user entry
        return "user"


def _now() -> datetime:
    from datetime import datetime

    return datetime.now()


class RunManager:
    """experiment.run.

    with experiment.run as exp: ...      # COMPLETED at the end, FAILED by an exception
    experiment.run.start() ... experiment.run.complete()
    @experiment.run
    def train(exp): ...
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._started: datetime | None = None
        self._id: str | None = None

    def start(self) -> Experiment:
        """Opens the run (makes it, or resumes it): status RUNNING. Returns the experiment."""
        return self._experiment._open()

    def complete(self) -> None:
        """Ends the run as COMPLETED; ending twice is fine, the first counts."""
        self._experiment._close("COMPLETED")

    def fail(self, error: BaseException | str | None = None) -> None:
        """Ends the run as FAILED. error: why, an exception or a text; kept as one line of at most
        4 kB, see Experiment.error."""
        self._experiment._close("FAILED", error)

    def cancel(self) -> None:
        """Ends the run as CANCELLED."""
        self._experiment._close("CANCELLED")

    def __enter__(self) -> Experiment:
        return self._experiment._open()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        outcome = _lifecycle.outcome_of(kind, value)
        if kind is None:
            self._experiment._close(outcome)
            return
        try:
            self._experiment._close(outcome, value)
        except Exception as error:  # the body's exception is the one to see
            message = f"ending the run failed, too: {_lifecycle.text_of(error)}"
            for note in (message, *getattr(error, "__notes__", ())):
                _lifecycle.add_note(value, note)

    def __call__(self, function: Function) -> Function:
        """Decorator: each call is a run; the function gets the experiment as first argument."""

        import functools

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self as experiment:
                return function(experiment, *args, **kwargs)

        return wrapper  # type: ignore[return-value]

    # --- where the run goes ---------------------------------------------------------------------

    def _time(self) -> datetime:
        if self._started is None:
            self._started = _now()
        return self._started

    def _run_id(self) -> str:
        if self._id is None:
            self._id = generate_snowflake_id()
        return self._id

    def _values(self) -> dict[str, Any]:
        """What templates may ask for."""
        from datetime import timezone

        experiment = self._experiment
        stamp = self._time().astimezone(timezone.utc).strftime("%Y%m%d_%H%M%S")
        return {
            "RUN.name": f"{experiment.name}_{stamp}",
            "RUN.project": experiment.project,
            "RUN.id": stamp,
            "RUN.timestamp": stamp,
            "RUN.prefix": experiment.prefix or "",
            "RUN.user": _user,
            "EXP.name": experiment.name,
            "EXP.project": experiment.project,
            "EXP.id": self._run_id,
            "EXP.date": self._time().strftime("%Y%m%d"),
            "EXP.timestamp": stamp,
            "EXP.datetime_str": self._time().strftime("%Y%m%d.%H%M%S"),
            "EXP.user": _user,
            "now": self._time(),
            "user": _user,
            "id": self._run_id,
        }

    def _expand(self, what: str, template: str | os.PathLike[str] | None) -> str | None:
        if self._experiment._is_open:
            raise ExperimentError(f"the {what} cannot change now: set it before the run starts")
        return None if template is None else templates.expand(template, self._values())

    @property
    def folder(self) -> str | None:
        """The folder above the project. Until the run starts it can be set, also as a template:
        "sweeps/{RUN.name}" with {RUN.name} (with the time), {RUN.project}, {RUN.id},
        {RUN.timestamp}, {EXP.name}, {EXP.id}, {EXP.date}, {now:%Y-%m-%d}."""
        return self._experiment.folder

    @folder.setter
    def folder(self, value: str | os.PathLike[str] | None) -> None:
        self._experiment.folder = self._expand("folder", value)

    @property
    def prefix(self) -> str | None:
        """The whole path "owner/project/.../name". Until the run starts it can be set, also as a
        template: see folder."""
        return self._experiment.prefix

    @prefix.setter
    def prefix(self, value: str | os.PathLike[str]) -> None:
        expanded = self._expand("prefix", value)
        assert expanded is not None
        self._experiment._set_prefix(expanded)

    @property
    def id(self) -> str | None:
        """The experiment's id once the run started."""
        return self._experiment.id

    @property
    def name(self) -> str | None:
        """The experiment's name."""
        return self._experiment.name

    @property
    def project(self) -> str | None:
        """The experiment's project."""
        return self._experiment.project

    @property
    def owner(self) -> str | None:
        """The first part of the prefix."""
        return self._experiment.owner

    @property
    def status(self) -> str | None:
        """RUNNING, COMPLETED, FAILED or CANCELLED; None before the start."""
        return self._experiment.status
