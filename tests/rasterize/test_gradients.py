"""Images and gradients of both CPU backends against the dense float64 oracle."""

import pytest
import torch

from dimo_ns.rasterize import rasterization
from tests.rasterize.raster_oracle import blend, cloud, error, look_around, project_one, render

TOLERANCE = 1e-4
NAMES = ("means", "quats", "scales", "opacities", "colors", "backgrounds")
W, H = 50, 37  # no multiples of the tile size


def _losses(out, alpha, v_out, v_alpha):
    return (out * v_out).sum() + (alpha * v_alpha).sum()


def _gradients(function, inputs, v_out, v_alpha):
    leaves = [t.detach().requires_grad_() for t in inputs]
    out, alpha = function(*leaves)[:2]
    return out.detach(), alpha.detach(), torch.autograd.grad(_losses(out, alpha, v_out, v_alpha), leaves)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize(("opacity", "max_alpha"), [(0.5, 0.999), (4.5, 0.999), (4.5, 0.99)])
def test_images_and_all_gradients_equal_float64_autograd(backend, opacity, max_alpha):
    # Logits around 4.5 saturate pixels and reach the cap, so early stops and cut gradients are covered.
    inputs = cloud(2, opacity=opacity)
    viewmats, Ks = look_around((2, 2), W, H)
    inputs.append(torch.rand(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    generator = torch.Generator().manual_seed(2)
    v_out = torch.randn(2, 2, H, W, 4, dtype=torch.float64, generator=generator)
    v_alpha = torch.randn(2, 2, H, W, 1, dtype=torch.float64, generator=generator)

    def oracle(*args):
        return render(*args[:5], viewmats, Ks, W, H, args[5], max_alpha)

    covered = oracle(*inputs)[1] > 0.05  # expected depth is a quotient: at the rim float32 knows few of its digits
    v_out[..., 3:] *= covered
    out, alpha, gradients = _gradients(oracle, inputs, v_out, v_alpha)

    def ours(*args):
        return rasterization(
            *args[:5], viewmats.float(), Ks.float(), W, H, backgrounds=args[5], render_mode="RGB+ED", backend=backend,
            max_alpha=max_alpha,
        )  # fmt: skip

    our_out, our_alpha, our_gradients = _gradients(ours, [t.float() for t in inputs], v_out.float(), v_alpha.float())
    assert error(our_alpha, alpha) < TOLERANCE
    assert error(our_out[..., :3], out[..., :3]) < TOLERANCE
    assert error(our_out[..., 3:] * covered, out[..., 3:] * covered) < TOLERANCE
    for name, ours_, expected in zip(NAMES, our_gradients, gradients, strict=True):
        assert error(ours_, expected) < TOLERANCE, name


@pytest.mark.parametrize("mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_render_modes_are_parts_of_one_image(mode, backend):
    # ED is D / alpha; the background shows behind colours and never in depth.
    args = [t.float() for t in (*cloud(1), *look_around((1, 1), W, H))]
    background = torch.tensor([[[0.2, 0.5, 0.9]]])
    full, alpha, _ = rasterization(*args, W, H, render_mode="RGB+D", backgrounds=background, backend=backend)
    out = rasterization(*args, W, H, render_mode=mode, backgrounds=background, backend=backend)[0]
    depth = full[..., 3:] / alpha.clamp(min=1e-10) if mode.endswith("ED") else full[..., 3:]
    expected = torch.cat([full[..., :3]] * mode.startswith("RGB") + [depth] * mode.endswith("D"), dim=-1)
    torch.testing.assert_close(out, expected)
    plain = rasterization(*args, W, H, backend=backend)[0]
    torch.testing.assert_close(full[..., :3], plain + (1 - alpha) * background[:, :, None, None], atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("depth", ["D", "ED"])
def test_depth_alone_has_the_gradients_of_the_depth_channel(backend, depth):
    args = [t.float() for t in cloud(1, opacity=3.0)]
    cameras = [t.float() for t in look_around((1, 2), W, H)]

    def loss(means, mode, take):
        out, alpha, _ = rasterization(means, *args[1:], *cameras, W, H, render_mode=mode, backend=backend)
        return (out[..., take] * (alpha.detach() > 0.05)).sum()

    means = args[0].requires_grad_()
    alone = torch.autograd.grad(loss(means, depth, slice(0, 1)), means)[0]
    beside = torch.autograd.grad(loss(means, f"RGB+{depth}", slice(3, 4)), means)[0]
    assert alone.abs().max() > 0
    assert error(alone, beside.double()) < 1e-5


@pytest.mark.parametrize("channels", [1, 3, 6, 12, 40])
@pytest.mark.parametrize("per_camera", [False, True])
def test_any_number_of_channels(channels, per_camera):
    # Channels are padded inside; per-camera colours get per-camera gradients.
    means, quats, scales, opacities, colors = cloud(1, channels=channels, N=60)
    viewmats, Ks = look_around((1, 2), W, H)
    if per_camera:
        colors = torch.stack([colors, colors.flip(1)], dim=1)
    v = torch.randn(1, 2, H, W, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradients(function, *leaves):
        leaves = [t.detach().requires_grad_() for t in leaves]
        out = function(*leaves)[0][..., :channels]
        return out.detach(), *torch.autograd.grad((out * v.to(out)).sum(), leaves)

    expected = gradients(lambda m, c: render(m, quats, scales, opacities, c, viewmats, Ks, W, H), means, colors)
    rest = [t.float() for t in (quats, scales, opacities)]
    cameras = [t.float() for t in (viewmats, Ks)]
    got = gradients(lambda m, c: rasterization(m, *rest, c, *cameras, W, H), means.float(), colors.float())
    for ours, oracle in zip(got, expected, strict=True):
        assert ours.shape == oracle.shape
        assert error(ours, oracle) < TOLERANCE


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_gradients_of_viewmats(backend):
    inputs, (viewmats, Ks) = cloud(1, N=80), look_around((1, 2), W, H)
    v = torch.randn(1, 2, H, W, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(function, viewmats):
        viewmats = viewmats.detach().requires_grad_()
        out, alpha = function(viewmats)[:2]
        return torch.autograd.grad((out * v.to(out) * (alpha.detach() > 0.05)).sum(), viewmats)[0]

    expected = gradient(lambda V: render(*inputs, V, Ks, W, H), viewmats)
    single = [t.float() for t in inputs]
    got = gradient(
        lambda V: rasterization(*single, V, Ks.float(), W, H, render_mode="RGB+ED", backend=backend), viewmats.float()
    )
    assert error(got[..., :3, :], expected[..., :3, :]) < TOLERANCE


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_absgrad_sums_the_magnitudes_of_every_pixels_gradient(backend):
    # Oracle: give every pixel its own copy of the 2D means and add up the absolute gradients of the copies.
    inputs, (viewmats, Ks) = cloud(1, N=80, opacity=2.0), look_around((1, 1), W, H)
    v = torch.randn(H, W, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    means2d, precision, z = project_one(*(t[0] for t in inputs[:3]), viewmats[0, 0], Ks[0, 0], W, H)
    copies = means2d[:, None].repeat(1, H * W, 1).requires_grad_()
    out, _ = blend(copies, precision, z, inputs[3][0], inputs[4][0], W, H, 0.999)
    expected = torch.autograd.grad((out * v).sum(), copies)[0]

    single = [t.float().requires_grad_() for t in inputs]
    cameras = [t.float() for t in (viewmats, Ks)]
    out, _, meta = rasterization(*single, *cameras, W, H, absgrad=True, backend=backend)
    meta["means2d"].retain_grad()
    (out[0, 0] * v.float()).sum().backward()
    assert meta["means2d"].shape == meta["means2d"].absgrad.shape == (1, 1, 80, 2)
    assert error(meta["means2d"].absgrad[0, 0], expected.abs().sum(1)) < TOLERANCE
    assert error(meta["means2d"].grad[0, 0], expected.sum(1)) < TOLERANCE


def test_second_derivatives_are_refused():
    # The hand-written backward pass has no derivative of its own: better an error than a wrong number.
    args = [t.float() for t in (*cloud(1, N=20), *look_around((1, 1), W, H))]
    args[0].requires_grad_()
    out = rasterization(*args, W, H)[0]
    (gradient,) = torch.autograd.grad(out.square().sum(), args[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
