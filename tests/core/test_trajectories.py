"""The table of explicit trajectories, and its quaternions made continuous."""

import torch
import torch.nn.functional as F

from dimo_ns.core.geometry import quat_multiply, quat_to_matrix
from dimo_ns.core.trajectories import TrajectoryTable


def wandering(motions: int = 3, frames: int = 40, keypoints: int = 5) -> TrajectoryTable:
    """Rotations that go round more than once in small steps, stored with random signs and lengths."""
    torch.manual_seed(0)
    steps = F.normalize(torch.randn(motions, frames, keypoints, 4) * 0.15 + torch.tensor([1.0, 0, 0, 0]), dim=-1)
    axis = F.normalize(torch.randn(motions, 1, keypoints, 3), dim=-1).expand(-1, frames, -1, -1)
    turn = torch.cat([torch.full_like(axis[..., :1], 0.98), 0.2 * axis], -1)
    quats = [F.normalize(torch.randn(motions, keypoints, 4), dim=-1)]
    for f in range(1, frames):
        quats.append(F.normalize(quat_multiply(quat_multiply(turn[:, f], steps[:, f]), quats[-1]), dim=-1))
    table = TrajectoryTable(motions, frames, keypoints)
    signs = torch.where(torch.rand(motions, frames, keypoints, 1) < 0.5, -1.0, 1.0)
    table.quats.data = torch.stack(quats, 1) * signs * (0.5 + torch.rand_like(signs))
    table.translations.data.normal_()
    return table


def test_a_new_table_is_no_motion():
    transforms = TrajectoryTable(2, 3, 4)(torch.tensor([0, 1]), torch.tensor([2, 0]))
    assert torch.equal(transforms.translations, torch.zeros(2, 4, 3))
    assert torch.equal(transforms.quats, torch.tensor([1.0, 0, 0, 0]).expand(2, 4, 4))


def test_rows_are_those_asked_for_with_unit_quaternions():
    table = wandering()
    motions, frames = torch.tensor([[2, 0], [1, 1]]), torch.tensor([[5, 0], [39, 7]])
    transforms = table(motions, frames)
    assert torch.equal(transforms.translations[1, 0], table.translations[1, 39])
    torch.testing.assert_close(transforms.quats[0, 0], F.normalize(table.quats[2, 5], dim=-1))


def test_continuous_quaternions_never_jump_and_are_the_same_rotations():
    table = wandering()
    raw = F.normalize(table.quats.detach(), dim=-1)
    assert ((raw[:, 1:] * raw[:, :-1]).sum(-1) < 0).any()  # the test would prove nothing otherwise

    found = table.continuous()
    assert ((found.quats[:, 1:] * found.quats[:, :-1]).sum(-1) > 0).all()
    assert (found.quats[:, 0, :, 0] >= 0).all()
    assert (found.quats[..., 0] < 0).any()  # going round once arrives at the other sign
    torch.testing.assert_close(quat_to_matrix(found.quats), quat_to_matrix(raw))
    assert torch.equal(found.translations, table.translations)


def test_continuous_is_a_copy():
    table = wandering()
    table.continuous().translations.zero_()
    assert table.translations.abs().min() > 0


def test_between_frames_it_is_between_them():
    table = wandering()
    motions, times = torch.tensor([1, 2, 0]), torch.tensor([3.0, 7.25, 99.0])
    found = table.at(motions, times)
    torch.testing.assert_close(found.translations[0], table.translations[1, 3])
    torch.testing.assert_close(found.translations[1], 0.75 * table.translations[2, 7] + 0.25 * table.translations[2, 8])
    torch.testing.assert_close(found.translations[2], table.translations[0, -1])  # beyond the end it stays as it is
    before, now, after = (
        quat_to_matrix(F.normalize(q, dim=-1)) for q in (table.quats[2, 7], found.quats[1], table.quats[2, 8])
    )
    torch.testing.assert_close(found.quats.norm(dim=-1), torch.ones(3, 5))

    def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.acos(((a.mT @ b).diagonal(dim1=-2, dim2=-1).sum(-1) - 1).clamp(-2, 2) / 2).detach()

    assert torch.all(apart(before, now) < apart(now, after))  # a quarter of the way, whatever the signs of quaternions
    torch.testing.assert_close(apart(before, now) + apart(now, after), apart(before, after), atol=1e-3, rtol=0)


def test_retimed_a_motion_is_what_it_was_at_other_times():
    """Key points that move evenly: they are where the times say, and stay within the clip."""
    table = TrajectoryTable(2, 9, 3)
    table.translations.data = torch.arange(9.0)[None, :, None, None].expand(2, 9, 3, 3).clone()
    table.retime(torch.stack([2 + 0.5 * torch.arange(9.0), 3 + torch.arange(9.0)]))
    torch.testing.assert_close(table.translations[0, :, 0, 0], 2 + 0.5 * torch.arange(9.0))
    torch.testing.assert_close(table.translations[1, :, 0, 0], (3 + torch.arange(9.0)).clamp(max=8))
