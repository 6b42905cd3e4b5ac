"""What is measured: a stated list of kernels and networks, as plain records.

Shapes are those of well-known networks (ResNet-50, MobileNetV2, BERT, GPT-2, LLaMA) and odd ones beside them (tile and
wave edges, misaligned dimensions), so that a calibration sees both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

DTYPES = ("fp32", "tf32", "bf16", "fp16")


@dataclass(frozen=True)
class Case:
    """One thing to measure; fields that mean nothing for its family stay at their defaults.

    Attributes:
        family: linear, bmm, conv, softmax, layernorm, elementwise, attention, model.
        op: Elementwise operation, or a network's name.
        m, n, k, batch: GEMM sizes; batch also of bmm, attention and networks.
        c, h, w, filters, r, stride, groups, layout: Convolution.
        rows, cols: Softmax and layer norm; elementwise has rows × cols elements.
        heads, kv_heads, q_len, kv_len, head_dim, causal: Attention.
        runtime: eager, graph or compiled.
        l2: "warm" (same buffers again and again) or "cold" (L2 flushed before each).
    """

    family: str
    dtype: str
    op: str = ""
    batch: int = 1
    m: int = 0
    n: int = 0
    k: int = 0
    c: int = 0
    h: int = 0
    w: int = 0
    filters: int = 0
    r: int = 0
    stride: int = 1
    groups: int = 1
    layout: str = ""
    rows: int = 0
    cols: int = 0
    heads: int = 0
    kv_heads: int = 0
    q_len: int = 0
    kv_len: int = 0
    head_dim: int = 0
    causal: int = 0
    runtime: str = "graph"
    l2: str = "warm"


COLUMNS = tuple(f.name for f in fields(Case))

_LINEAR = (
    *((m, n, k) for m in (1, 16, 128, 1024, 8192) for n, k in ((4096, 4096), (11008, 4096), (4096, 11008))),  # LLaMA-7B
    *((m, n, k) for m in (128, 4096) for n, k in ((768, 768), (3072, 768), (768, 3072))),  # BERT-base
    (129, 4096, 4096),  # one row beyond a tile
    (4096, 4096, 4095),  # misaligned
    (512, 512, 512),
    (2048, 2048, 2048),
    (8192, 8192, 8192),
    (64, 64, 65536),  # long reduction
)
_BMM = ((12, 128, 128, 64), (96, 128, 128, 64), (192, 384, 384, 64), (16, 1024, 1024, 64), (64, 512, 64, 512), (32, 100, 100, 50))
# c, h, filters, r, stride, groups
_CONV = (
    (3, 224, 64, 7, 2, 1),
    (64, 56, 64, 1, 1, 1),
    (64, 56, 64, 3, 1, 1),
    (64, 56, 256, 1, 1, 1),
    (256, 56, 128, 1, 2, 1),
    (128, 28, 128, 3, 1, 1),
    (256, 14, 256, 3, 1, 1),
    (512, 7, 512, 3, 1, 1),
    (1024, 14, 2048, 1, 2, 1),
    (256, 56, 256, 3, 1, 1),
    (256, 56, 256, 3, 1, 8),
    (32, 112, 32, 3, 1, 32),  # depthwise: MobileNetV2, EfficientNet
    (96, 112, 96, 3, 2, 96),
    (256, 56, 256, 3, 1, 256),
    (384, 14, 384, 3, 1, 384),
    (960, 7, 960, 3, 1, 960),
    (480, 14, 480, 5, 1, 480),
)
_ROWS = (*((rows, cols) for rows in (64, 4096, 65536) for cols in (64, 768, 1024, 1025, 4096)), (4096, 32768))
_ELEMENTS = (1 << 14, 1 << 18, 1 << 21, 1 << 23, 1 << 25, 1 << 27)
_ATTENTION = (
    *((batch, 32, 32, length, length, 128, 1) for batch, length in ((1, 512), (1, 2048), (8, 2048), (1, 8192))),
    (8, 32, 8, 2048, 2048, 128, 1),
    (16, 12, 12, 384, 384, 64, 0),
    *((batch, 32, kv_heads, 1, length, 128, 0) for batch in (1, 32) for kv_heads in (32, 8) for length in (512, 4096)),
)
NETWORKS = ("resnet50", "mobilenet_v2", "bert-base", "gpt2")


def cases() -> Iterator[Case]:
    """All cases, the cheap and telling ones first, so that a short budget still covers every family."""
    for dtype in DTYPES:
        for rows, cols in _ROWS:
            if dtype != "tf32":
                yield Case("softmax", dtype, rows=rows, cols=cols)
                yield Case("layernorm", dtype, rows=rows, cols=cols)
        for elements in _ELEMENTS:
            if dtype != "tf32":
                for op in ("add", "relu", "gelu"):
                    yield Case("elementwise", dtype, op=op, rows=elements // 1024, cols=1024)
        for m, n, k in _LINEAR:
            for l2 in ("warm", "cold"):
                yield Case("linear", dtype, m=m, n=n, k=k, l2=l2)
        for batch, m, n, k in _BMM:
            yield Case("bmm", dtype, batch=batch, m=m, n=n, k=k)
        for batch in (1, 32):
            for c, h, filters, r, stride, groups in _CONV:
                for layout in ("nchw", "nhwc"):
                    yield Case("conv", dtype, batch=batch, c=c, h=h, w=h, filters=filters, r=r, stride=stride, groups=groups, layout=layout)
        if dtype in ("bf16", "fp16"):
            for batch, heads, kv_heads, q_len, kv_len, head_dim, causal in _ATTENTION:
                yield Case("attention", dtype, batch=batch, heads=heads, kv_heads=kv_heads, q_len=q_len, kv_len=kv_len, head_dim=head_dim, causal=causal)
    for name in NETWORKS:
        for dtype in ("fp32", "fp16"):
            for batch in (1, 32):
                for runtime in ("eager", "graph", "compiled"):
                    yield Case("model", dtype, op=name, batch=batch, runtime=runtime)
