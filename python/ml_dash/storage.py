"""LocalStorage: the run folders below one root, by project and experiment, as in ml-dash 0.6.1.

Experiment is the way to write a run; this is for programs that were written against the storage
layer of the published client. Each call opens the experiment's folder, or uses the one open.
"""

from __future__ import annotations

import os
from pathlib import Path

from .exceptions import NotFoundError
from .experiment import Experiment

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from .files import FileDict, FileDicts, PathLike

    Data = dict[str, Any]


class LocalStorage:
    """Experiments below `root_path`, which is made when missing."""

    def __init__(self, root_path: str | os.PathLike[str]) -> None:
        self.root_path = Path(root_path)
        self._open: dict[tuple[str, str], Experiment] = {}

    def _experiment(self, project: str, name: str, folder: str | None = None) -> Experiment:
        """The open experiment; one without a known folder is looked for below the root."""
        found = self._open.get((project, name))
        if found is None:
            found = Experiment(
                name, project, folder=folder or self._find(project, name), local_path=self.root_path
            )
            self._open[project, name] = found.run.start()
        return found

    def _find(self, project: str, name: str) -> str | None:
        if (self.root_path / project / name / "experiment.json").exists():
            return None
        for path in self.root_path.glob(f"**/{project}/{name}/experiment.json"):
            return str(path.parents[2].relative_to(self.root_path))
        raise NotFoundError(f"no experiment {project}/{name} below {self.root_path}")

    def create_experiment(
        self,
        project: str,
        name: str,
        description: str | None = None,
        tags: list[str] | None = None,
        bindrs: list[str] | None = None,
        folder: str | None = None,
        metadata: Data | None = None,
    ) -> Path:
        """Makes or opens an experiment; returns its folder."""
        experiment = Experiment(
            name,
            project,
            description=description,
            tags=tags,
            bindrs=bindrs,
            folder=folder,
            metadata=metadata,
            local_path=self.root_path,
        )
        self._open[project, name] = experiment.run.start()
        return Path(experiment.directory)

    def flush(self) -> None:
        """Returns once everything so far survives power loss."""
        for experiment in self._open.values():
            experiment.flush()

    def write_log(
        self,
        project: str,
        experiment: str,
        folder: str | None = None,
        message: str = "",
        level: str = "info",
        timestamp: str = "",
        metadata: Data | None = None,
    ) -> None:
        """Writes a log line, now; `timestamp` becomes part of its metadata."""
        fields = {**(metadata or {}), **({"timestamp": timestamp} if timestamp else {})}
        self._experiment(project, experiment, folder).log(message, level, fields)

    def write_parameters(
        self, project: str, experiment: str, folder: str | None = None, data: Data | None = None
    ) -> None:
        """Sets these parameters and keeps the others."""
        self._experiment(project, experiment, folder).params.set(data or {})

    def read_parameters(self, project: str, experiment: str) -> Data:
        """All parameters by their flat names."""
        return self._experiment(project, experiment).params.get()

    def write_file(
        self,
        project: str,
        experiment: str,
        folder: str | None = None,
        file_path: PathLike = "",
        prefix: PathLike = "",
        filename: PathLike = "",
        description: str | None = None,
        tags: list[str] | None = None,
        metadata: Data | None = None,
        checksum: str = "",
        content_type: str = "",
        size_bytes: int = 0,
    ) -> FileDict:
        """Saves a file; checksum and size are those of the bytes that were stored."""
        builder = self._experiment(project, experiment, folder).files(
            file_path,
            prefix,
            description=description,
            tags=tags,
            metadata=metadata,
            content_type=content_type or None,
        )
        return builder.save(to=filename or None)

    def list_files(
        self,
        project: str,
        experiment: str,
        prefix: PathLike | None = None,
        tags: list[str] | None = None,
    ) -> FileDicts:
        """File objects in a prefix or below it, with any of the tags."""
        return self._experiment(project, experiment).files.list(prefix=prefix, tags=tags)

    def read_file(
        self, project: str, experiment: str, file_id: str, dest_path: PathLike | None = None
    ) -> str:
        """Copies a file out, checked; returns its path."""
        files = self._experiment(project, experiment).files
        return str(files(file_id=file_id, dest_path=dest_path).download())

    def delete_file(self, project: str, experiment: str, file_id: str) -> FileDict:
        """Marks a file as deleted."""
        deleted: FileDict = self._experiment(project, experiment).files(file_id=file_id).delete()
        return deleted

    def update_file_metadata(
        self,
        project: str,
        experiment: str,
        file_id: str,
        description: str | None = None,
        tags: list[str] | None = None,
        metadata: Data | None = None,
    ) -> FileDict:
        """Changes what is not None."""
        files = self._experiment(project, experiment).files
        return files(
            file_id=file_id, description=description, tags=tags, metadata=metadata
        ).update()

    def append_to_metric(
        self,
        project: str,
        experiment: str,
        folder: str | None = None,
        metric_name: str | None = None,
        data: Data | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        metadata: Data | None = None,
    ) -> Data:
        """Appends one point."""
        metrics = self._experiment(project, experiment, folder).metrics
        answer: Data = metrics(metric_name, description, tags, metadata).append(**(data or {}))
        return answer

    def append_batch_to_metric(
        self,
        project: str,
        experiment: str,
        metric_name: str | None,
        data_points: list[Data],
        description: str | None = None,
        tags: list[str] | None = None,
        metadata: Data | None = None,
    ) -> Data:
        """Appends a list of points: all of them, or none after an error."""
        metrics = self._experiment(project, experiment).metrics
        return metrics.append_batch(metric_name, data_points, description, tags, metadata)

    def read_metric_data(
        self,
        project: str,
        experiment: str,
        metric_name: str,
        start_index: int = 0,
        limit: int = 1000,
    ) -> Data:
        """Points by index: see MetricBuilder.read."""
        return self._experiment(project, experiment).metrics(metric_name).read(start_index, limit)

    def get_metric_stats(self, project: str, experiment: str, metric_name: str) -> Data:
        """See MetricBuilder.stats."""
        return self._experiment(project, experiment).metrics(metric_name).stats()

    def list_metrics(self, project: str, experiment: str) -> list[Data]:
        """See MetricsManager.list_all."""
        return self._experiment(project, experiment).metrics.list_all()
