"""Cameras against known poses, intrinsics against fields of view, projections against products of matrices."""

import math

import pytest
import torch
import torch.nn.functional as F

from dimo_ns.core.cameras import Cameras, focal, from_fov, intrinsics, orbit, orbit_c2w, viewmats_from_c2w


@pytest.mark.parametrize(
    ("azimuth", "elevation", "eye", "right", "up"),
    [
        (0.0, 0.0, [2, 0, 0], [0, 1, 0], [0, 0, 1]),
        (90.0, 0.0, [0, 2, 0], [-1, 0, 0], [0, 0, 1]),
        (180.0, 0.0, [-2, 0, 0], [0, -1, 0], [0, 0, 1]),
        (0.0, 30.0, [math.sqrt(3), 0, 1], [0, 1, 0], [-0.5, 0, math.sqrt(3) / 2]),
        (0.0, 90.0, [0, 0, 2], [0, 1, 0], [-1, 0, 0]),  # from the top, as a camera that climbed there arrives
        (90.0, 90.0, [0, 0, 2], [-1, 0, 0], [0, -1, 0]),
        (0.0, -90.0, [0, 0, -2], [0, 1, 0], [1, 0, 0]),
    ],
)
def test_orbit_cameras_of_known_place(azimuth, elevation, eye, right, up):
    c2w = orbit_c2w(torch.tensor(azimuth), torch.tensor(elevation), 2.0)
    back = torch.tensor(eye) / 2.0  # OpenGL cameras look along -z, here at the origin
    expected = torch.stack([torch.tensor(right).float(), torch.tensor(up).float(), back, torch.tensor(eye).float()], -1)

    torch.testing.assert_close(c2w[:3], expected.float(), atol=1e-6, rtol=0)
    assert c2w[3].tolist() == [0, 0, 0, 1]


def test_orbit_cameras_are_upright_rotations_that_look_at_the_origin():
    azimuth, elevation = torch.linspace(0, 360, 13), torch.linspace(-80, 80, 13)
    c2w = orbit_c2w(azimuth, elevation, 1.5)
    right, up, back, eye = c2w[:, :3].unbind(-1)
    torch.testing.assert_close(back, F.normalize(eye, dim=-1))
    torch.testing.assert_close(
        right, F.normalize(torch.linalg.cross(torch.tensor([[0.0, 0, 1]]).expand(13, 3), back), dim=-1)
    )
    torch.testing.assert_close(up, torch.linalg.cross(back, right))


@pytest.mark.parametrize("elevation", [-90.0, 90.0])
def test_looking_straight_up_or_down_still_gives_a_rotation(elevation):
    c2w = orbit_c2w(torch.tensor(20.0), torch.tensor(elevation), 3.0)
    torch.testing.assert_close(c2w[:3, :3].T @ c2w[:3, :3], torch.eye(3))
    torch.testing.assert_close(torch.det(c2w[:3, :3]), torch.tensor(1.0))


def test_viewmats_invert_c2w_up_to_the_flip_of_y_and_z():
    c2w = orbit_c2w(torch.linspace(0, 350, 8), torch.linspace(-60, 60, 8), 2.0)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    torch.testing.assert_close(viewmats_from_c2w(c2w), flip @ torch.linalg.inv(c2w), atol=1e-6, rtol=0)


def test_orbit_cameras_see_the_origin_in_the_centre_and_up_as_up():
    viewmats = viewmats_from_c2w(orbit_c2w(torch.linspace(0, 350, 8), torch.linspace(-60, 60, 8), 2.0))
    origin, above = viewmats[:, :3, 3], viewmats[:, :3, 3] + 0.1 * viewmats[:, :3, 2]

    torch.testing.assert_close(origin, torch.tensor([0.0, 0.0, 2.0]).expand(8, 3), atol=1e-6, rtol=0)
    assert (above[:, 1] < 0).all()  # y is down in OpenCV axes
    torch.testing.assert_close(above[:, 0], torch.zeros(8), atol=1e-6, rtol=0)


