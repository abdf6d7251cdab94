"""Image files of every kind come as a viewer shows them: each depth, transparency and orientation."""

import io
import struct
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimo_ns.data.image_files import read_header, read_image

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
TURNED = {  # EXIF orientation -> what is stored of a picture that is to be shown so, by the definition in EXIF 2.3
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: np.ndarray, depth: int, colour: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG, by its specification: `samples` [h, w, c] of so many bits; chunks before and after the pixels."""
    h, w = samples.shape[:2]
    bits = (samples.reshape(h, -1, 1).astype(np.int64) >> np.arange(depth - 1, -1, -1)) & 1
    rows = b"".join(b"\0" + np.packbits(row.astype(np.uint8)).tobytes() for row in bits.reshape(h, -1))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")


def orientation(number: int) -> bytes:
    """EXIF that holds nothing else: a big-endian TIFF directory of one short."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, number, 0, 0)


def picture() -> np.ndarray:
    """Opaque RGB, 16 x 24, blocks of 8 in six colours, so that it differs from all that it can be turned to."""
    colours = np.array([[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[240, 240, 10], [10, 10, 10], [120, 120, 120]]])
    return colours.repeat(8, 0).repeat(8, 1).astype(np.uint8)


@pytest.mark.parametrize(
    ("colour", "depth"),
    [*((GREY, depth) for depth in (1, 2, 4, 8, 16)), *product((RGB, GREY_ALPHA, RGBA), (8, 16))],
)
@pytest.mark.parametrize("one_colour_is_clear", [False, True])
def test_every_depth_of_png(tmp_path: Path, colour: int, depth: int, one_colour_is_clear: bool):
    """A sample s of b bits is s / (2^b - 1): within the last of 8 bits. The chunk tRNS makes one colour transparent."""
    top, channels = 2**depth - 1, CHANNELS[colour]
    samples = np.random.default_rng(0).integers(0, top + 1, (6, 9, channels))
    before, alpha = b"", np.full((6, 9), 255.0)
    if colour in (GREY_ALPHA, RGBA):
        alpha = samples[..., -1] * 255 / top
    elif one_colour_is_clear:
        clear = samples[2, 3]
        before = chunk(b"tRNS", struct.pack(f">{channels}H", *clear))
        alpha = np.where((samples == clear).all(-1), 0.0, 255.0)
    path = tmp_path / "00.png"
    path.write_bytes(png(samples, depth, colour, before))
    got = read_image(path)
    colours = samples[..., : 1 if colour in (GREY, GREY_ALPHA) else 3] * 255 / top
    np.testing.assert_allclose(got[..., :3].astype(float), np.broadcast_to(colours, (6, 9, 3)), atol=1)
    np.testing.assert_allclose(got[..., 3].astype(float), alpha, atol=1)
    header = read_header(path)
    assert (header.w, header.h, header.has_alpha) == (9, 6, bool(before) or colour in (GREY_ALPHA, RGBA))


def test_a_dark_picture_of_16_bits_is_dark(tmp_path: Path):
    """What a sample means follows from the file's depth, not from the largest sample in it: 200 of 65535 is black."""
    path = tmp_path / "00.png"
    path.write_bytes(png(np.full((4, 4, 1), 200), 16, GREY))
    assert (read_image(path)[..., :3] == 1).all()  # 255 * 200 / 65535 = 0.78


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes(tmp_path: Path, depth: int):
    """Colours from PLTE, their alpha from tRNS; colours that tRNS does not reach are opaque."""
    samples = np.array([[0, 1], [1, 0]])[..., None]
    chunks = chunk(b"PLTE", bytes([200, 100, 50, 10, 20, 30])) + chunk(b"tRNS", bytes([64]))
    path = tmp_path / "00.png"
    path.write_bytes(png(samples, depth, PALETTE, chunks))
    expected = np.array([[200, 100, 50, 64], [10, 20, 30, 255]])[samples[..., 0]]
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_header(path).has_alpha


@pytest.mark.parametrize("number", TURNED)
@pytest.mark.parametrize("kind", ["jpeg", "webp", "png", "png, exif last", "png, xmp"])
def test_every_orientation(tmp_path: Path, number: int, kind: str):
    """What was turned for storing is shown as it was, and the header says the size of what is shown."""
    stored, path = np.ascontiguousarray(TURNED[number](picture())), tmp_path / "00"
    exif = orientation(number)
    if kind in ("jpeg", "webp"):
        options = {"quality": 95, "subsampling": 0} if kind == "jpeg" else {"lossless": True}
        Image.fromarray(stored).save(path, kind, exif=b"Exif\0\0" + exif, **options)
    elif kind == "png, xmp":
        xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{number}"/></x:xmpmeta>'.encode()
        path.write_bytes(png(stored, 8, RGB, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)))
    else:
        place = {"after" if kind == "png, exif last" else "before": chunk(b"eXIf", exif)}
        path.write_bytes(png(stored, 8, RGB, **place))
    header = read_header(path)
    assert (header.w, header.h) == (24, 16)
    np.testing.assert_allclose(read_image(path)[..., :3].astype(int), picture(), atol=0 if "png" in kind else 12)


