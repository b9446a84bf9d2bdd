"""dxp: an experiment that is there without any setup.

    from ml_dash import dxp
    dxp.files.save_torch(model, "model.pt")

It is the experiment "dxp" of the project "scratch", opened at its first use and completed when
the program ends.
"""

from __future__ import annotations

from .experiment import Experiment

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from ._core import Experiment as RunFolder
    from .files import FilesAccessor
    from .params import ParametersBuilder

__all__ = ["AutoExperiment", "dxp"]


class AutoExperiment(Experiment):
    """An Experiment that opens itself when it is used."""

    @property
    def _core(self) -> RunFolder:
        if self._opened is None:
            self._open()
        return super()._core

    @property
    def files(self) -> FilesAccessor:
        """See Experiment.files."""
        self._core  # noqa: B018  opens it
        return super().files

    @property
    def params(self) -> ParametersBuilder:
        """See Experiment.params."""
        self._core  # noqa: B018  opens it
        return super().params


dxp = AutoExperiment("dxp", "scratch")
