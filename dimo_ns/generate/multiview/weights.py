"""The published checkpoint, one safetensors file, read into the networks; what does not fit is told before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dimo_ns.errors import DimoError

from .encoders import CLIP_CONFIG, VAE_CONFIG
from .names import PARTS
from .unet import UNet
from .variants import VARIANTS, Variant

Networks = dict[str, Any]
"""Networks by their names in PARTS: the UNet, diffusers' AutoencoderKL and transformers'
CLIPVisionModelWithProjection."""


def load(path: Path, variant: Variant, device: torch.device, dtype: torch.dtype) -> Networks:
    """The networks of a checkpoint, for inference; the autoencoder is float32 whatever `dtype`, as in the original.

    Raises DimoError if the file is missing or cut off, or if it is not that of the variant.
    """
    networks = empty_networks(variant)
    check(networks, path, variant)
    fill(networks, path, device, {"unet": dtype, "vae": torch.float32, "image_encoder": dtype})
    return networks


def empty_networks(variant: Variant) -> Networks:
    """The networks in full size; their parameters take no memory."""
    from accelerate import init_empty_weights
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with init_empty_weights():
        return {
            "unet": UNet(variant.across_views),
            "vae": AutoencoderKL(**VAE_CONFIG),
            "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP_CONFIG)),
        }


def check(networks: Mapping[str, nn.Module], path: Path, variant: Variant) -> None:
    """Whether a checkpoint fits, from its header alone. Raises DimoError as `load` does."""
    get = f"get the file ({variant.gigabytes:.1f} GB) with '{variant.download}' once you accepted its licence there"
    if not path.is_file():
        raise DimoError(f"There are no weights at {path}; {get}.")
    for other in VARIANTS.values():
        if path.name == other.file != variant.file:
            raise DimoError(f"The weights {path} are those of '{other.name}', not of '{variant.name}'; {get}.")
    try:
        with safe_open(path, "pt") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in list(file.keys())}
    except (SafetensorError, OSError) as error:
        size = f"{path.stat().st_size / 1e9:.1f} GB"
        raise DimoError(f"The weights {path} ({size}) are not a whole safetensors file ({error}); {get}.") from error

    def shaped(key: str) -> Tensor:
        return torch.empty(shapes[key], device="meta")

    for name, network in networks.items():
        found = {key: list(tensor.shape) for key, tensor in PARTS[name].state(shapes, shaped).items()}
        expected = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
        wrong = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
        if wrong:
            raise DimoError(
                f"The weights {path} are not those of '{variant.name}': {len(wrong)} of {len(expected)} tensors of its "
                f"{name} are missing or other, first '{wrong[0]}' ({found.get(wrong[0])}, expected "
                f"{expected.get(wrong[0])}); {get}."
            )


def fill(
    networks: Mapping[str, nn.Module], path: Path, device: torch.device, dtypes: Mapping[str, torch.dtype]
) -> None:
    """Puts the checkpoint's tensors in the place of the networks' parameters, one after the other."""
    with safe_open(path, "pt", device=str(device)) as file:
        keys = list(file.keys())
        for name, network in networks.items():
            dtype = dtypes[name]
            state = PARTS[name].state(keys, lambda key, dtype=dtype: file.get_tensor(key).to(dtype))
            network.load_state_dict(state, assign=True)
            network.to(device).eval().requires_grad_(False)
