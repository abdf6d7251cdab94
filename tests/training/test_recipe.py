"""Recipes: every step lies in one phase, and what happens at fractions of a phase happens once."""

import re
from dataclasses import replace

import pytest

from dimo_ns.errors import DimoError
from dimo_ns.training.recipe import GROUPS, Moment, Phase, Recipe, names, parse_recipe, read_recipe, recipe_text

RECIPES = {name: read_recipe(name) for name in names()}
FULL, LAPTOP, LAPTOP_MLP, PAPER = (RECIPES[name] for name in ("full", "laptop", "laptop-mlp", "paper"))
EVERY_RECIPE = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
MOTIONS = 8


def moments(recipe: Recipe, motions: int = MOTIONS) -> list[Moment]:
    return [recipe.at(step, motions) for step in range(recipe.length(motions))]


@EVERY_RECIPE
def test_every_step_belongs_to_one_phase_and_phases_follow_each_other(recipe):
    # The steps, listed phase by phase, are exactly those that `at` gives in order.
    expected = [(i, s) for i, phase in enumerate(recipe.phases) for s in range(phase.length(MOTIONS))]
    assert [(m.index, m.step) for m in moments(recipe)] == expected
    assert all(m.phase is recipe.phases[m.index] for m in moments(recipe))


@EVERY_RECIPE
def test_the_last_step_goes_on_beyond_the_end(recipe):
    end = recipe.length(MOTIONS)
    assert recipe.at(end + 100, MOTIONS) == recipe.at(end - 1, MOTIONS)


def test_the_papers_recipe_has_the_papers_steps_whatever_the_motions():
    assert PAPER.length(1) == PAPER.length(51) == 2_800 + 10_000
    lengths = [phase.length(51) for phase in PAPER.phases if phase.mover == "points"]
    assert sum(lengths) == 2_800


def test_the_full_recipe_is_the_laptops_at_full_size():
    def kinds(recipe: Recipe) -> list[tuple]:
        return [(phase.name, phase.mover, phase.begin, phase.lesson, phase.sampler) for phase in recipe.phases]

    assert kinds(FULL) == kinds(LAPTOP)
    assert max(phase.density.target for phase in FULL.phases) == 100_000
    assert FULL.phases[-1].sizes[-1][1] == 512
    assert all(full.length(8) > laptop.length(8) for full, laptop in zip(FULL.phases, LAPTOP.phases, strict=True))


def test_the_laptops_recipe_grows_with_the_motions():
    assert LAPTOP.length(9) - LAPTOP.length(8) == sum(phase.steps_per_motion for phase in LAPTOP.phases) > 0


def test_the_laptops_recipes_differ_in_how_the_decoder_is_taught_alone():
    differing = [a.name for a, b in zip(LAPTOP.phases, LAPTOP_MLP.phases, strict=True) if a != b]
    assert differing == ["distill"]
    assert (LAPTOP.decoder, LAPTOP_MLP.decoder) == ("low_rank", "mlp")


@EVERY_RECIPE
def test_resolution_never_falls_within_a_phase_and_begins_with_it(recipe):
    for phase in recipe.phases:
        starts, sizes = zip(*phase.sizes, strict=True)
        assert starts[0] == 0
        assert list(starts) == sorted(starts)
        assert list(sizes) == sorted(sizes)


def test_the_papers_resolutions():
    # 128 below step 300, 256 below 450, then 512, in both stages.
    for begin in (0, 2800):
        assert [PAPER.at(begin + s, 4).resolution() for s in (0, 299, 300, 449, 450, 2000)] == [
            128,
            128,
            256,
            256,
            512,
            512,
        ]


@EVERY_RECIPE
def test_what_happens_at_fractions_happens_once_each_and_in_order(recipe):
    every = moments(recipe)
    for index, phase in enumerate(recipe.phases):
        within = [moment for moment in every if moment.index == index]
        for fractions in filter(None, (phase.density.grow_at, phase.density.prune_at, phase.density.farthest_at)):
            hits = [moment.is_at(fractions) for moment in within]
            assert [hit for hit in hits if hit is not None] == list(range(len(fractions)))


def test_the_papers_farthest_point_samplings_and_prunings_are_at_its_steps():
    steps = range(PAPER.length(4))
    assert [s for s in steps if PAPER.at(s, 4).is_at(PAPER.at(s, 4).phase.density.farthest_at) is not None] == [
        1000,
        2000,
    ]
    prunings = [s - 2800 for s in steps if PAPER.at(s, 4).is_at(PAPER.at(s, 4).phase.density.prune_at) is not None]
    assert prunings == [1000, 2000, 3000, 4000]


@EVERY_RECIPE
def test_learning_rates_name_groups_that_exist_and_can_fall_log_linearly(recipe):
    for phase in recipe.phases:
        assert set(phase.lr) <= set(GROUPS)
        assert all(0 < last <= first for first, last in phase.lr.values())


@EVERY_RECIPE
def test_rates_do_not_rise_where_the_papers_phase_only_continues(recipe):
    for before, phase in zip(recipe.phases, recipe.phases[1:], strict=False):
        for name in set(phase.lr) & set(before.lr):
            if phase.mover == before.mover:
                assert phase.lr[name][0] <= before.lr[name][1] * (1 + 1e-9), (phase.name, name)


