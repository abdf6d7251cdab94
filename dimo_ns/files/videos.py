"""Videos that every browser and player takes: H.264 in .mp4, VP9 in .webm, .gif; the last two may be transparent.

Colours are converted, and said to be, by BT.709: what is untagged some players take for that and others for BT.601.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.errors import DimoError

Picture = UInt8[np.ndarray, "h w c"]
"""RGB, or RGBA with straight alpha."""
BT709, LIMITED = 1, 1
"""FFmpeg's numbers of these primaries, transfer and matrix, and of this range."""
MAX_SIDE, MAX_GIF_FPS = 16384, 50.0
"""What x264 takes at most, and what browsers show at most of a .gif."""
CLEAR, SOLID = 255, 128
"""In a .gif, the place of what is transparent in the palette; the least alpha of what is opaque."""


def write_video(path: Path, images: Iterable[Picture], fps: float, options: Mapping[str, str] | None = None) -> Path:
    """Writes pictures of one size to `path`, whose ending says what it becomes, and returns it; `options` are the
    codec's own. Raises DimoError for what such a file cannot hold, before more than the first picture is asked for."""
    pictures = iter(images)
    first = next(pictures, None)
    if first is None:
        raise DimoError(f"There are no pictures to make {path.name} of.")
    check_kind(path, fps, first.shape[2] == 4)
    check_size(path, first.shape)
    # Written at once: PyAV does not take a full disk well.
    path.write_bytes(WRITERS[path.suffix](chain([first], pictures), fps, options or {}))
    return path


def check_kind(path: Path, fps: float, transparent: bool) -> None:
    """Raises DimoError unless a file with this ending shows so many pictures a second, transparent ones or not."""
    if path.suffix == ".mp4" and transparent:
        raise DimoError("An .mp4 has no transparency; write a .webm, a .gif or a folder of pictures, or name a colour.")
    if path.suffix == ".gif" and fps > MAX_GIF_FPS:
        most = f"A .gif shows at most {MAX_GIF_FPS:g} pictures a second, and {fps:g} were asked for"
        raise DimoError(f"{most}; choose another --fps, or write a .webm.")


def check_size(path: Path, shape: tuple[int, ...]) -> None:
    """Raises DimoError unless a file with this ending holds pictures [h, w, ...] of that size."""
    h, w = shape[:2]
    if max(h, w) > MAX_SIDE:
        raise DimoError(f"Pictures of {w} x {h} pixels are too large for {path.name}; expected at most {MAX_SIDE:,}.")
    if path.suffix == ".mp4" and (h % 2 or w % 2):
        raise DimoError(
            f"Pictures of {w} x {h} pixels do not fit into {path.name}: H.264 holds even numbers of them; choose "
            f"{w + w % 2} x {h + h % 2}, or write a .webm or a folder of pictures."
        )


def even(image: Picture) -> UInt8[np.ndarray, "h2 w2 c"]:
    """The picture with its last column and row twice where they are odd ones: as an .mp4 holds it."""
    return np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")


def encoded(kind: str, codec: str, images: Iterator[Picture], fps: float, options: Mapping[str, str]) -> bytes:
    """The bytes of a file of this kind, its index first. Raises DimoError where PyAV or the codec is missing."""
    try:
        import av
        from av.codec.codec import UnknownCodecError
        from av.video.reformatter import ColorRange, Colorspace
    except ImportError as error:
        raise DimoError("Videos are written by PyAV, which is missing (pip install av); or name a folder.") from error
    content = io.BytesIO()

    def again(*_: object) -> io.BytesIO:
        """What was written, for the pass that puts the index before it."""
        return io.BytesIO(content.getvalue())

    first = next(images)
    alpha = first.shape[2] == 4
    fast = {"options": {"movflags": "faststart"}, "io_open": again} if kind == "mp4" else {}
    with av.open(content, "w", format=kind, **fast) as container:
        try:
            stream: Any = container.add_stream(codec, Fraction(fps).limit_denominator(1000), options=dict(options))
        except UnknownCodecError as error:
            raise DimoError(
                f"This PyAV cannot write .{kind} (pip install --force-reinstall av); or name a folder."
            ) from error
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuva420p" if alpha else "yuv420p"
        tagged = stream.codec_context
        tagged.color_primaries = tagged.color_trc = tagged.colorspace = BT709
        tagged.color_range = LIMITED
        if alpha:
            stream.metadata["alpha_mode"] = "1"
        for image in chain([first], images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba" if alpha else "rgb24")
            converted = frame.reformat(
                format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(converted))
        container.mux(stream.encode())
    return content.getvalue()


def mp4(images: Iterator[Picture], fps: float, options: Mapping[str, str]) -> bytes:
    return encoded("mp4", "libx264", images, fps, options)


def webm(images: Iterator[Picture], fps: float, options: Mapping[str, str]) -> bytes:
    fine = {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
    return encoded("webm", "libvpx-vp9", images, fps, fine | dict(options))


def gif(images: Iterator[Picture], fps: float, _: Mapping[str, str]) -> bytes:
    """Each picture with a palette of its own, shown for whole hundredths of a second that keep to the rate."""
    frames = [with_palette(image) for image in images]
    ends = [round(100 * i / fps) for i in range(len(frames) + 1)]
    content = io.BytesIO()
    frames[0].save(
        content, "GIF", save_all=True, append_images=frames[1:], duration=[10 * (b - a) for a, b in pairwise(ends)],
        loop=0, disposal=2, optimize=False,
    )  # fmt: skip
    return content.getvalue()


def with_palette(image: Picture) -> Image.Image:
    """The picture with at most 256 colours; one that has an alpha is transparent or opaque at each place."""
    picture = Image.fromarray(image[..., :3]).quantize(CLEAR)
    if image.shape[2] == 4:
        picture.paste(CLEAR, mask=Image.fromarray(image[..., 3] < SOLID))
        picture.info["transparency"] = CLEAR
    return picture


WRITERS: dict[str, Callable[[Iterator[Picture], float, Mapping[str, str]], bytes]] = {
    ".mp4": mp4,
    ".webm": webm,
    ".gif": gif,
}
"""By the ending of the file."""
