"""The CPU backend: numba kernels for projection, tiles, compositing and skinning."""
