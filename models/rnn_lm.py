"""Recurrent language models."""

from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("lstm_lm", family="Recurrent", hidden=1500, aliases=("lstm_lm_large",))
@model("lstm_lm_medium", family="Recurrent", hidden=650)
@model("lstm_lm_small", family="Recurrent", hidden=200, seq_len=20)
@model("gru_lm", family="Recurrent", cell="GRU", hidden=1500)
def language_model(*, name: str, batch: int = 1, seq_len: int = 35, hidden: int = 650, layers: int = 2, vocab: int = 10_000, cell: str = "LSTM") -> Graph:
    """Zaremba, Sutskever, Vinyals, "Recurrent neural network regularization", arXiv:1409.2329, section 4.1 (Penn Treebank).

    Args:
        seq_len: Steps of a run; the paper trains on 20 sequences side by side.
        cell: "LSTM", or "GRU" in its place.
    """
    if cell not in ("LSTM", "GRU"):
        raise OptionError(f"{name}: cell is '{cell}', expected LSTM or GRU")
    b = Builder(name)
    steps = b.transpose(b.input("tokens", (batch, seq_len), dtype="int64"), (1, 0))
    x = b.embedding(steps, vocab, hidden, name="encoder")
    x = b.recurrent(cell, x, hidden, layers=layers, name="rnn")
    return b.build(b.linear(x, vocab, name="decoder"))
