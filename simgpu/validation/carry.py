"""Copies measurements into the project: `python -m simgpu.validation.carry FOLDER`.

Of each table only the columns that are read or tell where a row comes from are kept, and of each group of rows (same
GPU, number format, pass and split) at most `LIMIT`, evenly spread over their times, the shortest and longest among them.
`without` in the manifest names columns and the regular expressions of what is not carried.
Where each table is from, its licence and how it was measured stands in `data/MANIFEST.json`; the numbers of rows there
are written anew.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from simgpu.errors import DataError
from simgpu.validation.table import Table, read_table

LIMIT = 400
DATA = Path(__file__).parent / "data"
_GROUP = ("gpu", "split", "dtype_in", "dtype", "kv_cache_dtype", "pass", "mode", "op_name", "library", "kernel_source")
_DROPPED = frozenset(
    """grid_x grid_y grid_z block_x n_kernels model_raw std_ms n_json_runs first_commit first_date last_commit last_date line p50_ms p90_ms p95_ms sheet
    dtype_accum framework version device tile_a tile_b batch_in seq_in resolution_ms tflops_calc tflops_reported gelem_per_s_reported algbw_gb_s
    algo_trust app core gmacs macts_m params_m batch_over_throughput_ms range_pct n_systems throughput_min throughput_max system_max_w system_min_w
    power_samples perf_per_system_w path status system_name""".split()  # noqa: SIM905
)
_NEEDED = {"models": ("framework",), "attention": ("version",), "mla": ("version",)}  # kept although dropped elsewhere, by a word in the table's name


def thin(times: Sequence[float], limit: int) -> list[int]:
    """Positions of at most `limit` entries, evenly spread over the sorted times, in their old order.

    >>> thin([5.0, 1.0, 4.0, 2.0, 3.0], 3)
    [0, 1, 4]
    """
    if len(times) <= limit:
        return list(range(len(times)))
    order = sorted(range(len(times)), key=lambda i: (times[i], i))
    return sorted(order[round(i * (len(order) - 1) / (limit - 1))] for i in range(limit))


def carried_rows(table: Table, limit: int, without: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The rows of a table that are carried.

    Args:
        without: Column → regular expression of the cells whose rows are not.
    """
    refused = [(table.header.index(column), re.compile(pattern)) for column, pattern in without.items()]
    time = next((c for c in ("time_ms", "latency_ms", "measured_ms") if c in table.header), "")
    keys = [table.header.index(c) for c in _GROUP if c in table.header]
    groups: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    for number, cells in table.lines:
        if any(pattern.search(cells[i]) for i, pattern in refused):
            continue
        groups[tuple(cells[i] for i in keys)].append((number, cells))
    kept: list[tuple[int, tuple[str, ...]]] = []
    for lines in groups.values():
        times = [float(cells[table.header.index(time)] or 0) if time else 0.0 for _, cells in lines]
        kept += [lines[i] for i in thin(times, limit)]
    return [cells for _, cells in sorted(kept)]


def write_gz(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV, packed so that the same rows give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=9) as packed:
        packed.write(text.getvalue().encode())


def carry(folder: Path, manifest_path: Path = DATA / "MANIFEST.json") -> None:
    """Writes the tables named in the manifest, as found anywhere below the folder, beside it; what is not there stays as it is carried.

    Raises:
        DataError: A table of the manifest is neither there nor carried.
    """
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    for name, entry in manifest["files"].items():
        found = sorted(folder.rglob(f"{name}.csv"))
        packed = manifest_path.parent / f"{name}.csv.gz"
        if not found and packed.exists():
            continue
        if not found:
            raise DataError(f"{folder}: no {name}.csv in it, which {manifest_path.name} lists")
        table = read_table(found[0])
        extra = {c for word, columns in _NEEDED.items() if word in name or word in found[0].parts for c in columns}
        columns = [i for i, c in enumerate(table.header) if c not in _DROPPED or c in extra]
        rows = carried_rows(table, LIMIT, entry.get("without", {}))
        write_gz(packed, [table.header[i] for i in columns], ([cells[i] for i in columns] for cells in rows))
        entry["rows"], entry["rows_published_here"] = len(rows), len(table)
    manifest_path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    carry(Path(sys.argv[1]))
