"""A scene: latents, decoder, key points, canonical Gaussians. Latent and time in, posed Gaussians out."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .decoder import LowRankDecoder, MLPDecoder
from .gaussians import CanonicalGaussians
from .latents import MotionLatents
from .skinning import Skin, find_neighbours, skin_by_radii, skinning_weights
from .types import Gaussians, RigidTransforms, SkinningWeights


class Scene(nn.Module):
    """Everything that a product needs of a trained motion space; imports nothing but torch."""

    neighbours: Int[Tensor, "n j"]

    def __init__(
        self,
        latents: MotionLatents,
        decoder: MLPDecoder | LowRankDecoder,
        keypoints: Float[Tensor, "k 3"],
        radii: Float[Tensor, " k"],
        gaussians: CanonicalGaussians,
        skin: Skin = skin_by_radii,
    ):
        """`skin`: what poses the Gaussians, torch's own or `rasterize.skinning.fused_skin`."""
        super().__init__()
        self.latents = latents
        self.decoder = decoder
        self.keypoints = nn.Parameter(keypoints.clone())
        self.log_radii = nn.Parameter(radii.log())
        self.gaussians = gaussians
        self.skin = skin
        self.register_buffer("neighbours", find_neighbours(gaussians.means, self.keypoints))

    @torch.no_grad()
    def refresh_neighbours(self) -> None:
        """Finds again which key points carry each Gaussian: after either of them were moved, added or removed."""
        found = find_neighbours(self.gaussians.means, self.keypoints)
        if found.shape == self.neighbours.shape:
            self.neighbours.copy_(found)  # in place: recorded steps read them where they are
        else:
            self.neighbours = found

    def trajectory(self, z: Float[Tensor, "b d"], t: Float[Tensor, " b"]) -> RigidTransforms:
        """Rigid transforms [b, k, ...] of the key points under latents z at times t in [0, 1)."""
        return self.decoder(self.keypoints, t, z)

    def skinning_weights(self) -> SkinningWeights:
        """Which key points carry each Gaussian, and how much."""
        return skinning_weights(self.gaussians.means, self.keypoints, self.log_radii, self.neighbours)

    def carry(self, transforms: RigidTransforms) -> Gaussians:
        """The Gaussians, posed by given key point transforms [b, k, ...]."""
        g = self.gaussians()
        means, quats = self.skin(g.means, g.quats, self.keypoints, self.log_radii, self.neighbours, transforms)
        return Gaussians(means, quats, g.scales, g.opacities, g.colors)

    def pose(self, z: Float[Tensor, "b d"], t: Float[Tensor, " b"]) -> Gaussians:
        """The object at times t under latents z: posed Gaussians with batch axis b."""
        return self.carry(self.trajectory(z, t))
