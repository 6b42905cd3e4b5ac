"""The same network through every front-end that can read it: the same FLOP within 0.5 %, the same predicted latency within 3 %.

The ONNX files are written here as PyTorch's exporter writes them; ResNet-50 is the light model of the onnx package, which keeps
its batch norms. Where PyTorch is installed its modules are read too, and with
transformers the exports of `torch.onnx` themselves. Exporters fold batch norms into convolutions: such graphs are compared on the
runtimes that fold them anyway.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import simgpu
from simgpu.frontends.config import load_config, read_json, shipped_config
from simgpu.frontends.onnx import load_onnx
from simgpu.graph.ir import Graph
from simgpu.ops.registry import graph_flop
from tests import written_out
from tests.onnx_files import LIGHT, load

BERT = {"batch": 2, "seq": 256}
LLAMA = {"batch": 1, "seq": 512}


@cache
def resnet(source: str) -> Graph:
    return load_onnx(LIGHT / "light_resnet50.onnx", batch=8) if source == "onnx" else simgpu.load_model(source, batch=8)


@cache
def bert(source: str) -> Graph:
    if source == "zoo":
        return simgpu.load_model("bert-large", batch=BERT["batch"], seq_len=BERT["seq"])
    if source == "config":
        return load_config(shipped_config("bert-large"), batch=BERT["batch"], seq_len=BERT["seq"])
    return load(written_out.bert(**BERT, layers=24, hidden=1024, heads=16, width=4096, vocab=30522, positions=512))


@cache
def llama(source: str) -> Graph:
    if source == "config":
        return load_config(shipped_config("llama-3-8b"), batch=LLAMA["batch"], seq_len=LLAMA["seq"])
    return load(written_out.llama(**LLAMA, layers=32, hidden=4096, heads=32, kv_heads=8, width=14336, vocab=128256))


def agree(a: Graph, b: Graph, runtime: str, dtype: str = "fp16", **options: Any) -> None:
    first, second = (simgpu.simulate(g, "a100", runtime=runtime, dtype=dtype, host="none", **options) for g in (a, b))
    print(f"{a.name} {runtime}: {first.flop / 1e9:.2f} and {second.flop / 1e9:.2f} GFLOP, {first.latency_s * 1e3:.3f} and {second.latency_s * 1e3:.3f} ms")
    assert graph_flop(b) == pytest.approx(graph_flop(a), rel=0.005)
    assert second.flop == pytest.approx(first.flop, rel=0.005)
    assert second.latency_s == pytest.approx(first.latency_s, rel=0.03)


@pytest.mark.parametrize("runtime", ["eager", "compiled", "tensorrt"])
def test_resnet50(runtime: str) -> None:
    agree(resnet("resnet50"), resnet("onnx"), runtime)


@pytest.mark.parametrize("runtime", ["eager", "compiled", "tensorrt"])
@pytest.mark.parametrize("other", ["zoo", "onnx"])
def test_bert_large(other: str, runtime: str) -> None:
    agree(bert("config"), bert(other), runtime)


@pytest.mark.parametrize("runtime", ["eager", "compiled", "tensorrt"])
def test_llama_3_8b(runtime: str) -> None:
    agree(llama("config"), llama("onnx"), runtime)


def test_a_written_out_llama_has_the_parameters_of_the_config() -> None:
    tables = 2 * LLAMA["seq"] * 128  # the rotary tables are stored in the file as the weights are
    assert llama("onnx").num_params - tables == llama("config").num_params == 8_030_261_248


# ---- PyTorch


def quiet_export(module: Any, example: Any, path: Path) -> Graph:
    """The module through torch.onnx.export, read back."""
    import torch

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), path, dynamo=False, opset_version=17)
    return load_onnx(path)


def logits_of(module: Any, **options: Any) -> Any:
    """A module of transformers as one that takes a tensor and gives one."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any) -> Any:
            result = self.module(x, **options)
            return result.pooler_output if hasattr(result, "pooler_output") else result[0]

    return Logits().eval()


class TestTorch:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("torch", reason="needs the extra simgpu[torch]")
        pytest.importorskip("transformers", reason="builds its modules with transformers")
        sys.modules["torch"].manual_seed(0)

    def test_resnet50(self, tmp_path: Path) -> None:
        import torch
        import transformers

        from simgpu.frontends.torch import load_torch

        module = logits_of(transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000)))
        zoo, example = resnet("resnet50"), torch.zeros(8, 3, 224, 224)
        for runtime in ("eager", "compiled", "tensorrt"):
            agree(zoo, load_torch(module, example), runtime)
        exported = quiet_export(module, example, tmp_path / "resnet50.onnx")
        for runtime in ("compiled", "tensorrt"):
            agree(zoo, exported, runtime)

    def test_bert_large(self, tmp_path: Path) -> None:
        import torch
        import transformers

        from simgpu.frontends.torch import load_torch

        sizes = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
        with torch.device("meta"):
            whole = logits_of(transformers.BertModel(transformers.BertConfig(**sizes, num_hidden_layers=24)))
        ids = torch.zeros(BERT["batch"], BERT["seq"], dtype=torch.long)
        for runtime in ("eager", "compiled", "tensorrt"):
            agree(bert("config"), load_torch(whole, ids.to("meta")), runtime)
        small = logits_of(transformers.BertModel(transformers.BertConfig(**sizes, num_hidden_layers=2)))
        config = load_config({**read_json(shipped_config("bert-large")), "num_hidden_layers": 2}, batch=BERT["batch"], seq_len=BERT["seq"])
        exported = quiet_export(small, ids, tmp_path / "bert.onnx")
        for runtime in ("compiled", "tensorrt"):
            agree(config, exported, runtime)

    def test_llama_3_8b(self) -> None:
        import torch
        import transformers

        from simgpu.frontends.torch import load_torch

        config = transformers.LlamaConfig(
            vocab_size=128256,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            max_position_embeddings=8192,
            rope_theta=500000.0,
        )
        with torch.device("meta"):
            module = logits_of(transformers.LlamaForCausalLM(config), use_cache=False)
        graph = load_torch(module, torch.zeros(LLAMA["batch"], LLAMA["seq"], dtype=torch.long, device="meta"))
        for runtime in ("eager", "compiled", "tensorrt"):
            agree(llama("config"), graph, runtime)
