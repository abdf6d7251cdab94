"""Pixels out of files: whatever the format, straight RGBA; alpha from masks and from white; damage is said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimo_ns.data.image_files import read_header
from dimo_ns.data.images import Source, read_rgba
from dimo_ns.errors import DimoError
from tests.data.tiny_sets import disc, on_white


def source(path: Path, mask: Path | None = None) -> Source:
    return Source(path, path.stat().st_size, False, mask)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_images_with_alpha_are_exact(tmp_path: Path, suffix: str):
    path, rgba = tmp_path / f"00.{suffix}", disc(0, 0, 0)
    Image.fromarray(rgba).save(path, lossless=True)
    header = read_header(path)
    assert (header.w, header.h, header.has_alpha) == (32, 32, True)
    np.testing.assert_array_equal(read_rgba(source(path)), rgba)


def test_palette_with_transparency_has_alpha(tmp_path: Path):
    path = tmp_path / "00.png"
    Image.fromarray(disc(0, 0, 0)).quantize(16).save(path)
    assert read_header(path).has_alpha
    assert read_rgba(source(path))[0, 0, 3] == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_alpha_from_white(tmp_path: Path, mode: str):
    """A hard-edged disc of a dark colour over white comes back as it is, also from an alpha channel that is all 255."""
    rgba = disc(0, 0, 0)
    rgba[rgba[..., 3] < 255] = 0
    path = tmp_path / "00.png"
    Image.fromarray(on_white(rgba)).convert(mode).save(path)
    np.testing.assert_array_equal(read_rgba(source(path)), rgba)


def test_alpha_from_white_composes_back(tmp_path: Path):
    """Over white the result is the picture again, up to the rounding of alpha and to 5 levels that count as white."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    picture[[0, -1]] = picture[:, [0, -1]] = 255
    Image.fromarray(picture).save(tmp_path / "00.png")
    rgba = read_rgba(source(tmp_path / "00.png"))
    assert np.abs(on_white(rgba).astype(int) - picture).max() <= 6
    distance = 255 - picture.min(axis=-1)
    assert (rgba[distance <= 5, 3] == 0).all()
    assert (rgba[distance >= 25, 3] == 255).all()


@pytest.mark.parametrize("colour", [0, 128, 240])
def test_no_alpha_and_no_white_background(tmp_path: Path, colour: int):
    path = tmp_path / "00.png"
    Image.fromarray(np.full((32, 32, 3), colour, np.uint8)).save(path)
    with pytest.raises(DimoError, match=r"00.png has neither transparency nor a white background"):
        read_rgba(source(path))


@pytest.mark.parametrize("kind", ["bool", "float", "uint8", "channel"])
def test_mask_beside_the_image(tmp_path: Path, kind: str):
    """The disc is white: only its mask tells it from the background."""
    mask = disc(0, 0, 0)[..., 3] > 127
    path, mask_path = tmp_path / "00.jpg", tmp_path / "00_mask.npy"
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(path)
    stored = {"bool": mask, "float": mask * 1.0, "uint8": np.uint8(mask) * np.uint8(255), "channel": mask[..., None]}
    np.save(mask_path, stored[kind])
    rgba = read_rgba(source(path, mask_path))
    np.testing.assert_array_equal(rgba[..., 3], mask * 255)
    np.testing.assert_array_equal(rgba[..., :3], np.where(mask, 255, 0)[..., None].repeat(3, -1))


