"""Two thousand broken configs: each ends in a graph or in one message, soon and in little memory."""

import json
import random
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simgpu.errors import SimgpuError
from simgpu.frontends.config import config_names, load_config, read_json, shipped_config
from simgpu.graph.ir import Graph

NUM_CASES = 2200
LIMIT_S = 5.0  # of CPU time for one file
LIMIT_BYTES = 2**30
WILD: tuple[Any, ...] = (
    0, 1, 2, 3, 7, -1, -(2**31), 2**31, 2**63, 2**64 + 1, 10**300, 0.5, -0.0, 1e308, float("nan"), float("inf"), True, False, None,
    "", "768", "gelu", "\u0000", "ä" * 1000, [], [0], [1, 2, 3], [[["global", "local"], 10**6]], {}, {"0": "a"}, {"hidden_size": 64}, [None],
    1000, 4096, 2**24, 2**24 + 1,
)  # fmt: skip
SMALL = {
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "num_decoder_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "depths": [2, 2], "num_heads": None, "attention_types": [[["global", "local"], 1]], "layers_per_block": 1,
}  # fmt: skip


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """The same network with few layers, so that two thousand of them are built in seconds."""
    small = {key: SMALL[key] if SMALL.get(key) is not None else value for key, value in config.items() if key != "_simgpu"}
    if config["model_type" if "model_type" in config else "_class_name"] == "swin":
        small["num_heads"] = config["num_heads"][:2]
    return {key: shrunk({"model_type": "", **value}) if key.endswith("_config") else value for key, value in small.items()}


def one_of_each_kind() -> list[dict[str, Any]]:
    kinds = {}
    for name in config_names():
        config = read_json(shipped_config(name))
        kinds.setdefault(config.get("model_type", config.get("_class_name")), shrunk(config))
    return list(kinds.values())


def mutate(config: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One to three fields removed, replaced, swapped, scaled or invented."""
    result = json.loads(json.dumps(config))
    for _ in range(rng.randint(1, 3)):
        inner = [value for value in result.values() if isinstance(value, dict) and value]
        target = rng.choice(inner) if inner and rng.random() < 0.4 else result
        key = rng.choice(list(target))
        match rng.randrange(6):
            case 0:
                del target[key]
            case 1 | 2:
                target[key] = rng.choice(WILD)
            case 3:
                other = rng.choice(list(target))
                target[key], target[other] = target[other], target[key]
            case 4 if isinstance(target[key], int) and not isinstance(target[key], bool):
                target[key] = target[key] * rng.choice((2, 3, 5, 1000, 10**6)) + rng.choice((-1, 0, 1))
            case _:
                target[rng.choice(("num_key_value_heads", "head_dim", "layer_types", "sliding_window", "vocab_size", "architectures"))] = rng.choice(WILD)
        if not target:
            break
    return result


def damage(text: str, rng: random.Random) -> bytes:
    """The file cut off, or with some bytes changed, doubled or thrown in."""
    data = bytearray(text.encode())
    if rng.random() < 0.4:
        return bytes(data[: rng.randrange(len(data))])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:at] = bytes(data[max(0, at - 20) : at])
            case _:
                data[at:at] = rng.choice((b"[" * 3000, b"9" * 5000, b"\xff", b"{", b'"', b"-", b"e9", b"\x00"))
    return bytes(data)


@contextmanager
def limited(what: str) -> Iterator[None]:
    """Fails if the body takes too much CPU time."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {LIMIT_S} s for {what[:2000]}")

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def outcome(source: Any, what: str, **options: Any) -> str:
    """ "graph", or the class of the one message it ended in; anything else raises."""
    with limited(what):
        try:
            assert isinstance(load_config(source, **options), Graph)
        except SimgpuError as error:
            assert 0 < len(str(error)) < 4000, str(error)[:500]
            assert "\n" not in str(error)
            return type(error).__name__
    return "graph"


def tokens_of(config: dict[str, Any]) -> dict[str, int]:
    """Few tokens, where the network reads any."""
    return {} if config.get("model_type", config.get("_class_name")) in ("vit", "deit", "swin", "AutoencoderKL") else {"seq_len": 8}


def test_broken_configs_end_in_a_graph_or_one_message(tmp_path: Path) -> None:
    rng = random.Random(2025)
    kinds, before = one_of_each_kind(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found: Counter[str] = Counter()
    for case in range(NUM_CASES):
        config = rng.choice(kinds)
        options: dict[str, Any] = {**tokens_of(config), **({"phase": "decode"} if rng.random() < 0.3 else {})}
        if case % 4:
            changed = mutate(config, rng)
            found[outcome(changed, repr(changed), **options)] += 1
        else:
            path = tmp_path / "config.json"
            path.write_bytes(damage(json.dumps(config), rng))
            found[outcome(path, f"case {case}", **options)] += 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < LIMIT_BYTES
    assert sum(found.values()) == NUM_CASES
    assert found["graph"] > NUM_CASES / 20, found  # the mutations are not all so crude that the first look refuses them
    assert found["ModelError"] > NUM_CASES / 4, found


@pytest.mark.parametrize("kind", one_of_each_kind(), ids=lambda c: c.get("model_type") or c["_class_name"])
def test_without_mutations_each_kind_is_a_graph(kind: dict[str, Any]) -> None:
    assert outcome(kind, "", **tokens_of(kind)) == "graph"
