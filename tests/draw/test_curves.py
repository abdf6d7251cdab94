"""Curves of a run, as its event files tell them."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from dimo_ns.draw.curves import read_scalars


def test_a_resumed_run_has_one_curve(tmp_path: Path):
    """Steps 5..9 were logged again after a resumption: the later values count."""
    for start, value in ((0, 1.0), (5, 2.0)):
        with SummaryWriter(str(tmp_path), filename_suffix=f".{start}") as events:
            for step in range(start, 10):
                events.add_scalar("Train Loss", value, step)
    steps, values = read_scalars(tmp_path)["Train Loss"]
    assert steps.tolist() == list(range(10))
    assert values.tolist() == [1.0] * 5 + [2.0] * 5
