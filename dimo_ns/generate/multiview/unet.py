"""The network of Stable Video 4D 2.0: noisy latents of t frames x v views in, what to subtract out.

The layout of Stable Video Diffusion's UNet (Blattmann et al. 2023), with attention over views and over frames in each
of its transformers (Yao et al., SV4D 2.0, ICCV 2025). `state_dict` has the names of the published checkpoint.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import GROUPS, Downsample, SpaceTimeResBlock, SpaceTimeTransformer, Upsample, mlp, sincos


class UNet(nn.Module):
    """The defaults are those of both published models, which differ in `across_views` (see SpaceTimeTransformer)."""

    def __init__(
        self,
        across_views: bool,
        *,
        channels: int = 320,
        multipliers: Sequence[int] = (1, 2, 4, 4),
        attention_levels: int = 3,
        blocks_per_level: int = 2,
        head_dim: int = 64,
        clip_dim: int = 1024,
        camera_dim: int = 1280,
        latent_dim: int = 4,
    ):
        super().__init__()
        self.channels, self.latent_dim = channels, latent_dim
        emb_dim = 4 * channels

        def resnet(inputs: int, outputs: int) -> SpaceTimeResBlock:
            return SpaceTimeResBlock(inputs, outputs, emb_dim)

        def transformer(width: int) -> SpaceTimeTransformer:
            return SpaceTimeTransformer(width, head_dim, clip_dim, latent_dim, emb_dim, across_views)

        self.time_embed = mlp(channels, emb_dim, emb_dim)
        self.label_emb = nn.Sequential(mlp(camera_dim, emb_dim, emb_dim))

        last, width = len(multipliers) - 1, channels
        skips = [width]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(2 * latent_dim, width, 3, padding=1)])])
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks_per_level):
                block = nn.ModuleList([resnet(width, multiplier * channels)])
                width = multiplier * channels
                if level < attention_levels:
                    block.append(transformer(width))
                self.input_blocks.append(block)
                skips.append(width)
            if level != last:
                self.input_blocks.append(nn.ModuleList([Downsample(width)]))
                skips.append(width)

        self.middle_block = nn.ModuleList([resnet(width, width), transformer(width), resnet(width, width)])

        self.output_blocks = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for i in range(blocks_per_level + 1):
                block = nn.ModuleList([resnet(width + skips.pop(), multiplier * channels)])
                width = multiplier * channels
                if level < attention_levels:
                    block.append(transformer(width))
                if level > 0 and i == blocks_per_level:
                    block.append(Upsample(width))
                self.output_blocks.append(block)

        self.out = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, latent_dim, 3, padding=1))

    def forward(
        self,
        x: Float[Tensor, "t v l2 h w"],
        c_noise: Float[Tensor, ""],
        cameras: Float[Tensor, "t v e"],
        clip: Float[Tensor, "t d"],
        views: Float[Tensor, "v l h w"],
    ) -> Float[Tensor, "t v l h w"]:
        """`x`: noisy latents, and latents of the input's frames, concatenated; `c_noise`: how noisy; `cameras`, `clip`,
        `views`: see Condition."""
        t, v = x.shape[:2]
        level = sincos(c_noise[None], self.channels).to(x.dtype)
        emb = self.time_embed(level) + self.label_emb(cameras.flatten(0, 1))

        def run(block: nn.Module, h: Tensor) -> Tensor:
            for layer in block.children():
                if isinstance(layer, SpaceTimeResBlock):
                    h = layer(h, emb)
                elif isinstance(layer, SpaceTimeTransformer):
                    h = layer(h, emb, clip, views)
                else:
                    h = layer(h)
            return h

        h, skips = x.flatten(0, 1), []
        for block in self.input_blocks:
            h = run(block, h)
            skips.append(h)
        h = run(self.middle_block, h)
        for block in self.output_blocks:
            h = run(block, torch.cat([h, skips.pop()], 1))
        return self.out(h).unflatten(0, (t, v))
