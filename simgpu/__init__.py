"""simgpu simulates neural networks on GPUs and explains every microsecond."""
