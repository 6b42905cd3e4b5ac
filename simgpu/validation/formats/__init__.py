"""The tables of measured kernels we can read, recognised by their columns and never by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from simgpu.errors import DataError, did_you_mean
from simgpu.validation.formats import aiconfigurator, convnetbench, deepbench, llmcompass, measure, neusight
from simgpu.validation.formats.build import skip
from simgpu.validation.kernels import Case, Cases, collect
from simgpu.validation.score import Skipped
from simgpu.validation.table import Row, Table, read_table

# Columns any table may carry beside its own: where the row comes from and what the machine was doing.
COMMON_COLUMNS = frozenset(
    """source gpu split dtype dtype_in dtype_accum tensor_core framework version device driver cuda_version cudnn_version torch_version op_name
    kernel_source snapshot date file note comment sheet_file sheet sheet_row padded tflops_reported tflops_calc bytes_min kernel kernel_list grid_x grid_y
    grid_z block_x block_y block_z n_kernels resolution_ms clock_mhz clocks power_limit_w temperature_c runs std_ms min_ms max_ms l2 mode
    seconds_since_start""".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of table.

    Attributes:
        required: Columns that make a table of this kind.
        absent: Columns it must not have (they tell it from a richer kind).
        optional: Further columns of its own that are read or known to be harmless.
        read: One row → a case, or the reason why there is none.
    """

    name: str
    required: frozenset[str]
    read: Callable[[Row], Case | Skipped]
    absent: frozenset[str] = field(default=frozenset())
    optional: frozenset[str] = field(default=frozenset())

    def unknown_columns(self, table: Table) -> tuple[str, ...]:
        """Columns that mean nothing to us."""
        return tuple(c for c in table.header if c not in self.required | self.optional | COMMON_COLUMNS)


def _format(name: str, required: str, read: Callable[[Row], Case | Skipped], *, absent: str = "", optional: str = "") -> Format:
    return Format(name=name, required=frozenset(required.split()), read=read, absent=frozenset(absent.split()), optional=frozenset(optional.split()))


def _counters(row: Row) -> Skipped:
    return skip(row, "counters", "fwd", "hardware counters in cycles of an unstated clock, no time", dtype="")


_CONV_SHAPE = "n c h w k r s stride_h stride_w h_out w_out"

