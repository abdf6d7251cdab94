"""A scene that is written and read again poses bit for bit the same; nothing else than what was written is believed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.errors import DimoError
from dimo_ns.rasterize.skinning import fused_skin
from dimo_ns.space.file import FILE, load_scene, save_scene
from dimo_ns.space.motion_space import MotionSpace

MOTIONS, KEYPOINTS, GAUSSIANS, DIM = 3, 16, 200, 8
INFO = {
    "motions": [{"name": name, "prompt": f"it {name}s"} for name in ("walk", "run", "sit")],
    "background": [1, 1, 1],
}


def some_scene(kind: str = "low_rank") -> Scene:
    """Random everywhere, the decoder's last layers too, so that every motion is another."""
    torch.manual_seed(0)
    scene = Scene(
        MotionLatents(MOTIONS, DIM),
        MLPDecoder(DIM) if kind == "mlp" else LowRankDecoder(KEYPOINTS, DIM, rank=6, width=24),
        0.3 * torch.randn(KEYPOINTS, 3),
        0.1 + torch.rand(KEYPOINTS),
        CanonicalGaussians(
            0.3 * torch.randn(GAUSSIANS, 3),
            0.01 + torch.rand(GAUSSIANS, 3),
            0.1 + 0.8 * torch.rand(GAUSSIANS),
            torch.rand(GAUSSIANS, 3),
        ),
        fused_skin,
    )
    with torch.no_grad():
        for parameter in [*scene.decoder.parameters(), scene.latents.mu]:
            parameter += 0.1 * torch.randn_like(parameter)
    return scene


@pytest.mark.parametrize("kind", ["mlp", "low_rank"])
def test_what_is_read_poses_bit_for_bit_like_what_was_written(kind: str, tmp_path: Path):
    scene = some_scene(kind)
    path = save_scene(scene, INFO, tmp_path / FILE)
    for place in (path, tmp_path):
        loaded, info = load_scene(place)
        z, t = scene.latents.mu.detach(), torch.tensor([0.0, 0.4, 0.9])
        for name, value in vars(scene.pose(z, t)).items():
            assert torch.equal(value, getattr(loaded.pose(z, t), name)), name
        assert info["motions"] == INFO["motions"]
        assert (info["latent_dim"], info["keypoints"], info["gaussians"]) == (DIM, KEYPOINTS, GAUSSIANS)
        expected = {"kind": "mlp"} if kind == "mlp" else {"kind": "low_rank", "rank": 6, "width": 24}
        assert info["decoder"] == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.json", FILE]  # nothing half-written is left


def test_a_scene_that_is_loaded_is_posed_by_the_fused_kernel_as_in_a_space(tmp_path: Path):
    path = save_scene(some_scene(), INFO | {"frames": 8, "fps": 8.0}, tmp_path / FILE)
    assert load_scene(path)[0].skin is MotionSpace.open(path).scene.skin is fused_skin


def test_neighbours_are_those_that_the_scene_had(tmp_path: Path):
    """Training looks for neighbours only now and then: what is rendered are those it had, not the ones of the day."""
    scene = some_scene()
    scene.neighbours = scene.neighbours.flip(1).roll(1, 0)
    loaded, _ = load_scene(save_scene(scene, INFO, tmp_path / FILE))
    assert torch.equal(loaded.neighbours, scene.neighbours)


def test_loading_leaves_random_numbers_alone(tmp_path: Path):
    path = save_scene(some_scene("mlp"), INFO, tmp_path / FILE)
    before = torch.get_rng_state()
    load_scene(path)
    assert torch.equal(before, torch.get_rng_state())


def test_loading_imports_neither_nerfstudio_nor_numba():
    code = "import sys, dimo_ns.space.file; assert not {'nerfstudio', 'numba', 'gsplat'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_scene_that_is_not_finite_is_not_written(tmp_path: Path):
    scene = some_scene()
    scene.gaussians.colors.data[7, 1] = torch.nan
    with pytest.raises(DimoError, match=r"not finite in 'gaussians\.colors'"):
        save_scene(scene, INFO, tmp_path / FILE)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_that_keeps_the_scene_before(tmp_path: Path, full_disk):
    path = save_scene(some_scene(), INFO, tmp_path / FILE)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with full_disk(), pytest.raises(DimoError, match=r"No space left on device.*choose another place"):
        save_scene(some_scene("mlp"), INFO, path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DimoError, match="where a folder was to be made"):
        save_scene(some_scene(), INFO, tmp_path / "taken" / FILE)


