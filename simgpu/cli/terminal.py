"""What is known of the terminal."""

from __future__ import annotations

import os
import shutil
import sys


def page_width() -> int:
    """Columns to write: those of the terminal, 100 where there is none. COLUMNS overrides."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 100
