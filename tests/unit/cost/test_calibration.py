"""Factors: who inherits them from whom, and what a file may not hold."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cost.calibration import COMMON, Calibration, generation, load_calibration, parse_calibration, shipped_calibration
from simgpu.errors import DataError
from tests.toys import toy_gpu

TOY = Calibration(
    parameters={"a": {}, "b": {}, "c": {}},
    values={COMMON: {"a": 1, "b": 1, "c": 1}, "Maxwell": {"b": 2}, "Pascal GP10x": {"c": 3}, "Volta": {"a": 4, "b": 4}, "Turing": {"b": 5}},
    inherits={"Pascal GP100": "Pascal GP10x", "Pascal GP10x": "Maxwell", "Turing": "Volta"},
    nearest={"Volta": "Pascal GP100", "Turing": "Volta"},
    fit={},
)
MAXWELL, GP100, GP10X, VOLTA, TURING, AMPERE = ((5, 2), (6, 0), (6, 1), (7, 0), (7, 5), (8, 0))


def factors(capability: tuple[int, int], calibration: Calibration = TOY) -> tuple[int, ...]:
    f = calibration.factors(toy_gpu(compute_capability=capability))
    return f.a, f.b, f.c


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("8800-gtx", "Tesla"), ("gtx-280", "Tesla"), ("gtx-480", "Fermi"), ("k40", "Kepler"), ("gtx-titan-x-maxwell", "Maxwell"), ("p100", "Pascal GP100"),
        ("gtx-1080-ti", "Pascal GP10x"), ("v100", "Volta"), ("t4", "Turing"), ("a100", "Ampere GA100"), ("rtx-3090", "Ampere GA10x"), ("l4", "Ada"),
        ("h100", "Hopper"), ("b200", "Blackwell GB100"), ("rtx-5090", "Blackwell GB20x"),
    ],
)  # fmt: skip
def test_gpus_by_generation(gpu, name):
    assert generation(load_gpu(gpu)) == name


def test_a_generation_without_a_value_takes_its_relatives():
    assert factors(MAXWELL) == (1, 2, 1)
    assert factors(GP10X) == (1, 2, 3)
    assert factors(GP100) == (1, 2, 3)  # over GP10x to Maxwell
    assert factors(VOLTA) == (4, 4, 1)
    assert factors(TURING) == (4, 5, 1)
    assert factors(AMPERE) == (1, 1, 1)  # nobody's heir
    assert TOY.chain("Pascal GP100") == ("Pascal GP100", "Pascal GP10x", "Maxwell", COMMON)


def test_where_each_value_comes_from():
    assert TOY.origin(toy_gpu(compute_capability=GP100)) == {"a": COMMON, "b": "Maxwell", "c": "Pascal GP10x"}


def test_a_generations_value_may_have_a_source_of_its_own():
    calibration = replace(TOY, parameters={"a": {"source": "fitted", "sources": {"Volta": "guess"}}})
    assert [calibration.source("a", group) for group in (COMMON, "Volta", "Turing")] == ["fitted", "guess", "fitted"]


def test_values_are_replaced_in_a_copy():
    changed = TOY.with_values({"Volta": {"c": 9}, "Ampere GA100": {"a": 7}})
    assert factors(VOLTA, changed) == (4, 4, 9)
    assert factors(AMPERE, changed) == (7, 1, 1)
    assert factors(VOLTA) == (4, 4, 1)


def test_a_generation_on_loan_has_its_nearest_relatives_values_where_it_had_its_own():
    """Turing's b becomes Volta's; Volta's a and b become GP100's, which are common's and Maxwell's."""
    assert factors(TURING, TOY.on_loan("Turing")) == (4, 4, 1)
    assert factors(VOLTA, TOY.on_loan("Volta")) == (1, 2, 1)
    assert factors(TURING, TOY.on_loan("Volta")) == (1, 5, 1)  # an heir loses what it inherited too


def test_a_generation_without_relatives_gets_what_all_share():
    assert factors(MAXWELL, TOY.on_loan("Maxwell")) == (1, 1, 1)


# ---- the file


def file(**changes: Any) -> str:
    data: dict[str, Any] = {
        "parameters": {"a": {"unit": ""}, "b": {"unit": "J"}},
        "values": {COMMON: {"a": 1.0, "b": {"7": 1.0, "16": 2.0}}, "Volta": {"a": 2}},
        "inherits": {"Turing": "Volta"},
    }
    return json.dumps({key: value for key, value in {**data, **changes}.items() if value is not None})


def test_a_file_is_read():
    calibration = parse_calibration(file(), "mine.json")
    f = calibration.factors(toy_gpu(compute_capability=TURING))
    assert (f.a, f.b) == (2, {"7": 1.0, "16": 2.0})
    assert calibration.nearest == calibration.fit == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine\.json: no calibration file \(Expecting value: line 1 column 1 \(char 0\)\); write one with `simgpu calibrate`"),
        ("[1, 2]", r"mine\.json: no calibration file \(list indices must be"),
        ('{"parameters": {}}', r"mine\.json: no calibration file \('values'\)"),
        (file(inherits=None), r"mine\.json: no calibration file \('inherits'\)"),
        (file(values=[1]), r"mine\.json: no calibration file \("),
        (file(values={COMMON: 5}), r"mine\.json: no calibration file \("),
        (file(values={COMMON: {"a": 1, "b": 1}, "Volta": {"aa": 2, "bb": 2}}), r"mine\.json: values for parameters that are not described: aa, bb$"),
        (file(values={COMMON: {"a": 1}}), r"mine\.json: parameters without a value under 'common', which every GPU falls back to: b$"),
        (file(values={COMMON: {"a": "1", "b": 1}}), r'mine\.json: common\.a is "1", expected a number that is not negative, or such numbers by process node$'),
        (file(values={COMMON: {"a": -5, "b": 1}}), r"common\.a is -5, expected a number that is not negative"),
        (file(values={COMMON: {"a": True, "b": {}}}), r"mine\.json: common\.a is true, expected a number.*; common\.b is \{\}, expected a number"),
        (file(values={COMMON: {"a": float("nan"), "b": {"7": None}}}), r'common\.a is NaN, expected .*; common\.b is \{"7": null\}, expected'),
        (file(parameters={"a": {"bounds": [1, 1.5]}, "b": {"bounds": [1, 2]}}), r"mine\.json: Volta\.a is 2, expected 1 to 1\.5$"),
        (file(inherits={"Volta": "Turing", "Turing": "Volta"}), r"mine\.json: inherits in a loop: Volta → Turing → Volta; inherits in a loop: Turing"),
        (file(inherits={"Volta": "Volta"}), r"mine\.json: inherits in a loop: Volta → Volta$"),
        (file(nearest={"Volta": "Turin"}), r"mine\.json: no such generation: Turin; expected Ada, Ampere GA100,"),
    ],
)
def test_a_broken_file_says_what_is_wrong(text, message):
    with pytest.raises(DataError, match=message):
        parse_calibration(text, "mine.json")


def test_a_file_of_another_version_is_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(file())
    with pytest.raises(DataError, match=r"old\.json: lacks atomic_fraction, .*, which this version of simgpu needs; write it anew with `simgpu calibrate`"):
        load_calibration(path)


# ---- the calibration that comes with simgpu


def test_every_parameter_is_described_and_has_a_value_for_every_gpu():
    shipped = shipped_calibration()
    for name, about in shipped.parameters.items():
        assert {"unit", "meaning", "source"} <= set(about), name
        assert about["meaning"], name
        assert about["source"], name
    for gpu in ("8800-gtx", "k40", "v100", "l4", "b200", "rtx-5090"):
        assert set(vars(shipped.factors(load_gpu(gpu)))) == set(shipped.parameters)


def test_a_generation_has_at_most_a_few_dozen_numbers_of_its_own():
    for place, group in shipped_calibration().values.items():
        assert place == COMMON or len(group) <= 36, place


def test_no_value_is_called_fitted_where_nothing_was_measured():
    shipped = shipped_calibration()
    measured = {generation(load_gpu(gpu)) for gpu in shipped.fit["gpus"]}
    for place in set(shipped.values) - measured - {COMMON}:
        for name in shipped.values[place]:
            assert not shipped.source(name, place).startswith("fitted"), (place, name)
    assert all(place in shipped.values for about in shipped.parameters.values() for place in about.get("sources", {}))


def test_every_generation_without_measurements_has_a_relative():
    shipped = shipped_calibration()
    for name in ("Tesla", "Fermi", "Ampere GA10x", "Ada", "Blackwell GB100", "Blackwell GB20x"):
        assert len(shipped.chain(name)) > 2, name
