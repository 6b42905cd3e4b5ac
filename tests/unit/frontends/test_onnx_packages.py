"""Real models that packages on PyPI ship, where such a package happens to be installed; nothing of theirs is kept here.

Checked with nudenet 3.4, rapidocr 3.10, rapidocr-onnxruntime 1.4, silero-vad 6.2, magika 1.0, basic-pitch 0.4 and ddddocr 1.6.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from simgpu.frontends.onnx import load_onnx
from simgpu.ops.registry import graph_macs

# Package, file, what to bind, and the shape of the first output.
SHIPPED = [
    ("nudenet", "320n.onnx", {"height": 320, "width": 320}, (1, 22, 2100)),
    ("nudenet", "320n.onnx", {"images": (1, 3, 640, 640)}, (1, 22, 8400)),  # YOLOv8: 80² + 40² + 20² boxes
    ("rapidocr", "models/*det*.onnx", {"x": (1, 3, 736, 736)}, (1, 1, 736, 736)),
    ("rapidocr", "models/*rec*.onnx", {"x": (1, 3, 48, 320)}, (1, 40)),
    ("rapidocr", "models/*cls*.onnx", {"x": (1, 3, 48, 192)}, (1, 2)),
    ("rapidocr_onnxruntime", "models/*det*.onnx", {"x": (1, 3, 736, 736)}, (1, 1, 736, 736)),
    ("rapidocr_onnxruntime", "models/*rec*.onnx", {"x": (1, 3, 48, 320)}, (1, 40)),
    ("rapidocr_onnxruntime", "models/*cls*.onnx", {"x": (1, 3, 48, 192)}, (1, 2)),
    ("silero_vad", "data/silero_vad.onnx", {"input": (1, 512), "state": (2, 1, 128)}, (1, 1)),
    ("silero_vad", "data/silero_vad.onnx", {"input": (1, 256), "state": (2, 1, 128), "sr": 8000}, (1, 1)),
    ("silero_vad", "data/silero_vad_half.onnx", {"sequence": 512}, (1, 1)),
    ("magika", "models/*/model.onnx", {}, (1,)),
    ("basic_pitch", "saved_models/*/nmp.onnx", {}, (1, 172)),
    ("ddddocr", "common.onnx", {"image_width": 160}, (20, 1)),
    ("ddddocr", "common_old.onnx", {"image_width": 160}, (20, 1)),  # integer convolutions and an integer LSTM
    ("ddddocr", "common_det.onnx", {}, (1, 3549)),
]


@pytest.mark.parametrize(("package", "pattern", "shapes", "output"), SHIPPED, ids=lambda v: v if isinstance(v, str) else "")
def test_models_in_the_wild(package, pattern, shapes, output):
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    paths = sorted(Path(found.submodule_search_locations[0]).glob(pattern))
    assert paths
    for path in paths:
        graph = load_onnx(path, shapes=shapes)
        assert graph[graph.outputs[0]].shape[: len(output)] == output
        assert graph_macs(graph) > 0
