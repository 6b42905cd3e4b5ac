"""Writing files: whole or not at all, and refused before any work is done if they cannot be written."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

from simgpu.errors import OptionError


def check_writable(path: str | Path) -> Path:
    """The path, if a file can be put there.

    Raises:
        OptionError: Its folder does not exist or refuses new files, it is a folder itself, or no file can be called so.
    """
    path = Path(path)
    try:
        path.exists()
    except OSError as error:
        raise OptionError(f"{path}: cannot be written, {(error.strerror or str(error)).lower()}") from None
    folder = path.resolve().parent
    if path.is_dir():
        raise OptionError(f"{path}: cannot be written, it is a folder; expected the name of a file")
    if not folder.is_dir():
        raise OptionError(f"{path}: cannot be written, the folder '{folder}' does not exist; create it first")
    usable = os.access(path, os.W_OK) if path.exists() else True
    if not usable or (not _is_special(path) and not os.access(folder, os.W_OK | os.X_OK)):
        raise OptionError(f"{path}: cannot be written, permission denied")
    return path


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Puts a file in place in one step: readers see the old one or the new one, never half of it.

    Raises:
        OptionError: It cannot be written.
    """
    path = check_writable(path)
    temporary = None
    try:
        if _is_special(path):
            path.write_bytes(data)
            return path
        target = path.resolve()
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OptionError(f"{path}: cannot be written, {(error.strerror or str(error)).lower()}") from error
    return path


def _is_special(path: Path) -> bool:
    """A device or a pipe, such as /dev/null: it is written into, never replaced."""
    return path.exists() and not path.is_file()


def write_text(path: str | Path, text: str) -> Path:
    """The same for UTF-8 text; compressed if the name ends in `.gz`."""
    data = text.encode("utf-8")
    return write_bytes(path, gzip.compress(data, mtime=0) if Path(path).name.endswith(".gz") else data)
