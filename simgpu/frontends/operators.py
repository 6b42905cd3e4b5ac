"""Graphs of a single operator, for `simgpu op` and for studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from simgpu.errors import OptionError, did_you_mean
from simgpu.frontends.builder import Builder
from simgpu.graph.ir import WEIGHT, Graph, Tensor
from simgpu.precision import precision

Values = Mapping[str, int]
Build = Callable[[Builder, Values], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A kind of operator and its sizes.

    Attributes:
        meaning: For people.
        needs: Sizes without a default, each with its meaning.
        takes: Sizes with a default: a number, or the name of the size it equals.
        build: Sizes → the output of the graph's only op.
    """

    meaning: str
    needs: Mapping[str, str]
    takes: Mapping[str, int | str]
    build: Build


def _conv(b: Builder, v: Values) -> Tensor:
    x = b.input("x", (v["n"], v["c"], v["h"], v["w"]))
    pad = (v["pad"], v["pad"])
    return b.conv(x, v["k"], (v["r"], v["s"]), stride=v["stride"], padding=pad, dilation=v["dilation"], groups=v["groups"], bias=v["bias"] > 0, name="conv")


def _depthwise(b: Builder, v: Values) -> Tensor:
    return _conv(b, {**v, "k": v["c"], "groups": v["c"]})


def _gemm(b: Builder, v: Values) -> Tensor:
    lead = (v["batch"],) if v["batch"] > 1 else ()
    return b.matmul(b.input("a", (*lead, v["m"], v["k"])), b.input("b", (*lead, v["k"], v["n"])), name="gemm")


def _linear(b: Builder, v: Values) -> Tensor:
    return b.linear(b.input("x", (v["rows"], v["in"])), v["out"], bias=v["bias"] > 0, name="linear")


def _softmax(b: Builder, v: Values) -> Tensor:
    return b.softmax(b.input("x", (v["rows"], v["cols"])), name="softmax")


def _layer_norm(b: Builder, v: Values) -> Tensor:
    return b.layer_norm(b.input("x", (v["rows"], v["cols"])), name="layer_norm")


def _rms_norm(b: Builder, v: Values) -> Tensor:
    return b.rms_norm(b.input("x", (v["rows"], v["cols"])), name="rms_norm")


def _max_pool(b: Builder, v: Values) -> Tensor:
    x = b.input("x", (v["n"], v["c"], v["h"], v["w"]))
    return b.max_pool(x, v["r"], stride=v["stride"], padding=v["pad"], name="max_pool")


def _attention(b: Builder, v: Values) -> Tensor:
    q = b.input("q", (v["batch"], v["heads"], v["q"], v["d"]))
    k, w = (b.input(name, (v["batch"], v["kv_heads"], v["kv"], v["d"])) for name in "kv")
    return b.attention(q, k, w, causal=v["causal"] > 0, window=v["window"], name="attention")


def _unary(kind: str) -> Build:
    return lambda b, v: b.act(b.input("x", (v["elements"],)), kind, name=kind)


def _binary(kind: str) -> Build:
    return lambda b, v: b.op(kind, b.input("x", (v["elements"],)), b.input("y", (v["elements"],)), name=kind.lower())


_IMAGE = {"c": "input channels", "h": "input height"}
_ROWS = {"rows": "independent rows", "cols": "elements in a row"}
_FLAT = {"elements": "elements"}

OPERATORS: dict[str, Operator] = {
    "conv": Operator(
        meaning="2-D convolution",
        needs={**_IMAGE, "k": "filters"},
        takes={"n": 1, "w": "h", "r": 3, "s": "r", "stride": 1, "pad": "same", "dilation": 1, "groups": 1, "bias": 0},
        build=_conv,
    ),
    "depthwise": Operator(
        meaning="depthwise 2-D convolution, a filter for each channel",
        needs=_IMAGE,
        takes={"n": 1, "w": "h", "r": 3, "s": "r", "stride": 1, "pad": "same", "dilation": 1, "bias": 0},
        build=_depthwise,
    ),
    "gemm": Operator(
        meaning="matrix product A[m, k] · B[k, n]", needs={"m": "rows of A", "n": "columns of B", "k": "inner size"}, takes={"batch": 1}, build=_gemm
    ),
    "linear": Operator(
        meaning="linear layer x[rows, in] · weight[out, in]ᵀ",
        needs={"rows": "rows of x", "in": "input features", "out": "output features"},
        takes={"bias": 1},
        build=_linear,
    ),
    "attention": Operator(
        meaning="softmax(q kᵀ) v",
        needs={"heads": "query heads", "q": "query positions", "d": "width of a head"},
        takes={"batch": 1, "kv_heads": "heads", "kv": "q", "causal": 0, "window": 0},
        build=_attention,
    ),
    "softmax": Operator(meaning="softmax over rows", needs=_ROWS, takes={}, build=_softmax),
    "layer_norm": Operator(meaning="layer normalisation of rows", needs=_ROWS, takes={}, build=_layer_norm),
    "rms_norm": Operator(meaning="root-mean-square normalisation of rows", needs=_ROWS, takes={}, build=_rms_norm),
    "max_pool": Operator(meaning="max pooling", needs=_IMAGE, takes={"n": 1, "w": "h", "r": 2, "stride": "r", "pad": 0}, build=_max_pool),
    **{name: Operator(meaning=f"{name} of every element", needs=_FLAT, takes={}, build=_unary(name)) for name in ("relu", "gelu", "silu", "sigmoid", "tanh")},
    **{name: Operator(meaning=f"{name} two arrays", needs=_FLAT, takes={}, build=_binary(name.capitalize())) for name in ("add", "mul")},
}
_MATRIX_PRODUCTS, _CONVOLUTIONS = ("gemm", "linear"), ("conv", "depthwise")
_MAY_BE_ZERO = {"pad", "bias", "causal", "window"}


