"""Deep learning recommendation models."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# Rows of the 26 tables of the Criteo data sets: Kaggle; Terabyte with at most 40 million a table, as MLPerf uses it.
KAGGLE = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
TERABYTE = (
    *(39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10),
    *(2208, 11938, 155, 4, 976, 14, 39979771, 25641295, 39664984, 585935, 12972, 108, 36),
)


@model("dlrm", family="DLRM", tables=KAGGLE, dim=16, bottom=(512, 256, 64), top=(512, 256), aliases=("dlrm_kaggle",))
@model("dlrm_mlperf", family="DLRM", tables=TERABYTE, dim=128, bottom=(512, 256), top=(1024, 1024, 512, 256), aliases=("dlrm_terabyte",))
def dlrm(
    *,
    name: str,
    batch: int = 1,
    dense: int = 13,
    tables: tuple[int, ...] = KAGGLE,
    dim: int = 16,
    bottom: tuple[int, ...] = (512, 256, 64),
    top: tuple[int, ...] = (512, 256),
    lookups: int = 1,
) -> Graph:
    """Naumov et al., "Deep learning recommendation model for personalization and recommendation systems", arXiv:1906.00091, figure 1.

    Sizes: its section 5.1 (Kaggle); Reddi et al., "MLPerf inference benchmark", the DLRM of v0.7 (Terabyte).

    Args:
        dense: Continuous features.
        dim: Channels of an embedding.
        bottom: Hidden layers for the continuous features.
        top: Hidden layers after the interaction.
        lookups: Rows that each table sums for a sample.
    """
    b = Builder(name)
    x = b.input("dense", (batch, dense))
    ids = [b.input(f"sparse_{i}", (batch, lookups), dtype="int64") for i in range(len(tables))]
    x = _perceptron(b, x, (*bottom, dim), "bot_l")
    rows = []
    for i, (index, size) in enumerate(zip(ids, tables, strict=True)):
        y = b.embedding(index, size, dim, name=f"emb_l.{i}")
        rows.append(b.op("ReduceSum", y, axes=(1,), keepdims=0, name=f"emb_l.{i}.sum") if lookups > 1 else b.reshape(y, (batch, dim)))
    features = len(rows) + 1
    with b.scope("interact"):
        all_rows = b.reshape(b.concat([x, *rows]), (batch, features, dim))
        products = b.matmul(all_rows, b.transpose(all_rows, (0, 2, 1)))
        pairs = features * (features - 1) // 2
        flat = b.reshape(products, (batch, features * features))
        below = b.op("Gather", flat, b.constant("below_diagonal", (pairs,), dtype="int64"), axis=1)
        x = b.concat([x, below])
    x = _perceptron(b, x, top, "top_l")
    return b.build(b.sigmoid(b.linear(x, 1, name=f"top_l.{2 * len(top)}")))


def _perceptron(b: Builder, x: Tensor, widths: tuple[int, ...], name: str) -> Tensor:
    with b.scope(name):
        for i, width in enumerate(widths):
            x = b.relu(b.linear(x, width, name=str(2 * i)), name=str(2 * i + 1))
    return x
