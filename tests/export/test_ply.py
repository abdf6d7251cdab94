"""The .ply files, read by plyfile and activated as 3D Gaussian splatting has it, render as the scene does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from dimo_ns.core.cameras import Cameras, orbit
from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.core.types import Gaussians
from dimo_ns.errors import DimoError
from dimo_ns.export.ply import Up, export_ply
from dimo_ns.rasterize.render import render
from dimo_ns.space.motion_space import MotionSpace
from tests.spaces import FRAMES, GAUSSIANS, some_space


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


def read(path: Path) -> Gaussians:
    """As the viewers of 3D Gaussian splatting read a file without view-dependent colours."""
    (vertex,) = PlyData.read(path).elements
    assert vertex.name == "vertex"
    assert all(p.val_dtype == "f4" for p in vertex.properties)

    def columns(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([vertex[name] for name in names], -1).astype(np.float32))

    assert not columns("nx", "ny", "nz").any()
    rotation = columns("rot_0", "rot_1", "rot_2", "rot_3")
    return Gaussians(
        columns("x", "y", "z"),
        rotation / rotation.norm(dim=-1, keepdim=True),
        columns("scale_0", "scale_1", "scale_2").exp(),
        1 / (1 + (-columns("opacity")[:, 0]).exp()),
        0.5 + columns("f_dc_0", "f_dc_1", "f_dc_2") / (2 * np.sqrt(np.pi)),
    )


def rendered(gaussians: Gaussians) -> torch.Tensor:
    """Colours and alpha before one camera."""
    K = torch.tensor([[80.0, 0, 32], [0, 80, 32], [0, 0, 1]])
    seen = render(gaussians, Cameras(orbit(torch.tensor([30.0]), 10.0, (64, 64)).viewmats, K[None], (64, 64)))
    return torch.cat([seen.color, seen.alpha], -1)


def test_files_that_are_read_again_render_as_the_scene_does(space: MotionSpace, tmp_path: Path):
    calls: list[tuple[int, int]] = []
    clips = space.clips(["walk", "sit"])
    export_ply(space, clips, tmp_path / "out", progress=lambda *call: calls.append(call), up="z")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["canonical", "sit", "walk"]
    with torch.no_grad():
        rest = rendered(space.scene.gaussians())
        torch.testing.assert_close(
            rendered(read(tmp_path / "out" / "canonical" / "canonical.ply")), rest, atol=1e-3, rtol=0
        )
        for clip in clips:
            names = sorted(p.name for p in (tmp_path / "out" / clip.name).iterdir())
            assert names == [f"frame{i:04d}.ply" for i in range(1, FRAMES + 1)]
            posed = space.scene.carry(clip.transforms)
            for frame in (0, FRAMES - 1):
                found = rendered(read(tmp_path / "out" / clip.name / names[frame]))
                expected = rendered(Gaussians(posed.means[frame], posed.quats[frame], *list(vars(posed).values())[2:]))
                torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
                assert (found - rest).abs().max() > 0.05  # it did move
    assert calls[-1] == (2 * FRAMES + 1, 2 * FRAMES + 1)


def test_every_value_survives(space: MotionSpace, tmp_path: Path):
    found = read(export_ply(space, [], tmp_path, up="z") / "canonical" / "canonical.ply")
    for name, expected in vars(space.scene.gaussians()).items():
        torch.testing.assert_close(getattr(found, name), expected.detach(), atol=1e-6, rtol=1e-5)


UPRIGHT = {
    "z": lambda x, y, z: (x, y, z),
    "y": lambda x, y, z: (y, z, x),  # as three.js shows a file: its y is up, and the front looks along z
    "y-down": lambda x, y, z: (-y, -z, x),  # SuperSplat turns it by half a turn about z, and is as three.js then
}


@pytest.mark.parametrize("up", UPRIGHT)
def test_axes_are_those_asked_for(space: MotionSpace, tmp_path: Path, up: Up):
    """Centres, and with them the whole ellipsoids."""
    found = read(export_ply(space, [], tmp_path, up=up) / "canonical" / "canonical.ply")
    g = space.scene.gaussians()
    turn = torch.stack([torch.stack(UPRIGHT[up](*column)) for column in torch.eye(3)], 1)
    torch.testing.assert_close(found.means, (g.means @ turn.T).detach(), atol=1e-6, rtol=0)
    axes, expected = (quat_to_matrix(x.quats) * x.scales[:, None] for x in (found, g))
    torch.testing.assert_close(axes @ axes.mT, (turn @ expected @ expected.mT @ turn.T).detach(), atol=1e-7, rtol=0)
    assert torch.linalg.det(turn) == 1
    (comment,) = PlyData.read(tmp_path / "canonical" / "canonical.ply").comments
    assert comment == f"dimo: at rest, up is {'-y' if up == 'y-down' else up}"


def test_a_file_says_its_frame_and_the_frame_rate(space: MotionSpace, tmp_path: Path):
    export_ply(space, space.clips(["walk"]), tmp_path)
    comments = PlyData.read(tmp_path / "walk" / "frame0003.ply").comments
    assert comments == [f"dimo: frame 3 of {FRAMES}, 8 frames per second, up is -y"]


def test_colours_are_in_the_range_that_viewers_show(tmp_path: Path):
    """All of them clamp; what is in a file is what they show."""
    space = some_space()
    with torch.no_grad():
        space.scene.gaussians.colors[:3] = torch.tensor([[-1.26, 0.5, 2.9], [0, 1, 0.25], [1.001, 0, 0]])
    found = read(export_ply(space, [], tmp_path) / "canonical" / "canonical.ply").colors[:3]
    expected = torch.tensor([[0, 0.5, 1], [0, 1, 0.25], [1, 0, 0]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.fixture
def splat_transform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of this name that notes how it is called, and copies what it is given."""
    script = tmp_path / "bin" / "splat-transform"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ -e {tmp_path}/broken ] && {{ echo oh no >&2; exit 1; }}\n'
        'while [ $# -gt 2 ]; do shift; done; cp "$1" "$2"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    return tmp_path