def operator_sizes(kind: str, given: Mapping[str, int]) -> dict[str, int]:
    """All sizes of an operator: those given and the defaults of the others.

    Raises:
        OptionError: Unknown kind or size, one that is missing, or a value that makes no sense.

    >>> operator_sizes("gemm", {"m": 8, "n": 16, "k": 32})
    {'m': 8, 'n': 16, 'k': 32, 'batch': 1}
    """
    if kind not in OPERATORS:
        raise OptionError(f"unknown operator '{kind}', expected one of {', '.join(OPERATORS)}{did_you_mean(kind, OPERATORS)}")
    operator = OPERATORS[kind]
    known = [*operator.needs, *operator.takes]
    for key, value in given.items():
        if key not in known:
            raise OptionError(f"{kind}: unknown size '{key}', expected one of {', '.join(known)}{did_you_mean(key, known)}")
        if value < (0 if key in _MAY_BE_ZERO else 1):
            raise OptionError(f"{kind}: {key} is {value}, expected {0 if key in _MAY_BE_ZERO else 1} or more")
    if missing := [key for key in operator.needs if key not in given]:
        meanings = ", ".join(f"{key} ({operator.needs[key]})" for key in missing)
        raise OptionError(f"{kind}: {meanings} missing; {usage(kind)}")
    sizes = {key: given[key] for key in operator.needs}
    for key, default in operator.takes.items():
        if key in given:
            sizes[key] = given[key]
        elif default != "same":
            sizes[key] = sizes[default] if isinstance(default, str) else default
    if operator.takes.get("pad") == "same" and "pad" not in given:
        sizes["pad"] = (sizes["r"] - 1) * sizes.get("dilation", 1) // 2
    return sizes


def operator_graph(kind: str, given: Mapping[str, int], *, dtype: str = "fp32") -> Graph:
    """The graph of a single operator.

    Args:
        dtype: The policy it will run under. Where that quantises, the operator gets what an earlier one quantised: its input
            is in the narrow format already, and B of a matrix product is the weight.
    Raises:
        OptionError: The policy does not quantise this kind of operator.

    >>> [op.type for op in operator_graph("conv", {"c": 8, "h": 16, "k": 8}).ops]
    ['Conv']
    """
    sizes = operator_sizes(kind, given)
    b = Builder(kind)
    graph = b.build(OPERATORS[kind].build(b, sizes))
    policy = precision(dtype)
    if not policy.weights:
        return graph
    narrow = graph.inputs[:1] if policy.activations else ()
    if kind == "attention" and policy.activations == "fp8":  # FlashAttention-3 and TensorRT-LLM have such kernels
        narrow = graph.inputs
    elif kind not in _MATRIX_PRODUCTS and (policy.linear_only or kind not in _CONVOLUTIONS):
        what = "matrix products" if policy.linear_only else "convolutions and matrix products"
        raise OptionError(f"{kind}: dtype {policy.name} quantises {what} only, so this operator runs in {policy.storage}; choose dtype {policy.storage}")
    tensors = {**graph.tensors, **{name: replace(graph[name], dtype=policy.activations) for name in narrow}}
    if kind != "gemm":
        return graph.with_(tensors=tensors)
    a, weight = graph.inputs
    return graph.with_(inputs=(a,), tensors={**tensors, weight: replace(graph[weight], kind=WEIGHT)})


def load_operator(kind: str, /, *, dtype: str = "fp32", **sizes: int) -> Graph:
    """The graph of a single operator, for `simulate`; `simgpu op --help` lists kinds and sizes.

    Args:
        dtype: As for `simulate`; a policy that quantises (int8, fp8, int4 …) must be known here.
    Raises:
        OptionError: Unknown kind or size, one that is missing, a value that makes no sense, or a policy for other kinds.

    >>> load_operator("gemm", m=8, n=16, k=32).num_params
    0
    """
    return operator_graph(kind, sizes, dtype=dtype)


def usage(kind: str) -> str:
    """How to write the operator: "gemm m= n= k= batch=1".

    >>> usage("conv")
    'conv c= h= k= n=1 w=h r=3 s=r stride=1 pad=same dilation=1 groups=1 bias=0'
    """
    operator = OPERATORS[kind]
    return " ".join([kind, *(f"{key}=" for key in operator.needs), *(f"{key}={value}" for key, value in operator.takes.items())])
