"""Number formats: bits per element, and what accumulates their products."""

from __future__ import annotations

from dataclasses import dataclass

from simgpu.errors import OptionError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtype:
    """A number format.

    Attributes:
        bits: Bits an element takes in memory, without block scales.
        scale_bits: Extra bits an element, for block scales.
        scales: What the block scales are; "" if there are none.
        accumulator: The format that sums products of this one.
    """

    name: str
    bits: int
    scale_bits: float = 0.0
    scales: str = ""
    accumulator: str = "fp32"
    is_float: bool = True

    @property
    def bytes(self) -> float:
        return (self.bits + self.scale_bits) / 8


DTYPES: dict[str, Dtype] = {
    d.name: d
    for d in (
        Dtype(name="fp64", bits=64, accumulator="fp64"),
        Dtype(name="fp32", bits=32),
        Dtype(name="tf32", bits=32),  # stored in 32 bits; the tensor core reads 19 of them
        Dtype(name="bf16", bits=16),
        Dtype(name="fp16", bits=16),
        Dtype(name="fp8", bits=8),  # e4m3
        Dtype(name="fp8_e5m2", bits=8),
        Dtype(name="fp4", bits=4, scale_bits=8 / 16, scales="an 8-bit scale for every 16 values (NVFP4)"),
        Dtype(name="nf4", bits=4, scale_bits=32 / 64, scales="a 32-bit scale for every 64 weights (QLoRA, Dettmers et al. 2023, section 3)"),
        Dtype(name="int64", bits=64, accumulator="int64", is_float=False),
        Dtype(name="int32", bits=32, accumulator="int32", is_float=False),
        Dtype(name="int16", bits=16, accumulator="int32", is_float=False),
        Dtype(name="int8", bits=8, accumulator="int32", is_float=False),
        Dtype(name="uint8", bits=8, accumulator="int32", is_float=False),
        Dtype(name="int4", bits=4, accumulator="int32", is_float=False),
        Dtype(
            name="int4_g128",
            bits=4,
            scale_bits=(16 + 4) / 128,
            scales="a 16-bit scale and a 4-bit zero point for every 128 weights (GPTQ, arXiv:2210.17323; AWQ, arXiv:2306.00978)",
            accumulator="int32",
            is_float=False,
        ),
        Dtype(name="bool", bits=8, accumulator="int32", is_float=False),
    )
}


def dtype(name: str) -> Dtype:
    """The format of that name.

    Raises:
        OptionError: No such format.

    >>> dtype("bf16").bytes
    2.0
    """
    try:
        return DTYPES[name]
    except KeyError:
        raise OptionError(f"unknown dtype '{name}', expected one of {', '.join(DTYPES)}{did_you_mean(name, DTYPES)}") from None


def storage_bytes(elements: float, name: str) -> float:
    """Bytes that so many elements take.

    >>> storage_bytes(10, "int4")
    5.0
    """
    return elements * dtype(name).bytes
