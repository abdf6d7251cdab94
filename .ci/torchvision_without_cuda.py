"""Lets a CUDA-linked torchvision be imported beside a CPU-only torch; `.ci/setup` copies it into .venv where needed.

The wheel's compiled library does not load there, so torchvision fails while registering fake kernels for operators
that nobody declared. Declaring them is enough: nerfstudio uses none of them. Nothing happens, and torch is not
imported, until somebody imports torchvision.
"""

import sys


class _DeclareOperators:
    library = None  # declarations live as long as this object

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            _DeclareOperators.library = torch.library.Library("torchvision", "FRAGMENT")
            for op in ("nms", "qnms"):
                _DeclareOperators.library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, _DeclareOperators())
