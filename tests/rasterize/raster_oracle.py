"""An independent renderer to compare with: float64, every Gaussian against every pixel, gradients by plain autograd.

Written from the definitions (Jacobian matrices, covariance matrices, products over sorted Gaussians), not from the code
that it checks. Also the random scenes that the tests share.
"""

import math

import torch
from torch import Tensor


def rotation_from_quaternion(q: Tensor) -> Tensor:
    """[..., 4] wxyz -> [..., 3, 3], by rotating the basis vectors: v + 2 w (u x v) + 2 u x (u x v)."""
    q = q / q.norm(dim=-1, keepdim=True)
    u, w = q[..., None, 1:], q[..., None, :1]
    v = torch.eye(3, dtype=q.dtype).expand(*q.shape[:-1], 3, 3)
    cross = torch.linalg.cross(u.expand_as(v), v)
    return (v + 2 * w * cross + 2 * torch.linalg.cross(u.expand_as(v), cross)).transpose(-1, -2)


def project_one(means, quats, scales, viewmat, K, width, height, eps2d=0.3):
    """One camera: means2d [N, 2], inverse covariances [N, 2, 2], depths [N]."""
    points = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    x, y, z = points.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    # gsplat clamps the viewing direction, in the Jacobian alone, to 1.3 times the field of view
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    x_c = z * (x / z).clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    y_c = z * (y / z).clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * x_c / z**2, zero, fy / z, -fy * y_c / z**2], dim=-1).reshape(-1, 2, 3)
    S = torch.diag_embed(scales**2)
    R = rotation_from_quaternion(quats)
    JW = J @ viewmat[:3, :3]
    covariance = JW @ R @ S @ R.transpose(-1, -2) @ JW.transpose(-1, -2) + eps2d * torch.eye(2, dtype=z.dtype)
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    return means2d, torch.linalg.inv(covariance), z


def blend(means2d, precision, depths, opacities, features, width, height, max_alpha):
    """[N, ...] -> sums of weights times features [H, W, D], T_end [H, W, 1]. means2d may be [N, H * W, 2]."""
    order = depths.detach().float().argsort(stable=True)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(1, -1, 2).to(depths)
    if means2d.dim() == 2:
        means2d = means2d[:, None]
    d = (pixels - means2d)[order]
    sigma = 0.5 * torch.einsum("npi,nij,npj->np", d, precision[order], d)
    alpha = (opacities[order, None] * torch.exp(-sigma)).clamp(max=max_alpha)
    alpha = alpha * (alpha >= 1 / 255)
    alpha = alpha * (torch.cumprod(1 - alpha.detach(), dim=0) > 1e-4)
    T = torch.cumprod(1 - alpha, dim=0)
    weights = alpha * torch.cat([torch.ones_like(T[:1]), T[:-1]])
    return (weights.T @ features[order]).reshape(height, width, -1), T[-1].reshape(height, width, 1)


def render(means, quats, scales, opacities, colors, viewmats, Ks, width, height, backgrounds=None, max_alpha=0.999):
    """Batched [B, N, ...], [B, C, ...]: colours and expected depth [B, C, H, W, D + 1], alphas [B, C, H, W, 1]."""
    images, alphas = [], []
    for b in range(viewmats.shape[0]):
        for c in range(viewmats.shape[1]):
            means2d, precision, z = project_one(means[b], quats[b], scales[b], viewmats[b, c], Ks[b, c], width, height)
            color = colors[b] if colors.dim() == 3 else colors[b, c]
            features = torch.cat([color, z[:, None]], dim=-1)
            out, T = blend(means2d, precision, z, opacities[b], features, width, height, max_alpha)
            image, depth = out[..., :-1], out[..., -1:] / (1 - T).clamp(min=1e-10)
            image = image if backgrounds is None else image + T * backgrounds[b, c]
            images.append(torch.cat([image, depth], dim=-1))
            alphas.append(1 - T)
    shape = viewmats.shape[:2]
    return torch.stack(images).unflatten(0, shape), torch.stack(alphas).unflatten(0, shape)


def look_around(batch: tuple[int, ...], width: int, height: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cameras two units from the origin, looking at it from anywhere: viewmats, Ks (float64)."""
    generator = torch.Generator().manual_seed(seed)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(*batch, 1, 1)
    viewmats[..., :3, :3] = rotation_from_quaternion(torch.randn(*batch, 4, generator=generator, dtype=torch.float64))
    viewmats[..., 2, 3] = 2.0
    f = 1.6 * height
    K = torch.tensor([[f, 0, width / 2 + 1.3], [0, 0.9 * f, height / 2 - 0.7], [0, 0, 1]], dtype=torch.float64)
    return viewmats, K.expand(*batch, 3, 3)


def cloud(
    *batch: int, N: int = 200, channels: int = 3, seed: int = 0, opacity: float = 0.5, size: float = 0.05
) -> list[Tensor]:
    """Random Gaussians in float64: means, quats, scales, opacities, colors; ``opacity`` is the mean of the logits."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*batch, *shape, generator=generator, dtype=torch.float64)

    colors = torch.rand(*batch, N, channels, generator=generator, dtype=torch.float64)
    scales = size * torch.exp(0.6 * normal(N, 3))
    return [0.35 * normal(N, 3), normal(N, 4), scales, torch.sigmoid(1.5 * normal(N) + opacity), colors]


def error(got: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return float((got.double() - expected).abs().max() / expected.abs().max().clamp(min=math.ulp(0)))
