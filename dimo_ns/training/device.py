"""The device that a run trains on: which one, whether it works, and what to do when its memory is full."""

from typing import Literal

import torch
from nerfstudio.configs.base_config import MachineConfig

from dimo_ns.core.cameras import orbit
from dimo_ns.core.gaussians import gaussians_on
from dimo_ns.errors import DimoError, first_line
from dimo_ns.rasterize.render import render
from dimo_ns.training.console import tell

CPU_INSTEAD = "or train on the CPU with --machine.device-type cpu"


def check_machine(machine: MachineConfig) -> None:
    """Raises DimoError for what nerfstudio can be asked for and dimo cannot train on."""
    if machine.num_devices * machine.num_machines != 1:
        raise DimoError("dimo trains on one device; drop --machine.num-devices and --machine.num-machines.")
    if machine.device_type == "mps":
        raise DimoError("dimo trains on a CUDA device or a CPU; give --machine.device-type cpu in place of mps.")


def choose_device(asked: str) -> Literal["cpu", "cuda"]:
    """The device to train on; `auto` is CUDA where it can be used, else the CPU, in one line. Raises DimoError where
    CUDA was asked for by name and is not there."""
    if asked == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        tell(f"Training on {torch.cuda.get_device_name()}.")
        return "cuda"
    reason, remedy = why_no_cuda()
    if asked == "cuda":
        raise DimoError(f"There is no CUDA device to train on: {reason}; {remedy}, {CPU_INSTEAD}.")
    tell(f"Training on the CPU: no CUDA device was found ({reason}).")
    return "cpu"


def why_no_cuda() -> tuple[str, str]:
    """Why torch has no CUDA device, and what to do about it."""
    if torch.version.cuda is None:
        remedy = "install a CUDA build of it (https://pytorch.org/get-started)"
        return f"the installed PyTorch {torch.__version__} is built without CUDA", remedy
    try:
        torch.zeros(1, device="cuda")
    except RuntimeError as error:  # of a driver that is missing, or too old for this PyTorch
        remedy = f"install a driver for CUDA {torch.version.cuda}, or a PyTorch built for the one that is there"
        return first_line(error), remedy
    return "torch.cuda.is_available() says no", "see what nvidia-smi says"


def check_gpu(device: torch.device) -> None:
    """Draws a picture, so that what has to be compiled is, and what cannot be is said, before training begins.
    Raises DimoError."""
    if device.type != "cuda":
        return
    tell("Preparing gsplat (some minutes the first time, if its kernels are still to be compiled).")
    try:
        draw_something(device)
    except torch.cuda.OutOfMemoryError as error:
        raise DimoError(
            f"The GPU has no free memory: {first_line(error)}; end what else uses it, {CPU_INSTEAD}."
        ) from error
    except Exception as error:  # gsplat says it in many ways: no nvcc, no compiler, a build that fails
        raise DimoError(
            f"gsplat does not work on this GPU: {first_line(error)}; install a CUDA toolkit (nvcc) for CUDA "
            f"{torch.version.cuda} with a C++ compiler, or a wheel of gsplat for this PyTorch "
            f"(https://docs.gsplat.studio/whl), {CPU_INSTEAD}."
        ) from error


def draw_something(device: torch.device) -> None:
    """A small picture, with gradients."""
    gaussians = gaussians_on(torch.rand(5, 3, device=device)).to(device)
    render(gaussians(), orbit(torch.zeros(1, device=device), 0.0, (16, 16))).color.sum().backward()


def out_of_memory(step: int, phase: str, saved_step: int, error: Exception) -> DimoError:
    """What is said when a step does not fit into the GPU's memory. `saved_step`: of the last checkpoint; negative:
    there is none."""
    kept = f"the checkpoint of step {saved_step} is kept" if saved_step >= 0 else "there is no checkpoint yet"
    return DimoError(
        f"The GPU ran out of memory in step {step}, phase '{phase}' ({first_line(error)}); {kept}. In a copy of the "
        f"recipe, lower 'motions', 'sizes' or the density's 'target' of this phase, and train with "
        f"--pipeline.model.recipe COPY.yaml."
    )
