"""Frames that stay on a (pretended) device are those of the store, and each is uploaded once."""

import numpy as np
import pytest
import torch

from dimo_ns.data.frames import FrameStore
from dimo_ns.training.resident import ResidentFrames
from tests.pretend.cuda import pretend_cuda
from tests.pretend.pretended import CUDA
from tests.training.tiny_runs import MOTIONS, SIZE, flat, write_set

FRAMES = 3
ASKED = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 0]), torch.tensor([[0, 1], [1, 1], [0, 1]])
"""Two motions and both views; some frames more than once."""
REDUCED = (SIZE // 2, SIZE // 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Every frame is of another grey; one is missing."""
    root = tmp_path_factory.mktemp("data") / "grey"
    dataset = write_set(root, lambda m, v, f: flat(40 * MOTIONS.index(m) + 20 * int(v.name[-1]) + f + 1), FRAMES)
    del dataset.sources[MOTIONS[0], "view_01", 0]
    return FrameStore(dataset, MOTIONS, ("view_00", "view_01"))


@pytest.mark.parametrize("size", [(SIZE, SIZE), REDUCED])
def test_they_are_the_stores_and_are_uploaded_once(store: FrameStore, size: tuple[int, int], monkeypatch):
    expected, uploads = store.batch(*ASKED, size), []
    batch = FrameStore.batch

    def counted(self: FrameStore, *asked):
        uploads.append(len(asked[0]))
        return batch(self, *asked)

    monkeypatch.setattr(FrameStore, "batch", counted)
    with pretend_cuda():
        resident = ResidentFrames(store, CUDA)
        for _ in range(2):
            rows = resident.rows(*ASKED, size)
            held = resident.frames(size)
            assert held is not None
            assert held.device == CUDA
            assert torch.equal(held[rows.to(CUDA)].cpu().view(expected.shape), expected)
        assert not resident.holds_all(size)
        everything = np.argwhere(store.available)
        resident.rows(
            *(torch.from_numpy(everything[:, axis]) for axis in (0, 1)), torch.from_numpy(everything[:, 2:]), size
        )
        assert resident.holds_all(size)
    assert uploads == [4, len(everything) - 4]  # of the six that were asked for, three are one


def test_none_stay_where_the_set_takes_more_than_a_third_of_the_free_memory(store: FrameStore, monkeypatch):
    needed = int(store.available.sum()) * SIZE * SIZE * 4
    with pretend_cuda():
        for free, fits in ((3 * needed, True), (3 * needed - 1, False)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
            resident = ResidentFrames(store, CUDA)
            assert (resident.frames((SIZE, SIZE)) is not None) is fits
            assert len(resident.rows(*ASKED, (SIZE, SIZE))) == (6 if fits else 0)


def test_none_stay_on_a_cpu(store: FrameStore):
    resident = ResidentFrames(store, torch.device("cpu"))
    assert resident.frames(REDUCED) is None
    assert len(resident.rows(*ASKED, REDUCED)) == 0
