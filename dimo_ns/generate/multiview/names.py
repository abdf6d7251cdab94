"""Names of tensors: in the published checkpoint, and in the three networks that are needed of it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from .encoders import VAE_CONFIG

UNET = "model.diffusion_model."
IMAGE_ENCODER = "conditioner.embedders.0.open_clip.model.visual."
VAE_ENCODER = "conditioner.embedders.1.encoder."
"""The autoencoder of the input's frames; those of the other inputs are taken to be copies of it."""
VAE_DECODER = "first_stage_model."

OPENCLIP_TO_TRANSFORMERS = {
    r"^class_embedding$": "vision_model.embeddings.class_embedding",
    r"^positional_embedding$": "vision_model.embeddings.position_embedding.weight",
    r"^conv1\.": "vision_model.embeddings.patch_embedding.",
    r"^ln_pre\.": "vision_model.pre_layrnorm.",
    r"^ln_post\.": "vision_model.post_layernorm.",
    r"^transformer\.resblocks\.": "vision_model.encoder.layers.",
    r"\.ln_(\d)\.": r".layer_norm\1.",
    r"\.mlp\.c_fc\.": ".mlp.fc1.",
    r"\.mlp\.c_proj\.": ".mlp.fc2.",
    r"\.attn\.": ".self_attn.",
}

State = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """The part of the checkpoint that one network is filled from."""

    prefixes: tuple[str, ...]
    rename: Callable[[State], State]

    def state(self, keys: Iterable[str], read: Callable[[str], Tensor]) -> State:
        """The network's state_dict. `keys`: all of the checkpoint; `read`: one tensor of it."""
        return self.rename({key: read(key) for key in keys if key.startswith(self.prefixes)})


def rename_unet(tensors: State) -> State:
    return {key.removeprefix(UNET): value for key, value in tensors.items()}


def rename_vae(tensors: State) -> State:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    bare = {key.removeprefix(VAE_ENCODER).removeprefix(VAE_DECODER): value for key, value in tensors.items()}
    return convert_ldm_vae_checkpoint(bare, VAE_CONFIG)


def rename_image_encoder(tensors: State) -> State:
    state = {}
    for key, value in tensors.items():
        name = key.removeprefix(IMAGE_ENCODER)
        for pattern, replacement in OPENCLIP_TO_TRANSFORMERS.items():
            name = re.sub(pattern, replacement, name)
        if name == "proj":
            state["visual_projection.weight"] = value.T.contiguous()
        elif ".in_proj_" in name:
            for letter, third in zip("qkv", value.chunk(3), strict=True):
                state[name.replace(".in_proj_", f".{letter}_proj.")] = third.clone()
        else:
            state[name] = value
    return state


PARTS = {
    "unet": Part((UNET,), rename_unet),
    "vae": Part(
        (f"{VAE_ENCODER}encoder.", f"{VAE_ENCODER}quant_conv.", f"{VAE_DECODER}decoder."),
        rename_vae,
    ),
    "image_encoder": Part((IMAGE_ENCODER,), rename_image_encoder),
}
