"""Pictures of every kind are read alike; those without an object are refused, doubtful ones are taken and said."""

import numpy as np
import pytest
from PIL import Image

from dimo_ns.errors import DimoError
from dimo_ns.generate.framing import object_box
from dimo_ns.generate.image import place, read_picture
from tests.generate.clips import disc

PLAIN = disc(48, 40, 20)


def saved(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def test_alpha_is_taken_where_there_is_one_and_made_where_there_is_none(tmp_path):
    own = np.dstack([PLAIN, np.where(PLAIN[..., 2] < 200, 255, 0).astype(np.uint8)])
    given = read_picture(saved(tmp_path / "own.png", Image.fromarray(own)))
    made = read_picture(saved(tmp_path / "white.png", Image.fromarray(PLAIN)))
    assert np.array_equal(given.rgba[..., 3], own[..., 3])
    assert np.array_equal(made.rgba[..., 3] > 127, own[..., 3] > 127)
    assert given.notes == made.notes == ()
    assert not given.rgba[own[..., 3] == 0].any()


@pytest.mark.parametrize("kind", ["16 bit", "cmyk", "palette", "exif", "grey"])
def test_every_kind_of_image_shows_the_same_object(tmp_path, kind):
    image = Image.fromarray(PLAIN)
    grey = np.asarray(image.convert("L"))
    if kind == "16 bit":
        path = saved(tmp_path / "a.png", Image.fromarray(grey.astype(np.uint16) * 257))
    elif kind == "cmyk":
        path = saved(tmp_path / "a.jpg", image.convert("CMYK"), quality=95)
    elif kind == "palette":
        path = saved(tmp_path / "a.png", image.convert("P"))
    elif kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise
        path = saved(tmp_path / "a.jpg", image.rotate(90, expand=True), exif=exif, quality=95)
    else:
        path = saved(tmp_path / "a.png", image.convert("L"))
    picture = read_picture(path)
    solid = picture.rgba[..., 3] > 127
    expected = PLAIN[..., 2] < 200
    assert (solid != expected).mean() < 0.02
    light = picture.rgba[..., :3].mean(-1)[solid & expected].mean()
    reference = grey if kind in ("16 bit", "grey") else PLAIN.mean(-1)
    assert light == pytest.approx(reference[expected].mean(), rel=0.06)


def bad(path, kind):
    nothing = np.zeros((20, 20, 4), np.uint8)
    if kind == "absent":
        return path
    if kind == "text":
        path.write_text("not an image")
    elif kind == "cut off":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path, "PNG")
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "transparent":
        Image.fromarray(nothing).save(path)
    elif kind == "white":
        Image.new("RGB", (20, 20), "white").save(path)
    elif kind == "busy":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("absent", "There is no image at"),
        ("text", "not a readable PNG, JPEG or WebP"),
        ("cut off", "is damaged"),
        ("transparent", "shows nothing"),
        ("white", "shows nothing"),
        ("busy", "neither transparency nor a plain background; .*--matting"),
    ],
)
def test_a_picture_without_an_object_is_refused(tmp_path, kind, complaint):
    with pytest.raises(DimoError, match=complaint):
        read_picture(bad(tmp_path / "a.png", kind))


def test_an_object_that_is_cut_off_and_two_objects_are_said(tmp_path):
    rgba = np.zeros((60, 60, 4), np.uint8)
    rgba[20:40, 50:] = (200, 0, 0, 255)
    (note,) = read_picture(saved(tmp_path / "cut.png", Image.fromarray(rgba))).notes
    assert note.startswith("The object touches the right of the image")
    rgba[:] = 0
    rgba[10:20, 10:20] = rgba[30:45, 30:40] = (200, 0, 0, 255)
    rgba[55, 55] = (200, 0, 0, 255)  # a speck is no object
    (note,) = read_picture(saved(tmp_path / "two.png", Image.fromarray(rgba))).notes
    assert note.startswith("The image shows 2 separate things")


@pytest.mark.parametrize("size", [(480, 720), (704, 704), (64, 96)])
def test_placed_it_is_in_the_middle_over_white_and_keeps_its_proportions(size):
    rgba = np.zeros((60, 200, 4), np.uint8)
    rgba[5:35, 20:80] = (200, 0, 0, 255)
    shown = place(rgba, *size, room=0.5)
    assert shown.shape == (*size, 3)
    box = object_box(shown[None, ..., 1] < 128)
    assert box is not None
    left, top, right, bottom = box
    assert (right - left) / (bottom - top) == pytest.approx(2, abs=0.2)
    assert right - left == pytest.approx(0.5 * size[1] if size[1] <= 2 * size[0] else size[0], abs=2)
    assert left + right == pytest.approx(size[1], abs=2)
    assert top + bottom == pytest.approx(size[0], abs=2)
    assert (shown[0] == 255).all()
