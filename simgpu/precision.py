"""Precision policies: which format tensors are stored in, which format the math is done in, and what old chips do instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simgpu.dtypes import dtype as dtype_of
from simgpu.errors import OptionError, did_you_mean

# Classes of ops that a policy may treat differently.
MATMUL, REDUCTION, POINTWISE = "matmul", "reduction", "pointwise"

_MATMUL_OPS_NAMES = """
    Conv ConvTranspose DeformConv Gemm MatMul Linear FusedMatMul FusedGemm FusedConv Einsum Attention MultiHeadAttention GroupQueryAttention LSTM GRU
    RNN ConvInteger MatMulInteger QLinearConv QLinearMatMul MatMulNBits ExpertLinear GroupedLinear
"""
_MATMUL_OPS = frozenset(_MATMUL_OPS_NAMES.split())
# What PyTorch's autocast runs in fp32 whatever comes in.
# Source: PyTorch documentation, "Automatic Mixed Precision package", section "CUDA Ops that can autocast to float32".
_FP32_OPS_NAMES = """
    Softmax LogSoftmax LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization RMSNormalization GroupNormalization
    InstanceNormalization LpNormalization Pow Exp Log Reciprocal Softplus Cosh Sinh Tan Acos Asin Atan ReduceSum ReduceProd ReduceL1 ReduceL2
    ReduceSumSquare ReduceLogSum ReduceLogSumExp CumSum
"""
_FP32_OPS = frozenset(_FP32_OPS_NAMES.split())


def op_class(op_type: str) -> str:
    """What kind of math an op does: "matmul", "reduction" (autocast keeps it in fp32) or "pointwise" (it takes what comes).

    >>> op_class("Conv"), op_class("Softmax"), op_class("Relu")
    ('matmul', 'reduction', 'pointwise')
    """
    return MATMUL if op_type in _MATMUL_OPS else REDUCTION if op_type in _FP32_OPS else POINTWISE


class Units(Protocol):
    """What a policy asks a GPU (`simgpu.arch.spec.GPU` answers)."""

    @property
    def name(self) -> str: ...
    def vector_flop_per_clk(self, dtype: str) -> float: ...
    def tensor_flop_per_clk(self, dtype: str) -> float: ...


class Math(NamedTuple):
    """The format an op computes in, and the pipe that does it: "tensor" or "vector" (CUDA cores)."""

    dtype: str
    pipe: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A policy as data.

    Attributes:
        math: Format in which convolutions, matrix products and attention multiply.
        storage: Format of tensors that are not mentioned below.
        weights: Format of the weights of convolutions and matrix products, if not `storage`.
        activations: Format that activations are quantised to before convolutions and products with weights, if not `storage`.
        autocast: `storage` is only that of the parameters: matrix products cast to `math`, reductions to fp32 and the rest
            takes what comes, as PyTorch autocast does.
        linear_only: Only matrix products are quantised, convolutions and embeddings are not.
        dequantizes: Weights are expanded by a kernel of their own before a product with more than one row.
    """

    name: str
    meaning: str
    math: str
    storage: str
    weights: str = ""
    activations: str = ""
    autocast: bool = False
    linear_only: bool = False
    dequantizes: bool = False


PRECISIONS: dict[str, Precision] = {
    p.name: p
    for p in (
        Precision(name="fp64", meaning="everything in double precision", math="fp64", storage="fp64"),
        Precision(name="fp32", meaning="everything in single precision, FP32 units", math="fp32", storage="fp32"),
        Precision(name="tf32", meaning="stored in fp32, matrix products on TF32 tensor cores", math="tf32", storage="fp32"),
        Precision(name="bf16", meaning="the whole network in bf16", math="bf16", storage="bf16"),
        Precision(name="fp16", meaning="the whole network in fp16", math="fp16", storage="fp16"),
        Precision(
            name="amp", meaning="mixed: fp32 parameters, matrix products in fp16, reductions in fp32 (autocast)", math="fp16", storage="fp32", autocast=True
        ),
        Precision(
            name="amp-bf16", meaning="mixed: as amp, with bf16", math="bf16", storage="fp32", autocast=True
        ),
        Precision(name="int8", meaning="weights and activations in int8, the rest in fp16", math="int8", storage="fp16", weights="int8", activations="int8"),
        Precision(name="fp8", meaning="weights and activations in fp8 (e4m3), the rest in fp16", math="fp8", storage="fp16", weights="fp8", activations="fp8"),
        Precision(name="fp4", meaning="weights and activations in NVFP4, the rest bf16", math="fp4", storage="bf16", weights="fp4", activations="fp4"),
        Precision(name="int8-weight-only", meaning="matrix weights in int8, math in fp16", math="fp16", storage="fp16", weights="int8", linear_only=True),
        Precision(name="int4", meaning="matrix weights in int4, math in fp16 (W4A16)", math="fp16", storage="fp16", weights="int4_g128", linear_only=True),
        Precision(
            name="nf4",
            meaning="weights of matrix products in nf4 (QLoRA), expanded to bf16 before a product with several rows",
            math="bf16",
            storage="bf16",
            weights="nf4",
            linear_only=True,
            dequantizes=True,
        ),
    )
}  # fmt: skip

_ALIASES = {
    "float64": "fp64", "double": "fp64", "float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16",
    "w8a8": "int8", "w4a16": "int4", "w8a16": "int8-weight-only", "amp-fp16": "amp", "nvfp4": "fp4",
}  # fmt: skip


