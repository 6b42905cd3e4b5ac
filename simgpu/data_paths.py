"""Where shipped files are, and the user's own beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["archs", "models"]


@cache
def data_dir(kind: Kind) -> Path:
    """The folder of shipped files: inside an installed package, or of the checkout.

    >>> data_dir("archs").name
    'archs'
    """
    installed = Path(str(resources.files("simgpu"))) / "_data" / kind
    return installed if installed.is_dir() else Path(__file__).parent.parent / kind


def search_dirs(kind: Kind) -> tuple[Path, ...]:
    """Folders to look in, the user's own (SIMGPU_PATH, each with an `archs` or `models` folder or the files themselves) first."""
    own = (Path(folder) for folder in os.environ.get("SIMGPU_PATH", "").split(os.pathsep) if folder)
    return (*(inner if (inner := folder / kind).is_dir() else folder for folder in own), data_dir(kind))


def data_files(kind: Kind, suffix: str) -> Iterator[Path]:
    """Files of a kind, the user's own first; of two with the same name only the first."""
    seen: set[str] = set()
    for folder in search_dirs(kind):
        for path in sorted(folder.glob(f"*{suffix}")):
            if path.name not in seen:
                seen.add(path.name)
                yield path


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that is too long for any is none."""
    try:
        return path.is_file()
    except OSError:
        return False
