"""What a user installs: the wheel holds every GPU and model, works away from the checkout, and the command is there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_all_data(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for kind in ("archs", "models"):
        wanted = {
            f"simgpu/_data/{kind}/{p.relative_to(ROOT / kind).as_posix()}" for p in (ROOT / kind).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        }
        assert wanted
        assert wanted <= names
    assert {f"simgpu/{p.relative_to(ROOT / 'simgpu').as_posix()}" for p in (ROOT / "simgpu").rglob("*.py")} <= names
    assert not [name for name in names if name.startswith(("tests/", "notebooks/")) or "__pycache__" in name]


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "import sys, simgpu; print(simgpu.__file__); from simgpu.cli import main; sys.exit(main(['run', 'alexnet', '--gpu', 't4', '--top', '0']))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    where, title, *_ = result.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert title == "alexnet on Tesla T4"


def test_the_command_is_installed():
    command = Path(sys.executable).parent / "simgpu"
    result = subprocess.run([str(command), "--version"], capture_output=True, text=True, check=True)
    assert "0.1.0" in result.stdout


def test_python_m_simgpu_is_the_same(tmp_path: Path):
    result = subprocess.run([sys.executable, "-m", "simgpu", "run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Missing argument 'MODEL'" in result.stderr
