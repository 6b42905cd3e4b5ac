"""PyTorch modules and saved ExportedPrograms → Graph, through `torch.export`. Needs the extra `simgpu[torch]`.

The module is traced on its example inputs, without decomposition: a convolution, a linear layer or an attention stays
one op. Weights are never read, so modules on the meta device do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simgpu.errors import ModelError, OptionError
from simgpu.graph.ir import Graph

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

HINT = "`pip install simgpu[torch]`"


def load_torch(
    module: torch.nn.Module | ExportedProgram,
    example_inputs: Any = (),
    *,
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Graph:
    """The graph of a module at inference, for inputs of the shapes given.

    Args:
        module: On any device, also meta; or what `torch.export.export` made of one.
        example_inputs: The positional arguments of its forward: a tensor, or a tuple or list of arguments; a mapping gives named ones.
        kwargs: Its named arguments.
        name: Name of the graph; the module's class if None.
    Raises:
        ModelError: The module cannot be traced on these inputs.
        UnsupportedError: It uses operators that have no counterpart; all are named.
        OptionError: torch is not installed.
    """
    torch = _torch()
    from simgpu.frontends.torch_walk import walk

    if isinstance(module, torch.export.ExportedProgram):
        return walk(module, name or "exported")
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"module: is a {type(module).__name__}, expected a torch.nn.Module or an ExportedProgram")
    name = name or type(module).__name__
    positional, named = _arguments(name, example_inputs, kwargs or {})
    return walk(_export(torch, module, positional, named, name), name)


def load_exported(path: str | Path, *, name: str | None = None) -> Graph:
    """The graph of an ExportedProgram saved with `torch.export.save` (.pt2).

    Loading runs torch's own reader, which unpickles no code of the module. Open only files whose origin you trust: it is
    as safe as `torch.load(weights_only=True)`.

    Raises:
        ModelError: The file cannot be read.
    """
    torch = _torch()
    from simgpu.frontends.torch_walk import walk

    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; expected a .pt2 file written by torch.export.save")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
    except Exception as error:  # torch raises many kinds for files that are not its own
        raise ModelError(f"{path}: is no ExportedProgram that this torch {torch.__version__} can load: {_first_line(error)}") from None
    return walk(program, name or path.stem)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise OptionError(f"PyTorch modules need torch, which is not installed: {HINT}") from None
    return torch


def _arguments(name: str, given: Any, named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of forward."""
    if isinstance(given, Mapping):
        return (), {**given, **named}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(given), dict(named)
    if not hasattr(given, "shape"):
        raise ModelError(f"{name}: example_inputs: is a {type(given).__name__}, expected a tensor, a tuple of arguments or a mapping of named ones")
    return (given,), dict(named)


def _export(torch: Any, module: torch.nn.Module, positional: tuple[Any, ...], named: dict[str, Any], name: str) -> ExportedProgram:
    """The program of the module in eval mode; the module is left as it was."""
    modes = {m: m.training for m in module.modules()}
    try:
        module.eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: ExportedProgram = torch.export.export(module, positional, named or None, strict=False)
    except Exception as error:  # whatever the user's module raises, and torch's many kinds of export errors
        shapes = ", ".join(str(tuple(x.shape)) if hasattr(x, "shape") else repr(x)[:40] for x in (*positional, *named.values()))
        raise ModelError(
            f"{name}: torch.export cannot trace it on inputs of {shapes or 'nothing'}: {_first_line(error)}; "
            "check the inputs, or export the part that does not depend on values of tensors"
        ) from None
    finally:
        for part, training in modes.items():
            part.training = training
    return program


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"
