"""The YAML we take, and what we refuse."""

from __future__ import annotations

import pytest

from simgpu.errors import ArchError, SimgpuError
from simgpu.yaml_text import parse_yaml, read_yaml, scalar


def test_scalars_follow_yaml_1_2() -> None:
    assert [scalar(text) for text in ("1e12", "1.5", ".5", "1.", "-3", "+4e-2", "010")] == [1e12, 1.5, 0.5, 1.0, -3, 0.04, 10]
    assert [scalar(text) for text in ("true", "False", "null", "~", "")] == [True, False, None, None, None]
    for text in ("no", "yes", "on", "12:30", "1_000", "0x10", ".inf", ".nan", ".", "e5", "1e", "2020-01-01", "1" * 41):
        assert scalar(text) == text
    assert parse_yaml("a: '1e12'\nb: \"true\"\n", where="f").data == {"a": "1e12", "b": "true"}


def test_positions_of_keys_and_values() -> None:
    document = parse_yaml("a: 1\nb:\n  c: [x, {d: 2}]\n", where="f")
    assert document.data == {"a": 1, "b": {"c": ["x", {"d": 2}]}}
    assert document.at(("a",)) == "f:1:1"
    assert document.at(("a",), value=True) == "f:1:4"
    assert document.at(("b", "c", 1, "d"), value=True) == "f:3:14"
    assert document.at(("b", "gone", "deeper")) == "f:2:1"
    assert document.at(("gone",)) == "f:1:1"


def test_keys_are_text() -> None:
    assert parse_yaml("1: a\n2.50: b\ntrue: c\n", where="f").data == {"1": "a", "2.50": "b", "true": "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: a: duplicate key, first given in line 1"),
        ("a: {b: 1, b: 2}", "f:1:11: a.b: duplicate key, first given in line 1"),
        ("a: &x 1", "f:1:4: anchors and aliases (& and *) are not taken; write the value out"),
        ("a: *x", "f:1:4: anchors and aliases (& and *) are not taken; write the value out"),
        ("&x a: 1", "f:1:1: anchors and aliases (& and *) are not taken; write the value out"),
        ("a: !!python/object:os.system ls", "f:1:4: tags (tag:yaml.org,2002:python/object:os.system) are not taken; write a plain value"),
        ("!x {a: 1}", "f:1:1: tags (!x) are not taken; write a plain value"),
        ("? [a]\n: 1", "f:1:3: a key must be a word; quote text that starts with a brace, a bracket or a star"),
        ("--- 1\n--- 2", "f:2:1: a second document (---), expected one"),
        ("- " * 40 + "1", "f:1:67: nested too deep, expected at most 32 levels"),
        ("a: b: c", "f:1:5: not YAML: mapping values are not allowed in this context"),
        ("a: \x00", "f: not YAML: unacceptable character #x0000: control characters are not allowed"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(SimgpuError) as caught:
        parse_yaml(text, where="f")
    assert str(caught.value) == message


def test_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simgpu.yaml_text.MAX_NODES", 3)
    assert parse_yaml("[1, 2]", where="f").data == [1, 2]
    with pytest.raises(SimgpuError, match=r"^f:1:8: more than 3 values, expected a short file$"):
        parse_yaml("[1, 2, 3]", where="f")


def test_the_caller_chooses_the_error() -> None:
    with pytest.raises(ArchError, match=r"^archs/x\.yaml: cannot be read: "):
        read_yaml("/nowhere/x.yaml", where="archs/x.yaml", error=ArchError)
