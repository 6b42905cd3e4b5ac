"""Reading a table of designs: which are worth building, and which reach the same latency."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.errors import OptionError
from simgpu.studies.table import Table

# Columns of which more is better; of everything else, inputs included, less is.
MORE_IS_BETTER = ("throughput_per_s", "mfu_fraction")


def pareto_front(table: Table, x: str, y: str) -> NDArray[np.int64]:
    """The designs that no other one beats in both columns, along the first. (front,)

    Less is better, but more throughput and MFU; of designs that are alike in both the first counts.

    Raises:
        OptionError: A column does not exist or holds no numbers.
    """
    cost, price = (_better_down(table, name) for name in (x, y))
    order = np.lexsort((np.arange(len(table)), price, cost))
    least = np.minimum.accumulate(price[order])
    first = np.concatenate(([True], price[order][1:] < least[:-1]))
    return order[first]


def _better_down(table: Table, name: str) -> NDArray[Any]:
    values = numbers(table, name)
    return -values if name in MORE_IS_BETTER else values


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """A column of numbers.

    Raises:
        OptionError: It holds something else.
    """
    values = table[name]
    if values.dtype.kind not in "iuf":
        raise OptionError(f"{name}: holds no numbers, expected one of {', '.join(c for c, v in table.columns.items() if v.dtype.kind in 'iuf')}")
    return np.asarray(values, dtype=float)


def iso_curve(table: Table, x: str, y: str, latency_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each value of x the least y whose latency is `latency_s`, interpolated between designs; where there is one.

    Args:
        table: A grid over two columns.
    Returns:
        Values of x and of y.
    """
    xs, ys, latencies = cells(table, x, y, "latency_s")
    found = []
    for i, value in enumerate(xs):
        column = latencies[:, i]
        met = np.flatnonzero(column <= latency_s)
        if not len(met):
            continue
        k = int(met[0])
        if k == 0:
            if column[0] == latency_s:
                found.append((value, ys[0]))
            continue
        share = (column[k - 1] - latency_s) / (column[k - 1] - column[k])
        found.append((value, ys[k - 1] + share * (ys[k] - ys[k - 1])))
    return np.array([a for a, _ in found]), np.array([b for _, b in found])


def cells(table: Table, x: str, y: str, value: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """A table over two columns as a matrix: the values of x, of y, and the cells. (nx,), (ny,), (ny, nx)

    Raises:
        OptionError: It is no grid over these two: values are missing, or something else varies too.
    """
    xs, across = np.unique(numbers(table, x), return_inverse=True)
    ys, up = np.unique(numbers(table, y), return_inverse=True)
    others = [name for name in table.varied if name not in (x, y)]
    if others:
        raise OptionError(f"{others[0]}: varies beside {x} and {y}; a map has two axes, take the rows of one value")
    if len(table) != len(xs) * len(ys) or len(set(zip(across.tolist(), up.tolist(), strict=True))) != len(table):
        raise OptionError(f"{len(table)} designs are no grid of {len(xs)} values of {x} by {len(ys)} of {y}; a map needs every combination")
    matrix = np.empty((len(ys), len(xs)), dtype=table[value].dtype)
    matrix[up, across] = table[value]
    return xs, ys, matrix
