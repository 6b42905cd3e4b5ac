"""What is asked of a network besides its config: how many tokens or pixels, which phase, which part, how experts are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from simgpu.errors import OptionError, did_you_mean

PHASES = ("prefill", "decode")
LOGITS = ("all", "last")
LATENT = ("absorbed", "expanded", "reexpanded")
HEADS = ("auto", "none", "lm", "mlm", "qa", "classify")
MAX_TOKENS = 2**24
MAX_BATCH = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of `load_config`, checked.

    Attributes:
        batch: Sequences or images at once.
        seq_len: Tokens of the prompt; of the encoder's input where there is an encoder. None: the family's usual number.
        target_len: Tokens the decoder of an encoder-decoder sees at once. None: the family's usual number.
        context: Tokens whose keys and values are cached before this pass.
        new_tokens: Tokens to be generated; a decode graph is the step in the middle of them.
        phase: "prefill" (all prompt tokens at once) or "decode" (one new token per sequence).
        image_size: Height and width. [pixels]
        part: One part of a network of several: "encoder", "decoder", "vision", "text". "" = all that run together.
        head: "auto" (as `architectures` says), "none", "lm", "mlm", "qa" or "classify".
        logits: The vocabulary projection runs on "all" positions (as Hugging Face's forward does) or on the "last" of each sequence (as servers do).
        latent: How latent attention (MLA) decodes: "absorbed" (projections folded into the queries and the output, as servers do),
            "expanded" (keys and values cached in full), "reexpanded" (the cached latent expanded anew at every step, as Hugging Face does).
        experts: How tokens spread over experts: "balanced", "zipf", "zipf:EXPONENT", or one weight for each expert.
        capacity_factor: Tokens an expert takes at most, in multiples of its even share; None = no limit.
    """

    batch: int = 1
    seq_len: int | None = None
    target_len: int | None = None
    context: int | None = None
    new_tokens: int | None = None
    phase: str = "prefill"
    image_size: tuple[int, int] | None = None
    part: str = ""
    head: str = "auto"
    logits: str = "all"
    latent: str = "absorbed"
    experts: str | Sequence[float] = "balanced"
    capacity_factor: float | None = None

    def __post_init__(self) -> None:
        _whole("batch", self.batch, 1, MAX_BATCH)
        for name in ("seq_len", "target_len", "new_tokens"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 1, MAX_TOKENS)
        if self.context is not None:
            _whole("context", self.context, 0, MAX_TOKENS)
        for name, choices in (("phase", PHASES), ("logits", LOGITS), ("latent", LATENT), ("head", HEADS)):
            _word(name, getattr(self, name), choices)
        if self.image_size is not None:
            for size in self.image_size:
                _whole("image_size", size, 1, 2**16)
        if self.new_tokens is not None and self.phase == "prefill":
            raise OptionError(f"new_tokens: is {self.new_tokens} in a prefill, which generates none; choose phase 'decode' or leave it out")
        if self.capacity_factor is not None and not (isinstance(self.capacity_factor, int | float) and 0 < self.capacity_factor <= 1e6):
            raise OptionError(f"capacity_factor: is {self.capacity_factor!r}, expected a number above 0, such as 1.25")

    @property
    def decode(self) -> bool:
        return self.phase == "decode"

    @property
    def generated(self) -> int:
        """Tokens of each sequence that the graph stands for; 0 = it generates none."""
        return (self.new_tokens or 1) if self.decode else 0

    def choose_part(self, where: str, parts: Sequence[str]) -> str:
        """The part asked for.

        Raises:
            OptionError: The network has no such part.
        """
        if self.part and self.part not in parts:
            have = f"its parts are {', '.join(parts)}" if parts else "it is all one part"
            raise OptionError(f"{where}: part: has no '{self.part}', {have}{did_you_mean(self.part, parts)}")
        return self.part

    def only_prefill(self, where: str, what: str) -> None:
        """Ends in a message if decode was asked of a network that generates nothing."""
        if self.decode:
            raise OptionError(f"{where}: phase: is 'decode', but {what} generates no tokens; choose 'prefill'")


