"""Networks by name: spellings, options, the index, and what bad input gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simgpu.data_paths import data_dir
from simgpu.errors import ModelError, OptionError
from simgpu.frontends import zoo
from simgpu.frontends.zoo import find_name, load_zoo, zoo_has, zoo_model, zoo_names, zoo_table


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("resnet50", "resnet50"),
        ("ResNet-50", "resnet50"),
        ("resnet_50", "resnet50"),
        ("resnet50.tv_in1k", "resnet50"),
        ("timm/resnet50.tv_in1k", "resnet50"),
        ("google/vit-base-patch16-224", "vit-base"),
        ("bert-base-uncased", "bert-base"),
        ("openai-community/gpt2-xl", "gpt2-xl"),
        ("mobilenetv2_100", "mobilenet_v2"),
        ("MobileNetV2", "mobilenet_v2"),
        ("squeezenet1.1", "squeezenet1_1"),
        ("VGG-16", "vgg16"),
        ("GPT3-175B", "gpt3-175b"),
    ],
)
def test_names_are_accepted_in_the_usual_spellings(spelling: str, name: str) -> None:
    assert find_name(spelling) == name


def test_the_index_lists_what_the_models_register() -> None:
    listed = [(row.name, row.family, row.aliases, row.file.name) for row in zoo_table()]
    registered = [(e.name, e.family, e.aliases, path.name) for path in sorted(data_dir("models").glob("*.py")) for e in zoo._import(path)]
    assert listed == registered, "run: python -m simgpu.frontends.zoo"  # tests/validation/test_zoo_counts.py compares the counts
    assert list(zoo_names()) == [name for name, *_ in listed]


def test_no_spelling_stands_for_two_networks() -> None:
    seen: dict[str, str] = {}
    for row in zoo_table():
        for alias in {row.name, *row.aliases}:
            assert seen.setdefault(zoo._key(alias), row.name) == row.name, alias


def test_every_builder_names_its_source() -> None:
    for name in zoo_names():
        assert len(zoo_model(name).paper) > 20, name


def test_batch_and_options_shape_the_input() -> None:
    assert load_zoo("resnet18", batch=3, image_size=160)["input"].shape == (3, 3, 160, 160)
    assert load_zoo("resnet18@128")["input"].shape == (1, 3, 128, 128)
    assert load_zoo("bert-base@128:layers=1")["input_ids"].shape == (1, 128)
    assert load_zoo("resnet18", num_classes=10).num_params == 11_689_512 - 990 * 513  # torchvision's count, fewer rows of fc
    assert len(load_zoo("gpt2", layers="2", seq_len="8")) < len(load_zoo("gpt2", layers=3, seq_len=8))


def test_conv_block_kinds_by_hand() -> None:
    def params(kind: str) -> int:
        return load_zoo(f"conv-block:kind={kind},channels=8,size=4,groups=2").num_params

    assert params("dense") == 8 * 8 * 9
    assert params("depthwise") == 8 * 9
    assert params("separable") == 8 * 9 + 8 * 8
    assert params("grouped") == 8 * 4 * 9


def test_gpt2_decoding_reads_a_cache() -> None:
    graph = load_zoo("gpt2:decode", layers=1)
    assert graph["transformer.h.0.attn.past_key"].shape == (1, 12, 1023, 64)
    assert graph["transformer.h.0.attn.past_key"].kind == "state"
    assert graph["input_ids"].shape == (1, 1)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("resnet5", {}, ModelError, r"unknown model 'resnet5', expected a file or one of the \d+ names `simgpu models` lists; did you mean 'resnet50'\?"),
        ("", {}, ModelError, r"unknown model ''"),
        ("resnet50", {"imagesize": 3}, OptionError, r"resnet50: unknown option 'imagesize', expected one of image_size, .*; did you mean 'image_size'\?"),
        ("resnet50", {"batch": 0}, OptionError, r"resnet50: batch is 0, expected 1 or more"),
        ("resnet50", {"batch": -1}, OptionError, r"resnet50: batch is -1, expected 1 or more"),
        ("resnet50", {"image_size": "big"}, OptionError, r"resnet50: image_size is 'big', expected a whole number"),
        ("resnet50@0", {}, OptionError, r"resnet50: image_size is 0, expected 1 or more"),
        ("dcgan@128", {}, OptionError, r"dcgan: has no size that '@128' could set; its options are latent, width"),
        ("resnet50:blocks=3", {}, OptionError, r"resnet50: blocks is '3', expected a value from Python, not text"),
        ("resnet50:image_size=", {}, OptionError, r"resnet50:image_size=: option 'image_size=' has no value, expected key=value"),
        ("vgg16_bn:batch_norm=maybe", {}, OptionError, r"vgg16_bn: batch_norm is 'maybe', expected true or false"),
        ("mobilenet_v1:width=wide", {}, OptionError, r"mobilenet_v1: width is 'wide', expected a number"),
        ("conv-block:kind=seperable", {}, OptionError, r"conv-block: kind is 'seperable', expected one of dense, .*; did you mean 'separable'\?"),
        ("conv-block:kind=grouped,groups=3", {}, ModelError, r"conv-block: 'grouped' divides 256 input and 256 output channels into 3 groups"),
        ("vit_b_16@100", {}, OptionError, r"vit_b_16: an image of 100 cannot be cut into patches of 16; choose a multiple of 16"),
        ("gpt2:heads=7", {}, OptionError, r"gpt2: 768 channels cannot be divided among 7 heads"),
        ("alexnet@31", {}, ModelError, r"node 'features.12' \(MaxPool\)"),
    ],
)
def test_bad_input_gets_one_message(name: str, options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_zoo(name, **options)  # type: ignore[arg-type]


def test_zoo_has_is_silent() -> None:
    assert zoo_has("ResNet-50@192")
    assert not zoo_has("resnet5")


def test_listing_names_imports_no_model() -> None:
    code = "import sys; from simgpu.frontends.zoo import zoo_names; zoo_names(); print([m for m in sys.modules if m.startswith('simgpu_models')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_users_own_models_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from simgpu.frontends.builder import Builder\n"
        "from simgpu.frontends.zoo import model\n\n"
        "@model('my-net', family='Mine')\n"
        "def my_net(*, name, batch=1, width=4):\n"
        "    '''Drawn on a napkin.'''\n"
        "    b = Builder(name)\n"
        "    return b.build(b.linear(b.input('x', (batch, 3)), width))\n"
    )
    monkeypatch.setenv("SIMGPU_PATH", str(tmp_path))
    assert load_zoo("My_Net", width=5).num_params == 3 * 5 + 5
    assert zoo_has("resnet50")
    monkeypatch.delenv("SIMGPU_PATH")
    assert not zoo_has("my-net")
