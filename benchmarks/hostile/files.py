"""Files that are damaged, none at all, or pictures and videos of a wrong kind; each is a change of one file."""

import io
import os
import random
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.hostile.trees import Change, Named, writes

PNG = b"\x89PNG\r\n\x1a\n"


def of_bytes(path: Path, rng: random.Random) -> Iterator[Named]:
    """Of any file: its bytes."""
    content = path.read_bytes()
    for part in (0.0, 0.1, 0.5, 0.9):
        yield f"cut off at {part:.0%}", writes(content[: int(part * len(content))])
    yield "a byte short", writes(content[:-1])
    yield "a byte long", writes(content + b"\0")
    yield "a byte before", writes(b"\0" + content)
    yield "twice", writes(content * 2)
    yield "zeros", writes(bytes(len(content)))
    yield "noise", writes(rng.randbytes(len(content)))
    for where, most in (("at the beginning", 64), ("anywhere", len(content))):
        for count in (1, 10):
            flipped = bytearray(content)
            for _ in range(count):
                flipped[rng.randrange(min(most, len(content)))] ^= 1 << rng.randrange(8)
            yield f"{count} bits flipped {where}", writes(bytes(flipped))
    start = rng.randrange(len(content))
    yield "a hole", writes(content[:start] + bytes(len(content[start:][:1000])) + content[start + 1000 :])


def of_place(path: Path) -> Iterator[Named]:
    """Of any file: what is in its place."""

    def instead(make: Change) -> Change:
        def change(place: Path) -> None:
            place.unlink()
            make(place)

        return change

    def sparse(place: Path) -> None:
        with place.open("wb") as file:
            file.truncate(200 * 2**30)

    yield "missing", lambda place: place.unlink()
    yield "a folder", instead(lambda place: place.mkdir())
    yield "a pipe", instead(os.mkfifo)
    yield "a link to itself", instead(lambda place: place.symlink_to(place.name))
    yield "a link to nothing", instead(lambda place: place.symlink_to("nothing"))
    yield "a link out", instead(lambda place: place.symlink_to("/etc/hostname"))
    yield "no end", instead(lambda place: place.symlink_to("/dev/zero"))
    yield "unreadable", instead(lambda place: place.symlink_to("/proc/self/mem"))
    yield "200 GB", instead(sparse)


def of_folder(path: Path) -> Iterator[Named]:
    """Of a folder of input."""
    yield "nothing in it", lambda place: [shutil.rmtree(place), place.mkdir()]
    yield "a file in its place", lambda place: [shutil.rmtree(place), place.write_text("x")]
    yield "a link in a circle", lambda place: (place / "circle").symlink_to(place)
    yield "a name that is not Unicode", lambda place: os.mkdir(os.fsencode(place) + b"/\xff")
    yield "a name of markup", lambda place: (place / "<b>[red]\n{x}").mkdir()
    yield "a pipe beside", lambda place: os.mkfifo(place / "pipe.mp4")


def of_image(path: Path) -> Iterator[Named]:
    """Of a picture."""
    with Image.open(path) as image:
        picture = image.convert("RGBA")
    w, h = picture.size
    for mode in ("1", "L", "LA", "P", "RGB", "I;16", "I", "F"):
        yield (
            f"mode {mode}",
            lambda place, mode=mode: (
                picture.convert("L" if ";" in mode else mode)
                .convert(mode)
                .save(place, "TIFF" if mode in "IF" else "PNG")
            ),
        )
    for kind in ("JPEG", "WEBP", "GIF", "BMP", "ICO", "PPM"):
        yield kind, lambda place, kind=kind: picture.convert("RGB").save(place, kind)
    yield "CMYK", lambda place: picture.convert("RGB").convert("CMYK").save(place, "JPEG")
    for size in ((w + 1, h), (1, 1), (w, h // 2), (3000, 1)):
        yield f"{size} pixels", lambda place, size=size: picture.resize(size).save(place, "PNG")
    for colour in ((0, 0, 0, 0), (0, 0, 0, 255), (255, 255, 255, 255), (255, 0, 0, 1)):
        yield f"all {colour}", lambda place, colour=colour: Image.new("RGBA", (w, h), colour).save(place, "PNG")
    for size in ((0, 0), (0, h), (2**31 - 1, 2**31 - 1), (60_000, 60_000), (2**31, 1), (w, h)):
        yield f"header of {size}", writes(PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 6, 0, 0, 0)))
    bomb = zlib.compress(bytes(2**27))
    yield (
        "bomb",
        writes(
            PNG
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 5000, 5000, 8, 6, 0, 0, 0))
            + chunk(b"zTXt", b"x\0\0" + bomb)
            + chunk(b"IDAT", bomb)
            + chunk(b"IEND", b"")
        ),
    )
    yield "SVG", writes("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    yield "moving", lambda place: picture.save(place, "PNG", save_all=True, append_images=[picture, picture])


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def of_video(path: Path) -> Iterator[Named]:
    """Of a video."""
    text = {
        "a text": "no video",
        "a playlist": "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "a playlist of the network": "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.mp4\n#EXT-X-ENDLIST\n",
        "a list of files": "ffconcat version 1.0\nfile /etc/passwd\n",
        "subtitles": "1\n00:00:00,000 --> 00:00:01,000\n<b>x</b>\n",
        "SDP": "v=0\nc=IN IP4 127.0.0.1\nm=video 9999 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }
    for what, content in text.items():
        yield what, writes(content)
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    for kind in ("PNG", "GIF", "JPEG"):
        yield kind, lambda place, kind=kind: Image.fromarray(noise).save(place, kind)
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.roll(noise, f)) for f in range(300)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    yield "long", writes(buffer.getvalue())
    riff = b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    yield "sound", writes(riff + b"data" + struct.pack("<I", 2000) + bytes(2000))


def of_ply(path: Path) -> Iterator[Named]:
    """Of a .ply file."""
    content = path.read_bytes()
    header, end, rest = content.partition(b"end_header\n")
    count = next(line for line in header.splitlines() if line.startswith(b"element"))
    first = next(line for line in header.splitlines() if line.startswith(b"property"))
    for number in (b"0", b"1", b"-1", b"99999999", b"9" * 30, b"x"):
        yield f"{number.decode()} vertices", writes(content.replace(count, b"element vertex " + number))
    for line in (
        b"property list uchar float x",
        b"property double x",
        b"property float \xff",
        b"",
        b"property float z",
    ):
        yield f"first property {line!r}", writes(header.replace(first, line) + end + rest)
    for kind in (b"ascii", b"binary_big_endian", b"x"):
        yield f"format {kind.decode()}", writes(content.replace(b"binary_little_endian", kind))
    for number in (float("nan"), float("inf"), 3e38, -3e38, 1e4):
        values = struct.pack("<f", number) * (len(rest) // 4)
        yield f"all {number}", writes(header + end + values)
    yield "no end of the header", writes(header)
    yield "long header", writes(header + b"comment x\n" * 10**6 + end + rest)
