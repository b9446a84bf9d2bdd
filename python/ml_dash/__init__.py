"""ML-Dash: keeps what a machine-learning run produces.

    from ml_dash import Experiment

    with Experiment("baseline", "digits").run as experiment:
        experiment.params.set(lr=0.001)
        experiment.metrics("loss").append(value=0.5, epoch=1)
        experiment.files("model.pth", prefix="/models").save()

Importing it loads none of numpy, matplotlib, av or torch; the methods that need one do.
"""

from __future__ import annotations

from ._core import version as __version__
from .exceptions import (
    AuthenticationError,
    ConfigurationError,
    DamagedWarning,
    ExperimentError,
    MlDashError,
    NetworkError,
    RemoteWarning,
    StorageError,
)
from .experiment import Experiment, OperationMode, ml_dash_experiment
from .logs import LogBuilder, LogLevel
from .params import ParametersBuilder
from .run import RUN, RunManager

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from .auto_start import dxp
    from .storage import LocalStorage

__all__ = [
    "RUN",
    "AuthenticationError",
    "ConfigurationError",
    "DamagedWarning",
    "Experiment",
    "ExperimentError",
    "LocalStorage",
    "LogBuilder",
    "LogLevel",
    "MlDashError",
    "NetworkError",
    "OperationMode",
    "ParametersBuilder",
    "RemoteWarning",
    "RunManager",
    "StorageError",
    "__version__",
    "dxp",
    "ml_dash_experiment",
]


def __getattr__(name: str) -> Any:
    """dxp and LocalStorage are loaded when they are first asked for."""
    if name == "dxp":
        from .auto_start import dxp

        return dxp
    if name == "LocalStorage":
        from .storage import LocalStorage

        return LocalStorage
    raise AttributeError(f"module 'ml_dash' has no attribute {name!r}")
