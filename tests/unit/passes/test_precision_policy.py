"""Formats of tensors under each policy, and the casts that are kernels."""

from __future__ import annotations

from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Graph
from simgpu.passes.fused import graph_flop
from simgpu.passes.precision_policy import assign_precision
from simgpu.precision import precision
from simgpu.runtime import runtime


def run(graph: Graph, policy: str, stack: str = "eager") -> Graph:
    result = assign_precision(graph, policy=precision(policy), runtime=runtime(stack))
    assert graph_flop(result) == graph_flop(graph)
    return result


def encoder() -> Graph:
    """Token ids → embedding → linear → layer norm → linear."""
    b = Builder("toy")
    x = b.embedding(b.input("ids", (2, 5), dtype="int64"), 100, 8)
    x = b.layer_norm(b.linear(x, 8, name="fc1"), name="norm")
    return b.build(b.linear(x, 16, name="fc2", bias=False))


def test_a_whole_network_policy_stores_floats_and_leaves_integers():
    half = run(encoder(), "fp16")
    assert {t.dtype for t in half.tensors.values()} == {"fp16", "int64"}
    assert half["ids"].dtype == "int64"
    assert len(half.ops) == len(encoder().ops)
    assert {t.dtype for t in run(encoder(), "tf32").tensors.values()} == {"fp32", "int64"}


def casts(graph: Graph) -> list[tuple[str, str]]:
    return [(op.inputs[0], str(op.attrs["to"])) for op in graph.ops if op.type == "Cast"]


def test_autocast_casts_what_products_and_reductions_read():
    amp = run(encoder(), "amp")
    assert casts(amp) == [
        ("embedding", "fp16"),
        ("fc1.weight", "fp16"),
        ("fc1.bias", "fp16"),
        ("fc1", "fp32"),  # layer norm runs in fp32; its parameters are fp32 already
        ("norm", "fp16"),
        ("fc2.weight", "fp16"),
    ]
    assert amp["embedding"].dtype == "fp32"  # a table in fp32
    assert amp["fc2"].dtype == "fp16"
    assert amp["fc1.weight"].dtype == "fp32"


def test_an_engine_converts_weights_beforehand():
    built = run(encoder(), "amp", "tensorrt")
    assert casts(built) == []
    assert {t.dtype for t in built.tensors.values()} == {"fp16", "int64"}


def test_a_shared_weight_is_cast_once_a_step_and_an_activation_at_each_use():
    b = Builder("toy")
    x = b.input("x", (2, 8))
    y = b.linear(x, 8, bias=False, name="fc")
    graph = b.build((y, b.linear(x, 8, bias=False, name="again", tied=b.weight("fc.weight", (8, 8)))))
    assert [source for source, _ in casts(run(graph, "amp"))] == ["x", "fc.weight", "x"]
    assert [source for source, _ in casts(run(graph, "amp", "compiled"))] == ["x", "fc.weight"]


def test_autocast_promotes_mixed_operands_without_a_cast():
    b = Builder("toy")
    x = b.input("x", (2, 8))
    amp = run(b.build(b.relu(b.add(x, b.linear(x, 8, bias=False)))), "amp")
    assert [source for source, _ in casts(amp)] == ["x", "linear.weight"]
    assert (amp["linear"].dtype, amp["add"].dtype, amp["relu"].dtype) == ("fp16", "fp32", "fp32")


def test_parameters_of_batch_norm_do_not_widen_its_result():
    b = Builder("toy")
    amp = run(b.build(b.relu(b.batch_norm(b.conv(b.input("x", (1, 3, 8, 8)), 4, 3)))), "amp")
    assert (amp["conv"].dtype, amp["bn"].dtype, amp["bn.weight"].dtype, amp["relu"].dtype) == ("fp16", "fp16", "fp32", "fp16")


def convs() -> Graph:
    b = Builder("toy")
    x = b.input("x", (1, 8, 8, 8))
    y = b.relu(b.conv(x, 8, 3, name="conv1"), name="relu1")
    z = b.relu(b.add(b.conv(y, 8, 3, name="conv2"), y), name="relu2")
    return b.build(b.linear(b.flatten(b.global_avg_pool(z)), 10, name="fc"))


def test_int8_quantises_before_each_product():
    quantised = run(convs(), "int8")
    assert [op.inputs[0] for op in quantised.ops if op.type == "QuantizeLinear"] == ["x", "relu1", "flatten"]
    assert quantised["conv1.weight"].dtype == quantised["fc.weight"].dtype == "int8"
    assert quantised["conv1"].dtype == quantised["fc.bias"].dtype == "fp16"


def test_int8_stays_int8_between_fused_layers():
    chained = run(convs(), "int8", "tensorrt")
    assert [op.inputs[0] for op in chained.ops if op.type == "QuantizeLinear"] == ["x"]
    assert {chained[t].dtype for t in ("conv1", "relu1", "conv2", "add", "relu2", "avgpool", "flatten")} == {"int8"}
    assert chained["fc"].dtype == "fp16"


def test_a_tensor_that_leaves_the_network_is_not_narrow():
    b = Builder("toy")
    y = b.relu(b.conv(b.input("x", (1, 8, 8, 8)), 8, 3, name="conv1"))
    chained = run(b.build((y, b.conv(y, 8, 3, name="conv2"))), "int8", "tensorrt")
    assert chained["relu"].dtype == "fp16"
    assert [op.inputs[0] for op in chained.ops if op.type == "QuantizeLinear"] == ["x", "relu"]


def test_weight_only_policies_quantise_matrices_only():
    b = Builder("toy")
    x = b.relu(b.conv(b.input("x", (1, 8, 4, 4)), 8, 3, name="conv"))
    x = b.linear(b.flatten(x), 16, name="fc")
    graph = run(b.build(x), "int4")
    assert (graph["conv.weight"].dtype, graph["fc.weight"].dtype, graph["fc.bias"].dtype, graph["flatten"].dtype) == ("fp16", "int4_g128", "fp16", "fp16")
    assert graph["fc.weight"].bytes == 16 * 128 // 2 + 16 * 2 + 16 // 2  # of each of 16 rows: 128 weights, a scale of 2 B, a zero point of 4 bits


def test_a_table_that_is_also_looked_up_stays_wide():
    b = Builder("toy")
    x = b.embedding(b.input("ids", (1, 3), dtype="int64"), 50, 8, name="wte")
    graph = run(b.build(b.linear(x, 50, bias=False, name="head", tied=b.weight("wte.weight", (50, 8)))), "int4")
    assert graph["wte.weight"].dtype == "fp16"


def test_nf4_is_expanded_for_several_rows_only():
    b = Builder("toy")
    x = b.linear(b.input("x", (4, 8)), 8, bias=False, name="many")
    graph = run(b.build((x, b.linear(b.input("y", (1, 8)), 8, bias=False, name="one"))), "nf4")
    assert [op.name for op in graph.ops if op.type == "DequantizeLinear"] == ["many/dequantize:many.weight"]
    many = next(op for op in graph.ops if op.name == "many")
    assert graph[many.inputs[1]].dtype == "bf16"
    assert graph["one.weight"].dtype == "nf4"
