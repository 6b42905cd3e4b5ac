"""Every command (```console) and every example (```python) of the README runs, and prints what the README shows.

`make readme` writes the outputs that the commands print now into the README, and its pictures.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from simgpu.cli import COMMANDS, main
from simgpu.cost.calibration import shipped_calibration

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SETUP = {"make", "pip"}  # commands that install or run everything: read here, run by CI itself


@dataclass(frozen=True)
class Command:
    """A line "$ command" of the README and the lines shown below it; line numbers count from 0."""

    text: str
    line: int
    shown: tuple[str, ...]


def blocks(language: str) -> Iterator[tuple[int, list[str]]]:
    """The fenced blocks of a language: number of their first line, and their lines."""
    lines = README.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if start is None and line == f"```{language}":
            start = number + 1
        elif start is not None and line == "```":
            yield start, lines[start:number]
            start = None


def commands() -> list[Command]:
    found = []
    for start, lines in blocks("console"):
        at = [i for i, line in enumerate(lines) if line.startswith("$ ")]
        for i, end in zip(at, [*at[1:], len(lines)], strict=True):
            found.append(Command(text=lines[i][2:], line=start + i, shown=tuple(lines[i + 1 : end])))
    return found


def run(text: str) -> str:
    """What a simgpu command prints on stdout, trailing blanks removed."""
    program, *arguments = shlex.split(text, comments=True)
    assert program == "simgpu", f"the README runs {program}, which this test does not know"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main(arguments)
    assert status == 0, f"{text}: status {status}"
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def pattern(shown: tuple[str, ...]) -> str:
    """A line "..." stands for any lines, "…" at the end of a line for the rest of it."""
    parts = [r"(?:.*\n)*?" if line == "..." else re.escape(line[:-1]) + ".*\n" if line.endswith("…") else re.escape(line) + "\n" for line in shown]
    return "".join(parts)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "notebooks" / "pictures").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("command", [c for c in commands() if c.text.split()[0] not in SETUP], ids=lambda c: c.text)
def test_a_command_prints_what_the_readme_shows(command: Command, workplace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(workplace)
    monkeypatch.delenv("COLUMNS", raising=False)
    printed = run(command.text)
    assert re.fullmatch(pattern(command.shown), printed + "\n"), f"README line {command.line + 1} is stale, `make readme` renews it:\n{printed}"


def test_the_examples_in_python(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(workplace)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    examples = 0
    for start, lines in blocks("python"):
        test = parser.get_doctest("\n".join(lines) + "\n", {}, "README.md", str(README), start)
        examples += len(test.examples)
        report = io.StringIO()
        assert runner.run(test, out=report.write).failed == 0, report.getvalue()
    assert examples


def test_setup_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [c.text.split()[1] for c in commands() if c.text.startswith("make ")]
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def unrun() -> list[list[str]]:
    """Commands in ```sh blocks, as words: they take too long, or need files that the reader has."""
    return [shlex.split(line, comments=True) for _, lines in blocks("sh") for line in lines if line.startswith("simgpu ")]


@pytest.mark.parametrize("words", unrun(), ids=" ".join)
def test_a_command_that_is_not_run_exists_with_its_options(words: list[str], capsys: pytest.CaptureFixture[str]):
    with contextlib.suppress(SystemExit):  # argparse, where click would do more than is needed
        assert main([words[1], "--help"]) == 0
    described = re.findall(r"(?<!\S)--?[a-z][a-z-]*", capsys.readouterr().out)
    assert [word for word in words if word.startswith("-") and word not in described] == []


def test_every_command_is_shown():
    shown = {c.text.split()[1] for c in commands() if c.text.startswith("simgpu ")} | {words[1] for words in unrun()}
    assert sorted(COMMANDS.keys() - shown) == []


def test_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_the_error_table_is_there():
    (table,) = [lines for _, lines in blocks("text") if lines and lines[0].split()[:3] == ["source:", "family", "rows"]]
    assert len(table) > 10


def left_out_table() -> list[str]:
    """Each GPU's errors by factors that never saw it, as the shipped calibration records them."""
    columns = {
        "linear": "linear", "bmm": "bmm", "elem.": "elementwise", "softmax": "softmax", "norm": "layernorm", "conv": "conv", "conv TC": "conv tensor",
        "GEMM": "gemm", "GEMM TC": "gemm tensor", "prefill": "attention_prefill", "decode": "attention_decode",
    }  # fmt: skip
    found = shipped_calibration().fit["leave_one_out"]
    rows = [(one["gpu"], one["factors_of"].removesuffix(", other GPUs"), one["mape_pct"]) for one in found if set(one["mape_pct"]) & set(columns.values())]
    lines = [f"{'GPU':<22}{'factors of':<14}" + "".join(f"{name:>9}" for name in columns)]
    for gpu, place, errors in rows:
        lines.append(f"{gpu:<22}{place:<14}" + "".join(f"{errors[family]:9.1f}" if family in errors else f"{'–':>9}" for family in columns.values()))
    means = [np.mean([errors[family] for *_, errors in rows if family in errors]) for family in columns.values()]
    return [*lines, f"{'mean':<36}" + "".join(f"{mean:9.1f}" for mean in means)]


def test_the_errors_on_gpus_left_out_are_those_of_the_calibration():
    assert left_out_table() in [lines for _, lines in blocks("text")]


def renew(errors: bool) -> None:
    """Runs the commands and writes what they print; where the README shows "...", as many lines before and after it as now.

    Args:
        errors: Also the table of all errors, which takes minutes.
    """
    from PIL import Image

    lines = README.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("notebooks/pictures").mkdir(parents=True)
        for command in reversed([c for c in commands() if c.text.split()[0] not in SETUP]):
            printed = run(command.text).splitlines()
            shown = list(command.shown)
            if "..." in shown:
                head, tail = shown.index("..."), len(shown) - 1 - shown[::-1].index("...")
                after = len(shown) - 1 - tail
                printed = [*printed[:head], "...", *(printed[-after:] if after else [])]
            lines[command.line + 1 : command.line + 1 + len(shown)] = printed
        if errors:
            printed = run("simgpu validate --quiet").splitlines()
            start = printed.index("By family") + 1
            table = [line[2:] for line in printed[start : printed.index("", start)] if "use with care" not in line]
            for mark, found in (("errors", table), ("left out", left_out_table())):
                at = lines.index(f"<!-- {mark}: written by make readme -->") + 2
                lines[at : lines.index("```", at)] = found
        for picture in Path("notebooks/pictures").iterdir():
            if picture.suffix != ".png":
                shutil.copy(picture, ROOT / picture)
                continue
            Image.open(picture).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE).save(ROOT / picture, optimize=True)
    README.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    renew(errors="--errors" in sys.argv)
