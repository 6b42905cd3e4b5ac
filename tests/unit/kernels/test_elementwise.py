"""Elementwise kernels, rows, and how many kernels a network has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import load_zoo
from simgpu.graph.ir import Tensor
from simgpu.kernels.context import RULES
from simgpu.kernels.elementwise import INSTRUCTIONS
from simgpu.kernels.kernel import Kernel, KernelGraph, Rows
from simgpu.kernels.lower import lower
from simgpu.ops.registry import supported_ops
from simgpu.passes.fused import POINTWISE
from simgpu.passes.pipeline import prepare


def run(build: Callable[[Builder], Tensor | tuple[Tensor, ...]], *, runtime: str = "eager", dtype: str = "fp32") -> KernelGraph:
    b = Builder("toy")
    gpu = load_gpu("v100")
    return lower(prepare(b.build(build(b)), gpu=gpu, precision=dtype, runtime=runtime), gpu=gpu, precision=dtype, runtime=runtime)


def single(build: Callable[[Builder], Tensor], **options: str) -> Kernel:
    (kernel,) = run(build, **options).kernels
    return kernel


def test_every_operator_has_a_lowering():
    assert set(supported_ops()) - set(RULES) == set()
    made_by_passes = {name for name in set(RULES) - set(supported_ops()) if not name.endswith("Grad")}
    assert made_by_passes == {"FusedPointwise", "FusedRows", "OptimizerStep"}


def test_every_elementwise_op_has_its_instructions():
    assert set(INSTRUCTIONS) >= POINTWISE - {"PointwiseGrad"}


def test_an_addition_reads_twice_and_writes_once():
    kernel = single(lambda b: b.add(b.input("x", (4, 8)), b.input("y", (8,))))
    assert ([a.bytes for a in kernel.reads], kernel.writes[0].bytes) == ([128, 32], 128)
    assert (kernel.work.elements, kernel.work.inputs, kernel.work.instructions) == (32, 1, 1)  # y is small: one array of full size


def test_the_same_operand_twice_is_read_once():
    kernel = single(lambda b: b.mul(x := b.input("x", (4, 8)), x))
    assert len(kernel.reads) == 1


def test_narrow_storage_is_computed_in_fp32():
    kernel = single(lambda b: b.relu(b.input("x", (4, 8))), dtype="fp16")
    assert (kernel.dtype, kernel.pipe, kernel.work.itemsize, kernel.read_bytes) == ("fp32", "vector", 2, 64)


def test_a_fused_kernel_sums_instructions_and_reads_what_comes_from_outside():
    def chain(b: Builder) -> Tensor:
        return b.mul(b.sigmoid(b.add(b.input("x", (4, 8)), b.input("y", (4, 8)))), b.input("z", (4, 8)))

    kernel = single(chain, runtime="compiled")
    parts = [INSTRUCTIONS[t] for t in ("Add", "Sigmoid", "Mul")]
    assert kernel.work.instructions == sum(p.alu for p in parts)
    assert kernel.work.sfu == INSTRUCTIONS["Sigmoid"].sfu
    assert kernel.label == "add + sigmoid + mul"
    assert (kernel.read_bytes, kernel.write_bytes) == (3 * 128, 128)
    assert kernel.flop == (1 + 4 + 1) * 32


def test_a_long_chain_has_a_short_label():
    def chain(b: Builder) -> Tensor:
        x = b.input("x", (4, 8))
        for _ in range(6):
            x = b.relu(x)
        return b.tanh(x)

    assert single(chain, runtime="compiled").label == "relu + … + tanh (7 ops)"


def test_tanh_gelu_costs_other_instructions():
    exact, tanh = (single(lambda b, a=a: b.gelu(b.input("x", (8,)), approximate=a)).work for a in ("none", "tanh"))
    assert exact.instructions != tanh.instructions


def test_powers_and_quotients_of_scalars_are_cheap():
    def work(kind: str, shape: tuple[int, ...]) -> float:
        return single(lambda b: b.op(kind, b.input("x", (8,)), b.constant("c", shape))).work.instructions

    for kind in ("Div", "Pow"):
        assert work(kind, ()) < work(kind, (8,)) / 5


def test_batch_norm_at_inference_is_a_stream_and_in_training_rows():
    def norm(b: Builder, **attrs: int) -> Tensor:
        x = b.input("x", (2, 3, 4, 4))
        return b.op("BatchNormalization", x, *(b.weight(n, (3,)) for n in "abcd"), **attrs)

    inference = single(lambda b: norm(b))
    assert (inference.family, inference.work.instructions, inference.read_bytes) == ("stream", 2, 4 * 96 + 4 * 12)
    training = single(lambda b: norm(b, training_mode=1)).work
    assert training == Rows(kind="batch_norm", rows=3, cols=32, contiguous=False)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda b, x: b.softmax(x), Rows(kind="softmax", rows=24, cols=5)),
        (lambda b, x: b.softmax(x, axis=1), Rows(kind="softmax", rows=40, cols=3, contiguous=False)),
        (lambda b, x: b.layer_norm(x), Rows(kind="layer_norm", rows=24, cols=5)),
        (lambda b, x: b.layer_norm(x, axis=2), Rows(kind="layer_norm", rows=6, cols=20)),
        (lambda b, x: b.group_norm(x, 3), Rows(kind="group_norm", rows=6, cols=20)),
        (lambda b, x: b.mean(x, (2, 3)), Rows(kind="reduce", rows=6, cols=20, writes_rows=False)),
        (lambda b, x: b.mean(x, (0, 1)), Rows(kind="reduce", rows=20, cols=6, writes_rows=False, contiguous=False)),
        (lambda b, x: b.global_avg_pool(x), Rows(kind="reduce", rows=6, cols=20, writes_rows=False)),
        (lambda b, x: b.op("ArgMax", x, axis=-1, keepdims=0), Rows(kind="argmax", rows=24, cols=5, writes_rows=False)),
    ],
)
def test_rows(build: Callable[[Builder, Tensor], Tensor], expected: Rows):
    kernel = single(lambda b: build(b, b.input("x", (2, 3, 4, 5))))
    assert kernel.work == expected
    assert kernel.reads[0].bytes == 4 * 120
    assert kernel.write_bytes == 4 * 120 if expected.writes_rows else kernel.write_bytes < 4 * 120


def test_rms_norm_is_one_kernel_where_elementwise_ops_are_fused():
    assert single(lambda b: b.rms_norm(b.input("x", (6, 5))), runtime="compiled").work == Rows(kind="rms_norm", rows=6, cols=5)


def test_a_residual_in_a_layer_norm_is_read_and_written():
    def skip(b: Builder) -> tuple[Tensor, ...]:
        total = b.add(b.input("x", (2, 5, 8)), b.input("y", (2, 5, 8)))
        return b.layer_norm(total), b.relu(b.matmul(total, b.weight("w", (8, 8))))

    kernel = run(skip, runtime="tensorrt").kernels[0]
    assert kernel.label == "add + layer norm"
    assert kernel.work == Rows(kind="layer_norm", rows=10, cols=8)
    assert ([a.tensor for a in kernel.reads], [a.tensor for a in kernel.writes]) == (["x", "y", "norm.weight", "norm.bias"], ["add", "norm"])


# ---- whole networks


def kernels_of(name: str, **options: str) -> Counter[str]:
    gpu = load_gpu("v100")
    policy, stack = options.get("dtype", "fp32"), options.get("runtime", "eager")
    graph = lower(prepare(load_zoo(name), gpu=gpu, precision=policy, runtime=stack), gpu=gpu, precision=policy, runtime=stack)
    assert len({k.name for k in graph.kernels}) == len(graph)
    return Counter(k.label.split()[0] for k in graph.kernels if not k.internal)


def test_resnet50_in_eager_mode_launches_174_kernels():
    """53 convolutions, 53 batch norms, 49 activations, 16 additions, 2 pools and the classifier (He et al. 2016, table 1)."""
    assert kernels_of("resnet50") == {"conv": 53, "batch": 53, "relu": 49, "add": 16, "max": 1, "global": 1, "linear": 1}


def test_resnet50_under_amp_casts_its_weights_and_its_input():
    """One cast for each of 54 weights and the input; the bias of the classifier goes along with it."""
    assert kernels_of("resnet50", dtype="amp") - kernels_of("resnet50") == {"cast": 55}


def test_resnet50_in_tensorrt_is_its_convolutions():
    assert kernels_of("resnet50", runtime="tensorrt") == {"conv": 53, "max": 1, "global": 1, "linear": 1}


def test_resnet50_compiled_keeps_convolutions_and_fuses_the_rest():
    """The 4 projections' batch norms and the additions after them are one kernel each with the main path's."""
    compiled = kernels_of("resnet50", runtime="compiled")
    assert compiled["conv"] == 53
    assert sum(compiled.values()) < 2 * 53 + 4
