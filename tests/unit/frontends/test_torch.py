"""PyTorch modules through torch.export: same work as torch counts, modules as scopes, patterns seen through, clear refusals."""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from simgpu.errors import ModelError, UnsupportedError
from simgpu.frontends.config import load_config
from simgpu.frontends.torch import load_exported, load_torch
from simgpu.graph.ir import CONSTANT, WEIGHT, Graph
from simgpu.ops.registry import graph_macs

torch = pytest.importorskip("torch", reason="needs the extra simgpu[torch]")
pytestmark = pytest.mark.filterwarnings("ignore")
nn, F = torch.nn, torch.nn.functional


def kinds(graph: Graph) -> Counter[str]:
    return Counter(op.type for op in graph.ops)


def meta(*shape: int, **options: Any) -> Any:
    return torch.zeros(shape, device="meta", **options)


def torch_flop(module: Any, *inputs: Any) -> int:
    """What torch counts on the meta device, where attention is the products it is made of."""
    from torch.utils.flop_counter import FlopCounterMode

    module.requires_grad_(False)
    torch.backends.mha.set_fastpath_enabled(False)  # a fused layer counts as nothing
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        module.eval()(*inputs)
    return int(counter.get_total_flops())


class Block(nn.Module):
    """A residual block of a convolutional network, with what such networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(6, 12, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.act = nn.ReLU(inplace=True)
        self.depthwise = nn.Conv2d(12, 12, 3, padding="same", groups=12)
        self.short = nn.Conv2d(6, 12, 1, stride=2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 5))

    def forward(self, x: Any) -> Any:
        y = self.depthwise(self.act(self.bn1(self.conv1(x))))
        y += self.short(x)
        return self.head(F.max_pool2d(y, 3, 2, 1))


class TestConvolutions:
    def test_a_block(self) -> None:
        with torch.device("meta"):
            block = Block()
        graph = load_torch(block, meta(2, 6, 16, 16))
        assert kinds(graph) == {
            "Conv": 3, "BatchNormalization": 1, "Relu": 1, "Add": 1, "MaxPool": 1, "GlobalAveragePool": 1, "Reshape": 1, "Linear": 1
        }  # fmt: skip
        assert 2 * graph_macs(graph) == torch_flop(block, meta(2, 6, 16, 16))
        assert graph.num_params == 12 * 6 * 9 + 2 * 12 + (12 * 9 + 12) + (12 * 6 + 12) + (12 * 5 + 5)
        assert graph[graph.outputs[0]].shape == (2, 5)

    def test_ops_bear_the_names_of_their_modules(self) -> None:
        graph = load_torch(Block(), torch.zeros(1, 6, 16, 16), name="block")
        assert [op.name for op in graph.ops if op.type in ("Conv", "Linear")] == ["conv1", "depthwise", "short", "head.3"]
        assert [op.scope for op in graph.ops if op.type == "Relu"] == ["act"]
        assert graph["head.3.weight"].kind == WEIGHT
        assert graph["bn1.running_mean"].kind == CONSTANT

    def test_the_module_is_left_as_it_was(self) -> None:
        block = Block()
        block.train()
        block.bn1.eval()
        load_torch(block, torch.zeros(1, 6, 16, 16))
        assert (block.training, block.bn1.training, block.act.training) == (True, False, True)

    @pytest.mark.parametrize(
        ("module", "shape"),
        [
            (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (1, 4, 5, 5)),
            (nn.Conv1d(4, 6, 5, dilation=2), (1, 4, 20)),
            (nn.Conv3d(2, 4, 3, padding=1), (1, 2, 4, 4, 4)),
            (nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.PixelShuffle(2)), (1, 4, 5, 5)),
            (nn.Sequential(nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.GroupNorm(2, 4), nn.PReLU(4)), (1, 4, 6, 6)),
            (nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.InstanceNorm2d(4), nn.Hardswish()), (1, 4, 7, 7)),
            (nn.Sequential(nn.ReflectionPad2d(1), nn.LocalResponseNorm(3), nn.GLU(dim=1)), (1, 4, 6, 6)),
            (nn.Sequential(nn.Unfold(3, padding=1), nn.Softmax(-1)), (1, 4, 6, 6)),
            (nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True), (3, 7, 5)),
            (nn.GRU(5, 6), (7, 3, 5)),
            (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (3, 7, 8)),
            (nn.Bilinear(1, 1, 1), (1, 1)),
        ],
        ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
    )
    def test_shapes_and_weights_of_layers(self, module: Any, shape: tuple[int, ...]) -> None:
        inputs = (torch.zeros(shape),) * (2 if isinstance(module, nn.Bilinear) else 1)
        if isinstance(module, nn.Bilinear):
            with pytest.raises(UnsupportedError, match=r"Bilinear: 1 calls of torch have no counterpart here: aten.bilinear.default"):
                load_torch(module, inputs)
            return
        graph = load_torch(module, inputs)
        with torch.no_grad():
            made = module.eval()(*inputs)
        first = made[0] if isinstance(made, tuple) else made
        assert graph[graph.outputs[0]].shape == tuple(first.shape)
        assert graph.num_params == sum(p.numel() for p in module.parameters())
        assert graph.ops

    def test_recurrent_layers_do_the_work_of_their_matrices(self) -> None:
        graph = load_torch(nn.LSTM(5, 6, num_layers=2, bidirectional=True), torch.zeros(7, 3, 5))
        # both directions of both layers: 4 gates of 6 by the input (5, then 12) and by the state (6), at 7 steps of 3 sequences
        assert graph_macs(graph) == 7 * 3 * 2 * (4 * 6 * (5 + 6) + 4 * 6 * (12 + 6))


class Attention(nn.Module):
    """Grouped-query attention as Hugging Face writes it: norms, rotary embedding and repeated heads in small calls, and a mask made of ranges."""

    def __init__(self, window: int = 0) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.ones(24))
        self.q_proj, self.k_proj = nn.Linear(24, 24, bias=False), nn.Linear(24, 12, bias=False)
        self.v_proj, self.o_proj = nn.Linear(24, 12, bias=False), nn.Linear(24, 24, bias=False)
        self.window = window

    @staticmethod
    def rotate(x: Any, cos: Any, sin: Any) -> Any:
        low, high = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return x * cos + torch.cat((-high, low), dim=-1) * sin

    @staticmethod
    def repeat(x: Any) -> Any:
        batch, heads, seq, dim = x.shape
        return x[:, :, None, :, :].expand(batch, heads, 2, seq, dim).reshape(batch, 2 * heads, seq, dim)

    def forward(self, x: Any) -> Any:
        batch, seq, _ = x.shape
        y = self.norm * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        q, k, v = (p(y).view(batch, seq, -1, 6).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        with torch.no_grad():
            angle = torch.arange(seq)[:, None] * torch.ones(6)
            cos, sin = angle.cos()[None, None], angle.sin()[None, None]
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        distance = torch.arange(seq)[:, None] - torch.arange(seq)[None, :]
        mask = (distance >= 0) & (distance < self.window) if self.window else distance >= 0
        z = F.scaled_dot_product_attention(q, self.repeat(k), self.repeat(v), attn_mask=mask)
        return x + self.o_proj(z.transpose(1, 2).reshape(batch, seq, 24))


class TestPatterns:
    def test_what_is_written_out_is_seen_through(self) -> None:
        graph = load_torch(Attention(), torch.zeros(2, 5, 24))
        assert kinds(graph) == {"RMSNormalization": 1, "Linear": 4, "Reshape": 4, "Transpose": 4, "RotaryEmbedding": 2, "Attention": 1, "Add": 1}
        (attention,) = [op for op in graph.ops if op.type == "Attention"]
        assert [graph[t].shape for t in attention.inputs] == [(2, 4, 5, 6), (2, 2, 5, 6), (2, 2, 5, 6)]  # key heads are not repeated, and there is no mask
        assert (attention.attrs["is_causal"], attention.attrs["window"]) == (1, 0)
        assert "what does not depend on inputs (masks, position tables) is computed beforehand" in graph.assumptions

    def test_a_mask_with_a_window(self) -> None:
        graph = load_torch(Attention(window=3), torch.zeros(2, 5, 24))
        assert [(op.attrs["is_causal"], op.attrs["window"]) for op in graph.ops if op.type == "Attention"] == [(1, 3)]

    def test_a_mask_that_is_an_input_stays(self) -> None:
        class Masked(nn.Module):
            def forward(self, x: Any, mask: Any) -> Any:
                return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)

        graph = load_torch(Masked(), (torch.zeros(2, 4, 5, 6), torch.zeros(2, 1, 5, 5)))
        assert [graph[t].shape for t in graph.ops[0].inputs][3] == (2, 1, 5, 5)

    def test_values_written_into_slices_are_a_concatenation(self) -> None:
        class Fill(nn.Module):
            def forward(self, x: Any, y: Any) -> Any:
                both = x.new_empty(2, 7)
                both[:, :3] = x
                both[:, 3:] = y
                return both.relu_()

        graph = load_torch(Fill(), (torch.zeros(2, 3), torch.zeros(2, 4)))
        assert (graph.ops[0].type, graph.ops[0].inputs) == ("Concat", ("x", "y"))
        assert graph.ops[-1].type == "Relu"

    def test_tied_weights_are_one_tensor(self) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embed, self.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
                self.head.weight = self.embed.weight

            def forward(self, ids: Any) -> Any:
                return self.head(self.embed(ids))

        graph = load_torch(Tied(), torch.zeros(1, 3, dtype=torch.long))
        assert graph.num_params == 40
        assert [op.type for op in graph.ops] == ["Gather", "Linear"]

    def test_flop_of_attention_as_torch_counts_it(self) -> None:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        x = torch.zeros(3, 7, 8)
        assert 2 * graph_macs(load_torch(layer, x)) == torch_flop(layer, x)


class TestFiles:
    def test_a_saved_program(self, tmp_path: Path) -> None:
        block, path = Block().eval(), tmp_path / "block.pt2"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(block, (torch.zeros(2, 6, 16, 16),), strict=False), path)
        graph, direct = load_exported(path), load_torch(block, torch.zeros(2, 6, 16, 16))
        assert graph.name == "block"
        assert kinds(graph) == kinds(direct)
        assert (graph.num_params, graph_macs(graph)) == (direct.num_params, graph_macs(direct))

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "noise.pt2").write_bytes(b"not a program")
        with pytest.raises(ModelError, match=r"noise.pt2: is no ExportedProgram that this torch .* can load"):
            load_exported(tmp_path / "noise.pt2")
        with pytest.raises(ModelError, match=r"none.pt2: no such file; expected a .pt2 file"):
            load_exported(tmp_path / "none.pt2")


class TestRefusals:
    def test_inputs_that_do_not_fit(self) -> None:
        with pytest.raises(ModelError, match=r"Linear: torch.export cannot trace it on inputs of \(2, 4\): .*; check the inputs"):
            load_torch(nn.Linear(5, 3), torch.zeros(2, 4))
        with pytest.raises(ModelError, match=r"cannot trace it on inputs of nothing"):
            load_torch(nn.Linear(5, 3), ())
        with pytest.raises(ModelError, match=r"example_inputs: is a int, expected a tensor, a tuple of arguments or a mapping"):
            load_torch(nn.Linear(5, 3), 7)

    def test_values_that_decide_what_runs(self) -> None:
        class Branch(nn.Module):
            def forward(self, x: Any) -> Any:
                return x + 1 if x.sum() > 0 else x

        with pytest.raises(ModelError, match=r"Branch: torch.export cannot trace it .* or export the part that does not depend on values"):
            load_torch(Branch(), torch.zeros(3))

    def test_all_unknown_calls_are_named_at_once(self) -> None:
        class Rare(nn.Module):
            def forward(self, x: Any) -> Any:
                return torch.linalg.inv(x) + torch.linalg.det(x).sum() + torch.special.i0(x)

        with pytest.raises(UnsupportedError, match=r"Rare: 3 calls of torch have no counterpart here: aten.linalg_det.*; aten.linalg_inv.*; aten.special_i0"):
            load_torch(Rare(), torch.eye(3))

    def test_what_is_no_module(self) -> None:
        with pytest.raises(ModelError, match=r"module: is a int, expected a torch.nn.Module or an ExportedProgram"):
            load_torch(3, ())  # type: ignore[arg-type]

    def test_dynamic_shapes(self) -> None:
        program = torch.export.export(nn.Linear(5, 3), (torch.zeros(2, 5),), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
        with pytest.raises(ModelError, match=r"has a tensor of the dynamic shape .*; export it with static shapes"):
            load_torch(program)


def test_hugging_face_and_config_give_the_same_ops() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra simgpu[torch]")
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    ids = torch.zeros(2, 5, dtype=torch.long)
    graph, config = load_torch(model, {"input_ids": ids}, kwargs={"use_cache": False}), load_config({"model_type": "llama", **sizes}, batch=2, seq_len=5)
    assert kinds(graph) == kinds(config)
    assert (graph.num_params, graph_macs(graph)) == (config.num_params, graph_macs(config))
