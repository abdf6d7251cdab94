"""The map of latents: principal axes that keep distances."""

import pytest
import torch

from dimo_ns.draw.latent_map import principal


def test_principal_axes_of_a_plane_and_of_a_single_motion():
    """Points that lie in a plane keep their distances on the map; a single one is in its middle."""
    plane, _ = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    flat_points = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    places, shares, _ = principal(flat_points @ plane.T + 3)
    torch.testing.assert_close(torch.cdist(places, places), torch.cdist(flat_points, flat_points), atol=1e-4, rtol=0)
    assert float(shares.sum()) == pytest.approx(1.0)
    assert principal(torch.ones(1, 8))[0].tolist() == [[0.0, 0.0]]
