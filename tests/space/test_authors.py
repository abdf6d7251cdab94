"""A checkpoint in the authors' layout, written here, moves as their network does, evaluated here without ours."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData

from dimo_ns.errors import DimoError
from dimo_ns.space.authors import import_authors
from dimo_ns.space.motion_space import MotionSpace
from tests.space.authors_checkpoint import DIM, GAUSSIANS, KEYPOINTS, MOTIONS, vertices, write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder of files, and what is in them."""
    return tmp_path / "bear", write_checkpoint(tmp_path / "bear")


def features(x: np.ndarray, frequencies: int) -> np.ndarray:
    """sin 1x, cos 1x, sin 2x, cos 2x, sin 4x, ... each of all coordinates."""
    return np.concatenate([f(x * 2.0**k) for k in range(frequencies) for f in (np.sin, np.cos)], -1)


def transforms(content: dict[str, Any], motion: int, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Translations and rotation matrices of the key points in their world, layer by layer."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ content["network"][f"{name}.weight"].double().numpy().T + content["network"][f"{name}.bias"].numpy()

    times = np.full((KEYPOINTS, 1), t)
    z = np.tile(content["mu"][motion], (KEYPOINTS, 1))
    inputs = np.concatenate([features(content["keypoints"], 10), features(times, 6), z], 1)
    h = inputs
    for i in range(8):
        h = np.maximum(linear(f"deformnet.{i}", h), 0)
        if i == 4:
            h = np.concatenate([inputs, h], 1)
    translation = linear("pts_layers.2", np.maximum(linear("pts_layers.0", h), 0))
    w, x, y, z = (q := linear("rot_layers.2", np.maximum(linear("rot_layers.0", h), 0))).T / np.linalg.norm(q, axis=1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return translation, np.array(rows).transpose(2, 0, 1)


def to_ours(places: np.ndarray) -> np.ndarray:
    """Their y is up and they look from +z; our z is up and we look from +x."""
    return np.stack([places[..., 2], places[..., 0], places[..., 1]], -1)


def test_the_scene_moves_as_their_network_does(checkpoint, tmp_path: Path):
    folder, content = checkpoint
    path, notes = import_authors(folder, tmp_path / "scene", ["walk", "run", "sit"], frames=11)
    assert notes == []
    space = MotionSpace.open(path)
    assert (space.names, space.frames, space.info.object) == (["walk", "run", "sit"], 11, "bear")
    for motion, frame in ((0, 0), (1, 4), (2, 10)):
        translation, rotation = transforms(content, motion, frame / 11)
        assert 0.05 < np.abs(translation).mean() < 5  # it moves
        found = space.clips()[motion]
        expected = to_ours(content["keypoints"] + translation)
        np.testing.assert_allclose(found.positions[frame].numpy(), expected, atol=2e-4)

        distances = np.linalg.norm(content["means"][:, None] - content["keypoints"], axis=2)
        near = np.argsort(distances, 1)[:, :4]
        weights = np.exp(-(np.take_along_axis(distances, near, 1) ** 2) / (2 * content["radii"][near] ** 2)) + 1e-7
        weights /= weights.sum(1, keepdims=True)
        offsets = content["means"][:, None] - content["keypoints"][near]
        moved = (rotation[near] @ offsets[..., None])[..., 0] + (content["keypoints"] + translation)[near]
        carried = to_ours((weights[..., None] * moved).sum(1))
        posed = space.scene.carry(found.transforms[frame : frame + 1])
        np.testing.assert_allclose(posed.means[0].detach(), carried, atol=2e-4)


def test_gaussians_keep_their_shape_and_colour(checkpoint, tmp_path: Path):
    folder, content = checkpoint
    space = MotionSpace.open(import_authors(folder, tmp_path / "a.safetensors")[0])
    g = space.scene.gaussians()
    np.testing.assert_allclose(g.means.detach(), to_ours(content["means"]), atol=1e-6)
    np.testing.assert_allclose(g.colors.detach(), content["colors"], atol=1e-6)
    np.testing.assert_allclose(g.opacities.detach(), content["opacities"], atol=1e-6)

    def covariance(quats: torch.Tensor, scales: torch.Tensor) -> np.ndarray:
        from scipy.spatial.transform import Rotation

        axes = (
            Rotation.from_quat(quats.detach().numpy()[:, [1, 2, 3, 0]]).as_matrix() * scales.detach().numpy()[:, None]
        )
        return axes @ axes.transpose(0, 2, 1)

    theirs = covariance(torch.from_numpy(content["quats"]), torch.from_numpy(content["scales"]))
    turned = theirs[:, [2, 0, 1]][:, :, [2, 0, 1]]
    np.testing.assert_allclose(covariance(g.quats, g.scales), turned, atol=1e-7)
    assert space.names == ["motion_00", "motion_01", "motion_02"]
    assert space.frames == 21


@pytest.mark.parametrize("form", ["tensor", "embedding", "list", "module"])
def test_plain_codes_are_read_in_every_form(checkpoint, tmp_path: Path, form: str):
    folder, content = checkpoint
    (folder / "mu.pth").unlink()
    codes = torch.from_numpy(content["mu"]).float()
    forms = {
        "tensor": codes,
        "embedding": {"weight": codes},
        "list": [row[None] for row in codes],
        "module": OrderedDict((str(i), row) for i, row in enumerate(codes)),
    }
    torch.save(forms[form], folder / "latent_codes.pth")
    space = MotionSpace.open(import_authors(folder, tmp_path / "scene")[0])
    assert torch.equal(space.mu, codes)
    assert float(space.scene.latents.logvar.detach().exp().max()) < 1e-6  # a code, not a distribution


def test_colours_that_depend_on_the_view_are_said(checkpoint, tmp_path: Path):
    folder, _ = checkpoint
    table = PlyData.read(str(folder / "point_cloud.ply"))["vertex"].data
    columns = {name: np.array(table[name]) for name in table.dtype.names}  # the file is overwritten
    for value, expected in ((0.0, 0), (0.3, 1)):
        vertices(folder / "point_cloud.ply", **columns, f_rest_0=np.full(GAUSSIANS, value))
        _, notes = import_authors(folder, tmp_path / "scene", overwrite=True)
        assert len(notes) == expected
    assert "colours that depend on the view" in notes[0]


class Harmful:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def break_radius(folder: Path) -> None:
    vertices(folder / "point_cloud_c.ply", c_x=np.zeros(3), c_y=np.zeros(3), c_z=np.zeros(3))


def break_network(folder: Path) -> None:
    state = torch.load(folder / "timenet.pth", weights_only=True)
    torch.save({**state, "deformnet.3.weight": torch.zeros(2, 2)}, folder / "timenet.pth")


def break_pipe(folder: Path) -> None:
    (folder / "mu.pth").unlink()
    os.mkfifo(folder / "mu.pth")


def break_number(folder: Path) -> None:
    torch.save(torch.full((MOTIONS, DIM), torch.nan), folder / "mu.pth")


BROKEN = {
    "no gaussians": (lambda f: (f / "point_cloud.ply").unlink(), r"There is no point_cloud\.ply"),
    "no decoder": (lambda f: (f / "timenet.pth").unlink(), r"There is no timenet\.pth"),
    "no latents": (lambda f: (f / "mu.pth").unlink(), r"There is no latent_codes\.pth"),
    "a pipe of latents": (break_pipe, r"mu\.pth is a pipe"),
    "text": (lambda f: (f / "point_cloud.ply").write_text("hello"), "not a .ply file"),
    "cut short": (lambda f: (f / "timenet.pth").write_bytes((f / "timenet.pth").read_bytes()[:999]), "cannot be read"),
    "no radius": (break_radius, "has no 'c_radius'"),
    "another network": (break_network, "is not the decoder of the method"),
    "not a number": (break_number, "not finite in 'latents.mu'"),
    "a row less": (lambda f: torch.save(torch.zeros(MOTIONS - 1, DIM), f / "log_var.pth"), "log_var.pth"),
    "other latents": (lambda f: torch.save("hello", f / "mu.pth"), "does not hold latents"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_checkpoints_are_refused(checkpoint, tmp_path: Path, name: str):
    change, complaint = BROKEN[name]
    change(checkpoint[0])
    with pytest.raises(DimoError, match=complaint):
        import_authors(checkpoint[0], tmp_path / "scene")
    assert not (tmp_path / "scene").exists()


def test_code_in_the_files_is_not_run(checkpoint, tmp_path: Path):
    torch.save({"deformnet.0.weight": Harmful(tmp_path / "harm")}, checkpoint[0] / "timenet.pth")
    with pytest.raises(DimoError, match="could run code"):
        import_authors(checkpoint[0], tmp_path / "scene")
    assert not (tmp_path / "harm").exists()


def test_bad_arguments_are_refused(checkpoint, tmp_path: Path):
    folder, _ = checkpoint
    with pytest.raises(DimoError, match="3 motions, and 2 names"):
        import_authors(folder, tmp_path / "scene", ["a", "b"])
    with pytest.raises(DimoError, match="named 'a'"):
        import_authors(folder, tmp_path / "scene", ["a", "a", "b"])
    with pytest.raises(DimoError, match="cannot name a motion"):
        import_authors(folder, tmp_path / "scene", ["a", "b", "../c"])
    with pytest.raises(DimoError, match="cannot have 0 frames"):
        import_authors(folder, tmp_path / "scene", frames=0)
    import_authors(folder, tmp_path / "scene")
    with pytest.raises(DimoError, match="is there already"):
        import_authors(folder, tmp_path / "scene")
