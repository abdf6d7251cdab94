"""What the UNet is made of: residual blocks over pixels and images, attention over pixels, views and frames.

A chunk is t frames x v views of p = h * w pixels. Modules have the names and the order of the published checkpoint.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

GROUPS = 32
TOKENS_AT_ONCE = 2**16
"""Sequences are attended to in slices of about so many tokens, which bounds the memory; the result is the same."""


def sincos(x: Num[Tensor, " n"], dim: int) -> Float[Tensor, "n {dim}"]:
    """cos and sin of x at dim / 2 frequencies from 1 down towards 1 / 10,000, geometrically spaced."""
    half = dim // 2
    frequencies = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angles = x[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


class Mix(nn.Module):
    """A learned blend of two results: sigmoid(factor) of the first, the rest of the second."""

    def __init__(self):
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, first: Float[Tensor, "*s"], second: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        return torch.lerp(second, first, torch.sigmoid(self.mix_factor))


# --- residual blocks ------------------------------------------------------------------------------------------------


class ResBlock(nn.Module):
    """Twice norm, SiLU, convolution, with the embedding added in between; plus the input."""

    def __init__(self, inputs: int, outputs: int, emb_dim: int, conv: Callable[[int, int], nn.Module]):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, inputs), nn.SiLU(), conv(inputs, outputs))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_dim, outputs))
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, outputs), nn.SiLU(), nn.Identity(), conv(outputs, outputs))
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def residual(self, x: Float[Tensor, "n c *s"], shift: Float[Tensor, "n2 c2 *s2"]) -> Float[Tensor, "n c2 *s"]:
        """`shift`: what the embedding adds, with axes of 1 where it is the same."""
        return self.skip_connection(x) + self.out_layers(self.in_layers(x) + shift)


def conv_over_pixels(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def conv_over_images(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv3d(inputs, outputs, (3, 1, 1), padding=(1, 0, 0))


class SpaceTimeResBlock(ResBlock):
    """A residual block over the pixels of each image, then one over the sequence of all images, blended with it."""

    def __init__(self, inputs: int, outputs: int, emb_dim: int):
        super().__init__(inputs, outputs, emb_dim, conv_over_pixels)
        self.time_mix_blocks = ResBlock(outputs, outputs, emb_dim, conv_over_images)
        self.time_mixer = Mix()

    def forward(self, x: Float[Tensor, "n c h w"], emb: Float[Tensor, "n e"]) -> Float[Tensor, "n c2 h w"]:
        """Images in the order frame by frame, view by view; the sequence runs through all of them in this order."""
        x = self.residual(x, self.emb_layers(emb)[:, :, None, None])
        shift = self.time_mix_blocks.emb_layers(emb).T[None, :, :, None, None]
        sequence = self.time_mix_blocks.residual(x.transpose(0, 1)[None], shift)
        return self.time_mixer(x, sequence[0].transpose(0, 1))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


# --- attention ------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Multi-head attention: of the tokens to each other, or to a context of one token per sequence."""

    def __init__(self, dim: int, head_dim: int, context_dim: int | None = None):
        super().__init__()
        self.head_dim = head_dim
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def to_each_other(self, x: Float[Tensor, "s n c"]) -> Float[Tensor, "s n c"]:
        """Every token looks at all of its sequence."""
        q, k, v = (to(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def to_context(self, context: Float[Tensor, "s d"]) -> Float[Tensor, "s 1 c"]:
        """What every token gets: the softmax over a single key is 1, so that queries and keys have no say."""
        return self.to_out(self.to_v(context))[:, None]


class GEGLU(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(dim, 2 * hidden)

    def forward(self, x: Float[Tensor, "s n c"]) -> Float[Tensor, "s n h"]:
        x, gate = self.proj(x).chunk(2, -1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Float[Tensor, "s n c"]) -> Float[Tensor, "s n c"]:
        return self.net(x)


class PixelBlock(nn.Module):
    """A transformer block over the pixels of one image."""

    def __init__(self, dim: int, head_dim: int, context_dim: int):
        super().__init__()
        self.attn1 = Attention(dim, head_dim)
        self.ff = FeedForward(dim)
        self.attn2 = Attention(dim, head_dim, context_dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "s n c"], context: Float[Tensor, "s d"]) -> Float[Tensor, "s n c"]:
        x = x + self.attn1.to_each_other(self.norm1(x))
        x = x + self.attn2.to_context(context)
        return x + self.ff(self.norm3(x))


class SequenceBlock(nn.Module):
    """A transformer block over the views or frames of one pixel: as above, after one more feed-forward layer."""

    def __init__(self, dim: int, head_dim: int, context_dim: int):
        super().__init__()
        self.norm_in, self.ff_in = nn.LayerNorm(dim), FeedForward(dim)
        self.attn1 = Attention(dim, head_dim)
        self.ff = FeedForward(dim)
        self.norm2, self.attn2 = nn.LayerNorm(dim), Attention(dim, head_dim, context_dim)
        self.norm1, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "s n c"], context: Float[Tensor, "s d"]) -> Float[Tensor, "s n c"]:
        x = x + self.ff_in(self.norm_in(x))
        x = x + self.attn1.to_each_other(self.norm1(x))
        x = x + self.attn2.to_context(context)
        return x + self.ff(self.norm3(x))


