"""Each case as a callable on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from simgpu.measure.cases import Case

Call = Callable[[], Any]

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class CannotRun(Exception):
    """This case does not run here; the row says why."""


def prepare(case: Case, device: str) -> Call:
    """The case's computation on random data, ready to be called again and again.

    Raises:
        CannotRun: The network's package is missing, or the device lacks what the case needs.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = case.dtype == "tf32"
    torch.backends.cudnn.benchmark = True
    dtype = _DTYPES[case.dtype]

    def random(*shape: int) -> Any:
        return torch.randn(*shape, device=device, dtype=dtype)

    if case.family == "linear":
        x, weight = random(case.m, case.k), random(case.n, case.k)
        return lambda: F.linear(x, weight)
    if case.family == "bmm":
        a, b = random(case.batch, case.m, case.k), random(case.batch, case.k, case.n)
        return lambda: torch.bmm(a, b)
    if case.family == "conv":
        memory_format = torch.channels_last if case.layout == "nhwc" else torch.contiguous_format
        x = random(case.batch, case.c, case.h, case.w).to(memory_format=memory_format)
        weight = random(case.filters, case.c // case.groups, case.r, case.r).to(memory_format=memory_format)
        return lambda: F.conv2d(x, weight, stride=case.stride, padding=case.r // 2, groups=case.groups)
    if case.family in ("softmax", "layernorm", "elementwise"):
        x, y = random(case.rows, case.cols), random(case.rows, case.cols)
        call: dict[str, Call] = {
            "softmax": lambda: torch.softmax(x, 1),
            "layernorm": lambda: F.layer_norm(x, (case.cols,), x[0], y[0]),
            "add": lambda: x + y,
            "relu": lambda: torch.relu(x),
            "gelu": lambda: F.gelu(x),
        }
        return call[case.op or case.family]
    if case.family == "attention":
        q = random(case.batch, case.heads, case.q_len, case.head_dim)
        k, v = (random(case.batch, case.kv_heads, case.kv_len, case.head_dim) for _ in range(2))
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=bool(case.causal), enable_gqa=case.heads != case.kv_heads)
    return _network(case, device, dtype)


def _network(case: Case, device: str, dtype: Any) -> Call:
    """A network with random weights, from torchvision or transformers."""
    try:
        if case.op in ("bert-base", "gpt2"):
            import transformers

            config = transformers.BertConfig() if case.op == "bert-base" else transformers.GPT2Config()
            model = transformers.AutoModel.from_config(config)
            inputs = torch.randint(0, 30000, (case.batch, 128), device=device)
        else:
            import torchvision

            model = torchvision.models.get_model(case.op)
            inputs = torch.randn(case.batch, 3, 224, 224, device=device, dtype=dtype)
    except ImportError as error:
        raise CannotRun(f"{error.name} is not installed") from None
    model = model.to(device=device, dtype=dtype).eval()
    if case.runtime == "compiled":
        model = torch.compile(model, mode="reduce-overhead")
    return lambda: model(inputs)