def test_16_bits_are_turned_too(tmp_path: Path):
    grey = picture()[..., :1].astype(np.int64)
    path = tmp_path / "00.png"
    path.write_bytes(png(TURNED[6](grey * 257), 16, GREY, chunk(b"eXIf", orientation(6))))
    np.testing.assert_array_equal(read_image(path)[..., :1], grey)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"", b"MM\0*", b"nothing", orientation(0), orientation(77), orientation(6)[:-9]])
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, exif: bytes):
    path = tmp_path / "00.png"
    path.write_bytes(png(picture(), 8, RGB, chunk(b"eXIf", exif)))
    assert (read_header(path).w, read_header(path).h) == (24, 16)
    np.testing.assert_array_equal(read_image(path)[..., :3], picture())


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs(tmp_path: Path, mode: str, progressive: bool):
    """Grey, four inks as Photoshop writes them, and colours; nothing is transparent."""
    image = Image.fromarray(picture()).convert(mode)
    image.save(tmp_path / "00.jpg", quality=97, subsampling=0, progressive=progressive)
    got = read_image(tmp_path / "00.jpg")
    np.testing.assert_allclose(got[..., :3].astype(int), np.asarray(image.convert("RGB")).astype(int), atol=12)
    assert (got[..., 3] == 255).all()
    assert not read_header(tmp_path / "00.jpg").has_alpha


def test_a_jpeg_of_several_pictures_is_its_first(tmp_path: Path):
    """As phones write them: a picture and its preview or depth in one file."""
    first, second = Image.fromarray(picture()), Image.new("RGB", (8, 8))
    first.save(tmp_path / "00.jpg", "MPO", save_all=True, append_images=[second], quality=97, subsampling=0)
    np.testing.assert_allclose(read_image(tmp_path / "00.jpg")[..., :3].astype(int), picture(), atol=12)


@pytest.mark.parametrize("lossless", [False, True])
def test_webp(tmp_path: Path, lossless: bool):
    """Lossy WebP halves the colours' resolution; its alpha is exact."""
    rgba = np.dstack([picture(), np.full((16, 24), 255, np.uint8)])
    rgba[:, :8, 3], rgba[:8, 8:, 3] = 0, 100
    Image.fromarray(rgba).save(tmp_path / "00.webp", lossless=lossless, exact=True, quality=100)
    got = read_image(tmp_path / "00.webp")
    np.testing.assert_array_equal(got[..., 3], rgba[..., 3])
    if lossless:
        np.testing.assert_array_equal(got, rgba)
    assert read_header(tmp_path / "00.webp").has_alpha


def test_interlaced_png(tmp_path: Path):
    """Adam7, by hand: a picture of one pixel has one pass of one pixel."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, RGB, 0, 0, 1))
    data = chunk(b"IDAT", zlib.compress(b"\0\x01\x02\x03"))
    path = tmp_path / "00.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b""))
    np.testing.assert_array_equal(read_image(path), [[[1, 2, 3, 255]]])


def test_the_file_counts_not_its_ending(tmp_path: Path):
    content = io.BytesIO()
    Image.fromarray(picture()).save(content, "PNG")
    (tmp_path / "00.jpg").write_bytes(content.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "00.jpg")[..., :3], picture())
