"""A functional builder of operator graphs: a zoo model reads like the table of its paper.

>>> b = Builder("toy")
>>> x = b.input("input", (1, 3, 8, 8))
>>> with b.scope("stem"):
...     x = b.relu(b.conv(x, 4, 3, stride=2, name="conv"))
>>> graph = b.build(b.linear(b.flatten(b.global_avg_pool(x)), 10, name="fc"))
>>> [op.name for op in graph.ops][:2], graph.num_params == 4 * 3 * 3 * 3 + 4 * 10 + 10
(['stem.conv', 'stem.relu'], True)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from simgpu.errors import ShapeError
from simgpu.frontends.builder_core import BuilderCore
from simgpu.graph.ir import CONSTANT, WEIGHT, Tensor

__all__ = ["Builder", "Tensor", "round_channels"]

Size = int | Sequence[int]


class Builder(BuilderCore):
    """A graph under construction; every method that computes returns the tensor it makes.

    A name given to a method is the last part of the module path ("conv1" inside `scope("layer1.0")` is
    "layer1.0.conv1"); without one the op type is used, with a number if it is taken. Weights are named as
    PyTorch names them ("layer1.0.conv1.weight"); asking for a weight that exists returns it, so tying is naming.

    Args:
        name: Name of the graph.
        dtype: Format of inputs and weights; the precision policy may change it later.
    """

    # ---- layers with weights

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: Size,
        *,
        stride: Size = 1,
        padding: Size | None = None,
        groups: int = 1,
        dilation: Size = 1,
        bias: bool = False,
        name: str = "conv",
    ) -> Tensor:
        """A convolution over as many axes as `x` has behind (batch, channels).

        Args:
            padding: On each side of each axis; None keeps the size at stride 1 (odd kernels).
        """
        rank = len(x.shape) - 2
        k, s, d = _sizes(kernel, rank), _sizes(stride, rank), _sizes(dilation, rank)
        p = tuple((ki - 1) * di // 2 for ki, di in zip(k, d, strict=True)) if padding is None else _sizes(padding, rank)
        full = self._unique(self.path(name))
        if x.shape[1] % groups or channels % groups:
            raise ShapeError(f"{self.name}: '{full}' divides {x.shape[1]} input and {channels} output channels into {groups} groups; both must divide evenly")
        weight = self._parameter(f"{full}.weight", (channels, x.shape[1] // groups, *k), WEIGHT)
        biases = (self._parameter(f"{full}.bias", (channels,), WEIGHT),) if bias else ()
        return self._module("Conv", full, x, weight, *biases, kernel_shape=k, strides=s, pads=p + p, dilations=d, group=groups)

    def conv_transpose(
        self, x: Tensor, channels: int, kernel: Size, *, stride: Size = 1, padding: Size = 0, groups: int = 1, bias: bool = False, name: str = "conv"
    ) -> Tensor:
        """A transposed convolution: size → (size - 1) · stride - 2 · padding + kernel."""
        rank = len(x.shape) - 2
        k, s, p = _sizes(kernel, rank), _sizes(stride, rank), _sizes(padding, rank)
        full = self._unique(self.path(name))
        weight = self._parameter(f"{full}.weight", (x.shape[1], channels // groups, *k), WEIGHT)
        biases = (self._parameter(f"{full}.bias", (channels,), WEIGHT),) if bias else ()
        return self._module("ConvTranspose", full, x, weight, *biases, kernel_shape=k, strides=s, pads=p + p, group=groups)

    def linear(self, x: Tensor, features: int, *, bias: bool = True, name: str = "linear", tied: Tensor | None = None, in_out: bool = False) -> Tensor:
        """x[..., in] · weight[features, in]ᵀ (+ bias); `tied` is a weight to use again; `in_out`: the weight lies as [in, features] in memory."""
        full = self._unique(self.path(name))
        weight = tied if tied is not None else self._parameter(f"{full}.weight", (features, x.shape[-1]), WEIGHT)
        biases = (self._parameter(f"{full}.bias", (features,), WEIGHT),) if bias else ()
        if in_out:
            return self._module("Linear", full, x, weight, *biases, in_out=1)
        return self._module("Linear", full, x, weight, *biases)

    def embedding(self, ids: Tensor, vocab: int, dim: int, *, name: str = "embedding") -> Tensor:
        """Rows of a table [vocab, dim]: ids (…) → (…, dim)."""
        full = self._unique(self.path(name))
        table = self._parameter(f"{full}.weight", (vocab, dim), WEIGHT)
        return self._module("Gather", full, table, ids, axis=0)

    def batch_norm(self, x: Tensor, *, name: str = "bn") -> Tensor:
        """Batch normalisation at inference; scale and shift are weights, the running statistics constants."""
        full = self._unique(self.path(name))
        own = [self._parameter(f"{full}.{p}", x.shape[1:2], WEIGHT) for p in ("weight", "bias")]
        running = [self._parameter(f"{full}.{p}", x.shape[1:2], CONSTANT) for p in ("running_mean", "running_var")]
        return self._module("BatchNormalization", full, x, *own, *running, epsilon=1e-5)

    def conv_bn(
        self,
        x: Tensor,
        channels: int,
        kernel: Size,
        *,
        act: str = "",
        stride: Size = 1,
        padding: Size | None = None,
        groups: int = 1,
        dilation: Size = 1,
        name: str = "conv",
    ) -> Tensor:
        """A convolution without bias, batch normalisation and an activation ("" for none), as modules conv, bn, act of a scope."""
        with self.scope(name):
            y = self.conv(x, channels, kernel, stride=stride, padding=padding, groups=groups, dilation=dilation)
            return self.act(self.batch_norm(y), act)

    def squeeze_excite(self, x: Tensor, squeezed: int, *, act: str = "relu", gate: str = "sigmoid", name: str = "se") -> Tensor:
        """Scales each channel by a gate computed from the means of all channels.

        Source:
            Hu et al., "Squeeze-and-excitation networks", CVPR 2018, figure 2.
        """
        with self.scope(name):
            y = self.act(self.conv(self.global_avg_pool(x), squeezed, 1, bias=True, name="fc1"), act)
            return self.mul(x, self.act(self.conv(y, x.shape[1], 1, bias=True, name="fc2"), gate, name="gate"))

    def layer_norm(self, x: Tensor, *, axis: int = -1, bias: bool = True, name: str = "norm") -> Tensor:
        """Layer normalisation over the axes from `axis` on."""
        full = self._unique(self.path(name))
        own = [self._parameter(f"{full}.{p}", x.shape[axis:], WEIGHT) for p in (("weight", "bias") if bias else ("weight",))]
        return self._module("LayerNormalization", full, x, *own, axis=axis, epsilon=1e-5)

    def rms_norm(self, x: Tensor, *, name: str = "norm") -> Tensor:
        """Root-mean-square normalisation over the last axis."""
        full = self._unique(self.path(name))
        return self._module("RMSNormalization", full, x, self._parameter(f"{full}.weight", x.shape[-1:], WEIGHT), axis=-1, epsilon=1e-6)

    def group_norm(self, x: Tensor, groups: int, *, name: str = "norm") -> Tensor:
        """Group normalisation of (batch, channels, …)."""
        full = self._unique(self.path(name))
        own = [self._parameter(f"{full}.{p}", x.shape[1:2], WEIGHT) for p in ("weight", "bias")]
        return self._module("GroupNormalization", full, x, *own, num_groups=groups, epsilon=1e-5)

    def prelu(self, x: Tensor, *, name: str = "prelu") -> Tensor:
        """Parametric ReLU with a slope for each channel."""
        full = self._unique(self.path(name))
        return self._module("PRelu", full, x, self._parameter(f"{full}.weight", (x.shape[1], *(1,) * (len(x.shape) - 2)), WEIGHT))

    def recurrent(self, kind: str, x: Tensor, hidden: int, *, layers: int = 1, name: str = "rnn") -> Tensor:
        """Stacked LSTM or GRU layers: x (time, batch, features) → (time, batch, hidden)."""
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
        full = self._unique(self.path(name))
        steps, batch, _ = x.shape
        for i in range(layers):
            w = self._parameter(f"{full}.weight_ih_l{i}", (1, gates * hidden, x.shape[-1]), WEIGHT)
            r = self._parameter(f"{full}.weight_hh_l{i}", (1, gates * hidden, hidden), WEIGHT)
            bias = self._parameter(f"{full}.bias_l{i}", (1, 2 * gates * hidden), WEIGHT)
            layer = f"{full}.l{i}"
            y = self._emit(kind, (x, w, r, bias), layer, full, 1, {"hidden_size": hidden})[0]
            x = self._emit("Reshape", (y,), f"{layer}.squeeze", full, 1, {"shape": (steps, batch, hidden)})[0]
        return x

    # ---- activations

    def act(self, x: Tensor, kind: str, *, name: str = "act") -> Tensor:
        """The activation of that name: "relu", "relu6", "silu", "hard_swish", "gelu" …; "" leaves x as it is."""
        if not kind:
            return x
        made = getattr(self, kind)(x, name=name)
        assert isinstance(made, Tensor)
        return made

    def relu(self, x: Tensor, *, name: str = "relu") -> Tensor:
        return self.op("Relu", x, name=name)

    def relu6(self, x: Tensor, *, name: str = "relu6") -> Tensor:
        """min(max(x, 0), 6)."""
        return self.op("Clip", x, name=name, min=0.0, max=6.0)

    def leaky_relu(self, x: Tensor, *, alpha: float = 0.01, name: str = "leaky_relu") -> Tensor:
        return self.op("LeakyRelu", x, name=name, alpha=alpha)

    def silu(self, x: Tensor, *, name: str = "silu") -> Tensor:
        """x · sigmoid(x), also called Swish."""
        return self.op("Swish", x, name=name)

    def mish(self, x: Tensor, *, name: str = "mish") -> Tensor:
        """x · tanh(ln(1 + eˣ))."""
        return self.op("Mish", x, name=name)

    def sigmoid(self, x: Tensor, *, name: str = "sigmoid") -> Tensor:
        return self.op("Sigmoid", x, name=name)

    def tanh(self, x: Tensor, *, name: str = "tanh") -> Tensor:
        return self.op("Tanh", x, name=name)

    def hard_swish(self, x: Tensor, *, name: str = "hardswish") -> Tensor:
        return self.op("HardSwish", x, name=name)

    def hard_sigmoid(self, x: Tensor, *, name: str = "hardsigmoid") -> Tensor:
        return self.op("HardSigmoid", x, name=name, alpha=1 / 6)

    def gelu(self, x: Tensor, *, approximate: str = "none", name: str = "gelu") -> Tensor:
        return self.op("Gelu", x, name=name, approximate=approximate)

    def gelu_new(self, x: Tensor, *, name: str = "act") -> Tensor:
        """The tanh form of GELU written out in eight elementwise ops, as GPT-2's code runs it.

        Source:
            Radford et al., gpt-2 `model.py` `gelu`; Hugging Face `NewGELUActivation`.
        """
        with self.scope(name):
            half = self.op("Mul", x, self.scalar("half"))
            cube = self.op("Pow", x, self.scalar("three"))
            inner = self.op("Add", x, self.op("Mul", cube, self.scalar("c")))
            th = self.op("Tanh", self.op("Mul", inner, self.scalar("sqrt_2_over_pi")))
            return self.op("Mul", half, self.op("Add", th, self.scalar("one")))

    def scalar(self, name: str, *, dtype: str | None = None) -> Tensor:
        """A constant of no dimensions, shared by all ops that name it."""
        return self._parameter(name, (), CONSTANT, dtype)

    def softmax(self, x: Tensor, *, axis: int = -1, name: str = "softmax") -> Tensor:
        return self.op("Softmax", x, name=name, axis=axis)

    # ---- pooling and resampling

    def max_pool(self, x: Tensor, kernel: Size, *, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False, name: str = "maxpool") -> Tensor:
        """Maximum over a window; the stride is the window unless given."""
        return self._pool("MaxPool", x, kernel, stride, padding, ceil_mode, name)

    def avg_pool(self, x: Tensor, kernel: Size, *, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False, name: str = "avgpool") -> Tensor:
        """Mean over a window; the stride is the window unless given."""
        return self._pool("AveragePool", x, kernel, stride, padding, ceil_mode, name)

    def _pool(self, kind: str, x: Tensor, kernel: Size, stride: Size | None, padding: Size, ceil_mode: bool, name: str) -> Tensor:
        rank = len(x.shape) - 2
        k, p = _sizes(kernel, rank), _sizes(padding, rank)
        s = k if stride is None else _sizes(stride, rank)
        return self.op(kind, x, name=name, kernel_shape=k, strides=s, pads=p + p, ceil_mode=int(ceil_mode))

    def global_avg_pool(self, x: Tensor, *, name: str = "avgpool") -> Tensor:
        """Mean over all spatial axes: (N, C, H, W) → (N, C, 1, 1)."""
        return self.op("GlobalAveragePool", x, name=name)

    def adaptive_avg_pool(self, x: Tensor, size: int, *, name: str = "avgpool") -> Tensor:
        """Mean over windows chosen so that the result has the given size.

        A map smaller than the size is repeated by torch; its windows then overlap, which ONNX has no op for, so the
        sizes must divide.
        """
        if size == 1:
            return self.global_avg_pool(x, name=name)
        if any(d % size for d in x.shape[2:]):
            raise ShapeError(f"{self.name}: '{self.path(name)}' pools {x.shape[2:]} to {size}, which does not divide it; choose another image size")
        return self.avg_pool(x, tuple(d // size for d in x.shape[2:]), name=name)

    def resize(self, x: Tensor, size: Sequence[int], *, mode: str = "nearest", name: str = "resize") -> Tensor:
        """Resamples the spatial axes to a size."""
        return self.op("Resize", x, name=name, sizes=(*x.shape[:2], *size), mode=mode)

    def lrn(self, x: Tensor, *, size: int = 5, name: str = "lrn") -> Tensor:
        """Local response normalisation over neighbouring channels."""
        return self.op("LRN", x, name=name, size=size)

    # ---- arithmetic

    def add(self, x: Tensor, y: Tensor, *, name: str = "add") -> Tensor:
        return self.op("Add", x, y, name=name)

    def mul(self, x: Tensor, y: Tensor, *, name: str = "mul") -> Tensor:
        return self.op("Mul", x, y, name=name)

    def matmul(self, x: Tensor, y: Tensor, *, name: str = "matmul") -> Tensor:
        return self.op("MatMul", x, y, name=name)

    def mean(self, x: Tensor, axes: Sequence[int], *, keepdims: bool = False, name: str = "mean") -> Tensor:
        return self.op("ReduceMean", x, name=name, axes=tuple(axes), keepdims=int(keepdims))

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        causal: bool = False,
        window: int = 0,
        scale: float | None = None,
        mask: Tensor | None = None,
        dropout: float = 0.0,
        name: str = "attention",
    ) -> Tensor:
        """softmax(q kᵀ · scale) v in one op: q (B, Hq, Sq, D), k (B, Hkv, Skv, D), v (B, Hkv, Skv, Dv) → (B, Hq, Sq, Dv).

        Args:
            window: Keys each query may look back at; 0 = all.
            scale: Factor on the scores; None = 1 / √D.
            dropout: Share of the weights that training drops.
        """
        masks = (mask,) if mask is not None else ()
        factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
        dropped = {"dropout": dropout} if dropout else {}
        return self.op("Attention", q, k, v, *masks, name=name, is_causal=int(causal), window=window, scale=factor, **dropped)

    def dropout(self, x: Tensor, ratio: float = 0.0, *, name: str = "dropout") -> Tensor:
        """A tensor of which training drops a share; it does nothing at inference, and is x itself where the share is 0."""
        return self.op("Dropout", x, name=name, ratio=ratio) if ratio else x

    def split_heads(self, x: Tensor, heads: int, *, name: str = "split_heads") -> Tensor:
        """(B, S, heads · D) → (B, heads, S, D): two views."""
        n, s, width = x.shape
        with self.scope(name):
            return self.transpose(self.reshape(x, (n, s, heads, width // heads)), (0, 2, 1, 3))

    def merge_heads(self, x: Tensor, *, name: str = "merge_heads") -> Tensor:
        """(B, heads, S, D) → (B, S, heads · D): a transpose that copies."""
        n, heads, s, width = x.shape
        with self.scope(name):
            return self.reshape(self.transpose(x, (0, 2, 1, 3)), (n, s, heads * width))

    # ---- movement

    def concat(self, parts: Sequence[Tensor], *, axis: int = 1, name: str = "concat") -> Tensor:
        return self.op("Concat", *parts, name=name, axis=axis)

    def split(self, x: Tensor, parts: int | Sequence[int], *, axis: int = 1, name: str = "split") -> tuple[Tensor, ...]:
        """Parts along an axis: a number of equal ones, or their sizes."""
        sizes = (x.shape[axis] // parts,) * parts if isinstance(parts, int) else tuple(parts)
        return self.ops("Split", (x,), name=name, num_outputs=len(sizes), axis=axis, split=sizes)

    def slice(self, x: Tensor, start: int, end: int, *, axis: int = 1, step: int = 1, name: str = "slice") -> Tensor:
        """x[start:end:step] along an axis."""
        return self.op("Slice", x, name=name, starts=(start,), ends=(end,), axes=(axis,), steps=(step,))

    def reshape(self, x: Tensor, shape: Sequence[int], *, name: str = "reshape") -> Tensor:
        return self.op("Reshape", x, name=name, shape=tuple(shape))

    def flatten(self, x: Tensor, *, name: str = "flatten") -> Tensor:
        """(N, …) → (N, product)."""
        return self.op("Flatten", x, name=name, axis=1)

    def transpose(self, x: Tensor, perm: Sequence[int], *, name: str = "transpose") -> Tensor:
        """Axes in another order."""
        return self.op("Transpose", x, name=name, perm=tuple(perm))

    def pad(self, x: Tensor, before: Sequence[int], after: Sequence[int], *, name: str = "pad") -> Tensor:
        """Zeros before and after each axis."""
        return self.op("Pad", x, name=name, pads=(*before, *after))

    def expand(self, x: Tensor, shape: Sequence[int], *, name: str = "expand") -> Tensor:
        return self.op("Expand", x, name=name, shape=tuple(shape))

    def channel_shuffle(self, x: Tensor, groups: int, *, name: str = "shuffle") -> Tensor:
        """Interleaves the channels of the groups: a transpose between two reshapes.

        Source:
            Zhang et al., "ShuffleNet", CVPR 2018, figure 1.
        """
        n, c, h, w = x.shape
        with self.scope(name):
            y = self.transpose(self.reshape(x, (n, groups, c // groups, h, w)), (0, 2, 1, 3, 4))
            return self.reshape(y, x.shape)


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, never more than a tenth below.

    Source:
        The MobileNet reference code, tensorflow/models `slim/nets/mobilenet/mobilenet.py`, `_make_divisible`.

    >>> round_channels(32 * 0.75), round_channels(16 * 0.35)
    (24, 8)
    """
    multiple = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return multiple + divisor if multiple < 0.9 * channels else multiple


def _sizes(value: Size, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)