def test_intrinsics_are_written_out_once():
    Ks = intrinsics(*torch.tensor([[10.0, 11.0], [20.0, 21.0], [3.0, 3.5], [4.0, 4.5]]))
    expected = [[[10, 0, 3], [0, 20, 4], [0, 0, 1]], [[11, 0, 3.5], [0, 21, 4.5], [0, 0, 1]]]
    assert Ks.tolist() == expected


@pytest.mark.parametrize("fovy", [20.0, 33.9, 90.0])
def test_a_point_at_the_edge_of_the_field_of_view_falls_on_the_edge_of_the_image(fovy):
    K = from_fov(torch.tensor(fovy), (40, 60))
    camera = Cameras(torch.eye(4), K, (40, 60))
    edge = math.tan(math.radians(fovy) / 2) * 5
    x, y, depth = camera.project(torch.tensor([[0.0, edge, 5.0]]))[0].tolist()
    assert (x, y, depth) == pytest.approx((30, 40, 5), abs=1e-4)
    assert float(K[1, 1]) == pytest.approx(focal(fovy, 40))


def test_projections_of_many_cameras_are_products_of_matrices():
    cameras = orbit(torch.tensor([0.0, 70.0, 200.0]), torch.tensor([0.0, 10.0, -20.0]), (40, 60))
    points = 0.3 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    projected = cameras.project(points)
    assert projected.shape == (3, 5, 3)
    for c, camera in enumerate(cameras[i] for i in range(3)):
        for n, point in enumerate(points):
            x, y, z = camera.Ks @ (camera.viewmats @ F.pad(point, (0, 1), value=1.0))[:3]
            torch.testing.assert_close(projected[c, n], torch.stack([x / z, y / z, z]))


def test_a_resized_camera_sees_the_same_part_of_the_world():
    camera = orbit(torch.tensor(30.0), torch.tensor(10.0), (40, 60))
    points = 0.3 * torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    expected = camera.project(points) * torch.tensor([2.0, 0.5, 1.0])
    resized = camera.resized((20, 120))
    assert resized.size == (20, 120)
    torch.testing.assert_close(resized.project(points), expected)


def test_cameras_are_indexed_as_tensors_are():
    cameras = orbit(torch.tensor([0.0, 70.0, 200.0]), torch.tensor([0.0, 10.0, -20.0]), (40, 60))
    assert len(cameras) == 3
    assert torch.equal(cameras[1].viewmats, cameras.viewmats[1])
    assert cameras[None].Ks.shape == (1, 3, 3, 3)
    assert torch.equal(cameras[torch.tensor([2, 0])].Ks, cameras.Ks[[2, 0]])


def test_one_elevation_serves_all_azimuths():
    azimuths = torch.tensor([0.0, 70.0, 200.0])
    one, each = orbit(azimuths, 12.0, (40, 60)), orbit(azimuths, torch.full((3,), 12.0), (40, 60))
    assert torch.equal(one.viewmats, each.viewmats)


def test_centres_are_where_the_cameras_were_put():
    azimuth, elevation = torch.linspace(0, 350, 8), torch.linspace(-60, 60, 8)
    expected = orbit_c2w(azimuth, elevation, 2.0)[:, :3, 3]
    torch.testing.assert_close(orbit(azimuth, elevation, (8, 8)).centres, expected)


def test_the_world_is_drawn_upright_and_not_mirrored():
    """Seen from +x, +y is to the right and +z up, and a camera at distance 2 has the origin at depth 2."""
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    camera = Cameras(orbit(torch.tensor(0.0), 0.0, (100, 100)).viewmats, K, (100, 100))
    seen = camera.project(torch.tensor([[0.0, 0, 0], [0, 0.2, 0], [0, 0, 0.2]]))
    torch.testing.assert_close(seen, torch.tensor([[50.0, 50, 2], [60, 50, 2], [50, 40, 2]]))


def test_one_camera_is_expanded_to_many():
    one = orbit(torch.tensor([30.0]), 10.0, (40, 60))
    many = one.expand(5)
    assert len(many) == 5
    assert torch.equal(many.viewmats[4], one.viewmats[0])
    assert one[0].expand(2, 3).Ks.shape == (2, 3, 3, 3)
    assert many.Ks.data_ptr() == one.Ks.data_ptr()
