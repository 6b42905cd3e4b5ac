"""From files to errors, with a cost model whose answers are known; and what bad files get."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cli import main
from simgpu.errors import DataError, OptionError
from simgpu.validation.formats import load_cases
from simgpu.validation.kernels import predict
from simgpu.validation.outcome import Validation, Wanted
from simgpu.validation.run import carried_data, check_wanted, data_files, validate
from simgpu.validation.text import format_json, format_validation
from tests.pictures import faults

Write = Callable[..., Path]
LINEAR = "source,gpu,m,n,k,bias,time_ms"


def run(*paths: Path, pricer: Any, **wanted: str) -> Validation:
    return validate(paths, wanted=Wanted(**wanted), cost_model=pricer)


def test_error_of_a_row_by_hand(table: Write, fixed: Any) -> None:
    # A host known to take 46 µs and a kernel of 54 µs: 100 µs, measured 80 µs, so 25 % too slow; the roofline says 13.5 µs.
    path = table(LINEAR, "neusight,a100-pcie-40gb,64,64,64,no,0.080")
    (score,) = run(path, pricer=fixed(54e-6)).scores()
    assert (score.rows, score.skipped, score.mape_pct, score.bias_pct) == (1, 0, pytest.approx(25), pytest.approx(25))
    assert score.roofline_mape_pct == pytest.approx(100 * (80 - 13.5) / 80)
    assert score.published_mape_pct == {"NeuSight": 20}


def test_measuring_conditions_reach_the_cost_model(table: Write, fixed: Any) -> None:
    pricer = fixed(1e-4)
    gemm = "source,gpu,mode,dtype_in,dtype_accum,tensor_core,m,n,k,trans_a,trans_b,time_ms,cuda_version"
    run(table(gemm, "deepbench,m40,train,fp32,fp32,no,64,64,64,N,N,0.1,7.5.18"), pricer=pricer)
    (call,) = pricer.calls
    assert (call["library_year"], call["graph_replay"]) == (2017, False)
    assert call["load_s"].tolist() == [pytest.approx(400 * 100.5e-6)]  # 400 calls in a row


def test_one_call_prices_all_rows_of_a_gpu(table: Write, fixed: Any) -> None:
    pricer = fixed(1e-4)
    path = table(LINEAR, *[f"neusight,t4,{m},64,64,no,0.1" for m in range(1, 9)], *["neusight,p4,1,64,64,no,0.1"] * 3)
    assert run(path, pricer=pricer).rows == 11
    assert [(len(c["kernels"]), c["gpu"].id) for c in pricer.calls] == [(8, "t4"), (3, "p4")]


def test_predict_is_the_same_number(table: Write, fixed: Any) -> None:
    cases = load_cases(table(LINEAR, "neusight,a100-pcie-40gb,64,64,64,no,0.080"))
    assert predict(cases.cases, load_gpu("a100-pcie-40gb"), fixed(54e-6)).tolist() == [pytest.approx(100e-6)]


def test_floor_of_an_unknown_host_is_read_off_its_short_rows(table: Write, fixed: Any) -> None:
    rows = [f"mine,t4,{m},64,64,no,0.0{m}" for m in (40, 41, 42, 43, 44)]
    validation = run(table(LINEAR, *rows), pricer=fixed(2e-6))
    assert validation.notes == ("t.csv: linear on t4: host floor 40.0 µs, read off its shortest rows",)
    assert validation.results[0].predicted_s == pytest.approx(42e-6)  # the median of the rows
    few = run(table(LINEAR, rows[0]), pricer=fixed(2e-6))
    assert "assumed from other hosts" in few.notes[0]


def test_filters(table: Write, fixed: Any) -> None:
    path = table(LINEAR, "lab one,t4,1,1,1,no,0.1", "lab two,p4,1,1,1,no,0.1")
    assert run(path, pricer=fixed(1e-4), gpu="p4").rows == 1
    assert run(path, pricer=fixed(1e-4), source="LAB ONE").rows == 1
    assert run(path, pricer=fixed(1e-4), family="conv").rows == 0
    with pytest.raises(OptionError, match=r"no rows for --family conv"):
        check_wanted(Wanted(family="conv"), run(path, pricer=fixed(1e-4), family="conv"))


def test_a_gpu_is_found_by_any_of_its_names(table: Write, fixed: Any) -> None:
    path = table(LINEAR, "neusight,v100-sxm2-16gb,1,1,1,no,0.1", "neusight,t4,1,1,1,no,0.1", "neusight,v100,1,1,1,no,0.1")
    assert run(path, pricer=fixed(54e-6), gpu="v100").rows == 2
    with pytest.raises(OptionError, match=r"no rows for --gpu v100-sxm2-16g; did you mean 'v100-sxm2-16gb'\?"):
        check_wanted(Wanted(gpu="v100-sxm2-16g"), run(path, pricer=fixed(54e-6), gpu="v100-sxm2-16g"))


def test_names_that_no_file_can_have() -> None:
    with pytest.raises(DataError, match="y: cannot be read: File name too long"):
        data_files(Path("y" * 300))


def test_gpus_nobody_describes_are_counted(table: Write, fixed: Any) -> None:
    validation = run(table(LINEAR, "lab,rtx-2070,1,1,1,no,0.1"), pricer=fixed(1e-4))
    assert validation.problems == ()
    assert validation.skipped[0].reason == "GeForce RTX 2070 is not described in archs/"


def test_an_unknown_gpu_does_not_stop_the_other_rows(table: Write, fixed: Any) -> None:
    path = table(LINEAR, "neusight,t4,1,1,1,no,0.1", "neusight,t44,1,1,1,no,0.1", "neusight,t44,1,1,1,no,0.1", "neusight,../t4.yaml,1,1,1,no,0.1")
    validation = run(path, pricer=fixed(54e-6))
    assert validation.rows == 1
    assert [s.reason for s in validation.skipped] == ["unknown GPU 't44'", "unknown GPU 't44'", "unknown GPU '../t4.yaml'"]
    first, second = validation.problems
    assert "row 3, column 'gpu': unknown GPU 't44'; did you mean 't4'?" in first
    assert "row 5, column 'gpu': '../t4.yaml' is no name of a GPU" in second


def test_worst_rows_come_with_an_explanation(table: Write, fixed: Any) -> None:
    path = table(LINEAR, "neusight,a100-pcie-40gb,64,64,64,no,0.100", "neusight,a100-pcie-40gb,64,64,63,no,0.400")
    text = format_validation(run(path, pricer=fixed(54e-6)), worst=1)
    assert "×0.25  linear a100-pcie-40gb fp32 fwd: measured 400 µs, predicted 100 µs" in text
    assert "gemm m=64 n=64 k=63 a_bytes=4 b_bytes=4 out_bytes=4 as 128x64: 54.0 µs (compute 54.0); host floor 46.0 µs (event_timed_call)" in text
    assert ": row 3)" in text


def test_json_is_a_list_of_records(table: Write, fixed: Any) -> None:
    records = json.loads(format_json(run(table(LINEAR, "neusight,t4,1,1,1,no,0.1", "lab,m60,1,1,1,no,0.1"), pricer=fixed(1e-4))))
    assert isinstance(records, list)
    wanted = "source family gpu dtype mode rows skipped mape_pct median_ape_pct p90_ape_pct bias_pct roofline_mape_pct"
    assert all(set(wanted.split()) <= set(record) for record in records)
    skipped = next(r for r in records if r["gpu"] == "m60")
    assert (skipped["rows"], skipped["skipped"], skipped["mape_pct"]) == (0, 1, None)


def test_data_may_be_a_folder_packed_or_commented(table: Write, tmp_path: Path, fixed: Any) -> None:
    (tmp_path / "deep").mkdir()
    with gzip.open(tmp_path / "deep" / "x.csv.gz", "wt", encoding="utf-8") as file:
        file.write(f"# from somewhere\n{LINEAR}\nneusight,t4,1,1,1,no,0.1\n")
    plain = table(LINEAR, "neusight,t4,1,1,1,no,0.1")
    assert data_files(tmp_path) == [tmp_path / "deep" / "x.csv.gz", plain]
    validation = run(*data_files(tmp_path), pricer=fixed(1e-4))
    assert [r.rows for r in validation.results] == [[3], [2]]
    with pytest.raises(DataError, match=r"nowhere: no such file or folder"):
        data_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.csv file in this folder"):
        data_files(tmp_path / "empty")


BAD = {
    "missing cell": ("neusight,t4,1,1,1,no", r"row 2, column 'time_ms': 6 cells, but the header has 7"),
    "extra cell": ("neusight,t4,1,1,1,no,0.1,7", r"row 2, column 'time_ms': 8 cells, but the header has 7"),
    "NaN": ("neusight,t4,1,1,1,no,nan", r"row 2, column 'time_ms': 'nan' is not finite, expected a time in ms"),
    "negative": ("neusight,t4,1,1,1,no,-0.1", r"row 2, column 'time_ms': -0\.1 ms, expected a time above 0"),
    "zero": ("neusight,t4,1,1,1,no,0", r"row 2, column 'time_ms': 0 ms, expected a time above 0"),
    "no number": ("neusight,t4,1,1,1,no,0.1 ms", r"row 2, column 'time_ms': '0\.1 ms' is not a time in ms"),
    "empty": ("neusight,t4,1,1,1,no,", r"row 2, column 'time_ms': empty, expected a time in ms"),
    "half a row": ("neusight,t4,1.5,1,1,no,0.1", r"row 2, column 'm': 1\.5 is no whole number of at least 1"),
    "absurd size": ("neusight,t4,1e30,1,1,no,0.1", r"row 2, column 'm': 1e30 is more than any measured kernel has, expected at most 1,099,511,627,776"),
    "absurd kernel": ("neusight,t4,1e9,1e9,1e9,no,0.1", r"row 2: its sizes make a kernel larger than any that runs, 2e\+27 FLOP; check them"),
    "no time at all": ("neusight,t4,1,1,1,no,1e-320", r"row 2, column 'time_ms': 1e-320 ms, expected 1e-06 to 1e\+09; check the unit"),
    "no rows": ("neusight,t4,0,1,1,no,0.1", r"row 2, column 'm': 0 is no whole number of at least 1"),
    "word": ("neusight,t4,1,1,1,perhaps,0.1", r"row 2, column 'bias': unknown 'perhaps', expected one of yes, no"),
    "GPU": ("neusight,t44,1,1,1,no,0.1", r"row 2, column 'gpu': unknown GPU 't44'; did you mean 't4'\?"),
    "microseconds": ("neusight,t4,1,1,1,no,100000", r"column 'time_ms': from here on, times are .* as long as the prediction in the median; .*check the unit"),
    "seconds": ("neusight,t4,1,1,1,no,0.0001", r"row 2, column 'time_ms': from here on, times are .* times shorter than the prediction"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_names_file_row_and_column_and_others_run(case: str, table: Write, fixed: Any) -> None:
    row, message = BAD[case]
    bad = table(LINEAR, row, name="bad.csv")
    good = table(LINEAR, "neusight,t4,1,1,1,no,0.1", name="good.csv")
    validation = run(bad, good, pricer=fixed(54e-6))
    (problem,) = validation.problems
    assert problem.startswith(f"{bad}: ")
    assert re.search(message, problem), problem
    assert [r.path for r in validation.results] == [str(good)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the file is empty, expected a header and rows"),
        ("# only a comment\n", r"the file is empty"),
        (f"{LINEAR}\n", r"has a header but no rows"),
        ("source,gpu,gpu\na,b,c\n", r"row 1, column 'gpu': appears twice in the header"),
        ("a,b\n1,2\n", r"row 1: columns of no known table of kernels; nearest is '.*', where .* would be missing"),
        ("source,gpu,m,n,k,bias\nneusight,t4,1,1,1,no\n", r"nearest is 'linear layer', where time_ms would be missing$"),
        ("source,gpu,n,k,bias,tile_b,time_ms\nneusight,t4,1,1,no,,1\n", r"nearest is 'linear layer', where m would be missing$"),
        (f"{LINEAR}\n".replace(",", ";") * 2, r"row 1: cells are separated by ';', expected commas"),
    ],
)
def test_bad_files(text: str, message: str, tmp_path: Path, fixed: Any) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    (problem,) = run(path, pricer=fixed(1e-4)).problems
    assert re.search(message, problem), problem


def test_binary_and_truncated_files(tmp_path: Path, fixed: Any) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(f"{LINEAR}\n".encode() * 500)[:40])
    first, second = run(tmp_path / "a.csv", tmp_path / "b.csv.gz", pricer=fixed(1e-4)).problems
    assert "is no text in UTF-8, expected a CSV table" in first
    assert "cannot be read" in second


def test_unknown_column_is_named_but_its_table_runs(table: Write, fixed: Any) -> None:
    validation = run(table(f"{LINEAR},biass", "neusight,t4,1,1,1,no,0.1,yes"), pricer=fixed(54e-6))
    assert validation.rows == 1
    (problem,) = validation.problems
    assert problem.endswith("row 1, column 'biass': means nothing in a table of 'linear layer'; did you mean 'bias'?; it is not read")
    (problem,) = run(table(f"{LINEAR},qqq,zzz", "neusight,t4,1,1,1,no,0.1,,"), pricer=fixed(54e-6)).problems
    assert problem.endswith("column 'qqq': means nothing in a table of 'linear layer', nor do zzz; it is not read")


def test_command_ends_with_status_1_after_the_others_ran(table: Write, capsys: pytest.CaptureFixture[str]) -> None:
    table(LINEAR, "neusight,t4,512,512,512,no,-1", name="bad.csv")
    good = table(LINEAR, "neusight,t4,512,512,512,no,0.2", name="good.csv")
    assert main(["validate", "--data", str(good.parent)]) == 1
    out, err = capsys.readouterr()
    assert "neusight: linear" in out
    assert err.count("simgpu: ") == 1
    assert "bad.csv: row 2, column 'time_ms': -1 ms, expected a time above 0" in err
    assert main(["validate", "--data", str(good)]) == 0
    assert main(["validate", "--data", str(good), "--data", str(good.parent / "nowhere")]) == 1
    out, err = capsys.readouterr()
    assert "neusight: linear" in out
    assert "nowhere: no such file or folder" in err


def test_command_writes_json_and_pictures(table: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = table(LINEAR, "neusight,t4,512,512,512,no,0.2", "neusight,t4,1512,512,512,no,0.4")
    assert main(["validate", "--data", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["rows"] == 2
    assert main(["validate", "--data", str(good), "--json", str(tmp_path / "v.json"), "--plot", str(tmp_path / "pictures")]) == 0
    assert json.loads((tmp_path / "v.json").read_text())[0]["family"] == "linear"
    assert (tmp_path / "pictures" / "linear.png").stat().st_size > 10_000
    assert main(["validate", "--data", str(good), "--plot", str(tmp_path / "pictures"), "--format", "pdf", "--theme", "print"]) == 0
    assert (tmp_path / "pictures" / "linear.pdf").read_bytes().startswith(b"%PDF")
    assert main(["validate", "--data", str(good), "--plot", str(tmp_path / "more"), "--theme", "drak"]) == 1
    assert not (tmp_path / "more").exists()
    assert main(["validate", "--data", str(good), "--json", str(tmp_path / "no" / "v.json")]) == 1
    assert main(["validate", "--data", str(good), "--gpu", "p4"]) == 1
    assert "no rows for --gpu p4" in capsys.readouterr().err


def test_carried_data_says_where_it_is_from() -> None:
    manifest = json.loads((carried_data() / "MANIFEST.json").read_text(encoding="utf-8"))
    files = {path.name.removesuffix(".csv.gz") for path in data_files(carried_data())}
    assert files == set(manifest["files"])
    for entry in manifest["files"].values():
        assert {"repository", "commit", "licence", "method", "rows"} <= set(entry)
        assert entry["rows"] <= entry["rows_published_here"]
    assert sum(path.stat().st_size for path in carried_data().iterdir()) < 1.5e6


def test_carrying_again_gives_the_same_bytes(tmp_path: Path) -> None:
    from simgpu.validation.carry import carry

    name = "llmcompass_softmax"
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        (folder / "MANIFEST.json").write_text(json.dumps({"files": {name: {}}}))
    source = tmp_path / "source"
    source.mkdir()
    (source / f"{name}.csv").write_bytes(gzip.decompress((carried_data() / f"{name}.csv.gz").read_bytes()))
    for folder in (tmp_path / "a", tmp_path / "b"):
        carry(source, folder / "MANIFEST.json")
    packed = [(tmp_path / x / f"{name}.csv.gz").read_bytes() for x in "ab"]
    assert packed[0] == packed[1] == (carried_data() / f"{name}.csv.gz").read_bytes()
    with pytest.raises(DataError, match=r"no llmcompass_gelu\.csv in it"):
        (tmp_path / "a" / "MANIFEST.json").write_text(json.dumps({"files": {"llmcompass_gelu": {}}}))
        carry(source, tmp_path / "a" / "MANIFEST.json")


def test_plot_has_a_point_for_each_row() -> None:
    from simgpu.plot.validation import plot_validation

    ax = plot_validation({"t4": (np.array([1e-5, 1e-3]), np.array([2e-5, 1e-3])), "p4": (np.array([1e-4]), np.array([1e-4]))}, "linear", "3 rows")
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() != "None") == 3  # type: ignore[arg-type]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlim() == ax.get_ylim()
    assert faults(ax) == []