def test_a_new_folder_appears_with_both_files_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A program that dies between two renames would leave a scene that cannot be read, and is in the way."""
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((tmp_path / "new").exists())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    save_scene(some_scene(), INFO, tmp_path / "new" / FILE)
    assert not any(seen)  # until the last rename, that of the folder
    assert {path.name for path in (tmp_path / "new").iterdir()} == {FILE, "scene.json"}


def test_every_latent_needs_a_name(tmp_path: Path):
    with pytest.raises(DimoError, match="3 latents, but 1 motions"):
        save_scene(some_scene(), {"motions": [{"name": "walk"}]}, tmp_path / FILE)


def forge(folder: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], object]) -> None:
    """Rewrites both files after change(tensors, info), with a hash that fits again."""
    import hashlib

    tensors, info = load_file(folder / FILE), json.loads((folder / "scene.json").read_text())
    change(tensors, info)
    save_file(tensors, folder / FILE)
    info["sha256"] = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    (folder / "scene.json").write_text(json.dumps(info))


FORGERIES = {
    "other version": (lambda t, i: i.update(version=2), "format version 2"),
    "other format": (lambda t, i: i.update(format="gltf"), "does not describe a scene"),
    "sizes of the json": (lambda t, i: i.update(gaussians=5), "sizes in"),
    "rank of the json": (lambda t, i: i["decoder"].update(rank=5), "sizes in"),
    "no rank in the json": (lambda t, i: i["decoder"].pop("rank"), "sizes in"),
    "a motion less": (lambda t, i: i["motions"].pop(), "sizes in"),
    "not a number": (lambda t, i: t["keypoints"].view(-1)[:1].fill_(torch.nan), "not finite in 'keypoints'"),
    "infinite scale": (lambda t, i: t["gaussians.log_scales"].fill_(torch.inf), "not finite"),
    "a size that overflows": (lambda t, i: t["gaussians.log_scales"].fill_(100.0), "in 'scales' that are beyond"),
    "a place too far": (lambda t, i: t["gaussians.means"].fill_(3e38), "in 'means' that are beyond"),
    "a radius that overflows": (lambda t, i: t["log_radii"].fill_(100.0), "in 'radii' that are beyond"),
    "a row too many": (lambda t, i: t.update({"keypoints": torch.zeros(KEYPOINTS + 1, 3)}), "not those of a scene"),
    "a tensor missing": (lambda t, i: t.pop("latents.mu"), "not those of a scene"),
    "a tensor too many": (lambda t, i: t.update(extra=torch.zeros(2)), "not those of a scene"),
    "half precision": (lambda t, i: t.update(keypoints=t["keypoints"].half()), "not float32"),
    "a neighbour that is not there": (lambda t, i: t["neighbours"].fill_(KEYPOINTS), "not there"),
    "a negative neighbour": (lambda t, i: t["neighbours"].fill_(-1), "not there"),
    "a huge empty layer": (lambda t, i: t.update({"decoder.basis": torch.zeros(10**12, KEYPOINTS, 0)}), "empty"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", True, "'version' is true; expected a whole number"),
        ("version", "1", "'version' is \"1\"; expected a whole number"),
        ("version", None, "'version' is null; expected a whole number"),
        ("sha256", 5, "'sha256' is 5; expected a text"),
        ("motions", {"walk": 1}, "'motions' is {\"walk\": 1}; expected a list of objects"),
        ("motions", ["walk", "run", "sit"], "expected a list of objects"),
        ("keypoints", "16", "'keypoints' is \"16\"; expected a whole number from 1 to"),
        ("gaussians", 200.0, "'gaussians' is 200.0; expected a whole number from 1 to"),
        ("latent_dim", True, "'latent_dim' is true; expected a whole number from 1 to"),
        ("decoder", "low_rank", "'decoder' is \"low_rank\"; expected an object with named fields"),
        ("decoder", {"kind": 1}, "decoder: 'kind' is 1; expected 'mlp' or 'low_rank'"),
        ("decoder", {"kind": "low_rank", "rank": [6], "width": 24}, "decoder: 'rank' is [6]; expected a whole number"),
    ],
)
def test_a_value_of_another_type_is_named(key: str, value: object, words: str, tmp_path: Path):
    save_scene(some_scene(), INFO, tmp_path / FILE)
    described = tmp_path / "scene.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {key: value}))
    with pytest.raises(DimoError) as refused:
        load_scene(tmp_path)
    assert str(refused.value).startswith(str(described))
    assert words in str(refused.value)


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_scenes_are_refused(name: str, tmp_path: Path):
    change, complaint = FORGERIES[name]
    save_scene(some_scene(), INFO, tmp_path / FILE)
    forge(tmp_path, change)
    with pytest.raises(DimoError, match=complaint):
        load_scene(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent", "absent: nothing is there"),
        ("absent.safetensors", "absent.safetensors: nothing is there"),
        ("folder", "folder: scene.json is missing"),
        ("picture.png", "picture.png: picture.json is missing"),
    ],
)
def test_what_is_no_scene_is_called_as_the_user_calls_it(name: str, words: str, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "picture.png").touch()
    with pytest.raises(DimoError) as refused:
        load_scene(tmp_path / name)
    assert str(refused.value).startswith(f"There is no scene at {tmp_path}/{words}; expected {FILE} with scene.json")


@pytest.mark.parametrize("name", [FILE, "scene.json"])
def test_a_pipe_is_no_file_of_a_scene(name: str, tmp_path: Path):
    save_scene(some_scene(), INFO, tmp_path / FILE)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DimoError, match=f"{name} is a pipe, a socket or a device; expected a regular file"):
        load_scene(tmp_path)


def test_damaged_and_missing_files_are_refused(tmp_path: Path):
    path = save_scene(some_scene(), INFO, tmp_path / FILE)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DimoError, match="damaged"):
        load_scene(path)
    path.unlink()
    with pytest.raises(DimoError, match="cannot be read"):
        load_scene(path)
    (tmp_path / "scene.json").write_text("{")
    with pytest.raises(DimoError, match="not valid JSON"):
        load_scene(path)
