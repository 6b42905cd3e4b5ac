"""aten operators that compute → ops of ours: the table, and a function where the arguments need turning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from simgpu.frontends.hf.experts import expert_tokens
from simgpu.frontends.torch_movement import split
from simgpu.frontends.torch_patterns import constant_mask, unrepeated
from simgpu.frontends.torch_walk import HANDLERS, Arguments, Walk, aten
from simgpu.graph.ir import Tensor

# One tensor in, one out, no attributes that matter.
_UNARY = {
    "relu": "Relu", "silu": "Swish", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "hardsigmoid": "HardSigmoid", "mish": "Mish",
    "softplus": "Softplus", "softsign": "Softsign", "erf": "Erf", "exp": "Exp", "expm1": "Exp", "log": "Log", "log1p": "Log", "log2": "Log", "sqrt": "Sqrt",
    "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round",
    "logical_not": "Not", "isnan": "IsNaN", "isinf": "IsInf", "celu": "Celu", "elu": "Elu", "selu": "Selu", "leaky_relu": "LeakyRelu",
    "log_sigmoid": "Softplus",
}  # fmt: skip

# Two operands with broadcasting, either of which may be a number.
_BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min", "floor_divide": "Div", "true_divide": "Div",
    "remainder": "Mod", "fmod": "Mod", "eq": "Equal", "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "logical_and": "And",
    "logical_or": "Or", "logical_xor": "Xor", "multiply": "Mul", "divide": "Div", "subtract": "Sub", "rsub": "Sub",
}  # fmt: skip
_LOGIC = {"__and__": ("And", "BitwiseAnd"), "bitwise_and": ("And", "BitwiseAnd"), "__or__": ("Or", "BitwiseOr"), "bitwise_or": ("Or", "BitwiseOr")}

_REDUCTIONS = {
    "mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin", "prod": "ReduceProd", "logsumexp": "ReduceLogSumExp",
    "any": "ReduceMax", "all": "ReduceMin", "var": "ReduceSumSquare", "std": "ReduceL2", "linalg_vector_norm": "ReduceL2", "norm": "ReduceL2",
}  # fmt: skip

# Nothing at inference, or a change of memory order that whoever needs it makes.
_NOTHING = (
    "alias",
    "clone",
    "contiguous",
    "detach",
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "lift_fresh_copy",
    "lift_fresh",
    "requires_grad",
    "identity",
)


def _unary(kind: str) -> Any:
    return lambda w, a: w.op(kind, a.first)


def _binary(kind: str) -> Any:
    return lambda w, a: _two(w, a, kind)


def _two(w: Walk, a: Arguments, kind: str) -> Tensor:
    x, y = list(a.values.values())[:2]
    like = x if isinstance(x, Tensor) else y
    made: Tensor = w.op(kind, w.operand(x, like), w.operand(y, like))
    return made


for _name, _kind in _UNARY.items():
    HANDLERS[_name] = _unary(_kind)
for _name, _kind in _BINARY.items():
    HANDLERS[_name] = _binary(_kind)
for _name in _NOTHING:
    HANDLERS[_name] = lambda w, a: a.first


@aten(*(f"{form}_like" for form in ("zeros", "ones", "full", "empty")), *(f"new_{form}" for form in ("zeros", "ones", "full", "empty")))
def _filled(w: Walk, a: Arguments) -> Any:
    """A tensor of one number, made like another; nothing of that one is read."""
    return w.constant(a.name, w.result(), w.result_dtype())


@aten(*_LOGIC)
def _logic(w: Walk, a: Arguments) -> Any:
    return _two(w, a, _LOGIC[a.name][0 if w.result_dtype() == "bool" else 1])


@aten("ne")
def _not_equal(w: Walk, a: Arguments) -> Any:
    return w.op("Not", _two(w, a, "Equal"))


@aten("rsqrt")
def _rsqrt(w: Walk, a: Arguments) -> Any:
    return w.op("Pow", a.first, w.constant("minus_half"))


@aten("square")
def _square(w: Walk, a: Arguments) -> Any:
    return w.op("Mul", a.first, a.first)


@aten("gelu")
def _gelu(w: Walk, a: Arguments) -> Any:
    return w.op("Gelu", a.first, approximate=str(a.get("approximate", "none")))


@aten("clamp", "clamp_min", "clamp_max", "hardtanh", "relu6", "clip")
def _clip(w: Walk, a: Arguments) -> Any:
    return w.op("Clip", a.first)


@aten("prelu")
def _prelu(w: Walk, a: Arguments) -> Any:
    x, slope = a["self"], a["weight"]
    return w.op("PRelu", x, w.reshape(slope, (*slope.shape, *(1,) * (len(x.shape) - 2))))


@aten("glu")
def _glu(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    axis = a.axis("dim", len(x.shape), -1)
    value, gate = split(w, x, axis, (x.shape[axis] // 2,) * 2)
    return w.op("Mul", value, w.op("Sigmoid", gate))


@aten("softmax", "log_softmax", "_softmax", "_log_softmax")
def _softmax(w: Walk, a: Arguments) -> Any:
    return w.op("LogSoftmax" if "log" in a.name else "Softmax", a.first, axis=int(a["dim"]))


@aten("to", "_to_copy", "type_as", "float", "half")
def _to(w: Walk, a: Arguments) -> Any:
    wanted = w.result_dtype()
    return a.first if a.first.dtype == wanted else w.op("Cast", a.first, to=wanted)


@aten("where")
def _where(w: Walk, a: Arguments) -> Any:
    condition, x, y = list(a.values.values())
    like = x if isinstance(x, Tensor) else y if isinstance(y, Tensor) else condition
    return w.op("Where", condition, w.operand(x, like), w.operand(y, like))


@aten("masked_fill")
def _masked_fill(w: Walk, a: Arguments) -> Any:
    return w.op("Where", a["mask"], w.operand(a["value"], a["self"]), a["self"])


@aten("addcmul")
def _addcmul(w: Walk, a: Arguments) -> Any:
    return w.op("Add", a["self"], w.op("Mul", a["tensor1"], a["tensor2"]))


@aten("lerp")
def _lerp(w: Walk, a: Arguments) -> Any:
    x, end = a["self"], a["end"]
    return w.op("Add", x, w.op("Mul", w.operand(a["weight"], x), w.op("Sub", end, x)))


# ---- products


@aten("linear")
def _linear(w: Walk, a: Arguments) -> Any:
    return w.op("Linear", a["input"], a["weight"], *_some(a["bias"]))


@aten("addmm")
def _addmm(w: Walk, a: Arguments) -> Any:
    return w.op("Gemm", a["mat1"], a["mat2"], a["self"])


@aten("matmul", "mm", "bmm", "mv", "dot", "inner")
def _matmul(w: Walk, a: Arguments) -> Any:
    x, y = list(a.values.values())[:2]
    return w.op("MatMul", x, y)


@aten("baddbmm", "addbmm")
def _baddbmm(w: Walk, a: Arguments) -> Any:
    return w.op("Add", a["self"], w.op("MatMul", a["batch1"], a["batch2"]))


@aten("einsum")
def _einsum(w: Walk, a: Arguments) -> Any:
    return w.op("Einsum", *a["tensors"], equation=str(a["equation"]).replace(" ", ""))


@aten("conv1d", "conv2d", "conv3d", "convolution")
def _conv(w: Walk, a: Arguments) -> Any:
    x, weight = a["input"], a["weight"]
    rank = len(x.shape) - 2
    kernel, strides, dilations = weight.shape[2:], a.sizes("stride", rank), a.sizes("dilation", rank)
    if a.get("transposed"):
        return _transposed(w, a, a.sizes("output_padding", rank))
    if isinstance(a["padding"], str):
        total = [d * (k - 1) if a["padding"] == "same" else 0 for k, d in zip(kernel, dilations, strict=True)]
        pads = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    else:
        pads = a.sizes("padding", rank) * 2
    attrs = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations, "group": int(a["groups"])}
    return w.op("Conv", x, weight, *_some(a["bias"]), **attrs)


@aten("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(w: Walk, a: Arguments) -> Any:
    return _transposed(w, a, a.sizes("output_padding", len(a["input"].shape) - 2))


def _transposed(w: Walk, a: Arguments, extra: tuple[int, ...]) -> Any:
    x, weight = a["input"], a["weight"]
    rank = len(x.shape) - 2
    attrs: dict[str, Any] = {"kernel_shape": weight.shape[2:], "strides": a.sizes("stride", rank), "pads": a.sizes("padding", rank) * 2}
    attrs |= {"dilations": a.sizes("dilation", rank), "group": int(a["groups"]), "output_padding": extra}
    return w.op("ConvTranspose", x, weight, *_some(a["bias"]), **attrs)


@aten("scaled_dot_product_attention")
def _attention(w: Walk, a: Arguments) -> Any:
    q, k, v, mask = a["query"], a["key"], a["value"], a["attn_mask"]
    k = unrepeated(w, a.raw["key"]) or k
    v = unrepeated(w, a.raw["value"]) or v
    lead = q.shape[:-2]
    if len(q.shape) != 4:
        heads = math.prod(lead)
        q, k, v = (w.reshape(x, (1, heads, *x.shape[-2:])) for x in (q, k, v))
        mask = None if mask is None else w.reshape(mask, (1, math.prod(mask.shape[:-2]), *mask.shape[-2:]))
    causal, window = bool(a["is_causal"]), 0
    if mask is not None and (seen := constant_mask(a.raw["attn_mask"], q.shape[2], k.shape[2])) is not None:
        causal, window, mask = q.shape[2] > 1 or bool(seen), seen, None
    scale = a.get("scale", q.shape[-1] ** -0.5)
    y = w.op("Attention", q, k, v, *_some(mask), is_causal=int(causal), window=window, scale=float(scale))
    return w.reshape(y, (*lead, *y.shape[-2:]))


@aten("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(w: Walk, a: Arguments) -> Any:
    """One op for each layer and direction. Biases are in the weights of the graph; the op goes without them."""
    if "input" not in a.values or a.get("batch_sizes") is not None:
        return NotImplemented  # packed sequences
    kind = {"lstm": "LSTM", "gru": "GRU"}.get(a.name, "RNN")
    x, weights, layers = a["input"], a["params"], int(a["num_layers"])
    directions, each = (2 if a["bidirectional"] else 1), (4 if a["has_biases"] else 2)
    if len(weights) != each * directions * layers:
        return NotImplemented  # projections
    if a["batch_first"]:
        x = w.transpose(x, (1, 0, 2))
    steps, batch = x.shape[:2]
    states = []
    for layer in range(layers):
        sides = []
        for side in range(directions):
            w_ih, w_hh = weights[(layer * directions + side) * each :][:2]
            hidden = w_hh.shape[1]
            wide = [w.reshape(m, (1, *m.shape)) for m in (w_ih, w_hh)]
            y, *last = w.op(kind, x, *wide, outputs=3 if kind == "LSTM" else 2, hidden_size=hidden, direction="reverse" if side else "forward")
            sides.append(w.reshape(y, (steps, batch, hidden)))
            states.append(last)
        x = sides[0] if directions == 1 else w.op("Concat", *sides, axis=2)
    y = w.transpose(x, (1, 0, 2)) if a["batch_first"] else x
    ends = [parts[0] if len(parts) == 1 else w.op("Concat", *parts, axis=0) for parts in zip(*states, strict=True)]
    return [y, *ends]


# ---- normalisation


@aten("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm", "cudnn_batch_norm")
def _batch_norm(w: Walk, a: Arguments) -> Any:
    x = a["input"]
    operands = [a.get(key) or w.constant(key, x.shape[1:2], x.dtype) for key in ("weight", "bias", "running_mean", "running_var")]
    y = w.op("BatchNormalization", x, *operands, epsilon=float(a.get("eps", 1e-5)))
    return [y, None, None] if "native" in a.name else y


@aten("layer_norm")
def _layer_norm(w: Walk, a: Arguments) -> Any:
    own = [t for t in (a["weight"], a["bias"]) if t is not None]
    return w.op("LayerNormalization", a["input"], *own, axis=-len(a["normalized_shape"]), epsilon=float(a["eps"]))


@aten("rms_norm")
def _rms_norm(w: Walk, a: Arguments) -> Any:
    return w.op("RMSNormalization", a["input"], *_some(a["weight"]), axis=-len(a["normalized_shape"]), epsilon=float(a.get("eps", 1e-6)))


@aten("group_norm")
def _group_norm(w: Walk, a: Arguments) -> Any:
    own = [t for t in (a["weight"], a["bias"]) if t is not None]
    return w.op("GroupNormalization", a["input"], *own, num_groups=int(a["num_groups"]), epsilon=float(a["eps"]))


@aten("instance_norm")
def _instance_norm(w: Walk, a: Arguments) -> Any:
    x = a["input"]
    own = [a.get(key) or w.constant(key, x.shape[1:2], x.dtype) for key in ("weight", "bias")]
    return w.op("InstanceNormalization", x, *own, epsilon=float(a["eps"]))


@aten("local_response_norm")
def _lrn(w: Walk, a: Arguments) -> Any:
    return w.op("LRN", a["input"], size=int(a["size"]))


# ---- pooling and resampling


@aten("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pool(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    rank = int(a.name[8])
    kernel = a.sizes("kernel_size", rank)
    attrs: dict[str, Any] = {"kernel_shape": kernel, "strides": a.sizes("stride", rank) or kernel, "pads": a.sizes("padding", rank) * 2}
    attrs["ceil_mode"] = int(bool(a["ceil_mode"]))
    if a.get("dilation"):
        attrs["dilations"] = a.sizes("dilation", rank)
    y = w.op("MaxPool" if a.name.startswith("max") else "AveragePool", x, **attrs)
    return [y, None] if a.name.endswith("indices") else y


@aten("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_pool(w: Walk, a: Arguments) -> Any:
    x, kind = a["self"], "Max" if "max" in a.name else "Average"
    rank = int(a.name[-2])
    out = tuple(wanted or have for wanted, have in zip(a.sizes("output_size", rank), x.shape[-rank:], strict=True))
    if set(out) == {1} and len(x.shape) == rank + 2:
        y = w.op(f"Global{kind}Pool", x)
    else:
        strides = tuple(max(have // wanted, 1) for have, wanted in zip(x.shape[-rank:], out, strict=True))
        kernel = tuple(have - (wanted - 1) * s for have, wanted, s in zip(x.shape[-rank:], out, strides, strict=True))
        if any(k < 1 for k in kernel):  # larger than the image: pixels are repeated
            y = w.op("Resize", x, sizes=(*x.shape[:-rank], *out), mode="nearest")
        else:
            y = w.op(f"{kind}Pool", x, kernel_shape=kernel, strides=strides, pads=(0,) * (2 * rank), ceil_mode=0)
    return [y, None] if kind == "Max" else y


_UPSAMPLE = ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "trilinear3d", "bicubic2d")


@aten(*(f"upsample_{form}" for form in _UPSAMPLE), "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_nearest_exact2d")
def _resize(w: Walk, a: Arguments) -> Any:
    mode = "nearest" if "nearest" in a.name else "cubic" if "cubic" in a.name else "linear"
    return w.op("Resize", a.first, sizes=w.result(), mode=mode)


@aten("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(w: Walk, a: Arguments) -> Any:
    block = int(a.get("upscale_factor") or a.get("downscale_factor"))
    return w.op("SpaceToDepth" if "un" in a.name else "DepthToSpace", a["self"], blocksize=block)


@aten("channel_shuffle")
def _channel_shuffle(w: Walk, a: Arguments) -> Any:
    x, groups = a["self"], int(a["groups"])
    batch, channels, *rest = x.shape
    grouped = w.reshape(x, (batch, groups, channels // groups, *rest))
    return w.reshape(w.transpose(grouped, (0, 2, 1, *range(3, len(rest) + 3))), x.shape)


@aten("im2col")
def _im2col(w: Walk, a: Arguments) -> Any:
    """Windows of an image side by side: one gather of pixels."""
    x, pads = a["self"], a.sizes("padding", 2)
    if any(pads):
        x = w.op("Pad", x, pads=(0, 0, *pads, 0, 0, *pads))
    batch, channels = x.shape[:2]
    shape = w.result()
    flat = w.reshape(x, (batch, channels, x.elements // (batch * channels)))
    places = w.constant("pixels", (shape[1] // channels, shape[2]), "int64")
    return w.reshape(w.op("Gather", flat, places, axis=2), shape)


@aten("col2im")
def _col2im(w: Walk, a: Arguments) -> Any:
    size, kernel = tuple(a["output_size"]), a.sizes("kernel_size", 2)
    attrs: dict[str, Any] = {"strides": a.sizes("stride", 2), "dilations": a.sizes("dilation", 2), "pads": a.sizes("padding", 2) * 2}
    return w.op("Col2Im", a["self"], image_shape=size, block_shape=kernel, **attrs)


@aten("unfold")
def _unfold(w: Walk, a: Arguments) -> Any:
    """Windows along one axis, which become a last axis."""
    x = a["self"]
    rank = len(x.shape)
    axis = a.axis("dimension", rank)
    count = w.result()[axis]
    windows = w.op("Gather", x, w.constant("places", (count, int(a["size"])), "int64"), axis=axis)
    return w.transpose(windows, (*range(axis + 1), *range(axis + 2, rank + 1), axis + 1))


@aten("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def _grid_sample(w: Walk, a: Arguments) -> Any:
    return w.op("GridSample", a["input"], a["grid"])


# ---- reductions


@aten(*_REDUCTIONS)
def _reduce(w: Walk, a: Arguments) -> Any:
    x, dims = a["self"], a.get("dim")
    axes = tuple(dims) if isinstance(dims, list) and dims else (dims,) if isinstance(dims, int) else tuple(range(len(x.shape)))
    y = w.op(_REDUCTIONS[a.name], x, axes=axes, keepdims=int(bool(a.get("keepdim", False))))
    return y if y.dtype == w.result_dtype() else w.op("Cast", y, to=w.result_dtype())


@aten("max", "min")
def _max(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    if isinstance(a.get("other"), Tensor):
        return w.op("Max" if a.name == "max" else "Min", x, a["other"])
    kind = a.name.capitalize()
    if a.get("dim") is None:
        return w.op(f"Reduce{kind}", x, axes=tuple(range(len(x.shape))), keepdims=0)
    axis, keep = int(a["dim"]), int(bool(a["keepdim"]))
    return [w.op(f"Reduce{kind}", x, axes=(axis,), keepdims=keep), w.op(f"Arg{kind}", x, axis=axis, keepdims=keep)]


@aten("argmax", "argmin")
def _argmax(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    if a.get("dim") is None:
        x = w.reshape(x, (x.elements,))
    return w.op("ArgMax" if a.name == "argmax" else "ArgMin", x, axis=int(a.get("dim", 0)), keepdims=int(bool(a["keepdim"])))


@aten("cumsum", "cumprod")
def _cumulative(w: Walk, a: Arguments) -> Any:
    y = w.op("CumSum" if a.name == "cumsum" else "CumProd", a["self"], axis=int(a["dim"]))
    return y if y.dtype == w.result_dtype() else w.op("Cast", y, to=w.result_dtype())


@aten("topk", "sort", "argsort")
def _top_k(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    axis = a.axis("dim", len(x.shape), -1)
    both = w.op("TopK", x, outputs=2, axis=axis, k=int(a.get("k", x.shape[axis])))
    return both[1] if a.name == "argsort" else both


# ---- detection and experts


@aten("torchvision::roi_align")
def _roi_align(w: Walk, a: Arguments) -> Any:
    size = int(a["pooled_height"]), int(a["pooled_width"])
    boxes = a["rois"]
    rows = w.slice(boxes, 1, 1, 5)
    batch = w.reshape(w.slice(boxes, 1, 0, 1), (boxes.shape[0],))
    return w.op("RoiAlign", a["input"], rows, batch, output_height=size[0], output_width=size[1], sampling_ratio=int(a["sampling_ratio"]))


@aten("_grouped_mm", "transformers::grouped_mm_fallback")
def _grouped(w: Walk, a: Arguments) -> Any:
    """Rows sorted by expert, each times its expert's weight [experts, in, out]; how many each gets hangs on values."""
    x, weight = list(a.values.values())[:2]
    if len(x.shape) != 2 or len(weight.shape) != 3:
        return NotImplemented
    w.assumptions.add("each expert gets as many tokens as any other")
    return w.op("GroupedLinear", x, w.transpose(weight, (0, 2, 1)), tokens=expert_tokens("balanced", tokens=x.shape[0], count=weight.shape[0], top_k=1))


@aten("histc", "bincount")
def _histogram(w: Walk, a: Arguments) -> Any:
    """Ones added up at the places that the values name."""
    x, shape = a["self"], w.result()
    return w.op("ScatterElements", w.constant("zeros", shape, w.result_dtype()), x, w.constant("ones", x.shape, w.result_dtype()), axis=0)


def _some(value: Tensor | None) -> Sequence[Tensor]:
    return () if value is None else (value,)