def in_slices(block: nn.Module, x: Float[Tensor, "s n c"], context: Float[Tensor, "s d"]) -> Float[Tensor, "s n c"]:
    """block(x, context), of a few sequences at a time; they do not see each other."""
    size = max(1, TOKENS_AT_ONCE // x.shape[1])
    return torch.cat([block(*slices) for slices in zip(x.split(size), context.split(size), strict=True)])


class SpaceTimeTransformer(nn.Module):
    """Attention over the pixels of each image, then over views, then over frames, the last two blended with what was.

    `across_views`: whether the second really mixes views, as in the model of eight. The one of four was trained to mix,
    instead, as many neighbouring pixels of one view (tokens are put in order view, pixel and cut up into runs of v),
    and its weights expect that.
    """

    def __init__(self, channels: int, head_dim: int, clip_dim: int, latent_dim: int, emb_dim: int, across_views: bool):
        super().__init__()
        self.across_views = across_views
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([PixelBlock(channels, head_dim, clip_dim)])
        self.proj_out = nn.Linear(channels, channels)
        self.time_mix_blocks = nn.ModuleList([SequenceBlock(channels, head_dim, clip_dim)])
        self.motion_blocks = nn.ModuleList([SequenceBlock(channels, head_dim, latent_dim)])
        self.time_mix_time_embed = mlp(emb_dim, 4 * channels, channels)
        self.time_mix_motion_embed = mlp(channels, 4 * channels, channels)
        self.time_mixer, self.time_mixer_motion = Mix(), Mix()

    def forward(
        self,
        x: Float[Tensor, "n c h w"],
        emb: Float[Tensor, "n e"],
        clip: Float[Tensor, "t d"],
        views: Float[Tensor, "v l hl wl"],
    ) -> Float[Tensor, "n c h w"]:
        """`x`, `emb`: images and embeddings, n = t * v; `clip`: of the input's frames; `views`: latents of the views in
        the first frame, zeros if not known."""
        t, v, (h, w) = len(clip), len(views), x.shape[-2:]
        p = h * w
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        tokens = in_slices(self.transformer_blocks[0], tokens, clip.repeat_interleave(v, 0))
        tokens = tokens.unflatten(0, (t, v))

        view_emb = self.time_mix_time_embed(emb[:v])
        sequences = self.cut(tokens + view_emb[None, :, None])
        sequences = in_slices(self.time_mix_blocks[0], sequences, clip.repeat_interleave(p, 0))
        tokens = self.time_mixer(tokens, self.uncut(sequences, t, v))

        frame_emb = self.time_mix_motion_embed(sincos(torch.arange(t, device=x.device), x.shape[1]).to(x.dtype))
        sequences = (tokens + frame_emb[:, None, None]).permute(1, 2, 0, 3).flatten(0, 1)
        view_latents = F.interpolate(views, size=(h, w), mode="bilinear").flatten(2).transpose(1, 2).flatten(0, 1)
        sequences = in_slices(self.motion_blocks[0], sequences, view_latents)
        tokens = self.time_mixer_motion(tokens, sequences.unflatten(0, (v, p)).permute(2, 0, 1, 3))

        return self.proj_out(tokens.flatten(0, 1)).transpose(1, 2).unflatten(2, (h, w)) + x

    def cut(self, tokens: Float[Tensor, "t v p c"]) -> Float[Tensor, "tp v c"]:
        """Sequences of v tokens for the second attention."""
        t, v, p, c = tokens.shape
        if self.across_views:
            return tokens.transpose(1, 2).flatten(0, 1)
        return tokens.permute(1, 2, 0, 3).reshape(p, v, t, c).transpose(1, 2).flatten(0, 1)

    def uncut(self, sequences: Float[Tensor, "tp v c"], t: int, v: int) -> Float[Tensor, "t v p c"]:
        """What `cut` was given."""
        c = sequences.shape[-1]
        if self.across_views:
            return sequences.unflatten(0, (t, -1)).transpose(1, 2)
        return sequences.unflatten(0, (-1, t)).transpose(1, 2).reshape(v, -1, t, c).permute(2, 0, 1, 3)
