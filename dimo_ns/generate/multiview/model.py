"""The model as a whole: a clip of one view in, the other views out, chunk by chunk.

model = MultiView.load("sv4d2_8views.safetensors", "sv4d2_8views", "cuda")
views = model(frames, seed=1)  # [8, t, 576, 576, 3]
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dimo_ns.errors import DimoError

from .chunks import chunk_starts, join
from .conditioning import Condition, camera_vectors, from_images, on_white, to_images
from .encoders import SHRINK, Encoders
from .sampler import Network, denoise, sample
from .unet import UNet
from .variants import Variant, variant_named
from .weights import load

SIZE = 576
"""The side of the images that the published models were trained on, in pixels."""
Progress = Callable[[int, int], None]
"""Is given the steps that are done and all there are, over all chunks; may raise to stop."""


class MultiView:
    """Stable Video 4D 2.0."""

    def __init__(self, variant: Variant, unet: UNet, encoders: Encoders):
        self.variant, self.unet, self.encoders = variant, unet, encoders

    @classmethod
    def load(
        cls,
        weights_path: Path | str,
        variant: str,
        device: torch.device | str,
        dtype: torch.dtype = torch.float16,
        images_at_once: int = 4,
    ) -> "MultiView":
        """Reads the published safetensors file. `variant`: 'sv4d2' (four views) or 'sv4d2_8views'; `images_at_once`:
        through the autoencoder, fewer take less memory. Raises DimoError as `weights.load` does."""
        kind = variant_named(variant)
        networks = load(Path(weights_path), kind, torch.device(device), dtype)
        encoders = Encoders(networks["vae"], networks["image_encoder"], images_at_once)
        return cls(kind, networks["unet"], encoders)

    def __call__(
        self,
        frames: UInt8[np.ndarray, "t h w 4"],
        azimuths_deg: Sequence[float] | None = None,
        elevations_deg: Sequence[float] | None = None,
        *,
        seed: int = 0,
        steps: int = 50,
        progress: Progress | None = None,
    ) -> UInt8[np.ndarray, "v t h w 3"]:
        """The other views of a clip, over white; see `chunks`."""
        chunks = list(self.chunks(frames, azimuths_deg, elevations_deg, seed=seed, steps=steps, progress=progress))
        return join(chunks, len(frames))

    @torch.no_grad()
    def chunks(
        self,
        frames: UInt8[np.ndarray, "t h w 4"],
        azimuths_deg: Sequence[float] | None = None,
        elevations_deg: Sequence[float] | None = None,
        *,
        seed: int = 0,
        steps: int = 50,
        finished: Sequence[UInt8[np.ndarray, "v t2 h w 3"]] = (),
        progress: Progress | None = None,
    ) -> Iterator[UInt8[np.ndarray, "v t2 h w 3"]]:
        """The other views of a clip, over white, chunk after chunk as they are done; `join` makes one clip of them.

        `frames`: RGBA with straight alpha, square, the object in the middle. `azimuths_deg`, `elevations_deg`: of the
        input's view, then of those to make; by default the variant's own azimuths, and elevation 0. `finished`: chunks
        that an earlier call with the same arguments yielded; what is yielded is then the rest, the same to the last bit
        as without the break. Raises DimoError for frames, angles or finished chunks that do not fit.
        """
        azimuths = self.check_angles("azimuths", azimuths_deg, self.variant.azimuths_deg)
        elevations = self.check_angles("elevations", elevations_deg, [0.0] * len(azimuths))
        size = check_frames(frames)
        starts = chunk_starts(len(frames), self.variant.frames)
        shape = (self.variant.views, self.variant.frames, size, size, 3)
        if len(finished) > len(starts) or any(chunk.shape != shape for chunk in finished):
            raise DimoError(f"The finished chunks are not of this clip: it has {len(starts)}, each {list(shape)}.")
        if steps < 1:
            raise DimoError(f"{steps} steps were asked for; at least one is needed, and 50 are usual.")

        done = len(finished) * steps

        def after_step() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, len(starts) * steps)

        cameras = camera_vectors(azimuths, elevations)
        last = finished[-1] if finished else None
        for i in range(len(finished), len(starts)):
            known = None if last is None else last[:, starts[i] - starts[i - 1]]
            condition = self.condition(frames[starts[i] :][: self.variant.frames], cameras, known)
            noise = self.noise(seed, i, size // SHRINK)
            last = self.decode(self.sample(condition, noise, steps, after_step))
            yield last

    # --- one chunk --------------------------------------------------------------------------------------------------

    def condition(
        self,
        frames: UInt8[np.ndarray, "t h w 4"],
        cameras: Float[Tensor, "v e"],
        known: UInt8[np.ndarray, "v h w 3"] | None,
    ) -> Condition:
        """`known`: the views in the first of these frames, if the chunk before made them."""
        pixels = on_white(frames).to(self.device)
        latents = self.encoders.encode(pixels)
        if known is None:
            views = latents.new_zeros(len(cameras), *latents.shape[1:])
        else:
            views = self.encoders.encode(from_images(known))
        parts = (latents, self.encoders.embed(pixels), cameras, views)
        return Condition(*(part.to(self.device, self.dtype) for part in parts))

    def noise(self, seed: int, chunk: int, size: int) -> Float[Tensor, "t v l {size} {size}"]:
        """The same on every device, another for every chunk."""
        generator = torch.Generator().manual_seed((seed << 16) + chunk)
        shape = (self.variant.frames, self.variant.views, self.unet.latent_dim, size, size)
        return torch.randn(shape, generator=generator).to(self.device)

    def sample(
        self,
        condition: Condition,
        noise: Float[Tensor, "t v l h w"],
        steps: int,
        after_step: Callable[[], None] | None = None,
    ) -> Float[Tensor, "t v l h w"]:
        """Latents. The two predictions that guidance needs are made one after the other, which takes less memory."""
        under, without = self.network(condition), self.network(condition.dropped())
        weights = self.variant.guidance(*noise.shape[:2]).to(noise)[..., None, None, None]

        def guided(x: Tensor, sigma: float) -> Tensor:
            start = denoise(without, x, sigma)
            return start + weights * (denoise(under, x, sigma) - start)

        return sample(guided, noise, steps, after_step)

    def network(self, condition: Condition) -> Network:
        """The UNet under a condition: float32 in and out, whatever it computes in."""

        def predict(x: Float[Tensor, "t v l h w"], c_noise: Float[Tensor, ""]) -> Float[Tensor, "t v l h w"]:
            frames = condition.frames[:, None].expand(x.shape)
            cameras = condition.cameras.expand(len(x), -1, -1)
            both = torch.cat([x.to(frames), frames], 2)
            return self.unet(both, c_noise, cameras, condition.clip, condition.views).to(x)

        return predict

    def decode(self, latents: Float[Tensor, "t v l h8 w8"]) -> UInt8[np.ndarray, "v t h w 3"]:
        pixels = self.encoders.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
        return to_images(pixels.transpose(0, 1))

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    def check_angles(self, name: str, given: Sequence[float] | None, default: Sequence[float]) -> list[float]:
        """Raises DimoError unless there is one for each view, the input's included."""
        angles = [float(angle) for angle in (default if given is None else given)]
        count = self.variant.views + 1
        if len(angles) != count or not np.isfinite(angles).all():
            raise DimoError(
                f"'{self.variant.name}' needs {count} finite {name}, the input's view first; {len(angles)} were given."
            )
        return angles


def check_frames(frames: np.ndarray) -> int:
    """The side of the images. Raises DimoError for what the networks cannot take: they halve the sides six times."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 4:
        raise DimoError(
            f"The clip's frames are {frames.dtype} {list(frames.shape)}; expected uint8 [frames, height, width, 4]."
        )
    h, w = frames.shape[1:3]
    if h != w or h == 0 or h % 64:
        raise DimoError(
            f"The clip's frames are {w} x {h} pixels; expected squares whose side is a multiple of 64, best {SIZE}."
        )
    return h
