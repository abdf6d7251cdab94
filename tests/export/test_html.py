"""The page as a file: it holds the space closely enough, asks for nothing, and takes no name for code."""

import base64
import errno
import hashlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from dimo_ns import cli
from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.scene import Scene
from dimo_ns.core.skinning import skinning_weights
from dimo_ns.errors import DimoError
from dimo_ns.export.html import save_html
from dimo_ns.export.html.pack import pack
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import MotionSpace
from tests.export.html_payload import Unpacked, read, read_page
from tests.spaces import DIM, FRAMES, GAUSSIANS, KEYPOINTS, NAMES, a_motion, some_space


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


def packed(space: MotionSpace, *names: str) -> tuple[dict, dict[str, np.ndarray]]:
    return read(pack(space, dict(zip(names, space.latents(*names), strict=True))))


class Elements(HTMLParser):
    """The elements of a page in order, and what stands directly in each kind of element."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside][-1] += data


# --- what it holds ----------------------------------------------------------------------------------------------------


def test_what_is_packed_is_the_space_to_within_the_steps_of_its_numbers(space: MotionSpace):
    """Half a step of a quantised number is the most that it can be off; of 16-bit floats, 2^-11 of the value."""
    header, arrays = packed(space, *NAMES)
    scene, g = space.scene, space.scene.gaussians()
    weights = skinning_weights(g.means, scene.keypoints, scene.log_radii, scene.neighbours)
    exact = {
        "means": (g.means, 2**16 - 1),
        "quats": (g.quats, 255),
        "log_scales": (g.scales.log(), 255),
        "opacities": (g.opacities[:, None], 255),
        "colors": (g.colors, 255),
        "weights": (weights.weights, 255),
    }
    for name, (values, largest) in exact.items():
        low, high = (np.array(header["arrays"][name][key]) for key in ("low", "high"))
        off = np.abs(arrays[name] - values.detach().double().numpy())
        assert (off <= 0.5001 * (high - low) / largest + 1e-7).all(), name
        assert off.max() > 0, name  # it is quantised at all
    assert np.array_equal(arrays["neighbours"], weights.indices.numpy())
    for name, value in scene.decoder.state_dict().items():
        np.testing.assert_allclose(arrays[f"decoder.{name}"], value, rtol=2**-11, atol=2**-25)
    for name, value in (("keypoints", scene.keypoints), ("mu", space.mu)):
        assert np.array_equal(arrays[name], value.detach().numpy())
    assert header["frames"] == FRAMES
    assert [(m["name"], m["loop"]) for m in header["motions"]] == [(n, n in ("walk", "run")) for n in NAMES]
    assert header["motions"][0]["seconds"] == pytest.approx((FRAMES - 1) / 8)


def test_a_decoder_that_is_too_heavy_leaves_its_trajectories():
    space = some_space("mlp")
    _, arrays = packed(space, "run", "walk")
    assert not any(name.startswith("decoder") for name in arrays)
    transforms = space.motion(space.latents("run", "walk"))
    exact = torch.cat([transforms.translations, transforms.quats], -1).detach()
    assert arrays["trajectories"].shape == (2, FRAMES, KEYPOINTS, 7)
    np.testing.assert_allclose(arrays["trajectories"], exact, rtol=2**-11, atol=2**-25)


def test_only_what_can_be_seen_is_packed():
    space = some_space()
    with torch.no_grad():
        space.scene.gaussians.logit_opacities[:100] = torch.logit(torch.tensor(0.99 / 255))
        space.scene.gaussians.logit_opacities[100] = torch.logit(torch.tensor(1.01 / 255))
    _, arrays = packed(space, "walk")
    kept = space.scene.gaussians.means[100:].detach()
    assert arrays["means"].shape == kept.shape
    np.testing.assert_allclose(arrays["means"], kept, atol=1e-4)


def test_an_object_that_cannot_be_seen_is_refused():
    space = some_space()
    with torch.no_grad():
        space.scene.gaussians.logit_opacities.fill_(-9)
    with pytest.raises(DimoError, match=f"All {GAUSSIANS} Gaussians .* fainter than 1/255"):
        packed(space, "walk")


def test_a_number_that_16_bits_cannot_hold_is_refused():
    space = some_space()
    with torch.no_grad():
        space.scene.decoder.basis[0, 0, 0] = 1e5
    with pytest.raises(DimoError, match=r"basis in 16-bit numbers.* larger than 65,504"):
        packed(space, "walk")


def test_fewer_key_points_than_neighbours_are_filled_up_without_weight():
    old = some_space().scene
    decoder = LowRankDecoder(2, DIM, rank=6, width=24)
    scene = Scene(old.latents, decoder, old.keypoints[:2].detach(), torch.full((2,), 0.15), old.gaussians)
    _, arrays = packed(MotionSpace(scene, some_space().info), "walk")
    assert arrays["neighbours"].shape == arrays["weights"].shape == (GAUSSIANS, 4)
    assert not arrays["weights"][:, 2:].any()
    assert arrays["neighbours"].max() == 1


def test_no_two_motions_fall_together_on_the_map():
    """Five latents of equal length along five axes: on two principal axes, which are any two, three fall together; on
    the map they can lie on a circle, each as far from the next as in a pentagon, and the trace says how large it is."""
    space = some_space()
    scene = space.scene
    scene.latents = type(scene.latents)(5, DIM)
    with torch.no_grad():
        scene.latents.mu.copy_(torch.eye(5, DIM))
    info = replace(space.info, motions=tuple(map(a_motion, "abcde")))
    _, arrays = packed(MotionSpace(scene, info), *"abcde")
    plane = arrays["plane"].astype(np.float64)
    np.testing.assert_allclose(plane @ plane.T, np.eye(2), atol=1e-5)
    places = (arrays["mu"] - arrays["centre"]) @ plane.T
    apart = np.linalg.norm(places[:, None] - places, axis=-1)[~np.eye(5, dtype=bool)]
    side = 2 * np.sqrt(2 / 5) * np.sin(np.pi / 5)  # a regular pentagon whose five squared radii sum to 2
    assert apart.min() > 0.9 * side


def test_the_outline_holds_the_object_in_all_frames(space: MotionSpace):
    """The farthest that any opaque splat goes along each axis, to within what few directions can tell."""
    _, arrays = packed(space, *NAMES)
    opaque = space.scene.gaussians().opacities > 0.3
    places = torch.cat(
        [space.scene.carry(motion[0]).means[:, opaque] for motion in map(space.motion, space.mu[:, None])]
    )
    places, outline = places.detach().reshape(-1, 3).numpy(), arrays["outline"]
    reach = np.ptp(places, axis=0)
    assert (np.abs(outline.max(0) - places.max(0)) < 0.1 * reach).all()
    assert (np.abs(outline.min(0) - places.min(0)) < 0.1 * reach).all()


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_page_holds_the_motions_that_were_asked_for_once_and_in_order(space: MotionSpace, tmp_path: Path):
    header, arrays = read_page(save_html(space, tmp_path / "new" / "page.html", ["sit", "walk", "sit"]))
    assert [m["name"] for m in header["motions"]] == ["sit", "walk"]
    assert np.array_equal(arrays["mu"], space.latents("sit", "walk").numpy())
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["page.html"]


def test_the_same_space_is_the_same_file(space: MotionSpace, tmp_path: Path):
    pages = [save_html(some_space(), tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_names_and_prompts_are_text_whatever_they_hold(tmp_path: Path):
    """The elements of the page are those of any page, and the hostile words come out of it as they went in."""
    space = some_space()
    plain = Elements(save_html(space, tmp_path / "plain.html").read_text("utf-8"))
    hostile = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;$payload"
    motions = (replace(space.motions[0], prompt=hostile), *space.motions[1:])
    info = replace(space.info, object=hostile, prompt=hostile, licence=hostile, motions=motions)
    path = save_html(MotionSpace(space.scene, info), tmp_path / "hostile.html")
    page = Elements(path.read_text("utf-8"))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.texts["title"] == [f"{hostile}: {hostile}"]
    assert page.texts["h1"] == [hostile]
    header, _ = read_page(path)
    assert header["object"] == header["licence"] == header["motions"][0]["prompt"] == hostile


def test_the_browser_may_run_the_pages_own_script_and_load_nothing(space: MotionSpace, tmp_path: Path):
    page = Elements(save_html(space, tmp_path / "page.html").read_text("utf-8"))
    (policy,) = (a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    script, style = (
        f"'sha256-{base64.b64encode(hashlib.sha256(page.texts[tag][-1].encode()).digest()).decode()}'"
        for tag in ("script", "style")
    )
    assert rules.pop("worker-src") == "blob:"
    assert rules.pop("img-src") == "data:"
    assert rules.pop("style-src") == style
    assert rules.pop("script-src") == script
    assert set(rules.values()) == {"'none'"}
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "action", "srcset") if key in a]
    assert addresses == ["data:,"]


def test_a_blend_is_a_motion_of_the_page_too(space: MotionSpace, tmp_path: Path):
    """As long as the nearest motion of the space, and a cycle as that is."""
    header, arrays = read_page(save_html(space, tmp_path / "page.html", ["sit", "walk:3,sit:1"]))
    blend = header["motions"][1]
    assert (blend["name"], blend["prompt"], blend["loop"]) == ("walk_3_sit_1", "", True)
    expected = 0.75 * space.latents("walk")[0] + 0.25 * space.latents("sit")[0]
    np.testing.assert_allclose(arrays["mu"][1], expected, atol=1e-6)


@pytest.mark.parametrize(("motions", "complaint"), [(["wlak"], "did you mean 'walk'"), (["walk:1,run:-1"], "no sum")])
def test_motions_that_are_not_there_are_refused(space: MotionSpace, tmp_path: Path, motions: list, complaint: str):
    with pytest.raises(DimoError, match=complaint):
        save_html(space, tmp_path / "page.html", motions)
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_where_that_was_asked_for(space: MotionSpace, tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(DimoError, match="--overwrite"):
        save_html(space, path)
    assert path.read_text() == "mine"
    assert read_page(save_html(space, path, overwrite=True))[0]["object"] == "thing"


def test_a_full_disk_leaves_what_was_there(space: MotionSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "page.html"
    path.write_text("mine")

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DimoError, match="No space left on device"):
        save_html(space, path, overwrite=True)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_place_that_is_no_place_for_a_file_is_refused(space: MotionSpace, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DimoError, match="give the page a file name"):
        save_html(space, tmp_path)
    with pytest.raises(DimoError, match=r"file"):
        save_html(space, tmp_path / "file" / "page.html")


def test_what_is_unpacked_moves_as_the_scene_does(space: MotionSpace):
    """All steps of the packing together, for every splat; a weight of a neighbour is off by 1/510 at most."""
    _, arrays = packed(space, *NAMES)
    unpacked = Unpacked(arrays, space)
    z, t = space.mu, torch.tensor([0.0, 0.2, 0.5, 0.8])
    moved, exact = unpacked.carry(unpacked.decode(z, t)), space.scene.pose(z, t)
    assert (moved.means - exact.means).norm(dim=-1).max() < 3e-3 * space.diameter


def test_the_command_writes_the_page(space: MotionSpace, tmp_path: Path, capsys: pytest.CaptureFixture):
    space.save(tmp_path / FILE)
    arguments = ["export", "html", str(tmp_path), "-o", str(tmp_path / "page.html"), "--motions", "sit", "wave"]
    cli.main(arguments)
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'page.html'}: 0.1 MB")
    assert [m["name"] for m in read_page(tmp_path / "page.html")[0]["motions"]] == ["sit", "wave"]
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    assert exit_info.value.code == 2
