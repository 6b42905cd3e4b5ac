"""Networks known by name: a name, in the spelling of any of the usual libraries → Graph.

The networks are functions in the `models/` folder, one file a family, registered with `@model`. `models/index.csv`
lists them with their counts, so that naming and listing them imports nothing; `python -m simgpu.frontends.zoo`
writes it anew.
"""

from __future__ import annotations

import csv
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from simgpu.data_paths import data_dir, search_dirs
from simgpu.errors import ModelError, OptionError, did_you_mean
from simgpu.graph.ir import Graph

Build = Callable[..., Graph]

_SIZE_OPTIONS = ("image_size", "seq_len", "size")  # what NAME@224 sets: the first of them that the network has


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooModel:
    """A network and how to build it.

    Attributes:
        build: (batch=, options…) → Graph.
        presets: Options that make this network of its family.
    """

    name: str
    family: str
    aliases: tuple[str, ...]
    build: Build
    presets: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def options(self) -> dict[str, Any]:
        """What a user may set, each with the value it has if they do not."""
        defaults = {p.name: p.default for p in inspect.signature(self.build).parameters.values() if p.name != "name"}
        return {option: self.presets.get(option, default) for option, default in defaults.items()}

    @property
    def paper(self) -> str:
        """The first paragraph of the builder's docstring, which cites the paper."""
        return " ".join((inspect.getdoc(self.build) or "").split("\n\n")[0].split())


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooRow:
    """A line of the table of networks; counts at batch 1 and the usual input.

    Attributes:
        file: The file that builds it.
        aliases: Other names, as other libraries spell it.
        input: Shapes of the inputs, "1x3x224x224".
        params: Trained parameters.
        macs: Multiply-accumulates of convolutions and matrix products, one forward pass. (1 MAC = 2 FLOP)
    """

    name: str
    family: str
    file: Path
    aliases: tuple[str, ...]
    input: str
    params: int
    macs: int


_registered: dict[str, ZooModel] = {}


def model(name: str, *, family: str, aliases: Sequence[str] = (), **presets: Any) -> Callable[[Build], Build]:
    """Registers a builder under a name; further decorators on the same function register its variants.

    Args:
        presets: Keyword arguments of the function that make this variant.
    """

    def register(build: Build) -> Build:
        _registered[name] = ZooModel(name=name, family=family, aliases=tuple(aliases), build=build, presets=MappingProxyType(presets))
        return build

    return register


def zoo_names() -> tuple[str, ...]:
    """The names of all networks, as `load_zoo` takes them."""
    return tuple(_index())


def zoo_table() -> tuple[ZooRow, ...]:
    """All networks with family, input, parameters and MACs."""
    return tuple(_index().values())


def zoo_has(name: str) -> bool:
    """Whether the zoo knows a network by this name, in any of the accepted spellings."""
    try:
        find_name(split_name(name)[0])
    except ModelError:
        return False
    return True


def load_zoo(name: str, *, batch: int = 1, **options: Any) -> Graph:
    """The graph of a network known by name.

    Args:
        name: As timm, torchvision or Hugging Face spell it, in any case, with dashes or underscores; `NAME@192` sets the
            image size (or sequence length), `NAME:key=value,key=value` any options.
        options: Options of the network: image_size, num_classes, seq_len …; text is converted.
    Raises:
        ModelError: No such network.
        OptionError: It has no such option, or the value makes no sense.
    """
    base, from_name = split_name(name)
    entry = zoo_model(base)
    known = entry.options
    given: dict[str, Any] = {}
    for key, value in {**from_name, **options}.items():
        option = next((o for o in _SIZE_OPTIONS if o in known), key) if key == "@" else key.replace("-", "_")
        if option == "@":
            raise OptionError(f"{entry.name}: has no size that '@{value}' could set; its options are {', '.join(o for o in known if o != 'batch')}")
        if option not in known or option == "batch":
            names = [o for o in known if o != "batch"]
            raise OptionError(f"{entry.name}: unknown option '{key}', expected one of {', '.join(names) or 'none'}{did_you_mean(key, names)}")
        given[option] = _converted(entry.name, option, value, known[option])
    size = _converted(entry.name, "batch", batch, 1)
    for option, value in {"batch": size, **given}.items():
        lowest = 1 if option in ("batch", *_SIZE_OPTIONS) else 0
        if isinstance(value, int) and value < lowest:
            raise OptionError(f"{entry.name}: {option} is {value}, expected {lowest} or more")
    return entry.build(name=entry.name, **{**entry.presets, **given, "batch": size})


def zoo_model(name: str) -> ZooModel:
    """The network of that name and how to build it.

    Raises:
        ModelError: No such network.
    """
    row = _index()[find_name(name)]
    return next(entry for entry in _import(row.file) if entry.name == row.name)


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """The name itself and the options written behind it; the option "@" is a size.

    Raises:
        OptionError: An option has no value.

    >>> split_name("conv-block:kind=separable,channels=256")
    ('conv-block', {'kind': 'separable', 'channels': '256'})
    >>> split_name("resnet50@192")
    ('resnet50', {'@': '192'})
    """
    base, _, text = name.partition(":")
    options: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if equals and not value:
            raise OptionError(f"{name}: option '{item}' has no value, expected key=value")
        options[key.strip()] = value.strip() if equals else "true"
    base, _, size = base.partition("@")
    if size:
        options["@"] = size
    return base, options


