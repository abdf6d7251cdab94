"""Splitting Gaussians, and optimizers that go on as if nothing had happened to the rows that stay."""

import pytest
import torch

from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.training.population import most_pulled, replace_parameter, split

ROWS = torch.tensor([4, 1, 9])


def some_gaussians(count: int = 12, scale: float = 0.1) -> CanonicalGaussians:
    torch.manual_seed(0)
    return CanonicalGaussians(
        torch.randn(count, 3),
        scale * (0.5 + torch.rand(count, 3)),
        torch.full((count,), 0.3),
        torch.rand(count, 3),
        torch.randn(count, 4),
    )


def halves_of(gaussians: CanonicalGaussians, rows: torch.Tensor, seed: int = 0):
    grown, origin = split(gaussians, rows, torch.Generator().manual_seed(seed))
    return grown, origin, torch.arange(len(gaussians), len(gaussians) + len(rows))


def test_a_split_adds_one_row_per_row_at_the_end_and_says_where_from():
    grown, origin, _ = halves_of(some_gaussians(), ROWS)
    assert len(grown) == 15
    assert origin.tolist() == [*range(12), 4, 1, 9]


def test_rows_that_are_not_split_stay_bitwise_and_so_do_all_rotations_opacities_and_colours():
    gaussians = some_gaussians()
    grown, origin, _ = halves_of(gaussians, ROWS)
    kept = [i for i in range(12) if i not in ROWS]
    for name, value in gaussians.state_dict().items():
        assert torch.equal(grown.state_dict()[name][kept], value[kept]), name
    for name in ("quats", "logit_opacities", "colors"):
        assert torch.equal(grown.state_dict()[name], gaussians.state_dict()[name][origin]), name


def test_both_halves_are_smaller_by_1_4_and_lie_opposite_each_other():
    gaussians = some_gaussians()
    grown, _, second = halves_of(gaussians, ROWS)
    scales = gaussians().scales[ROWS] / 1.4

    torch.testing.assert_close(grown().scales[ROWS], scales)
    torch.testing.assert_close(grown().scales[second], scales)
    torch.testing.assert_close((grown.means[ROWS] + grown.means[second]) / 2, gaussians.means[ROWS])
    assert ((grown.means[ROWS] - grown.means[second]).norm(dim=-1) > 0).all()


def test_halves_lie_within_the_gaussian_that_they_came_from():
    # A needle along z, turned by a quarter turn about y, is a needle along x.
    half = 0.5**0.5
    needle = CanonicalGaussians(
        torch.zeros(1, 3), torch.tensor([[1e-4, 1e-4, 1.0]]), torch.tensor([0.5]), torch.zeros(1, 3),
        torch.tensor([[half, 0, half, 0]]),
    )  # fmt: skip
    many = needle.select(torch.zeros(500, dtype=torch.long))
    grown, _, second = halves_of(many, torch.arange(500))
    offsets = grown.means.detach()[second]
    assert offsets[:, 1:].abs().max() < 1e-3
    assert float(offsets[:, 0].std()) == pytest.approx(0.7, abs=0.1)


def test_a_split_is_repeatable_and_leaves_the_original_alone():
    gaussians = some_gaussians()
    before = gaussians.means.detach().clone()
    assert torch.equal(halves_of(gaussians, ROWS)[0].means, halves_of(gaussians, ROWS)[0].means)
    assert not torch.equal(halves_of(gaussians, ROWS)[0].means, halves_of(gaussians, ROWS, seed=1)[0].means)
    assert torch.equal(gaussians.means, before)


def test_splitting_nothing_changes_nothing():
    gaussians = some_gaussians()
    grown, origin, _ = halves_of(gaussians, torch.zeros(0, dtype=torch.long))
    assert torch.equal(grown.means, gaussians.means)
    assert origin.tolist() == list(range(12))


def test_the_most_pulled_are_the_largest_and_no_more_than_there_are():
    pull = torch.tensor([0.1, 5.0, 0.0, 2.0])
    assert most_pulled(pull, 2).tolist() == [1, 3]
    assert sorted(most_pulled(pull, 9).tolist()) == [0, 1, 2, 3]
    assert len(most_pulled(pull, 0)) == 0


def optimizer_after_steps(p: torch.nn.Parameter, fused: bool) -> torch.optim.Adam:
    optimizer = torch.optim.Adam([p], lr=0.1, fused=fused)
    for n in range(3):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(n))
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("fused", [False, True])
def test_moments_follow_rows_that_stay_and_those_of_doubled_rows_begin_at_zero(fused):
    p = torch.nn.Parameter(torch.randn(6, 3))
    optimizer = optimizer_after_steps(p, fused)
    old = {name: value.clone() for name, value in optimizer.state[p].items()}
    origin = torch.tensor([0, 2, 3, 5, 3])  # rows 1 and 4 go, row 3 is doubled
    new = torch.nn.Parameter(p.detach()[origin])
    replace_parameter(optimizer, new, origin)

    assert optimizer.param_groups[0]["params"] == [new]
    assert list(optimizer.state) == [new]  # nothing keeps the old one alive
    for name in ("exp_avg", "exp_avg_sq"):
        value = optimizer.state[new][name]
        assert torch.equal(value[[0, 1, 3]], old[name][[0, 2, 5]])
        assert (value[[2, 4]] == 0).all()
    assert torch.equal(optimizer.state[new]["step"], old["step"])


@pytest.mark.parametrize("fused", [False, True])
def test_rows_that_stay_go_on_as_if_they_had_always_been_alone(fused):
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(6, 3))
    twin = torch.nn.Parameter(p.detach().clone())
    optimizer, whole = optimizer_after_steps(p, fused), optimizer_after_steps(twin, fused)
    rows = torch.tensor([5, 0, 2])
    kept = torch.nn.Parameter(p.detach()[rows])
    replace_parameter(optimizer, kept, rows)

    twin.grad = torch.randn(6, 3)
    kept.grad = twin.grad[rows]
    optimizer.step()
    whole.step()
    torch.testing.assert_close(kept.detach(), twin.detach()[rows], rtol=1e-6, atol=1e-7)


def test_parameters_without_rows_of_numbers_work_too():
    p = torch.nn.Parameter(torch.randn(6))  # opacities
    optimizer = optimizer_after_steps(p, True)
    origin = torch.tensor([1, 1, 4])
    new = torch.nn.Parameter(p.detach()[origin])
    replace_parameter(optimizer, new, origin)
    assert (optimizer.state[new]["exp_avg"][:2] == 0).all()
    assert optimizer.state[new]["exp_avg"][2] != 0


def test_without_an_origin_an_optimizer_begins_anew():
    p = torch.nn.Parameter(torch.randn(6, 3))
    optimizer = optimizer_after_steps(p, True)
    new = torch.nn.Parameter(torch.randn(9, 3))
    replace_parameter(optimizer, new, None)
    assert optimizer.param_groups[0]["params"] == [new]
    assert not optimizer.state

    new.grad = torch.ones(9, 3)
    optimizer.step()


def test_an_optimizer_that_has_not_stepped_yet_only_changes_hands():
    p = torch.nn.Parameter(torch.randn(6, 3))
    optimizer = torch.optim.Adam([p])
    new = torch.nn.Parameter(p.detach()[[0, 1]])
    replace_parameter(optimizer, new, torch.tensor([0, 1]))
    assert optimizer.param_groups[0]["params"] == [new]
    assert not optimizer.state