def precision(name: str) -> Precision:
    """The policy of that name.

    Raises:
        OptionError: No such policy.

    >>> precision("amp").math, precision("half").name
    ('fp16', 'fp16')
    """
    key = name.lower().replace("_", "-")
    try:
        return PRECISIONS[_ALIASES.get(key, key)]
    except KeyError:
        raise OptionError(f"unknown dtype '{name}', expected one of {', '.join(PRECISIONS)}{did_you_mean(name, [*PRECISIONS, *_ALIASES])}") from None


# What real software computes in where the chip has no unit for a format: the next wider one that it has.
_FALLBACK = {"fp4": "fp8", "fp8": "fp16", "fp8_e5m2": "fp16", "bf16": "fp32", "fp16": "fp32", "tf32": "fp32", "int8": "fp32", "fp64": "fp32"}
# A unit this much slower than FP32 is there for compatibility and no library uses it (GP10x does fp16 at 1/64 of the rate).
_WORTH_USING_FRACTION = 1.0


def unit_for(dtype: str, gpu: Units) -> Math:
    """The pipe that multiplies this format on this GPU, or the format real software falls back to.

    fp64 runs on whatever double-precision units there are, however few, because no other format will do.
    """
    if gpu.tensor_flop_per_clk(dtype) > 0:
        return Math(dtype, "tensor")
    rate = gpu.vector_flop_per_clk(dtype)
    if rate > 0 and (dtype in ("fp64", "fp32") or rate >= _WORTH_USING_FRACTION * gpu.vector_flop_per_clk("fp32")):
        return Math(dtype, "vector")
    return unit_for(_FALLBACK[dtype], gpu) if dtype in _FALLBACK else Math("fp32", "vector")


def math_of(policy: Precision, op_class: str, gpu: Units) -> Math:
    """The format and pipe in which ops of a class (`op_class`) compute.

    Everything that is no matrix product computes in fp32 registers whatever the storage (fp64 in fp64), as PyTorch and TensorRT do.
    """
    if op_class == MATMUL:
        return unit_for(policy.math, gpu)
    return Math("fp64" if policy.storage == "fp64" and gpu.vector_flop_per_clk("fp64") > 0 else "fp32", "vector")


_NARROW = {"int8": "int8", "uint8": "int8", "fp8": "fp8", "fp8_e5m2": "fp8", "fp4": "fp4"}


def product_math(policy: Precision, a: str, b: str, gpu: Units) -> Math:
    """The format and pipe of a product of operands stored in these formats.

    Two narrow operands are multiplied as they are, whatever the policy (a quantised model says so itself). Where the policy
    quantises, products of tensors it did not quantise (the scores of attention) are computed in its storage format.
    """
    if a in _NARROW and b in _NARROW:
        return unit_for(max(_NARROW[a], _NARROW[b], key=("fp4", "int8", "fp8").index), gpu)
    return unit_for(policy.storage if policy.activations else policy.math, gpu)


_UNIT_NAMES = {"tf32": "TF32 tensor cores", "int8": "INT8 (dp4a or tensor) unit", "fp64": "FP64 unit"}


def check_unit(where: str, policy: Precision, gpu: Units) -> None:
    """Ends in a message if a GPU cannot multiply in the format that a policy quantises to.

    Raises:
        OptionError: It has no such unit.
    """
    used = unit_for(policy.math, gpu)
    if policy.activations and used.dtype != policy.math:
        unit = _UNIT_NAMES.get(policy.math, f"{policy.math.upper()} unit")
        raise OptionError(f"{where}: dtype {policy.name}: {gpu.name} has no {unit}, it would compute in {used.dtype}; choose dtype {used.dtype} or another GPU")


def precision_assumptions(policy: Precision, gpu: Units) -> tuple[str, ...]:
    """What a reader should know about a policy on this GPU: fallbacks, and TF32 that PyTorch would use."""
    used = unit_for(policy.math, gpu)
    notes = []
    if used.dtype != policy.math:
        unit = _UNIT_NAMES.get(policy.math, f"{policy.math.upper()} unit")
        worth = "no" if gpu.vector_flop_per_clk(policy.math) == 0 else "no fast"
        stored = policy.activations or (policy.math if policy.math == policy.storage or policy.autocast else policy.storage)
        if policy.math in ("tf32", "fp64"):
            notes.append(f"{gpu.name} has {worth} {unit}: matrix products are computed in {used.dtype.upper()}")
        else:
            bits = {"fp4": "4 bits", "fp8": "8 bits", "int8": "8 bits"}.get(stored, "16 bits")
            notes.append(f"{gpu.name} has {worth} {unit}: {stored} tensors are stored in {bits} and computed in {used.dtype.upper()}")
    if policy.name == "fp32" and gpu.tensor_flop_per_clk("tf32") > 0:
        notes.append("fp32 is computed on FP32 units; PyTorch lets cuDNN convolutions use TF32 unless told otherwise (dtype tf32 shows that)")
    if policy.weights and (weights := dtype_of(policy.weights)).scales:
        notes.append(f"{policy.name}: {weights.scales}, {weights.bits + weights.scale_bits:.3g} bits a weight")
    if policy.autocast:
        notes.append(
            "amp: PyTorch autocast runs softmax, normalisation and sums in fp32 and casts each weight once a step; TensorRT converts weights when it builds"
        )
    return tuple(notes)
