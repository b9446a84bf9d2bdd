"""save_fig: a matplotlib figure as a file of the experiment."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from .exceptions import InvalidInputError, MissingPackageError


def save_fig(files: Any, fig: Any, name: str, **options: Any) -> dict[str, Any]:
    """Saves `fig` (None: pyplot's current figure) as `name` and closes it.

    The format follows the extension of the name (png, pdf, svg, and what else the figure's canvas
    knows) unless `format=` says otherwise; all options are those of `Figure.savefig`. A figure
    whose save failed stays open.
    """
    figure = _current() if fig is None else _figure_of(fig)
    kind = _format(figure, name, options.pop("format", None))
    # A vector format comes in thousands of small pieces, and TIFF goes back and forth: collected
    # here, the file takes less memory than the canvas that it was drawn on.
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, **options)
    with files._open_writer(name) as writer:
        writer.write(drawn.getbuffer())
        record: dict[str, Any] = writer.commit()
    _close(figure)
    return record


def _current() -> Any:
    # Without pyplot there is no current figure, and importing it would choose a backend.
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        _require_matplotlib()
    if pyplot is None or not pyplot.get_fignums():
        raise InvalidInputError(
            "there is no current figure to save: draw one with matplotlib.pyplot first, or pass "
            "the figure"
        )
    return pyplot.gcf()


def _figure_of(fig: Any) -> Any:
    """The Figure that `fig` is, or that an Axes or a grid of plots belongs to."""
    figure_class = _require_matplotlib().Figure
    for candidate in (fig, getattr(fig, "figure", None)):
        if isinstance(candidate, figure_class):
            return candidate
    raise InvalidInputError(f"cannot save a {type(fig).__name__} as a figure: pass a Figure")


def _require_matplotlib() -> Any:
    try:
        import matplotlib.figure
    except ImportError as error:
        raise MissingPackageError(
            f'save_fig needs matplotlib ({error}): pip install "ml-dash[figures]"'
        ) from error
    return matplotlib.figure


def _format(figure: Any, name: str, wanted: str | None) -> str:
    if not isinstance(name, (str, os.PathLike)):
        raise InvalidInputError(f"the figure's name must be a str, not {type(name).__name__}")
    known = figure.canvas.get_supported_filetypes()
    kind = (wanted or os.path.splitext(name)[1][1:]).lower()
    if kind in known:
        return kind
    problem = f"there is no figure format {kind!r}" if kind else "the name has no extension"
    raise InvalidInputError(f"cannot save {os.fspath(name)!r}: {problem}; use {', '.join(known)}")


def _close(figure: Any) -> None:
    # A figure that pyplot does not manage has nothing to close.
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)