_FIELDS = frozenset(f.name for f in fields(Request))


class ReadRequest(Request):
    """A request that remembers which of its fields a family read, so that an option without effect is not taken in silence."""

    __slots__ = ("_read",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_read", set())
        Request.__post_init__(self)
        self._read.clear()

    def __getattribute__(self, name: str) -> Any:
        if name in _FIELDS:
            object.__getattribute__(self, "_read").add(name)
        return object.__getattribute__(self, name)

    def check_read(self, where: str, given: Iterable[str]) -> None:
        """Ends in a message if an option that was given is one that the network has no use for.

        Raises:
            OptionError: It names the option.
        """
        read = frozenset(self._read)
        for name in given:
            if name not in read:
                raise OptionError(f"{where}: {name}: the network {_WHY.get(name, 'has no use for it')}; leave it out")


_WHY: Mapping[str, str] = {
    "seq_len": "reads no tokens",
    "target_len": "has no decoder beside its encoder",
    "context": "caches no tokens",
    "image_size": "sees no image",
    "latent": "has no latent attention",
    "logits": "has no vocabulary projection to choose positions for",
    "experts": "has no experts",
    "capacity_factor": "has no experts",
}


def from_text(name: str, value: Any) -> Any:
    """An option's value where a command line gives it as text.

    Raises:
        OptionError: The text is no such value.

    >>> from_text("context", "4096"), from_text("experts", "zipf:1.2"), from_text("experts", "3,1"), from_text("capacity_factor", "1.25")
    (4096, 'zipf:1.2', (3.0, 1.0), 1.25)
    """
    if not isinstance(value, str):
        return value
    try:
        if name in ("seq_len", "target_len", "context", "new_tokens", "image_size"):
            return int(value)
        if name == "capacity_factor":
            return float(value)
        return tuple(float(v) for v in value.split(",")) if name == "experts" and "," in value else value
    except ValueError:
        wanted = "a whole number" if name not in ("capacity_factor", "experts") else "a number" if name == "capacity_factor" else "numbers with commas between"
        raise OptionError(f"{name}: is '{value}', expected {wanted}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of one pass through a decoder.

    Attributes:
        query: Tokens computed.
        past: Tokens whose keys and values are cached.
        steps: Passes that this one stands for.
    """

    query: int
    past: int
    steps: int = 1

    @property
    def total(self) -> int:
        return self.past + self.query

    @property
    def note(self) -> str:
        """What the report should say about it, if anything."""
        return f"one decode step of {self.steps}, the one in the middle: {self.past} cached tokens" if self.steps > 1 else ""


def decoder_lengths(request: Request, *, usual: int, prompt: int | None) -> Lengths:
    """Tokens computed and cached in a pass of a decoder.

    Step i of N reads context + i keys, so the mean over the steps is the step at context + (N - 1) / 2.

    Args:
        usual: Tokens of the pass if nobody says: prompt of a prefill, context of a decode step.
        prompt: Length of the decoder's own prompt asked for.

    >>> decoder_lengths(Request(phase="decode", context=100, new_tokens=11), usual=2048, prompt=None).past
    105
    """
    if not request.decode:
        return Lengths(query=usual if prompt is None else prompt, past=request.context or 0)
    context = request.context if request.context is not None else usual if prompt is None else prompt
    steps = request.new_tokens or 1
    return Lengths(query=1, past=context + (steps - 1) // 2, steps=steps)


def check_positions(where: str, lengths: Lengths, have: int) -> None:
    """Ends in a message if a pass needs more positions than a learned table has."""
    if lengths.total > have:
        raise OptionError(
            f"{where}: the pass needs {lengths.total} positions (context {lengths.past} and {lengths.query} new), "
            f"the model has {have} learned ones; choose fewer tokens"
        )


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise OptionError(f"{name}: is {value!r}, expected a whole number from {low} to {high}")


def _word(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise OptionError(f"{name}: is {value!r}, expected one of {', '.join(choices)}{did_you_mean(str(value), choices)}")