@EVERY_RECIPE
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaling_scales_every_phase(recipe, factor):
    scaled = recipe.scaled(factor)
    for phase, before in zip(scaled.phases, recipe.phases, strict=True):
        assert phase.length(MOTIONS) == pytest.approx(factor * before.length(MOTIONS), abs=MOTIONS)
        assert replace(phase, steps=before.steps, steps_per_motion=before.steps_per_motion) == before


@EVERY_RECIPE
def test_however_short_a_recipe_every_phase_has_a_step_to_begin_in(recipe):
    # A phase that were left out would leave the next one without Gaussians, tree or basis.
    short = moments(recipe.scaled(1e-6))
    assert [(m.index, m.step) for m in short] == [(i, 0) for i in range(len(recipe.phases))]
    assert all(m.fraction == 0 for m in short)


def test_a_recipe_needs_a_phase():
    with pytest.raises(ValueError, match="at least one phase"):
        Recipe(())


MEANS, WEIGHTS = "means: [0.0005, 0.00015]", "{l1: 1.0, mask: 0.5}"
OF_REST, OF_TRAJECTORIES = (f"weights: {weights}" for weights in (
    WEIGHTS, "{l1: 1.0, mask: 0.5, arap: 0.05, arap_robust: 0.1, acceleration: 0.005}"))  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("keypoints: 512", "keypoint: 3", "RECIPE: there is no field 'keypoint'; the fields are phases, keypoints, "),
        ("steps: 200", "steps: -1", "RECIPE, phases 0 (rest): 'steps' is -1; expected a whole number of at least 0."),
        ("steps: 200", "steps: 2.5", "phases 0 (rest): 'steps' is 2.5; expected a whole number of at least 0."),
        ("  mover: rest\n", "", "phases 0 (rest): 'mover' is missing; expected 'rest' or 'table' or 'decoder' or "),
        ("mover: rest", "mover: jelly", "phases 0 (rest): 'mover' is \"jelly\"; expected 'rest' or "),
        (WEIGHTS, "{l3: 1.0}", "phases 0 (rest), weights: there is no field 'l3'; the fields are l1, mse, "),
        (WEIGHTS, "{l1: -1.0}", "phases 0 (rest), weights: 'l1' is -1.0; expected a finite number of at least 0."),
        (MEANS, "mean: [0.1, 0.1]", "phases 0 (rest): 'lr' has a rate for 'mean'; the groups are means, quats, "),
        (MEANS, "means: [0.1]", "phases 0 (rest): 'lr' is "),
        (MEANS, "means: [0.1, 0]", "'lr' of 'means' is [0.1, 0.0]; expected two positive numbers."),
        ("sizes: [[0.0, 128]]", "sizes: [[0.5, 128]]", "'sizes' must begin at fraction 0 and be in order"),
        ("begin: tree", "begin: hull", "'track' moves by a table that no phase has begun; begin with 'tree'."),
        ("begin: hull", "begin: ''", "the first phase, 'rest', must begin with 'hull' or 'ball'."),
        (OF_REST, "calibrate_at: [0.0]", "phases 0 (rest): 'calibrate_at' needs the mover 'table' or 'decoder'"),
        (OF_TRAJECTORIES, "calibrate_at: [0.0]\n  weights: {depth: 0.1}", "'calibrate_at' does not go together with"),
        ("lesson: coordinates", "lesson: rows", "the lesson of 'distill' is 'rows'; this decoder learns by 'coord"),
        ("decoder: low_rank", "decoder: [", "RECIPE is not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_said_with_its_place(old: str, new: str, complaint: str):
    text = recipe_text("laptop")
    assert old in text
    with pytest.raises(DimoError, match=re.escape(complaint)):
        parse_recipe(text.replace(old, new, 1), "RECIPE")


def test_a_recipe_is_found_by_its_name_or_its_file(tmp_path):
    copy = tmp_path / "mine.yaml"
    copy.write_text(recipe_text("laptop").replace("keypoints: 512", "keypoints: 64"))
    assert read_recipe(str(copy)) == replace(LAPTOP, keypoints=64)
    with pytest.raises(DimoError, match=r"no recipe 'labtop'; there are full, .*, paper, or give a file"):
        read_recipe("labtop")
    with pytest.raises(DimoError, match=r"none.yaml is missing"):
        read_recipe(str(tmp_path / "none.yaml"))
    copy.write_bytes(b"phases: \xff")
    with pytest.raises(DimoError, match=r"mine.yaml is not UTF-8 text"):
        read_recipe(str(copy))


def test_fraction_and_resolution_of_a_moment():
    moment = Moment(Phase("x", "rest", 10, sizes=((0.0, 64), (0.5, 128))), 0, 5, 10)
    assert moment.fraction == 0.5
    assert moment.resolution() == 128
    assert moment.resolution(0.4) == 64  # of a level of the tree
    assert moment.is_at((0.0, 0.52)) == 1
    assert moment.is_at((0.0, 0.6)) is None