def find_name(name: str) -> str:
    """The zoo's own name of a network in any spelling.

    Raises:
        ModelError: No such network.
    """
    spellings = _spellings(search_dirs("models"))
    short = name.rsplit("/", 1)[-1]  # "google/vit-base-patch16-224": without the organisation
    for candidate in (name, short, short.split(".")[0]):  # "resnet50.tv_in1k": without the tag of the weights
        if found := spellings.get(_key(candidate)):
            return found
    raise ModelError(f"unknown model '{name}', expected a file or one of the {len(_index())} names `simgpu models` lists{_near(short)}")


def _near(name: str) -> str:
    return did_you_mean(name.replace("-", "_"), [*_index(), *(a for row in _index().values() for a in row.aliases)])


def _key(name: str) -> str:
    """What is left of a name when case and separators do not count; between digits one still separates.

    >>> _key("ResNet-50") == _key("resnet50"), _key("squeezenet1.1") == _key("SqueezeNet1_1"), _key("gpt3-1.3b") == _key("gpt3-13b")
    (True, True, False)
    """
    single = re.sub(r"[^a-z0-9]+", "_", name.lower())
    return re.sub(r"(?<![0-9])_|_(?![0-9])", "", single)


@cache
def _spellings(folders: tuple[Path, ...]) -> dict[str, str]:
    rows = _rows(folders)
    result: dict[str, str] = {}
    for row in rows.values():
        for alias in row.aliases:
            result.setdefault(_key(alias), row.name)
    return result | {_key(name): name for name in rows}


def _converted(model: str, option: str, value: Any, default: Any) -> Any:
    """An option's value in the type of its default; None as the default means a whole number."""
    if not isinstance(value, str):
        return value
    kind = int if default is None else type(default)
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        if kind in (int, float, str):
            return kind(value)
        raise ValueError(kind)
    except (ValueError, KeyError, TypeError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a value from Python, not text")
        raise OptionError(f"{model}: {option} is '{value}', expected {wanted}") from None


# ---- the folders of models and their index


def _index() -> dict[str, ZooRow]:
    return _rows(search_dirs("models"))


@cache
def _rows(folders: tuple[Path, ...]) -> dict[str, ZooRow]:
    """The rows of `index.csv` of the shipped models; a folder of the user has none and is imported."""
    rows: dict[str, ZooRow] = {}
    for folder in reversed(folders):  # the user's own come last and win
        index = folder / "index.csv"
        found = _read_index(index) if index.is_file() else fresh_index(folder)
        rows.update({row.name: row for row in found})
    return rows


def _read_index(path: Path) -> list[ZooRow]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            ZooRow(
                name=line["name"],
                family=line["family"],
                file=path.parent / line["file"],
                aliases=tuple(line["aliases"].split()),
                input=line["input"],
                params=int(line["params"]),
                macs=int(line["macs"]),
            )
            for line in csv.DictReader(file)
        ]


def _import(path: Path) -> list[ZooModel]:
    """Runs a file of models; what it registered, in the order in which a reader sees it."""
    name = f"simgpu_models.{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None, path
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    own = [entry for entry in _registered.values() if entry.build.__module__ == name]
    builds = list(dict.fromkeys(entry.build for entry in own))
    return [entry for build in builds for entry in reversed(own) if entry.build is build]  # decorators run from the last to the first


def fresh_index(folder: Path) -> list[ZooRow]:
    """The rows of the networks in a folder, counted from their graphs."""
    from simgpu.ops.registry import graph_macs

    rows = []
    for path in sorted(folder.glob("*.py")):
        for entry in _import(path):
            graph = entry.build(name=entry.name, **{**entry.presets, "batch": 1})
            rows.append(
                ZooRow(
                    name=entry.name,
                    family=entry.family,
                    file=path,
                    aliases=entry.aliases,
                    input=_shapes(graph),
                    params=graph.num_params,
                    macs=round(graph_macs(graph)),
                )
            )
    return rows


def _shapes(graph: Graph) -> str:
    """Shapes of the inputs, "1x13 + 26 of 1x1"."""
    runs = [(shape, len(list(same))) for shape, same in groupby(graph[t].shape for t in graph.inputs)]
    return " + ".join((f"{count} of " if count > 1 else "") + "x".join(map(str, shape)) for shape, count in runs)


def write_index() -> Path:
    """Counts all shipped networks anew and writes `models/index.csv`."""
    path = data_dir("models") / "index.csv"
    rows = fresh_index(path.parent)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f.name for f in fields(ZooRow)])
        for row in rows:
            writer.writerow([row.name, row.family, row.file.name, " ".join(row.aliases), row.input, row.params, row.macs])
    return path


if __name__ == "__main__":
    from simgpu.frontends import zoo  # the module the models register with, which is not this one

    print(zoo.write_index())
