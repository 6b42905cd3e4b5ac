"""A config file read field by field: the type, the range and the place of each is checked once, here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from simgpu.errors import ModelError, did_you_mean

# Sizes beyond any published network by two orders of magnitude, depths by a factor of four: a file beyond them is broken,
# and what is within them makes a graph that is built in seconds.
MAX_SIZE = 2**24
MAX_LAYERS = 512
MAX_ITEMS = 4096


class Required:
    """Marks a field without a default."""


REQUIRED = Required()


class Fields:
    """The fields of one (sub)configuration.

    Args:
        data: The parsed JSON object.
        where: File or name that messages begin with.
        path: Dotted place inside the file.

    >>> Fields({"hidden_size": "768"}, "bert.json").size("hidden_size")
    Traceback (most recent call last):
    ...
    simgpu.errors.ModelError: bert.json: hidden_size: is '768', expected a whole number from 1 to 16777216
    """

    def __init__(self, data: Mapping[str, Any], where: str, path: str = "") -> None:
        self.data = data
        self.where = where
        self.path = path

    # ---- reading

    def size(self, *keys: str, default: int | Required = REQUIRED, low: int = 1, high: int = MAX_SIZE) -> int:
        """A whole number; further keys are other names of the same field."""
        expected = f"a whole number from {low} to {high}"
        value: int = self._read(keys, default, lambda v: _is_int(v) and low <= v <= high, expected)
        return value

    def optional_size(self, *keys: str, low: int = 1, high: int = MAX_SIZE) -> int | None:
        """A whole number, or None where the field is missing or null."""
        return self.size(*keys, low=low, high=high) if self.has(*keys) else None

    def layers(self, *keys: str, default: int | Required = REQUIRED) -> int:
        """A number of layers."""
        return self.size(*keys, default=default, high=MAX_LAYERS)

    def number(self, *keys: str, default: float | Required = REQUIRED, low: float = 0.0, high: float = 1e9) -> float:
        """A number, whole or not."""
        return float(self._read(keys, default, lambda v: _is_number(v) and low <= v <= high, f"a number from {low:g} to {high:g}"))

    def flag(self, *keys: str, default: bool | Required = REQUIRED) -> bool:
        """true or false."""
        value: bool = self._read(keys, default, lambda v: isinstance(v, bool), "true or false")
        return value

    def text(self, *keys: str, default: str | Required = REQUIRED, choices: Sequence[str] = ()) -> str:
        """A word, perhaps one of a few."""
        value: str = self._read(keys, default, lambda v: isinstance(v, str), "a text")
        if choices and value not in choices:
            self.fail(self._found(keys), f"is {short(value)}, expected one of {', '.join(choices)}{did_you_mean(value[:60], choices)}")
        return value

    def sizes(
        self, *keys: str, default: Sequence[int] | Required = REQUIRED, length: int | None = None, max_length: int = MAX_ITEMS, low: int = 1
    ) -> tuple[int, ...]:
        """Whole numbers, as many as `length` if given; a single number then stands for all of them."""
        raw = self._get(keys)
        if _is_int(raw) and length is not None:
            return (self.size(*keys, low=low),) * length
        expected = f"a list of {f'{length} ' if length is not None else ''}whole numbers from {low} to {MAX_SIZE}"
        value = self._read(keys, default, lambda v: _is_list(v, max_length) and all(_is_int(i) and low <= i <= MAX_SIZE for i in v), expected)
        if length is not None and len(value) != length:
            self.fail(self._found(keys), f"has {len(value)} entries, expected {length}")
        return tuple(value)

    def texts(self, *keys: str, default: Sequence[str] | Required = REQUIRED, choices: Sequence[str] = (), max_length: int = MAX_ITEMS) -> tuple[str, ...]:
        """Words, each perhaps one of a few."""
        value = tuple(self._read(keys, default, lambda v: _is_list(v, max_length) and all(isinstance(i, str) for i in v), "a list of texts"))
        for word in value:
            if choices and word not in choices:
                self.fail(self._found(keys), f"names {short(word)}, expected {', '.join(choices)}{did_you_mean(word[:60], choices)}")
        return value

    def sub(self, key: str, *, required: bool = True) -> Fields:
        """The fields of an inner object; none if it is missing and not required."""
        value = self._read((key,), REQUIRED if required else {}, lambda v: isinstance(v, Mapping), "an object { … }")
        return Fields(value, self.where, self._place(key))

    def has(self, *keys: str) -> bool:
        """Is the field there, and not null?"""
        return self._get(keys) is not None

    def raw(self, key: str) -> Any:
        """The value as it stands in the file."""
        return self.data.get(key)

    # ---- checks over several fields

    def divide(self, key: str, value: int, by_key: str, by: int) -> int:
        """value / by, which must come out even."""
        if value % by:
            self.fail(key, f"is {value}, which {by_key} = {by} does not divide evenly; one of them must be wrong")
        return value // by

    def at_most(self, key: str, value: int, limit_key: str, limit: int) -> int:
        """The value, which must not exceed another field."""
        if value > limit:
            self.fail(key, f"is {value}, more than {limit_key} = {limit}; one of them must be wrong")
        return value

    def fail(self, key: str, what: str) -> NoReturn:
        """Ends in one message that names file and field."""
        raise ModelError(f"{self.where}: {self._place(key)}: {what}")

    # ---- inside

    def _place(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _found(self, keys: Sequence[str]) -> str:
        return next((k for k in keys if self.data.get(k) is not None), keys[0])

    def _get(self, keys: Sequence[str]) -> Any:
        return self.data.get(self._found(keys))

    def _read(self, keys: Sequence[str], default: Any, ok: Callable[[Any], bool], expected: str) -> Any:
        value = self._get(keys)
        if value is None:
            if isinstance(default, Required):
                other = f" (or {', '.join(keys[1:])})" if len(keys) > 1 else ""
                near = did_you_mean(keys[0], [k for k in self.data if isinstance(k, str) and len(k) < 60])
                self.fail(keys[0], f"is missing{other}, expected {expected}{near}")
            return default
        if not ok(value):
            self.fail(self._found(keys), f"is {short(value)}, expected {expected}")
        return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_list(value: Any, max_length: int) -> bool:
    return isinstance(value, list | tuple) and len(value) <= max_length


def short(value: Any) -> str:
    """A value as a message shows it.

    >>> short("a" * 100)[-5:], short([1, 2]), short(10**100)
    ('aaaa…', 'a list of 2 entries', 'a number of 333 bits')
    """
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)} entries"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
