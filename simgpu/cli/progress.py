"""How far a long command is, on stderr: a line that is rewritten on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time

_TERMINAL_S, _LOG_S = 0.2, 30.0  # between two messages


class Progress:
    """Called with what is done and what there is in all; tells the pace and how long the rest takes.

    Args:
        what: What is counted: "designs".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._terminal = sys.stderr.isatty()
        self._began_s = self._told_s = time.monotonic()
        self._first: int | None = None
        self._open = False

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if self._first is None:
            self._first, self._began_s = done, now_s
            if done:
                print(f"{done:,} of {total:,} {self._what} are there already", file=sys.stderr)
            return
        if done == total:
            self.close()
            return
        if now_s - self._told_s < (_TERMINAL_S if self._terminal else _LOG_S):
            return
        self._told_s = now_s
        rate = (done - self._first) / max(now_s - self._began_s, 1e-9)
        text = f"{done:,} of {total:,} {self._what} ({done / total:.0%}), {rate:,.0f}/s, {duration((total - done) / rate)} to go" if rate else ""
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self._open = True
        elif text:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clears the line, so that what follows starts at its beginning."""
        if self._open:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._open = False


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42.3), duration(200), duration(7300)
    ('42 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
