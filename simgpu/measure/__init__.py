"""Measures the kernels and networks that simgpu predicts, on a real NVIDIA GPU.

`python -m simgpu.measure --out m.csv` needs PyTorch and the standard library, nothing else of simgpu's requirements.
"""
