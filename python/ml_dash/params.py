"""Parameters: experiment.params.set(lr=0.001, model={"depth": 18}); .get()."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from .experiment import Experiment


class ParametersBuilder:
    """The parameters of an experiment: flat names with dots, any value that JSON has a form for.

    NaN and infinities are kept. A dict is flattened ({"model": {"lr": 1}} is model.lr), a class
    stands for its public attributes, an array for its list.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    def set(self, params: dict[str, Any] | None = None, /, **more: Any) -> ParametersBuilder:
        """Sets these and keeps the others; returns itself."""
        given = {**params, **more} if params else more
        if given:
            self._experiment._core.params_set({k: _plain_class(v) for k, v in given.items()})
        return self

    log = set

    def get(self, flatten: bool = True) -> dict[str, Any]:
        """All parameters by their flat names, or, with flatten=False, as nested dicts."""
        params = self._experiment._fresh_or_own(lambda core: core.params_get()).params_get()
        return params if flatten else self.unflatten_dict(params)

    @staticmethod
    def flatten_dict(d: dict[str, Any], parent_key: str = "", sep: str = ".") -> dict[str, Any]:
        """{"a": {"b": 1}} as {"a.b": 1}."""
        flat: dict[str, Any] = {}
        for key, value in d.items():
            name = f"{parent_key}{sep}{key}" if parent_key else str(key)
            if isinstance(value, dict):
                flat.update(ParametersBuilder.flatten_dict(value, name, sep))
            else:
                flat[name] = value
        return flat

    @staticmethod
    def unflatten_dict(d: dict[str, Any], sep: str = ".") -> dict[str, Any]:
        """{"a.b": 1} as {"a": {"b": 1}}; a name whose parent is a value, too, stays flat."""
        nested: dict[str, Any] = {}
        for key, value in d.items():
            *parents, last = key.split(sep)
            inner = nested
            for parent in parents:
                below = inner.setdefault(parent, {})
                if not isinstance(below, dict):
                    inner, last = nested, key
                    break
                inner = below
            if isinstance(inner.get(last), dict):
                inner, last = nested, key
            inner[last] = value
        return nested


def _plain_class(value: Any) -> Any:
    """A class as the dict of its public attributes, also inside dicts."""
    if isinstance(value, type):
        attributes: dict[str, Any] = {}
        for base in reversed(value.__mro__[:-1]):
            attributes.update(vars(base))
        return {
            name: _plain_class(inner)
            for name, inner in attributes.items()
            if not name.startswith("_") and not _is_behaviour(inner)
        }
    if isinstance(value, dict):
        return {key: _plain_class(inner) for key, inner in value.items()}
    return value


def _is_behaviour(value: Any) -> bool:
    if isinstance(value, (property, classmethod, staticmethod)):
        return True
    return callable(value) and not isinstance(value, type)
