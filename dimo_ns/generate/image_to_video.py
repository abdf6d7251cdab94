"""Videos that begin with a picture and do what a prompt says: diffusers' pipelines, each named by its class."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.errors import DimoError
from dimo_ns.generate import checkpoints
from dimo_ns.generate.presets import Preset


class Videos:
    """Makes videos with one model; its weights are checked at once and loaded when the first video is asked for."""

    def __init__(self, preset: Preset, device: str, weights: Path | None = None):
        """Raises DimoError if the weights are missing, cut off or those of another model."""
        model = preset.model
        self.preset, self.device = preset, torch.device(device)
        self.folder = checkpoints.find(model, weights)
        self.size, self.fps = (preset.height, preset.width), float(model.fps)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.pipe: Any = None
        self.about = {
            "model": model.name,
            "weights": checkpoints.check(model, self.folder),
            "size": list(self.size),
            "frames": preset.frames,
            "steps": preset.steps,
            "guidance": preset.guidance,
            "precision": str(self.dtype),
            "quantise": sorted(preset.quantise),
        }

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        prompt: str,
        negative: str,
        seed: int,
        step: Callable[[int, int], None],
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Raises DimoError if the memory is not enough; what `step` raises ends it between two steps."""
        try:
            if self.pipe is None:
                self.pipe = load(self.preset, self.folder, self.device, self.dtype)
            self.pipe.progress_bar = lambda iterable=None, total=None: _Steps(total or self.preset.steps, step)
            video = self.pipe(**self.arguments(image, prompt, negative, seed)).frames[0]
        except torch.OutOfMemoryError as error:
            self.close()
            raise DimoError(
                f"The preset '{self.preset.name}' needs more memory than the GPU has ({error}); take a smaller one, or "
                "edit a copy of it: fewer frames, smaller pictures, 'offload: group'."
            ) from error
        return (np.asarray(video, np.float32).clip(0, 1) * 255).round().astype(np.uint8)

    def arguments(self, image: UInt8[np.ndarray, "h w 3"], prompt: str, negative: str, seed: int) -> dict[str, Any]:
        """What this pipeline takes of all that there is to say."""
        p = self.preset
        known = inspect.signature(type(self.pipe).__call__).parameters
        if "guidance_scale" not in known:
            self.pipe.guider = self.pipe.guider.new(guidance_scale=p.guidance)
        sizes = {"height": p.height, "width": p.width, "guidance_scale": p.guidance}
        return {
            "image": Image.fromarray(image),
            "prompt": prompt,
            "negative_prompt": negative,
            "num_frames": p.frames,
            "num_inference_steps": p.steps,
            "generator": torch.Generator().manual_seed(seed),
            "output_type": "np",
            **{name: value for name, value in sizes.items() if name in known},
        }

    def close(self) -> None:
        """Gives the memory back."""
        self.pipe = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def load(preset: Preset, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline, from safetensors on this machine, without code of the weights' own. Raises DimoError."""
    import diffusers
    import transformers
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    if preset.model.pipeline.startswith("Wan"):  # as its makers do
        vae = AutoencoderKLWan.from_pretrained(folder, subfolder="vae", **options | {"dtype": torch.float32})
        options["vae"] = vae
    if preset.quantise:
        options["quantization_config"] = _four_bits(preset.quantise)
    try:
        pipe = getattr(diffusers, preset.model.pipeline).from_pretrained(folder, **options)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise DimoError(
            f"The weights in {folder} cannot be loaded ({reason}); {checkpoints.get(preset.model)}."
        ) from error
    if preset.tiling:
        pipe.vae.enable_tiling()
    if preset.offload == "model" and device.type == "cuda":
        pipe.enable_model_cpu_offload(device=device)
    elif preset.offload == "group" and device.type == "cuda":
        pipe.enable_group_offload(onload_device=device, offload_type="leaf_level", use_stream=True)
    else:
        pipe.to(device)
    return pipe


def _four_bits(parts: list[str]) -> Any:
    from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig

    try:
        import bitsandbytes  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DimoError("4 bits need a package: pip install bitsandbytes; or edit a copy of the preset.") from error
    settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    return PipelineQuantizationConfig("bitsandbytes_4bit", quant_kwargs=settings, components_to_quantize=parts)


class _Steps:
    """Stands where diffusers has a progress bar: every pipeline moves it by one after each step."""

    def __init__(self, total: int, step: Callable[[int, int], None]):
        self.total, self.step, self.done = total, step, 0

    def __enter__(self) -> "_Steps":
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, count: int = 1) -> None:
        self.done += count
        self.step(self.done, self.total)