@pytest.mark.parametrize("kind", ["grey", "1 bit", "16 bit", "0 and 1", "rgb", "jpeg", "alpha", "palette"])
def test_mask_as_a_picture_beside_the_image(tmp_path: Path, kind: str):
    """White is the object, or what is opaque in a mask that has transparency; the object itself is white too."""
    mask = disc(0, 0, 0)[..., 3] > 127
    path, mask_path = tmp_path / "00.png", tmp_path / ("00_mask.jpg" if kind == "jpeg" else "00_mask.png")
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(path)
    grey = np.uint8(mask) * np.uint8(255)
    image = {
        "grey": Image.fromarray(grey),
        "1 bit": Image.fromarray(mask),
        "16 bit": Image.fromarray(grey.astype(np.uint16) * 257),
        "0 and 1": Image.fromarray(np.uint8(mask)),
        "rgb": Image.fromarray(grey).convert("RGB"),
        "jpeg": Image.fromarray(grey),
        "alpha": Image.fromarray(np.dstack([np.zeros((32, 32, 3), np.uint8), grey])),
        "palette": Image.fromarray(grey).convert("P"),
    }[kind]
    image.save(mask_path, quality=100)
    rgba = read_rgba(source(path, mask_path))
    assert ((rgba[..., 3] > 127) == mask).all()
    if kind != "jpeg":
        np.testing.assert_array_equal(rgba[..., 3], mask * 255)
        np.testing.assert_array_equal(rgba[..., :3], np.where(mask, 255, 0)[..., None].repeat(3, -1))


def test_a_soft_mask_is_soft(tmp_path: Path):
    soft = disc(0, 0, 0)[..., 3]
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(tmp_path / "00.png")
    Image.fromarray(soft).save(tmp_path / "00_mask.png")
    assert np.mean((soft > 0) & (soft < 255)) > 0
    np.testing.assert_array_equal(read_rgba(source(tmp_path / "00.png", tmp_path / "00_mask.png"))[..., 3], soft)


def test_a_picture_that_is_turned_has_a_mask_of_what_it_shows(tmp_path: Path):
    """The mask is of the picture as a viewer shows it, whatever way it is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.new("RGB", (32, 16), "red").save(tmp_path / "00.png", exif=exif)
    mask = np.zeros((32, 16), np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "00_mask.png")
    np.testing.assert_array_equal(read_rgba(source(tmp_path / "00.png", tmp_path / "00_mask.png"))[..., 3], mask)
    np.save(tmp_path / "00_mask.npy", mask.T)
    with pytest.raises(DimoError, match=r"00_mask.npy is uint8\[16, 32\]; expected numbers \[32, 16\]"):
        read_rgba(source(tmp_path / "00.png", tmp_path / "00_mask.npy"))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("RGB", (32, 32), "red"), "has colours; expected grey: white is the object"),
        (Image.new("L", (8, 8)), r"is uint8\[8, 8\]; expected numbers \[32, 32\]"),
        (b"no picture", "is not a readable PNG, JPEG or WebP image"),
    ],
)
def test_bad_masks_as_pictures(tmp_path: Path, image: Image.Image | bytes, message: str):
    path, mask_path = tmp_path / "00.png", tmp_path / "00_mask.png"
    Image.new("RGB", (32, 32), "white").save(path)
    mask_path.write_bytes(image) if isinstance(image, bytes) else image.save(mask_path)
    with pytest.raises(DimoError, match="00_mask.png " + message):
        read_rgba(source(path, mask_path))


@pytest.mark.parametrize(
    "mask", [np.zeros((8, 8)), np.full((32, 32), np.nan), np.full((32, 32), -1.0), np.array([{}]), b"x"]
)
def test_bad_masks(tmp_path: Path, mask):
    path, mask_path = tmp_path / "00.png", tmp_path / "00_mask.npy"
    Image.new("RGB", (32, 32), "white").save(path)
    mask_path.write_bytes(mask) if isinstance(mask, bytes) else np.save(mask_path, mask)
    with pytest.raises(DimoError, match=r"00_mask.npy"):
        read_rgba(source(path, mask_path))


def test_damage_is_found_when_the_image_is_used(tmp_path: Path):
    path = tmp_path / "00.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 4)).astype(np.uint8)).save(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:200] + bytes(200) + content[400:]):
        path.write_bytes(damaged)
        assert read_header(path).w == 32
        with pytest.raises(DimoError, match=r"00.png is damaged"):
            read_rgba(source(path))
