"""The other views of clips, each made in chunks of frames, which are items of a store."""

from collections.abc import Callable, Iterator
from itertools import takewhile

from dimo_ns.generate.clip_files import read_chunk, write_chunk
from dimo_ns.generate.items import Item, Items
from dimo_ns.generate.makers import Progress, ViewMaker
from dimo_ns.generate.matting import Rgb, Rgba
from dimo_ns.generate.multiview.chunks import chunk_starts, join
from dimo_ns.generate.tries import Try
from dimo_ns.generate.videos import VERSION


class ViewChunks:
    """The chunks that are in a store, and more of them."""

    def __init__(self, items: Items, frames: int, maker: ViewMaker, progress: Progress):
        """`frames`: of every clip. Raises DimoError if these cannot be divided into chunks."""
        self.items, self.frames, self.maker, self.progress = items, frames, maker, progress
        self.count = len(chunk_starts(frames, maker.window))

    def of(self, clip: Try) -> list[Item]:
        """All chunks of a clip, in their order."""
        inputs = {"version": VERSION, "clip": clip.item.key, "model": self.maker.about, "seed": clip.seed}
        return [Item(f"views/{clip.name}/{i:02d}", inputs) for i in range(self.count)]

    def make(self, clip: Try, pictures: Callable[[], Rgba]) -> bool:
        """Makes the chunks that are missing, from the pictures of the clip. False if another process is at them. Raises
        DimoError."""
        chunks = self.of(clip)
        if all(self.items.has(item) for item in chunks):
            return True
        with self.items.lock(f"views/{clip.name}") as mine:
            if not mine:
                return False
            finished = [read_chunk(self.items.path(item)) for item in takewhile(self.items.has, chunks)]
            made = self.maker.chunks(pictures(), clip.seed, finished, self.progress.step)
            for item, chunk in zip(chunks[len(finished) :], made, strict=True):
                self.items.make(item, lambda folder, chunk=chunk: write_chunk(folder, chunk))
        return True

    def views(self, clip: Try) -> Iterator[Rgb]:
        """The views of a clip, one after the other, over white."""
        chunks = [read_chunk(self.items.path(item)) for item in self.of(clip)]
        yield from join(chunks, self.frames)
