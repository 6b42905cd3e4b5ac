"""archs/*.yaml → GPU."""
