"""What several commands ask about a model or a study, and how the text becomes options of `load_model`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from simgpu.errors import OptionError

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Options that a model takes by these names; the commands get them as keyword arguments.
NAMED = ("seq_len", "context", "new_tokens", "phase", "experts", "image_size")
_OPTIONS = (
    click.option("--shape", "shapes", multiple=True, metavar="NAME=N", help="ONNX: bind a symbolic dim (SYMBOL=N) or a whole input (INPUT=1,3,640,640)."),
    click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="An option of a model known by name: --param num_classes=10."),
    click.option("--image-size", type=int, metavar="N", help="Image size of a model known by name."),
    click.option("--seq-len", type=int, metavar="N", help="Tokens of the prompt, or of the text that is read."),
    click.option("--phase", metavar="PHASE", help="Language models: prefill (all prompt tokens at once) or decode (one new token)."),
    click.option("--context", type=int, metavar="N", help="Language models: tokens whose keys and values are cached already."),
    click.option("--new-tokens", type=int, metavar="N", help="Language models: decode N tokens; the run is their mean step."),
    click.option("--experts", metavar="SHARES", help="Mixture of experts: how tokens spread: balanced, zipf, zipf:EXPONENT or a weight for each, 3,1,1,1."),
    click.option("--allow-unknown", is_flag=True, help="ONNX: price operators without a rule as memory traffic and list them, instead of refusing the model."),
)


_STUDY_OPTIONS = (
    click.option("--resume", is_flag=True, help="Go on with an interrupted study; nothing is computed twice."),
    click.option("--force", is_flag=True, help="Replace what is there."),
    click.option("--yes", is_flag=True, help="Confirm more than 100,000 designs."),
    click.option("--jobs", type=int, metavar="N", help="Processes. Default: 1, all cores for large studies."),
    click.option("--backend", metavar="dask://HOST:PORT", help="Compute on a Dask cluster."),
)


def study_options(function: _Function) -> _Function:
    """Adds how a study is computed, and what becomes of an earlier one."""
    for option in reversed(_STUDY_OPTIONS):
        function = option(function)
    return function


def model_options(function: _Function) -> _Function:
    """Adds the options of a model to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def model_arguments(*, shapes: Iterable[str], params: Iterable[str], allow_unknown: bool, **named: Any) -> dict[str, Any]:
    """What the options of `model_options` say, as keyword arguments of `load_model`."""
    return {"allow_unknown": allow_unknown, **parse_shapes(shapes), **parse_params(params, **named)}


def parse_shapes(texts: Iterable[str]) -> dict[str, Any]:
    """`--shape` texts as the option `shapes`.

    >>> parse_shapes(["seq=128", "x=1,3,640,640"])
    {'shapes': {'seq': 128, 'x': (1, 3, 640, 640)}}
    """
    shapes: dict[str, int | tuple[int, ...]] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.rpartition("="))
        sizes = value.replace("x", ",").split(",")
        if not equals or not name or not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
            raise OptionError(f"--shape {text}: expected SYMBOL=N or INPUT=1,3,640,640 with whole numbers of 1 or more")
        if name in shapes:
            raise OptionError(f"--shape {text}: '{name}' is given twice")
        numbers = tuple(int(size) for size in sizes)
        shapes[name] = numbers[0] if len(numbers) == 1 else numbers
    return {"shapes": shapes} if shapes else {}


def parse_params(texts: Iterable[str], **named: Any) -> dict[str, Any]:
    """`--param` texts and options with a name of their own, as options of the model.

    >>> parse_params(["num_classes=10"], seq_len=None)
    {'num_classes': '10'}
    """
    options = {name: value for name, value in named.items() if value is not None}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        key = key.replace("-", "_")
        if not (key and equals and value):
            raise OptionError(f"--param {text}: expected key=value, such as num_classes=10")
        if key in options:
            raise OptionError(f"--param {text}: '{key}' is given twice")
        options[key] = value
    return options
