"""What a user can fix. Anything else is our bug and shows a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SimgpuError(Exception):
    """A mistake of the user, worded `where: what is wrong, what was expected; what to do`."""


class UnitError(SimgpuError):
    """A quantity that cannot be read or has the wrong unit."""


class ArchError(SimgpuError):
    """A GPU file that cannot be used."""


class ModelError(SimgpuError):
    """A model file, name or graph that cannot be used."""


class ShapeError(ModelError):
    """Tensors that do not fit each other, or a dimension nobody has bound."""


class UnsupportedError(ModelError):
    """Operators or dtypes that simgpu cannot price; all of them are named at once."""


class DataError(SimgpuError):
    """A table of measurements that cannot be used."""


class OptionError(SimgpuError):
    """An option or a combination of options that makes no sense."""


class SimulationError(SimgpuError):
    """A schedule that cannot finish: kernels that wait for each other."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message that offers the nearest known word, or nothing.

    >>> did_you_mean("bandwith", ["bandwidth", "capacity"])
    "; did you mean 'bandwidth'?"
    >>> did_you_mean("xyz", ["bandwidth"])
    ''
    """
    spelled = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return f"; did you mean '{spelled[near[0]]}'?" if near else ""
