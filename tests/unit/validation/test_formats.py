"""Rows of each kind of table become the kernels that the measured call launches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cost.model import CostModel
from simgpu.errors import DataError
from simgpu.kernels.kernel import Collective, Conv, FusedAttention, Gemm, Recurrent, Rows, Stream
from simgpu.validation.formats import load_cases
from simgpu.validation.formats.experts import expert_loads
from simgpu.validation.kernels import Case, case_graph, on_units_of, price_cases

Write = Callable[..., Path]


def one(path: Path) -> Case:
    (case,) = load_cases(path).cases
    return case


def test_linear_layer(table: Write) -> None:
    case = one(table("source,gpu,split,m,n,k,bias,time_ms", "neusight,t4,test,10,20,30,yes,0.5"))
    (kernel,) = case.kernels
    assert kernel.work == Gemm(m=10, n=20, k=30, a_bytes=4, b_bytes=4, out_bytes=4, layout="tn", bias=True)
    assert [a.bytes for a in kernel.reads] == [10 * 30 * 4, 20 * 30 * 4, 20 * 4]
    assert kernel.flop == 2 * 10 * 20 * 30
    assert (case.family, case.mode, case.measured_s, case.row, case.method) == ("linear", "fwd/test", 0.5e-3, 2, "event_timed_call")
    footprint = (10 * 30 + 20 * 30 + 20 + 10 * 20) * 4  # each repetition touches all of it before it comes back
    assert case.launches[0].distances == (footprint,) * 3


@pytest.mark.parametrize(
    ("kernel", "bias"),
    [("maxwell_sgemm_32x128_tn", True), ("sgemm_128x128x8_NT_vec", False), ("maxwell_sgemm_128x64_tn", False), ("volta_sgemm_128x64_tn", True)],
)
def test_a_kernel_that_can_add_no_bias_did_not(table: Write, kernel: str, bias: bool) -> None:
    (found,) = one(table("source,gpu,m,n,k,bias,time_ms,kernel", f"neusight,p4,10,20,30,yes,0.5,{kernel}")).kernels
    assert found.work.bias is bias  # type: ignore[union-attr]


def test_batched_matmul(table: Write) -> None:
    (kernel,) = one(table("source,gpu,batch,m,n,k,time_ms", "s,t4,3,10,20,30,1")).kernels
    assert kernel.work == Gemm(batch=3, m=10, n=20, k=30, a_bytes=4, b_bytes=4, out_bytes=4, layout="nn")
    assert kernel.write_bytes == 3 * 10 * 20 * 4


def test_deepbench_gemm_is_column_major_padded_and_truncated(table: Write) -> None:
    header = "source,gpu,mode,dtype_in,dtype_accum,tensor_core,m,n,k,trans_a,trans_b,time_ms,cuda_version"
    case = one(table(header, "deepbench,t4,train,fp16,fp16,yes,35,700,2049,N,N,0.005,10.1.243"))
    (kernel,) = case.kernels
    # cuBLAS counts columns first: its m is our n. m and k are padded to multiples of 8.
    assert kernel.work == Gemm(m=700, n=40, k=2056, a_bytes=2, b_bytes=2, out_bytes=2, layout="nn", accumulate=True, accumulator="fp16")
    assert (kernel.dtype, kernel.pipe) == ("fp16", "tensor")
    assert case.measured_s == pytest.approx(5.5e-6)  # whole microseconds, rounded down
    assert case.library_year == 2019
    assert [a.bytes for a in kernel.reads] == [700 * 2056 * 2, 40 * 2056 * 2, 700 * 40 * 2]  # C is read too


def test_pseudo_half_computes_in_single(table: Write) -> None:
    header = "source,gpu,mode,dtype_in,dtype_accum,tensor_core,m,n,k,trans_a,trans_b,time_ms,cuda_version"
    case = one(table(header, "deepbench,p100-pcie-16gb,train,fp16,fp32,no,32,16,64,T,N,0.01,8.0.88"))
    assert (case.dtype, case.kernels[0].dtype, case.kernels[0].pipe) == ("fp16", "fp32", "vector")
    assert case.kernels[0].work.layout == "tn"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("direction", "reads", "writes"),
    [("fwd", [384, 216], [192]), ("bwd_data", [192, 216], [384]), ("bwd_weight", [384, 192], [216])],
)
def test_convolution_and_its_gradients(table: Write, direction: str, reads: list[int], writes: list[int]) -> None:
    header = "source,gpu,mode,pass,dtype_in,tensor_core,n,c,h,w,k,r,s,stride_h,stride_w,h_out,w_out,layout,c_exec,k_exec,time_ms"
    (kernel,) = one(table(header, f"deepbench,m40,train,{direction},fp32,no,2,3,4,4,2,3,3,1,1,2,6,nchw,3,2,0.1")).kernels
    assert isinstance(kernel.work, Conv)
    assert kernel.work.direction == direction
    assert [a.bytes for a in kernel.reads] == reads  # x 2·3·4·4, filters 2·3·3·3, y 2·2·2·6 elements of 4 bytes
    assert [a.bytes for a in kernel.writes] == writes


def test_recurrent_layer(table: Write) -> None:
    header = "source,gpu,mode,cell,pass,dtype_in,tensor_core,hidden,batch,timesteps,time_ms"
    cases = load_cases(table(header, "deepbench,m40,train,lstm,fwd,fp32,no,512,16,25,1", "deepbench,m40,train,lstm,bwd_total,fp32,no,512,16,25,1"))
    assert cases.cases[0].kernels[0].work == Recurrent(gates=4, hidden=512, batch=16, steps=25, direction="fwd")
    assert cases.skips[0].row == 3
    assert "both backward passes" in cases.skips[0].reason


def test_elementwise_and_rows(table: Write) -> None:
    header = "source,gpu,op,rows,cols,n_inputs,time_ms"
    add, softmax, norm = load_cases(table(header, "s,t4,add,5,8,2,1", "s,t4,softmax,5,8,1,1", "s,t4,layernorm,5,8,1,1")).cases
    assert isinstance(add.kernels[0].work, Stream)
    assert (add.kernels[0].work.elements, add.kernels[0].work.inputs, len(add.kernels[0].reads)) == (40, 2, 2)
    assert softmax.kernels[0].work == Rows(kind="softmax", rows=5, cols=8)
    assert norm.kernels[0].work == Rows(kind="layer_norm", rows=5, cols=8)
    assert (add.family, softmax.family, norm.family) == ("elementwise", "softmax", "layernorm")


AI_GEMM = "source,gpu,kernel_source,dtype,m,n,k,time_ms"


def test_weights_alternate_between_copies(table: Write) -> None:
    case = one(table(AI_GEMM, "aiconfigurator,a100-sxm4-80gb,torch_flow,bfloat16,10,1000,500,0.01"))
    weights, x, out = 1000 * 500 * 2, 10 * 500 * 2, 10 * 1000 * 2
    graph, offsets = case_graph([case], l2_bytes=2.5 * weights)  # ceil(2.5) = 3 copies
    assert offsets.tolist() == [0, 1]
    assert graph.distances == [(weights + x + out, 3 * weights + x + out)]
    graph, _ = case_graph([case], l2_bytes=100 * weights)
    assert graph.distances[0][1] == 5 * weights + x + out  # never more than 5 copies
    graph, _ = case_graph([case], l2_bytes=weights / 2)
    assert graph.distances[0][1] == weights + x + out


def test_fp8_rows_quantise_their_input(table: Write) -> None:
    per_tensor, blocks = load_cases(table(AI_GEMM, "a,l40s,torch_flow,fp8,10,20,30,0.01", "a,l40s,torch_flow,fp8_block,10,20,30,0.01")).cases
    assert [k.label for k in per_tensor.kernels] == ["clear the maximum", "absolute maximum", "scale", "quantise", "gemm fp8"]
    assert [k.label for k in blocks.kernels] == ["quantise blocks", "gemm fp8_block"]
    assert (per_tensor.family, blocks.family) == ("gemm_fp8", "gemm_fp8_block")


def test_weight_only_rows_are_cold(table: Write) -> None:
    case = one(table(AI_GEMM, "a,a100-sxm4-80gb,trt,int4_wo,10,20,30,0.01"))
    assert case.method == "single_shot_profiler"
    assert case.launches[0].distances == (10 * 30 * 2, np.inf)
    assert case.kernels[0].reads[1].bytes == 20 * 30 / 2


AI_ATTENTION = "source,gpu,version,op_name,batch_size,isl,num_heads,num_key_value_heads,head_dim,window_size,dtype,kv_cache_dtype,step,time_ms"


def test_prefill_has_a_rotary_kernel_before(table: Write) -> None:
    case = one(table(AI_ATTENTION, "a,l40s,1.3,context_attention,2,16,8,2,64,0,bfloat16,bfloat16,0,0.1"))
    offsets, rope, attention = case.kernels
    assert offsets.reads[0].bytes == 2 * 4
    assert rope.reads[0].bytes == 2 * 16 * (8 + 2 + 2) * 64 * 2
    assert attention.work == FusedAttention(batch=2, heads=8, kv_heads=2, q_len=16, kv_len=16, head_dim=64, v_head_dim=64, causal=True, split_keys=False)


def test_decode_sees_what_its_window_lets_it(table: Write) -> None:
    full, windowed, aliased = load_cases(
        table(
            AI_ATTENTION,
            "a,l40s,1.3,generation_attention,2,1,8,2,64,0,bfloat16,fp8,255,0.1",
            "a,l40s,1.3,generation_attention,2,1,8,2,64,128,bfloat16,fp8,255,0.1",
            "a,a100-sxm4-80gb,1.0.0,generation_attention,2,1,8,2,64,0,bfloat16,bfloat16,255,0.1",
        )
    ).cases
    assert full.kernels[0].writes[0].bytes == 2 * (8 + 2 + 2) * 64 * 2  # rotated, the new keys and values in the cache
    assert full.kernels[1].reads[1].bytes == 2 * 2 * 256 * 64 * 1
    assert windowed.kernels[1].reads[1].bytes == 2 * 2 * 128 * 64 * 1
    assert aliased.launches[1].distances[2] == 0.0  # that collector's values alias the keys, so they are in L2


AI_MLA = "source,gpu,version,op_name,mla_dtype,kv_cache_dtype,num_heads,batch_size,isl,step,time_ms"


def test_latent_attention_reads_each_cached_number_once(table: Write) -> None:
    new, old = load_cases(
        table(
            AI_MLA,
            "a,h100-sxm5-80gb,1.3,mla_generation,bfloat16,bfloat16,16,2,1,99,0.02",
            "a,l40s,1.0.0,mla_generation,bfloat16,bfloat16,16,2,1,99,0.02",
        )
    ).cases
    rope, attention = new.kernels
    assert rope.reads[0].bytes == 2 * (16 * 64 + 576) * 2  # of each head the 64 rotated numbers, and the new latent
    assert [a.bytes for a in attention.reads] == [2 * 16 * 576 * 2, 2 * 100 * 64 * 2, 2 * 100 * 512 * 2]
    assert attention.write_bytes == 2 * 16 * 512 * 2
    assert attention.flop == 2 * 2 * 16 * 100 * (576 + 512)
    assert [case.kernels[1].work.split_keys for case in (new, old)] == [True, False]  # type: ignore[union-attr]
    assert (new.family, new.dtype, new.mode) == ("mla_decode", "bf16", "decode")


AI_MOE = "source,gpu,kernel_source,dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution,time_ms"


def test_experts_gated_and_not(table: Write) -> None:
    gated, plain = load_cases(
        table(AI_MOE, "a,l40s,moe_torch_flow,bfloat16,8,64,32,2,4,1,1,balanced,0.1", "a,l40s,moe_nongated,bfloat16,8,64,32,2,4,1,1,balanced,0.1")
    ).cases
    up = {case.mode: next(k.work for k in case.kernels if k.label == "experts up") for case in (gated, plain)}
    assert isinstance(up["gated"], Gemm) and isinstance(up["non-gated"], Gemm)
    assert (up["gated"].n, up["non-gated"].n, up["gated"].m, up["gated"].tokens) == (64, 32, 16, (4, 4, 4, 4))


def test_expert_loads_add_up_and_the_busiest_rank_counts() -> None:
    assert sum(expert_loads(100, 8, 2, 1, 1.2)) == pytest.approx(200, abs=4)  # the mean of five draws, each expert rounded
    assert expert_loads(100, 8, 2, 1, 1.2) == expert_loads(100, 8, 2, 1, 1.2)
    assert 50 <= sum(expert_loads(100, 8, 2, 4, 1.2)) <= 200  # never less than an equal share of 200 / 4
    assert expert_loads(6, 3, 1, 1, 0.0) == (2, 2, 2)


def test_collectives(table: Write) -> None:
    nccl = one(table("source,gpu,op_name,dtype,num_gpus,message_size,time_ms", "a,l40s,alltoall,half,4,100000,0.1"))
    assert nccl.kernels[0].work == Collective(op="all_to_all", size_bytes=200000, num_gpus=4, link="pcie")
    assert nccl.mode == "> 64 kB"
    nccl = one(table("source,gpu,op_name,dtype,num_gpus,message_size,time_ms", "a,a100-sxm4-80gb,all_reduce,half,4,8,0.1"))
    assert nccl.kernels[0].work == Collective(op="all_reduce", size_bytes=16, num_gpus=4, link="nvlink")
    box = load_cases(table("source,gpu,bytes_per_gpu,n_gpus,n_nodes,time_ms", "deepbench,m40,4000,2,1,1", "deepbench,m40,4000,16,2,1"))
    assert len(box) == 1
    assert "several boxes" in box.skips[0].reason


def test_llmcompass_transformer_layer(table: Write) -> None:
    header = "source,gpu,phase,op,kind,shape,dtype_in,time_ms"
    qkv, gelu = load_cases(
        table(
            header, "llmcompass,a100-sxm4-80gb,prefill,qkv,matmul x3,3 x [m=16 n=8 k=4],fp16,1", "llmcompass,a100-sxm4-80gb,prefill,g,gelu,elements=64,fp16,1"
        )
    ).cases
    assert [k.work for k in qkv.kernels] == [Gemm(m=16, n=8, k=4, a_bytes=2, b_bytes=2, out_bytes=2, layout="nn")] * 3
    assert (qkv.family, gelu.family, gelu.kernels[0].flop) == ("matmul", "gelu", 64)


def test_old_libraries_are_counted_not_guessed(table: Write) -> None:
    header = "source,gpu,library,pass,dtype_in,n,c,h,w,k,r,s,stride_h,stride_w,h_out,w_out,time_ms"
    cases = load_cases(table(header, "c,m40,cuda-convnet2,fwd,fp32,2,3,8,8,4,5,5,1,1,4,4,1", "c,m40,cudnn-r2,fwd,fp32,2,3,8,8,4,5,5,1,1,4,4,1"))
    assert [case.trust for case in cases.cases] == ["care"]
    assert "cuda-convnet2 is not modelled" in cases.skips[0].reason


def test_counters_have_no_time(table: Write) -> None:
    cases = load_cases(table("source,gpu,benchmark,kernel,elapsed_cycles", "accel-sim,quadro-gv100,b,k,100"))
    assert len(cases) == 0
    assert "no time" in cases.skips[0].reason


def test_columns_decide_not_names(table: Write) -> None:
    path = table("source,gpu,batch,m,n,k,time_ms", "s,t4,3,10,20,30,1", name="deepbench_conv.csv")
    assert one(path).family == "bmm"


def test_unknown_table_names_the_nearest(table: Write) -> None:
    with pytest.raises(DataError, match=r"t\.csv: row 1: columns of no known table of kernels; nearest is 'batched matmul', where time_ms would be missing"):
        load_cases(table("source,gpu,batch,m,n,k", "s,t4,3,10,20,30"))
    with pytest.raises(DataError, match=r"'time_us' is not read: times are milliseconds in 'time_ms'"):
        load_cases(table("source,gpu,batch,m,n,k,time_us", "s,t4,3,10,20,30,1"))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("source,gpu,dtype_in,tensor_core,m,n,k,bias,time_ms", "lab,a100,{},64,128,256,no,1"),
        ("source,gpu,dtype_in,tensor_core,batch,m,n,k,time_ms", "lab,a100,{},2,64,128,256,1"),
        ("source,gpu,dtype_in,tensor_core,m,n,k,time_ms", "lab,a100,{},64,128,256,1"),
        ("source,gpu,dtype_in,tensor_core,pass,n,c,h,w,k,r,s,stride_h,stride_w,h_out,w_out,time_ms", "lab,a100,{},fwd,1,64,8,8,64,3,3,1,1,8,8,1"),
    ],
)
@pytest.mark.parametrize(
    ("words", "dtype", "pipe", "itemsize"),
    [
        ("fp32,no", "fp32", "vector", 4),
        ("fp32,yes", "tf32", "tensor", 4),
        ("fp16,yes", "fp16", "tensor", 2),
        ("fp16,no", "fp16", "vector", 2),
        (",", "fp32", "vector", 4),
    ],
)
def test_own_tables_may_be_in_any_format(table: Write, header: str, row: str, words: str, dtype: str, pipe: str, itemsize: int) -> None:
    case = one(table(header, row.format(words)))
    (kernel,) = case.kernels
    assert (case.dtype, kernel.dtype, kernel.pipe) == (dtype, dtype, pipe)
    elements = kernel.write_bytes / itemsize
    assert elements == (64 * 64 if case.family == "conv" else 2 * 64 * 128 if case.family == "bmm" else 64 * 128)


def test_an_unknown_format_is_named(table: Write) -> None:
    with pytest.raises(DataError, match=r"row 2, column 'dtype_in': unknown 'fp13', expected one of fp32, tf32, bf16, fp16"):
        load_cases(table("source,gpu,dtype_in,m,n,k,bias,time_ms", "lab,a100,fp13,1,1,1,no,1"))


def test_rows_of_elements_in_half_precision(table: Write) -> None:
    header = "source,gpu,dtype_in,op,rows,cols,n_inputs,time_ms"
    for op, reads in (("gelu", 1), ("add", 2), ("softmax", 1)):
        (kernel,) = one(table(header, f"lab,a100,fp16,{op},10,20,{reads},1")).kernels
        assert (kernel.read_bytes, kernel.write_bytes, kernel.pipe) == (reads * 10 * 20 * 2, 10 * 20 * 2, "vector")


@pytest.mark.parametrize(
    ("gpu", "dtype", "used"),
    [
        ("a100", "bf16", ("bf16", "tensor")),
        ("v100", "bf16", ("fp32", "vector")),
        ("p100-pcie-16gb", "fp16", ("fp16", "vector")),  # GP100 does fp16 at twice the fp32 rate
        ("gtx-1080-ti", "fp16", ("fp32", "vector")),
        ("k40", "tf32", ("fp32", "vector")),
    ],
)
def test_a_format_without_tensor_cores_runs_on_other_units(table: Write, gpu: str, dtype: str, used: tuple[str, str]) -> None:
    case = one(table("source,gpu,dtype_in,m,n,k,bias,time_ms", f"lab,{gpu},{dtype},64,64,64,no,1"))
    (on_gpu,) = on_units_of(load_gpu(gpu), [case])
    assert [(k.dtype, k.pipe) for k in on_gpu.kernels] == [used]
    assert on_gpu.kernels[0].read_bytes == case.kernels[0].read_bytes  # stored as before
    assert price_cases([case], load_gpu(gpu), CostModel())[0].kernels_s[0] > 0
