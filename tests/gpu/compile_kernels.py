"""Compiles every Triton kernel of the project to machine code for one kind of GPU and prints their names; run without
TRITON_INTERPRET. As a program of its own: what is interpreted cannot be compiled in the same process."""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dimo_ns.gpu import adam, frame_adam, latents, pixel_errors, rigidity, skinning, weighted_square

AMPERE = GPUTarget("cuda", 80, 32)
FLOATS, LONGS, COUNT, NUMBER = "*fp32", "*i64", "i32", "fp32"


def compile_to_cubin(kernel: Any, types: list[str], **constants: int) -> None:
    """Raises what Triton or its assembler raises."""
    signature = dict(zip(kernel.arg_names, types, strict=False)) | dict.fromkeys(constants, "constexpr")
    assert list(signature) == kernel.arg_names, kernel
    made = triton.compile(ASTSource(fn=kernel, signature=signature, constexprs=constants), target=AMPERE)
    assert made.asm["cubin"]
    print(f"{kernel.__module__}.{kernel.__name__}")


def main() -> None:
    four = {"J": 4, "BLOCK": skinning.BLOCK}
    compile_to_cubin(skinning._forward, [FLOATS] * 4 + [LONGS] + [FLOATS] * 4 + [COUNT] * 2, **four)
    compile_to_cubin(skinning._backward, [FLOATS] * 4 + [LONGS] + [FLOATS] * 10 + [COUNT] * 3, **four)
    eight = {"WIDTH": 8, "BLOCK": rigidity.BLOCK}
    compile_to_cubin(rigidity._forward, [FLOATS, LONGS] + [FLOATS] * 4 + [COUNT] * 2 + [NUMBER], **eight)
    compile_to_cubin(rigidity._backward, [FLOATS, LONGS] + [FLOATS] * 7 + [COUNT] * 2 + [NUMBER], **eight)
    block = {"BLOCK": pixel_errors.BLOCK}
    compile_to_cubin(pixel_errors._forward, [FLOATS] * 5 + [COUNT] * 3 + [NUMBER] * 3, **block)
    compile_to_cubin(pixel_errors._backward, [FLOATS] * 7 + [COUNT] * 3 + [NUMBER] * 3, **block)
    compile_to_cubin(latents._forward, [FLOATS] * 3 + [LONGS] + [FLOATS] * 2 + [COUNT] * 3, WIDTH=32)
    backward = [FLOATS] * 3 + [LONGS] + [FLOATS] * 4 + [COUNT] * 4
    compile_to_cubin(latents._backward, backward, WIDTH=32, ROWS=latents.ROWS)
    block = {"BLOCK": weighted_square.BLOCK}
    compile_to_cubin(weighted_square._forward, [FLOATS] * 4 + [COUNT] * 2, **block)
    compile_to_cubin(weighted_square._backward, [FLOATS] * 5 + [COUNT] * 2, **block)
    constants = {"BLOCK": adam.BLOCK, "COLUMNS": adam.COLUMNS}
    compile_to_cubin(adam._step, [LONGS, "*fp64", "*i32", FLOATS], **constants)
    compile_to_cubin(frame_adam._step, [FLOATS] * 6 + [NUMBER] * 4 + [COUNT], BLOCK=2048)


if __name__ == "__main__":
    main()
