"""Imports point one way, and each library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest layer first; a module may import from lower layers and from its own package.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "units", "dtypes", "runtime", "yaml_text", "data_paths", "measure"),
    ("graph", "arch"),
    ("ops", "precision"),
    ("frontends",),
    ("passes",),
    ("kernels",),
    ("cost",),
    ("sim",),
    ("memory",),
    ("report",),
    ("api",),
    ("serving", "studies", "validation", "plot"),
    ("cli",),
    ("__init__", "__main__"),
)
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}

# Narrower than its layer: plots read reports (made of kernels), cost reads kernels and never ops, the simulator reads kernels.
ONLY: dict[str, set[str]] = {
    "plot": {"report", "kernels", "errors", "units", "dtypes"},
    "cost": {"kernels", "arch", "errors", "units", "dtypes", "runtime", "yaml_text", "data_paths"},
}

HOMES: dict[str, tuple[str, ...]] = {
    "onnx": ("simgpu/frontends/onnx*.py",),
    "yaml": ("simgpu/yaml_text.py",),
    "networkx": ("simgpu/graph/*.py", "simgpu/kernels/kernel.py"),
    "simpy": ("simgpu/sim/*.py", "simgpu/serving/*.py"),
    "matplotlib": ("simgpu/plot/*.py",),
    "click": ("simgpu/cli/*.py",),
    "joblib": ("simgpu/studies/sweep.py",),
    "pydantic": (),
    "rich": (),
    "pandas": (),
}


def sources() -> list[Path]:
    return sorted((ROOT / "simgpu").rglob("*.py"))


def package_of(path: Path) -> str:
    """The part of simgpu that a file belongs to: simgpu/graph/ir.py → graph, simgpu/units.py → units."""
    return path.relative_to(ROOT / "simgpu").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import of a file, wherever it stands; relative ones made absolute."""
    package = [*path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def test_every_package_has_a_layer():
    assert {package_of(path) for path in sources()} <= LEVEL.keys()


def test_imports_point_one_way():
    wrong = []
    for path in sources():
        importer = package_of(path)
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] != "simgpu" or len(parts) == 1:
                continue
            imported = parts[1] if parts[1] in LEVEL else "__init__"
            if imported == importer:
                continue
            down = LEVEL[imported] < LEVEL[importer] or LEVEL[importer] == 0 == LEVEL[imported]
            if not down or imported not in ONLY.get(importer, LEVEL.keys()):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {importer} may not import {name}")
    assert not wrong, "\n".join(wrong)


def test_each_library_has_one_home():
    wrong = []
    for path in sources():
        where = path.relative_to(ROOT).as_posix()
        for line, name in imports(path):
            library = name.split(".")[0]
            if library in HOMES and not any(fnmatch(where, home) for home in HOMES[library]):
                wrong.append(f"{where}:{line}: imports {name}, which lives in {', '.join(HOMES[library]) or 'no module of the core'}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import simgpu", {"onnx", "matplotlib", "networkx", "simpy", "yaml", "joblib", "click", "torch", "pandas"}),
        ("from simgpu.cli import main; main(['--help'])", {"onnx", "matplotlib", "networkx", "simpy", "joblib", "torch", "pandas", "numpy"}),
        ("import simgpu.plot", {"onnx", "matplotlib.pyplot", "networkx", "torch", "pandas"}),
    ],
)
def test_what_an_import_must_not_load(statement: str, heavy: set[str]):
    code = f"import sys; {statement}; print(*sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.split() == []
