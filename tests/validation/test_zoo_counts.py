"""The zoo's networks have the parameters and the arithmetic that the libraries' own models have.

networks.csv was counted by running each library's model on torch's meta device (batch 1) and adding up what it executes:
parameters (tied ones once, batch-norm statistics not at all), multiply-accumulates of convolutions and of matrix products
(causal masks save nothing), and the elements those write.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simgpu.frontends.zoo import find_name, load_zoo, split_name, zoo_table
from simgpu.graph.ir import Graph
from simgpu.ops.registry import op_macs

with (Path(__file__).parent / "networks.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))


def counts(graph: Graph) -> dict[str, int]:
    conv = linear = elements = 0
    for op in graph.ops:
        macs = int(op_macs(graph, op))
        if op.type in ("Conv", "ConvTranspose"):
            conv += macs
        else:
            linear += macs
        if macs:
            elements += graph[op.outputs[0]].elements
        if op.type == "Attention":  # the scores, which are an output of their own where attention is not fused
            query, key = (graph[t].shape for t in op.inputs[:2])
            elements += query[0] * query[1] * query[2] * key[2]
    return {"params": graph.num_params, "macs_conv": conv, "macs_linear_matmul": linear, "activation_elements_conv_linear": elements}


INDEX = {row.name: row for row in zoo_table()}


@pytest.mark.parametrize("row", ROWS, ids=[r["model"] for r in ROWS])
def test_counts_are_those_of_the_library(row: dict[str, str]) -> None:
    got = counts(load_zoo(row["model"]))
    assert got == {key: int(row[key]) for key in got}
    if listed := INDEX.get(row["model"]):
        assert (listed.params, listed.macs) == (got["params"], got["macs_conv"] + got["macs_linear_matmul"])


@pytest.mark.parametrize("name", [name for name in INDEX if name not in {r["model"] for r in ROWS}])
def test_the_index_has_the_counts_of_the_graph(name: str) -> None:
    got = counts(load_zoo(name))
    assert (INDEX[name].params, INDEX[name].macs) == (got["params"], got["macs_conv"] + got["macs_linear_matmul"])


# Counts the papers print, in millions of parameters and of multiply-accumulates, with the digits they print.
PUBLISHED = {
    "vgg19": (144, 19_600),  # Simonyan and Zisserman 2015, table 2; MACs: He et al. 2016, section 3.3
    "resnet34": (21.8, 3_600),  # He et al. 2016, table 1: 3.6e9
    "resnet152_v1": (60.2, 11_300),  # He et al. 2016, table 1: 11.3e9
    "mobilenet_v1": (4.2, 569),  # Howard et al. 2017, table 8
    "mobilenet_v1_075": (2.59, 317),  # tensorflow/models slim, nets/mobilenet_v1.md
    "mobilenet_v1_050": (1.34, 150),
    "mobilenet_v1_025": (0.47, 41),
    "mobilenet_v2": (3.4, 300),  # Sandler et al. 2018, table 4
    "mobilenetv2_140": (6.06, 582),  # tensorflow/models slim, nets/mobilenet/README.md; the paper prints 6.9
    "shufflenet_v1_g1": (None, 143),  # Zhang et al. 2018, tables 1 and 2
    "shufflenet_v1_g2": (None, 140),
    "shufflenet_v1": (None, 137),
    "shufflenet_v1_g4": (None, 133),
    "shufflenet_v1_g8": (None, 137),
    "shufflenet_v1_x0_25": (None, 13),
    "shufflenet_v1_x0_5": (None, 38),
    "shufflenet_v1_x1_5": (None, 292),
    "shufflenet_v1_x2_0": (None, 524),
    "mobilenetv2_050": (1.95, 97),  # tensorflow/models slim, nets/mobilenet/README.md
    "ssd_resnet34": (None, 433_000 / 2),  # Reddi et al. 2020, table 1: 433 GOP
    "ssd_mobilenet_v1": (6.91, 2_470 / 2),  # the same: 2.47 GOP
    "vovnet27_slim": (3.5, None),  # Lee et al. 2019, table 5
    "ese_vovnet99b": (63.2, 16_510),  # timm results, benchmark-infer (its MACs count batch norm too)
    "yolov3": (None, 65_860 / 2),  # Redmon and Farhadi's cfg/yolov3.cfg: 65.86 BFLOP at 416
    "yolov5s": (7.2, 16_500 / 2),  # YOLOv5's README
    "yolov8n": (3.2, 8_700 / 2),  # YOLOv8's README
    "yolov8x": (68.2, 257_800 / 2),
    "unet": (31.03, None),  # 1 channel, 2 classes
    "unet_same": (31.03, None),
    "lstm_lm": (66, None),  # Zaremba et al. 2014, section 4.1
    "lstm_lm_medium": (20, None),
    "dlrm_mlperf": (24_000, None),  # 187.8 M rows of 128
    "darknet53": (41.61, 9_310),  # timm results, benchmark-infer
    "regnet_x_200mf": (2.68, 200),  # Radosavovic et al. 2020, tables 5 and 6, and timm's parameters
    "regnet_x_600mf": (6.20, 610),
    "regnet_x_4gf": (22.12, 3_990),
    "regnet_x_6_4gf": (26.21, 6_490),
    "regnet_x_12gf": (46.11, 12_130),
    "regnet_y_200mf": (3.16, 200),
    "regnet_y_600mf": (6.06, 610),
    "regnet_y_4gf": (20.65, 4_000),
    "regnet_y_6_4gf": (30.58, 6_390),
    "regnety_080": (39.18, 8_000),
    "regnet_y_12gf": (51.82, 12_140),
    "repvgg_b1g2": (45.78, 9_820),  # Ding et al. 2021, table 4
    "repvgg_b1g2_deploy": (41.36, 8_820),
    "mobileone_s2": (7.8, 1_299),  # Vasu et al. 2023, table 3, of the deployed form
    "mobileone_s2_deploy": (7.8, 1_299),
    "mobileone_s3": (10.1, 1_896),
    "mobileone_s3_deploy": (10.1, 1_896),
    "efficientnet_lite1": (5.4, 600),  # timm results, benchmark-infer
    "efficientnet_lite2": (6.1, 860),
    "efficientnet_lite3": (8.2, 1_380),
    "efficientnet_lite4": (13.0, 2_540),
    "swin_l": (197, 34_500),  # Liu et al. 2021, table 1
    "vit_base_patch16_384": (86.9, 55_500),  # timm results, benchmark-infer
    "vit_large_patch16_384": (304.7, 191_200),
    "resnext101_32x4d": (44.18, 8_010),
    "resnet101d": (44.57, 8_080),
    "resnetv2_101": (44.54, 7_830),
    "resnetv2_152": (60.19, 11_550),
    "resnet200": (64.7, 15_000),  # fb.resnet.torch, pretrained/README.md
    "nin": (7.6, 1_100),  # the Caffe model zoo: 29 MB of weights
    "overfeat_fast": (145, 2_800),  # Sermanet et al. 2014, table 4: 145 M parameters, 2810 M connections
    "inception_v2": (11.3, 2_030),  # 11.3 M parameters and 2 G multiply-accumulates, Ioffe and Szegedy 2015
    "mobilenetv2_035": (1.66, 59),  # tensorflow/models slim, nets/mobilenet/README.md
    "mobilenetv2_075": (2.61, 209),
    "gpt3-175b": (175_000, None),  # Brown et al. 2020, table 2.1
    "gpt3-13b": (13_000, None),
    "gpt3-6.7b": (6_700, None),
    "gpt3-2.7b": (2_700, None),
    "gpt3-xl": (1_300, None),
    "gpt3-large": (760, None),
    "gpt3-medium": (350, None),
    "gpt3-small": (125, None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_near_those_of_the_paper(name: str) -> None:
    row = INDEX[name]
    params, macs = PUBLISHED[name]
    if params:
        assert row.params / 1e6 == pytest.approx(params, rel=0.05)
    if macs:
        assert row.macs / 1e6 == pytest.approx(macs, rel=0.05)


# Parameters that the authors' own code prints, or that add up by hand, to the digit.
PRINTED = {
    "yolov3": 61_949_149,  # ultralytics/yolov3, summary of yolov3.yaml
    "yolov5n": 1_872_157,  # ultralytics/yolov5 v6.0, summaries
    "yolov5s": 7_235_389,
    "yolov5m": 21_190_557,
    "yolov5l": 46_563_709,
    "yolov5x": 86_749_405,
    "yolov8n": 3_157_200,  # ultralytics/ultralytics, summaries of yolov8.yaml
    "yolov8s": 11_166_560,
    "yolov8m": 25_902_640,
    "yolov8l": 43_691_520,
    "yolov8x": 68_229_648,
    "dcgan": 3_576_704,  # pytorch/examples, dcgan
    "dcgan_discriminator": 2_765_568,
    "dlrm": 540_677_217,  # Σ rows 33,762,577 · 16 channels, and the perceptrons 13-512-256-64-16 and 367-512-256-1
    "lstm_lm_small": 2 * 10_000 * 200 + 10_000 + 2 * 4 * (2 * 200 * 200 + 2 * 200),  # tables, bias, four gates in two layers
    "gru_lm": 2 * 10_000 * 1500 + 10_000 + 2 * 3 * (2 * 1500 * 1500 + 2 * 1500),
}


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_to_the_digit(name: str) -> None:
    assert load_zoo(name).num_params == PRINTED[name]


def test_most_networks_are_checked_by_count() -> None:
    checked = {find_name(split_name(r["model"])[0]) for r in ROWS} | PUBLISHED.keys() | PRINTED.keys()
    unchecked = INDEX.keys() - checked
    assert unchecked == {
        "conv-block",
        "bert-large-classifier",  # bert-large and a layer of two labels
        "gpt3-xl-neusight",
        "switch-xl-4e",
        *("fcn_resnet101", "deeplabv3_resnet101"),  # as with resnet50, with 17 more blocks in the third stage
        *("mobiledet_cpu", "mobiledet_dsp", "mobiledet_edgetpu"),  # after the authors' code; their paper's counts are not at hand
    }
