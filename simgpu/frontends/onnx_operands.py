"""Little operands of known value (the shape of a Reshape, the starts of a Slice) as attributes, and shapes written for batch 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from simgpu.frontends.onnx_proto import Array
from simgpu.graph.ir import Attr

# Little operands that become attributes: op type → {input index: name}.
OPERANDS: Mapping[str, Mapping[int, str]] = {
    "Reshape": {1: "shape"},
    "Expand": {1: "shape"},
    "Tile": {1: "repeats"},
    "Slice": {1: "starts", 2: "ends", 3: "axes", 4: "steps"},
    "Pad": {1: "pads", 2: "constant_value", 3: "axes"},
    "Squeeze": {1: "axes"},
    "Unsqueeze": {1: "axes"},
    "Split": {1: "split"},
    "Resize": {2: "scales", 3: "sizes"},
    "Upsample": {1: "scales"},
    "TopK": {1: "k"},
    "CumSum": {1: "axis"},
    "Trilu": {1: "k"},
    "Clip": {1: "min", 2: "max"},
    "OneHot": {1: "depth"},
    "NonMaxSuppression": {2: "max_output_boxes_per_class", 3: "iou_threshold", 4: "score_threshold"},
    "CenterCropPad": {1: "shape"},
    "Col2Im": {1: "image_shape", 2: "block_shape"},
    "AffineGrid": {1: "size"},
    "MaxUnpool": {2: "output_shape"},
    "DFT": {1: "dft_length", 2: "axis"},
    **{f"Reduce{kind}": {1: "axes"} for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")},
}
_SCALARS = frozenset({"k", "axis", "depth", "min", "max", "constant_value", "max_output_boxes_per_class", "iou_threshold", "score_threshold", "dft_length"})
_UNUSED = {"Resize": 1, "Dropout": 1}  # inputs that change no shape: the roi, the ratio; from this index on if unknown


def absorb(kind: str, inputs: Sequence[str], attrs: Mapping[str, Attr], values: Mapping[str, Array], opset: int) -> tuple[list[str], dict[str, Attr]]:
    """Inputs and attributes of a node with operands of known value as attributes; inputs left out at the end are gone."""
    kept, given = list(inputs), dict(attrs)
    names = OPERANDS.get(kind, {})
    if kind == "Resize" and len(kept) == 2:  # opset 10: x, scales
        names = {1: "scales"}
    for i, name in names.items():
        if i < len(kept) and kept[i] and kept[i] in values:
            value = values[kept[i]]
            plain = value.reshape(-1).tolist()
            if not plain and name in ("scales", "sizes", "axes"):
                kept[i] = ""  # an empty list: not given
            elif len(plain) == 1 and name in _SCALARS:
                kept[i], given[name] = "", plain[0]
            elif len(plain) <= 1024 and name not in _SCALARS:
                kept[i], given[name] = "", tuple(plain)
    if kind in _UNUSED:
        kept = [t if i < _UNUSED[kind] or (t and t not in values and i in names) else "" for i, t in enumerate(kept)]
    while kept and not kept[-1]:
        kept.pop()
    if kind in ("Softmax", "LogSoftmax", "Hardmax") and opset < 13:
        given.setdefault("axis", 1)
    return kept, given


def rebased(kind: str, x: Sequence[int], attrs: dict[str, Attr], batch: int, *, fixed: bool) -> dict[str, Attr]:
    """The attributes with a target shape that was written for batch 1 made to fit a larger batch; the same object if it fits.

    Args:
        x: Shape of the data.
        fixed: The whole file was written for batch 1: a target (1, -1) means the batch as well.

    >>> rebased("Reshape", (8, 4, 4), {"shape": (1, 16)}, 8, fixed=False)
    {'shape': (8, 16)}
    >>> rebased("Reshape", (197, 8, 2304), {"shape": (197, 1, 3, 768)}, 8, fixed=False)
    {'shape': (197, 8, 3, 768)}
    >>> rebased("Reshape", (8, 4, 4), {"shape": (1, -1)}, 8, fixed=True)
    {'shape': (8, -1)}
    """
    key = {"Reshape": "shape", "Resize": "sizes"}.get(kind, "")
    wanted = attrs.get(key)
    if not isinstance(wanted, tuple) or not wanted or not all(isinstance(d, int) for d in wanted):
        return attrs
    if kind == "Resize" or -1 in wanted:
        at = 0 if fixed and wanted[0] == 1 and x[0] == batch else None
    elif 0 in wanted or math.prod(wanted) * batch != math.prod(x):
        at = None
    else:
        at = next((i for i, (d, w) in enumerate(zip(x, wanted, strict=False)) if d == batch and w == 1), 0)
    if at is None:
        return attrs
    return {**attrs, key: (*wanted[:at], wanted[at] * batch, *wanted[at + 1 :])}
