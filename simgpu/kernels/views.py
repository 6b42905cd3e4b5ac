"""Strides of views: what can be looked at differently without moving an element."""

from __future__ import annotations

from simgpu.kernels.context import Strides


def reshaped_strides(shape: tuple[int, ...], strides: Strides, new_shape: tuple[int, ...]) -> Strides | None:
    """Strides of the same elements under another shape, or None if no strides do it and a copy is needed.

    Source: PyTorch `at::detail::computeStride` (aten/src/ATen/TensorUtils.cpp): neighbouring axes that are contiguous to
    each other form chunks; each chunk can be split anew.

    >>> reshaped_strides((2, 6), (6, 1), (2, 3, 2))
    (6, 2, 1)
    >>> reshaped_strides((3, 2), (1, 3), (6,)) is None
    True
    """
    if 0 in shape:
        return tuple(1 for _ in new_shape)
    if not shape:
        return tuple(1 for _ in new_shape)
    result = [1] * len(new_shape)
    view = len(new_shape) - 1
    chunk_stride = strides[-1]
    old_elements = new_elements = 1
    for axis in range(len(shape) - 1, -1, -1):
        old_elements *= shape[axis]
        ends = axis == 0 or (shape[axis - 1] != 1 and strides[axis - 1] != old_elements * chunk_stride)
        if not ends:
            continue
        while view >= 0 and (new_elements < old_elements or new_shape[view] == 1):
            result[view] = new_elements * chunk_stride
            new_elements *= new_shape[view]
            view -= 1
        if new_elements != old_elements:
            return None
        if axis > 0:
            chunk_stride = strides[axis - 1]
            old_elements = new_elements = 1
    return tuple(result) if view == -1 else None
