"""Training inside nerfstudio."""