def test_smaller_files_are_made_by_splat_transform(space: MotionSpace, splat_transform: Path):
    out = splat_transform / "out"
    export_ply(space, space.clips(["walk"]), out)
    export_ply(space, space.clips(["walk"]), out, overwrite=True, format="sog")
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert found == ["canonical/canonical.sog", *(f"walk/frame{i:04d}.sog" for i in range(1, FRAMES + 1))]
    calls = (splat_transform / "calls").read_text().splitlines()
    assert len(calls) == 1 + FRAMES
    assert all(call.startswith("--quiet --gpu cpu --spz-version 3 /") for call in calls)
    (splat_transform / "broken").touch()
    with pytest.raises(DimoError, match=r"splat-transform could not make canonical\.spz \(oh no\)"):
        export_ply(space, [], out, overwrite=True, format="spz")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == found


def test_without_splat_transform_it_is_said_where_it_comes_from(
    space: MotionSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DimoError, match="npm install -g @playcanvas/splat-transform"):
        export_ply(space, [], tmp_path / "out", format="sog")
    assert not list(tmp_path.iterdir())


def test_faint_gaussians_are_left_out_when_asked(space: MotionSpace, tmp_path: Path):
    opacities = space.scene.gaussians().opacities
    kept = int((opacities >= 0.6).sum())
    assert 0 < kept < GAUSSIANS
    found = read(export_ply(space, [], tmp_path, min_opacity=0.6) / "canonical" / "canonical.ply")
    assert len(found.means) == kept
    assert float(found.opacities.min()) >= 0.6 - 1e-6
    with pytest.raises(DimoError, match=r"No Gaussian is left: .*0\.99.*--min-opacity"):
        export_ply(space, [], tmp_path / "none", min_opacity=0.99)


def test_folders_are_replaced_only_if_they_hold_nothing_but_frames(space: MotionSpace, tmp_path: Path):
    clips = space.clips(["walk"])
    export_ply(space, clips, tmp_path)
    with pytest.raises(DimoError, match=r"canonical\.ply is there already.*--overwrite"):
        export_ply(space, clips, tmp_path)
    clips[0].transforms = clips[0].transforms[:2]
    export_ply(space, clips, tmp_path, overwrite=True)
    assert len(list((tmp_path / "walk").iterdir())) == 2  # the old frames are gone
    (tmp_path / "walk" / "notes.txt").write_text("mine")
    with pytest.raises(DimoError, match=r"also holds 'notes\.txt'"):
        export_ply(space, clips, tmp_path, overwrite=True)
    assert (tmp_path / "walk" / "notes.txt").read_text() == "mine"


def test_motions_that_lead_out_of_the_folder_are_refused(space: MotionSpace, tmp_path: Path):
    clip = space.clips(["walk"])[0]
    for name in ("../walk", "a/b", "canonical"):
        clip.name = name
        with pytest.raises(DimoError, match="cannot name a folder"):
            export_ply(space, [clip], tmp_path / "out")
    assert not list(tmp_path.iterdir())
