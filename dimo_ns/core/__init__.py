"""The mathematics of a motion space. Imports torch (and jaxtyping) alone: no nerfstudio, no gsplat, no files."""
