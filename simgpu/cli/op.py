"""`simgpu op`: one operator, step by step."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

import click

from simgpu.cli.terminal import page_width
from simgpu.errors import OptionError


class _WithOperators(click.Command):
    """Help that lists the operators; they are loaded only for it."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from simgpu.frontends.operators import OPERATORS, usage

        with formatter.section("Operators, each with the sizes it needs and the defaults of the others"):
            for kind, operator in OPERATORS.items():
                text = textwrap.fill(usage(kind), formatter.width - 4, initial_indent=" " * 2, subsequent_indent=" " * 14, break_on_hyphens=False)
                formatter.write(f"{text}\n{'':6}{operator.meaning}\n")


@click.command(cls=_WithOperators)
@click.argument("operator")
@click.argument("sizes", nargs=-1, metavar="KEY=VALUE...")
@click.option("--gpu", required=True, metavar="GPU", help="A name that `simgpu gpus` lists, or a YAML file.")
@click.option("--dtype", default="fp32", show_default=True, metavar="DTYPE", help="fp32, tf32, bf16, fp16, int8 …")
@click.option("--runtime", default="tensorrt", show_default=True, metavar="STACK", help="eager shows the layout copies and casts of PyTorch too.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field of the GPU: --set sm.count=160.")
@click.option("--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", help="The report as JSON; on stdout instead of the page if no FILE.")
def command(*, operator: str, sizes: tuple[str, ...], gpu: str, dtype: str, runtime: str, settings: tuple[str, ...], json_path: str | None) -> None:
    """Explain the time of a single operator step by step.

    \b
    simgpu op conv n=32 c=64 h=56 k=64 --gpu a100 --dtype fp16
    simgpu op gemm m=4096 n=4096 k=4096 --gpu h100 --dtype bf16
    simgpu op depthwise n=32 c=256 h=56 --gpu gtx-1080-ti
    """
    from simgpu.report.files import check_writable

    if json_path not in (None, "-"):
        check_writable(str(json_path))

    from simgpu.api import simulate
    from simgpu.arch.loader import load_gpu, override_gpu, parse_settings
    from simgpu.frontends.operators import operator_graph, operator_sizes
    from simgpu.precision import check_unit, precision

    given = parse_sizes(operator, sizes)
    known = operator_sizes(operator, given)
    graph = operator_graph(operator, given, dtype=dtype)
    machine = load_gpu(gpu)
    if overrides := parse_settings(settings):
        machine = override_gpu(machine, overrides)
    check_unit(operator, precision(dtype), machine)
    report = simulate(graph, machine, dtype=dtype, runtime=runtime)
    if json_path:
        from simgpu.report.export import to_json
        from simgpu.report.files import write_text

        if json_path == "-":
            click.echo(to_json(report), nl=False)
            return
        write_text(json_path, to_json(report))
        click.echo(f"wrote {json_path}", err=True)
    from simgpu.report.explain import format_operator

    click.echo(format_operator(report, problem_lines(operator, known), width=min(page_width(), 100)), nl=False)


def parse_sizes(operator: str, texts: Iterable[str]) -> dict[str, int]:
    """Sizes as numbers.

    >>> parse_sizes("gemm", ["m=8", "n=1_024"])
    {'m': 8, 'n': 1024}
    """
    sizes: dict[str, int] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        try:
            number = int(value)
        except ValueError:
            number = -1
        if not key or not equals or (number < 0 and not value.lstrip("-").isdecimal()):
            raise OptionError(f"{operator}: '{text}': expected key=number, such as n=32")
        if key in sizes:
            raise OptionError(f"{operator}: '{key}' is given twice")
        sizes[key] = number
    return sizes


_ORDER = ("batch", "n", "rows", "m", "heads", "kv_heads", "c", "h", "w", "k", "r", "s")


def problem_lines(operator: str, sizes: Mapping[str, int]) -> list[str]:
    """The problem in words, sizes in the order in which people say them.

    >>> problem_lines("depthwise", {"c": 8, "h": 16, "n": 2, "w": 16, "r": 3, "s": 3, "stride": 1})[1]
    'n 2, c 8, h 16, w 16, r 3, s 3, stride 1'
    """
    from simgpu.frontends.operators import OPERATORS

    ordered = sorted(sizes, key=lambda key: _ORDER.index(key) if key in _ORDER and operator != "gemm" else len(_ORDER))
    return [OPERATORS[operator].meaning, ", ".join(f"{key} {sizes[key]}" for key in ordered)]
