"""Graphs of one op, for tests of what an operator means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.ops.registry import infer_op


def one(
    kind: str, shapes: Sequence[Sequence[int] | None], num_outputs: int = 1, dtypes: Sequence[str] = (), values: Mapping[int, Any] | None = None, **attrs: Any
) -> Graph:
    """A graph of one op.

    Args:
        shapes: Of the inputs; None = left out.
        dtypes: Of the first inputs; the others are fp32.
        values: Numbers of some inputs, by index.
    """
    names = tuple(f"i{n}" if s is not None else "" for n, s in enumerate(shapes))
    tensors = [
        Tensor(name=name, shape=tuple(shape), dtype=dtypes[n] if n < len(dtypes) else "fp32", kind="input")
        for n, (name, shape) in enumerate(zip(names, shapes, strict=True))
        if shape is not None
    ]
    outputs = tuple(f"o{n}" for n in range(num_outputs))
    op = Op(name="node", type=kind, inputs=names, outputs=outputs, attrs=MappingProxyType(attrs))
    by_name = {t.name: t for t in tensors}
    known = {f"i{n}": np.array(v) for n, v in (values or {}).items()}
    specs = infer_op(op, [by_name.get(n) for n in names], known)
    made = [Tensor(name=name, shape=s, dtype=d) for name, (s, d) in zip(outputs, specs, strict=True)]
    return Graph(name="g", ops=[op], tensors=[*tensors, *made], inputs=[t.name for t in tensors], outputs=outputs)