FORMATS: tuple[Format, ...] = (
    _format(
        "convolution, DeepBench",
        f"source gpu mode pass dtype_in tensor_core {_CONV_SHAPE} layout c_exec k_exec time_ms",
        deepbench.conv,
        optional="pad_h pad_w algo algo_trust",
    ),
    _format(
        "GEMM, DeepBench",
        "source gpu mode dtype_in tensor_core m n k trans_a trans_b time_ms",
        deepbench.gemm,
        optional="app n_sheet k_sheet m_exec n_exec k_exec",
    ),
    _format("recurrent layer, DeepBench", "source gpu mode cell pass dtype_in tensor_core hidden batch timesteps time_ms", deepbench.rnn),
    _format("all-reduce, DeepBench", "source gpu bytes_per_gpu n_gpus n_nodes time_ms", deepbench.allreduce, optional="n_floats algo gb_per_s_reported"),
    _format("linear layer", "source gpu m n k bias time_ms", neusight.linear, optional="batch_in seq_in tile_a tile_b split_k"),
    _format("batched matmul", "source gpu batch m n k time_ms", neusight.bmm, optional="tile_a tile_b split_k"),
    _format(
        "convolution, one framework call",
        f"source gpu pass {_CONV_SHAPE} time_ms",
        neusight.conv,
        absent="library layout",
        optional="algo pad_h pad_w",
    ),
    _format("convolution, convnet-benchmarks", f"source gpu library pass dtype_in {_CONV_SHAPE} time_ms", convnetbench.conv, optional="layer pad_h pad_w"),
    _format(
        "layers of a network, caffe time",
        "source gpu library model layer type pass in_shape out_shape kernel stride time_ms",
        convnetbench.caffe_layer,
        optional="pad group pool",
    ),
    _format("rows and elements, one framework call", "source gpu op rows cols n_inputs time_ms", neusight.memory_bound),
    _format(
        "operators of a model, one framework call",
        "source gpu model mode seq batch kind input_shapes output_shape fwd_ms",
        neusight.model_op,
        optional="node fx_op bwd_ms bwd_accum_ms launches_kernel",
    ),
    _format(
        "softmax or layer norm, LLMCompass", "source gpu op dtype_in rows cols time_ms", llmcompass.rows, absent="n_inputs", optional="gelem_per_s_reported"
    ),
    _format("GELU, LLMCompass", "source gpu op dtype_in elements time_ms", llmcompass.gelu, optional="gelem_per_s_reported"),
    _format(
        "layers of a transformer, LLMCompass",
        "source gpu phase op kind shape dtype_in time_ms",
        llmcompass.transformer,
        optional="tensor_parallel batch seq kv_len flop",
    ),
    _format("all-reduce, LLMCompass", "source gpu n_gpus link bytes time_ms", llmcompass.allreduce, optional="algbw_gb_s"),
    _format("matmul, LLMCompass", "source gpu dtype_in tensor_core m n k time_ms", llmcompass.matmul, absent="trans_a bias batch"),
    _format("GEMM, aiconfigurator", "source gpu kernel_source dtype m n k time_ms", aiconfigurator.gemm),
    _format(
        "fused attention, aiconfigurator",
        "source gpu version op_name batch_size isl num_heads num_key_value_heads head_dim dtype kv_cache_dtype step time_ms",
        aiconfigurator.attention,
        optional="window_size beam_width",
    ),
    _format(
        "latent attention, aiconfigurator", "source gpu version op_name mla_dtype kv_cache_dtype num_heads batch_size isl step time_ms", aiconfigurator.mla
    ),
    _format(
        "mixture of experts, aiconfigurator",
        "source gpu kernel_source dtype num_tokens hidden_size inter_size topk num_experts moe_tp_size moe_ep_size distribution time_ms",
        aiconfigurator.moe,
    ),
    _format(
        "hardware counters",
        "source gpu benchmark kernel elapsed_cycles",
        _counters,
        optional="problem dram_read_sectors dram_write_sectors l2_read_hit_sectors l2_read_miss_sectors l2_write_hit_sectors l1_read_hit l1_read_miss "
        "shared_accesses num_idle_sms",
    ),
    _format(
        "simgpu measure",
        "source gpu family dtype op batch m n k c h w filters r stride groups layout rows cols heads kv_heads q_len kv_len head_dim causal runtime l2 time_ms",
        measure.kernel,
        optional="device driver torch cuda power_limit_w date fastest_ms repeats sm_clock_mhz power_w note",
    ),
    _format("collective, aiconfigurator", "source gpu op_name dtype num_gpus message_size time_ms", aiconfigurator.collective),
)


def find_format(table: Table) -> Format | None:
    """The format whose required columns the table has, None if there is none."""
    have = set(table.header)
    fitting = [f for f in FORMATS if f.required <= have and not f.absent & have]
    return max(fitting, key=lambda f: len(f.required), default=None)


def recognise(table: Table) -> Format:
    """The format of a table of kernels.

    Raises:
        DataError: The columns are those of no known table; the nearest one and what it lacks are named.
    """
    found = find_format(table)
    if found is not None:
        return found
    have = set(table.header)
    nearest = max(FORMATS, key=lambda f: (-len(f.required - have), len((f.required | f.optional) & have)))
    missing = sorted(nearest.required - have)
    hint = ""
    for column in missing:
        if column == "time_ms" and (other := [c for c in table.header if c.startswith("time")]):
            hint = f"; '{other[0]}' is not read: times are milliseconds in 'time_ms'"
            break
        if near := did_you_mean(column, (c for c in table.header if c not in nearest.required | nearest.optional | COMMON_COLUMNS)):
            hint = f"; column '{column}' is missing{near.replace('did you mean', 'is it')}"
            break
    raise DataError(
        f"{table.path}: row {table.header_row}: columns of no known table of kernels; nearest is '{nearest.name}', "
        f"where {', '.join(missing)} would be missing{hint}"
    )


def load_cases(path: Path | str) -> Cases:
    """The rows of a CSV of measured kernels; which table it is follows from its columns.

    Raises:
        DataError: No known table, or a cell that makes no sense; file, row and column are named.
    """
    table = read_table(Path(path))
    return collect(table, recognise(table).read)
