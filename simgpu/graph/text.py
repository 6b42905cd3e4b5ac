"""Graph ↔ text that a person can read and edit.

One line an op: its name, type, inputs ("_" = left out), attributes, `:` its outputs with dtype and shape, `@` its module.

    graph toy(x) -> (fc)
    input x fp32[1,8]
    weight fc.weight fp32[10,8]
    fc = Linear(x, fc.weight) : fc fp32[1,10] @ fc
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

from simgpu.dtypes import DTYPES
from simgpu.errors import ModelError, did_you_mean
from simgpu.graph.ir import ACTIVATION, KINDS, Attr, Graph, Op, Tensor

_BARE = re.compile(r'[^\s"(),=\[\]{}@:#][^\s"(),=\[\]{}]*')  # names of other characters are quoted as JSON strings
_SPACE = re.compile(r"[ \t]*")
_JSON = json.JSONDecoder()


def to_text(graph: Graph) -> str:
    """The graph as text; `from_text` reads it back.

    >>> x, y = Tensor(name="x", shape=(1, 8), kind="input"), Tensor(name="y", shape=(1, 8))
    >>> print(to_text(Graph(name="toy", ops=[Op(name="r", type="Relu", inputs=("x",), outputs=("y",))], tensors=[x, y], inputs=["x"], outputs=["y"])))
    graph toy(x) -> (y)
    input x fp32[1,8]
    r = Relu(x) : y fp32[1,8]
    <BLANKLINE>
    """
    lines = [f"graph {_name(graph.name)}({_names(graph.inputs)}) -> ({_names(graph.outputs)})"]
    lines += [f"assume {json.dumps(note, ensure_ascii=False)}" for note in graph.assumptions]
    lines += [f"{t.kind} {_tensor(t)}" for t in graph.tensors.values() if t.name not in graph.producer]
    lines += [_op(graph, op) for op in graph.ops]
    return "\n".join(lines) + "\n"


def from_text(text: str, where: str = "graph text") -> Graph:
    """The graph that `to_text` wrote; blank lines and lines that start with # are skipped.

    Args:
        where: What messages name, a file.
    Raises:
        ModelError: A line cannot be read; the message names it.

    >>> from_text("graph toy(x) -> (y)\\ninput x fp32[2,3]\\nr = Relu(x) : y fp32[2,3]\\n")
    Graph('toy', 1 ops, 0 parameters)
    """
    header: tuple[str, list[str], list[str]] | None = None
    tensors: dict[str, Tensor] = {}
    ops: list[Op] = []
    assumptions: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        line = _Line(raw, f"{where}:{number}")
        if header is None:
            line.word("graph")
            name, inputs = line.name(), line.list(line.name)
            line.mark("->")
            header = name, inputs, line.list(line.name)
            line.end()
            continue
        first = line.name()
        if line.peek("="):
            op, made = _read_op(line, first)
            ops.append(op)
        elif first == "assume":
            assumptions.append(str(line.json()))
            made = []
        elif first in KINDS:
            made = [line.tensor(first)]
        else:
            raise line.error(f"'{first}' begins no line{did_you_mean(first, (*KINDS, 'assume'))}; expected an op 'name = Type(…)', a tensor or 'assume'")
        line.end()
        for tensor in made:
            if tensor.name in tensors:
                raise line.error(f"the tensor '{tensor.name}' was given before")
            tensors[tensor.name] = tensor
    if header is None:
        raise ModelError(f"{where}: is empty, expected a line 'graph name(inputs) -> (outputs)'")
    try:
        return Graph(name=header[0], ops=ops, tensors=tensors, inputs=header[1], outputs=header[2], assumptions=assumptions)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


# ---- writing


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) and name != "_" else json.dumps(name, ensure_ascii=False)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(_name(n) if n else "_" for n in names)


def _tensor(tensor: Tensor) -> str:
    return f"{_name(tensor.name)} {tensor.dtype}[{','.join(map(str, tensor.shape))}]"


def _op(graph: Graph, op: Op) -> str:
    attrs = "".join(f" {_name(k)}={json.dumps(v, ensure_ascii=False)}" for k, v in op.attrs.items())
    outputs = ", ".join(_tensor(graph[t]) if t else "_" for t in op.outputs)
    scope = f" @ {_name(op.scope)}" if op.scope else ""
    return f"{_name(op.name)} = {_name(op.type)}({_names(op.inputs)}){attrs} : {outputs}{scope}"


# ---- reading


class _Line:
    """A line and how far it is read."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at = text.rstrip(), where, 0
        self._skip()

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def error(self, message: str) -> ModelError:
        return ModelError(f"{self.where}: {message}")

    def peek(self, mark: str) -> bool:
        return self.text.startswith(mark, self.at)

    def mark(self, mark: str) -> None:
        if not self.peek(mark):
            rest = self.text[self.at : self.at + 20]
            raise self.error(f"column {self.at + 1}: expected '{mark}', got {rest!r}" if rest else f"ends where '{mark}' is expected")
        self.at += len(mark)
        self._skip()

    def word(self, word: str) -> None:
        if self.name() != word:
            raise self.error(f"expected the line to begin with '{word}'")

    def name(self) -> str:
        if self.peek('"'):
            return str(self.json())
        found = _BARE.match(self.text, self.at)
        if found is None:
            raise self.error(f"column {self.at + 1}: expected a name, got {self.text[self.at : self.at + 20]!r}")
        self.at = found.end()
        self._skip()
        return found.group()

    def operand(self) -> str:
        quoted = self.peek('"')
        name = self.name()
        return "" if name == "_" and not quoted else name

    def list(self, item: Callable[[], str]) -> list[str]:
        self.mark("(")
        result: list[str] = []
        while not self.peek(")"):
            if result:
                self.mark(",")
            result.append(item())
        self.mark(")")
        return result

    def json(self) -> Any:
        try:
            value, self.at = _JSON.raw_decode(self.text, self.at)
        except (json.JSONDecodeError, RecursionError):
            raise self.error(f"column {self.at + 1}: cannot read the value {self.text[self.at : self.at + 20]!r}; expected JSON") from None
        self._skip()
        return value

    def tensor(self, kind: str) -> Tensor:
        name, dtype = self.name(), self.name()
        if dtype not in DTYPES:
            raise self.error(f"unknown dtype '{dtype}' of tensor '{name}'{did_you_mean(dtype, DTYPES)}")
        shape = self.json() if self.peek("[") else None
        if not isinstance(shape, list) or not all(isinstance(d, int) and not isinstance(d, bool) and 0 <= d < 2**48 for d in shape):
            raise self.error(f"tensor '{name}' needs a shape such as [1,3,224,224], dimensions of 0 or more")
        return Tensor(name=name, shape=tuple(shape), dtype=dtype, kind=kind)

    def end(self) -> None:
        if self.at < len(self.text):
            raise self.error(f"column {self.at + 1}: expected the end of the line, got {self.text[self.at : self.at + 20]!r}")


def _attributes(line: _Line) -> Iterator[tuple[str, Attr]]:
    while not line.peek(":"):
        name = line.name()
        line.mark("=")
        value = _frozen(line.json())
        if value is None or isinstance(value, dict):
            raise line.error(f"attribute '{name}' must be a number, text, true, false or a list")
        yield name, value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _read_op(line: _Line, name: str) -> tuple[Op, list[Tensor]]:
    line.mark("=")
    kind, inputs = line.name(), line.list(line.operand)
    attrs = dict(_attributes(line))
    line.mark(":")
    outputs: list[str] = []
    made: list[Tensor] = []
    while True:
        if line.peek("_ ") or line.peek("_,") or line.text[line.at :] == "_":
            line.name()
            outputs.append("")
        else:
            made.append(line.tensor(ACTIVATION))
            outputs.append(made[-1].name)
        if not line.peek(","):
            break
        line.mark(",")
    scope = ""
    if line.peek("@"):
        line.mark("@")
        scope = line.name()
    return Op(name=name, type=kind, inputs=tuple(inputs), outputs=tuple(outputs), attrs=MappingProxyType(attrs), scope=scope), made
