"""Which file a GPU's name means: file ids, aliases and the names that drivers print."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from simgpu.data_paths import data_files, is_file, search_dirs
from simgpu.errors import ArchError, SimgpuError, did_you_mean
from simgpu.yaml_text import parse_yaml

_VENDOR = {"nvidia", "tesla", "geforce", "quadro"}
_ALIASES = re.compile(r"^aliases:.*(?:\n[ \t#-].*)*", re.MULTILINE)


def gpu_names() -> list[str]:
    """The ids of all GPUs known by name, shipped ones and the user's own."""
    return sorted({path.stem for path in data_files("archs", ".yaml")})


def squash(name: str) -> str:
    """A name without vendor words, case, spaces and dashes: what names are compared by.

    >>> squash("NVIDIA GeForce RTX 3090"), squash("a100_sxm4-80GB")
    ('rtx3090', 'a100sxm480gb')
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    while len(words) > 1 and words[0] in _VENDOR:
        words.pop(0)
    return "".join(words)


def find_gpu(name: str, *, but: Path | None = None) -> Path:
    """The file of a GPU.

    Args:
        name: Id, alias or the name that the driver prints ("NVIDIA A100-SXM4-80GB").
        but: A file that is not meant, because it asks itself.
    Raises:
        ArchError: Nobody is called so.
    """
    for folder in search_dirs("archs"):
        if re.fullmatch(r"[\w.-]+", name) and (path := folder / f"{name}.yaml") != but and is_file(path):
            return path
    files = [path for path in data_files("archs", ".yaml") if path != but]
    wanted = squash(name)
    for path in files:
        if squash(path.stem) == wanted:
            return path
    known: dict[str, Path] = {}
    for path in files:
        stat = path.stat()
        for alias in aliases_of(path, stat.st_mtime_ns, stat.st_size):
            known.setdefault(alias, path)
    for alias, path in known.items():
        if squash(alias) == wanted:
            return path
    raise ArchError(f"unknown GPU '{name}'{did_you_mean(name, [*(path.stem for path in files), *known])}; `simgpu gpus` lists them")


@cache
def aliases_of(path: Path, _mtime_ns: int, _size: int) -> tuple[str, ...]:
    """The aliases in a file, read without the rest of it: 57 files in a few milliseconds."""
    try:
        found = _ALIASES.search(path.read_text("utf-8"))
        data = parse_yaml(found[0], where=str(path)).data if found else {}
    except (OSError, UnicodeDecodeError, SimgpuError):
        return ()  # the file's own load says what is wrong
    names = data.get("aliases") if isinstance(data, dict) else None
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
