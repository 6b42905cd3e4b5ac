"""Shipped configs against counts of the libraries' own models: parameters, MACs, and elements that convolutions and products write."""

import csv
from pathlib import Path

import pytest

from simgpu.frontends.config import config_names, load_named_config
from simgpu.graph.ir import WEIGHT, Graph
from simgpu.ops.registry import op_macs

ROWS = list(csv.DictReader((Path(__file__).parent / "config_counts.csv").read_text(encoding="utf-8").splitlines()))


def options(text: str) -> dict[str, object]:
    pairs = (word.split("=") for word in text.split())
    return {key: int(value) if value.isdigit() else value for key, value in pairs}


def counts(graph: Graph) -> dict[str, int]:
    """What the table counts. Attention is one op here and two products there: scores and the weighted sum."""
    result = {"params": graph.num_params, "macs_conv": 0, "macs_linear_matmul": 0, "macs_act_act": 0, "elements_conv_linear": 0}
    for op in graph.ops:
        macs = int(op_macs(graph, op))
        if not macs:
            continue
        result["macs_conv" if op.type == "Conv" else "macs_linear_matmul"] += macs
        if op.type == "Attention":
            result["macs_act_act"] += macs
            (batch, heads, queries, _), (_, _, keys, size) = (graph[op.inputs[i]].shape for i in (0, 2))
            result["elements_conv_linear"] += batch * heads * queries * (keys + size)
        else:
            result["elements_conv_linear"] += graph[op.outputs[0]].elements
    return result


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['config']} {row['options']}".strip())
def test_counts_are_those_of_the_library(row: dict[str, str]) -> None:
    found = counts(load_named_config(row["config"], **options(row["options"])))
    expected = {key: int(row[key]) for key in found if row[key]}
    assert {key: found[key] for key in expected} == expected


def test_every_shipped_config_has_a_row() -> None:
    assert set(config_names()) == {row["config"] for row in ROWS}


# GMAC of one decode step after 2048 tokens, computed by hand from the sizes of both models: what the two other forms of
# latent attention cost; the form that expands the cached latent anew has its row in the table.
@pytest.mark.parametrize(
    ("config", "latent", "gmac"),
    [
        ("deepseek-v2-lite", "expanded", 2.735),
        ("deepseek-v2-lite", "absorbed", 3.414),
        ("deepseek-v3", "expanded", 41.744),
        ("deepseek-v3", "absorbed", 54.031),
    ],
)
def test_forms_of_latent_attention(config: str, latent: str, gmac: float) -> None:
    found = counts(load_named_config(config, phase="decode", context=2048, latent=latent))
    assert found["macs_linear_matmul"] / 1e9 == pytest.approx(gmac, abs=5e-4)


@pytest.mark.parametrize("config", ["deepseek-v3", "deepseek-v2-lite"])
def test_forms_of_latent_attention_share_their_weights(config: str) -> None:
    sizes = {latent: load_named_config(config, phase="decode", context=64, latent=latent).num_params for latent in ("absorbed", "expanded", "reexpanded")}
    assert len(set(sizes.values())) == 1


def test_a_decode_graph_holds_all_weights_of_the_network() -> None:
    prefill, decode = load_named_config("t5-small"), load_named_config("t5-small", phase="decode")
    names = [{t.name for t in graph.tensors.values() if t.kind == WEIGHT} for graph in (prefill, decode)]
    assert names[0] == names[1]
