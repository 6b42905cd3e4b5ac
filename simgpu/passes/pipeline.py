"""The passes in their order: from the network as described to the ops that a software stack runs."""

from __future__ import annotations

from simgpu.arch.spec import GPU
from simgpu.errors import ModelError, OptionError, did_you_mean
from simgpu.graph.ir import ACTIVATION, Graph
from simgpu.passes.attention import decompose_attention, fuse_attention
from simgpu.passes.batch_norm import fold_batch_norm
from simgpu.passes.bias import split_conv_bias
from simgpu.passes.cleanup import cleanup
from simgpu.passes.composites import lift_composites
from simgpu.passes.decoder_patterns import share_key_heads
from simgpu.passes.expand import expand_composites
from simgpu.passes.fusion import fuse
from simgpu.passes.precision_policy import assign_precision
from simgpu.passes.qdq import fold_dequantize
from simgpu.passes.training import keep_dropout, training_step
from simgpu.precision import Precision, precision_assumptions
from simgpu.precision import precision as precision_named
from simgpu.runtime import Runtime
from simgpu.runtime import runtime as runtime_named

ATTENTION = ("fused", "math")


def prepare(
    graph: Graph,
    *,
    gpu: GPU,
    precision: Precision | str = "fp32",
    runtime: Runtime | str = "eager",
    attention: str | None = None,
    training: bool = False,
    optimizer: str = "sgd",
    of_inputs: bool = False,
) -> Graph:
    """The graph that is lowered to kernels.

    Args:
        attention: "fused" (one kernel), "math" (matrix products and a softmax) or None: what the runtime does on this GPU.
        training: One training step: loss, backward pass and optimizer are added.
        optimizer: "sgd", "adam" or "none".
        of_inputs: The training step also computes the gradient of the network's input.
    Raises:
        OptionError: An unknown policy, runtime, optimizer or kind of attention, or training where nothing trains.
    """
    policy = precision_named(precision) if isinstance(precision, str) else precision
    stack = runtime_named(runtime) if isinstance(runtime, str) else runtime
    fused = attention_kind(gpu, stack, attention) == "fused"
    if training and (policy.weights or stack.fuses_epilogues):
        what = f"dtype {policy.name}" if policy.weights else f"runtime {stack.name}"
        raise OptionError(f"{what} runs inference only; train with fp32, tf32, bf16, fp16 or amp on eager, graph or compiled")
    graph = lift_composites(cleanup(keep_dropout(graph) if training else graph))
    graph = share_key_heads(fuse_attention(graph)) if fused else decompose_attention(graph)
    graph = fold_dequantize(graph, stack)
    graph = assign_precision(graph, policy=policy, runtime=stack)
    if training:
        graph = training_step(graph, optimizer=optimizer, of_inputs=of_inputs)
    if not stack.fuse_pointwise:
        graph = expand_composites(graph)
    if stack.fold_batch_norm:
        graph = fold_batch_norm(graph)
    if not stack.fuses_epilogues:
        graph = split_conv_bias(graph)
    graph = fuse(graph, stack)
    check(graph)
    return graph.with_(assumptions=tuple(dict.fromkeys((*graph.assumptions, *precision_assumptions(policy, gpu)))))


def attention_kind(gpu: GPU, runtime: Runtime | str, wanted: str | None) -> str:
    """How attention runs: "fused", one kernel, from Volta on (flash attention from Ampere on, memory-efficient attention before), else "math".

    Source: PyTorch documentation of `scaled_dot_product_attention`.
    """
    if wanted is not None and wanted not in ATTENTION:
        raise OptionError(f"unknown attention '{wanted}', expected one of {', '.join(ATTENTION)}{did_you_mean(wanted, ATTENTION)}")
    stack = runtime_named(runtime) if isinstance(runtime, str) else runtime
    return wanted or ("fused" if stack.fused_attention and gpu.compute_capability >= (7, 0) else "math")


def check(graph: Graph) -> None:
    """Every activation that is read is made by some op.

    Raises:
        ModelError: One is not; a pass, or the file, is wrong.
    """
    for op in graph.ops:
        for name in op.inputs:
            if name and name not in graph.producer and name not in graph.inputs and graph[name].kind == ACTIVATION:
                raise ModelError(f"{graph.name}: op '{op.name}' ({op.type}) reads the tensor '{name}', which no op makes and which is no input")
