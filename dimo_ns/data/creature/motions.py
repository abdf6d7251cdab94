"""What the sample creature does: a Pose as a function of time for every motion. All begin at rest, most return to it.

Angles in radians, lengths in body units (the creature is about one long); t in [0,1] over the clip.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin

from dimo_ns.data.creature.skeleton import TAIL_BONES, Pose


@dataclass(frozen=True)
class Clip:
    name: str
    prompt: str
    split: str  # "train" | "held_out"
    loop: bool
    duration_s: float
    pose: Callable[[float], Pose]


def _rise(t: float, start: float, end: float) -> float:
    """0 before start, 1 after end, smooth between."""
    x = min(1.0, max(0.0, (t - start) / (end - start)))
    return x * x * (3 - 2 * x)


def _hold(t: float, start: float, full: float, ease: float, end: float) -> float:
    """Up from start to full, 1, down again from ease to end."""
    return _rise(t, start, full) - _rise(t, ease, end)


def _tail(sway: float, lift: float = 0.0, beat: float = 0.0, lag: float = 0.55) -> tuple[tuple[float, float], ...]:
    """A wave that runs down the tail: every bone follows the one before it with a lag (radians of the beat's phase)."""
    return tuple((sway * (0.5 + 0.25 * i) * sin(beat - lag * i), lift) for i in range(TAIL_BONES))


def _step(phase: float, stride: float, lift: float, stance: float = 0.6) -> tuple[float, float]:
    """Foot of a gait in place at phase (in turns), (forward, up): back on the ground, then forward through the air."""
    phase %= 1.0
    if phase < stance:
        return stride * (0.5 - phase / stance), 0.0
    swing = (phase - stance) / (1 - stance)
    return stride * (-0.5 + swing * swing * (3 - 2 * swing)), lift * sin(pi * swing) ** 2


def _gait(amount: float, phase: float, stride: float, lift: float, turn: float = 0.0):
    """A walk's feet and paws; `turn` > 0 carries front feet to the left and hind feet to the right as they step."""
    feet, paws = [], []
    for front, shift in ((True, 0.0), (True, 0.5), (False, 0.75), (False, 0.25)):
        x, z = _step(phase + shift, stride, lift)
        side = turn * x * (1 if front else -1)
        feet.append((amount * x, amount * side, amount * z))
        paws.append(-6.0 * amount * z)
    return tuple(feet), tuple(paws)


def walk(t: float) -> Pose:
    e, beat = _hold(t, 0.0, 0.12, 0.88, 1.0), 2 * pi * 2 * t
    feet, paws = _gait(e, 2 * t + 0.30, 0.15, 0.075)
    return Pose(
        offset=(0, 0.012 * e * sin(beat), e * (-0.014 + 0.009 * sin(2 * beat))),
        body=(0.03 * e * sin(beat), 0.02 * e * sin(2 * beat + 1), 0.05 * e * sin(beat)),
        bend=(0.14 * e * sin(beat + 0.6), 0, 0),
        neck=(-0.08 * e * sin(beat), 0.05 * e * sin(2 * beat), 0),
        head=(0, -0.06 * e * sin(2 * beat), -0.05 * e * sin(beat)),
        ears=(0.12 * e * sin(2 * beat), 0.12 * e * sin(2 * beat + 0.5)),
        tail=_tail(0.20 * e, 0.0, beat),
        feet=feet,
        paws=paws,
    )


def gallop(t: float) -> Pose:
    e, p = _hold(t, 0.0, 0.10, 0.90, 1.0), 3 * t + 0.9
    beat = 2 * pi * p
    steps = [_step(p + shift, 0.22, 0.11, stance=0.42) for shift in (0.0, 0.08, 0.5, 0.56)]
    rock, flex = cos(beat - 1.4 * pi), cos(beat - 0.4)
    return Pose(
        offset=(0.01 * e * flex, 0, e * (-0.028 + 0.030 * cos(2 * beat - 1.8 * pi))),
        body=(0, 0.20 * e * rock, 0),
        bend=(0, 0.30 * e * flex, 0),
        neck=(0, -0.22 * e * rock - 0.10 * e * flex, 0),
        head=(0, -0.05 * e * rock, 0),
        ears=(e * (0.35 + 0.25 * sin(beat)), e * (0.35 + 0.25 * sin(beat + 0.3))),
        tail=tuple((0.0, e * (0.12 + 0.22 * sin(beat - 0.6 * i))) for i in range(TAIL_BONES)),
        feet=tuple((e * x, 0.0, e * z) for x, z in steps),
        paws=tuple(-5.0 * e * z for _, z in steps),
    )


def jump(t: float) -> Pose:
    crouch = _hold(t, 0.04, 0.20, 0.26, 0.36) + 0.8 * _hold(t, 0.66, 0.74, 0.78, 0.96)
    air = min(1.0, max(0.0, (t - 0.32) / 0.38))
    height, tuck = 0.18 * 4 * air * (1 - air), sin(pi * air) ** 2
    rock = _hold(t, 0.22, 0.38, 0.42, 0.56) - 0.9 * _hold(t, 0.50, 0.64, 0.68, 0.84)
    feet = [(0.04 * tuck, 0.012 * tuck, height + 0.045 * tuck)] * 2 + [
        (-0.03 * tuck, 0.012 * tuck, height + 0.04 * tuck)
    ] * 2
    return Pose(
        offset=(-0.02 * crouch, 0, 0.985 * height - 0.085 * crouch),
        body=(0, 0.24 * rock, 0),
        bend=(0, -0.20 * crouch + 0.2 * tuck, 0),
        neck=(0, 0.12 * crouch - 0.2 * rock, 0),
        head=(0, 0.22 * crouch - 0.05 * rock, 0),
        ears=(0.55 * rock + 0.2 * crouch,) * 2,
        tail=tuple((0.0, -0.20 * crouch + 0.24 * rock + 0.1 * tuck) for _ in range(TAIL_BONES)),
        feet=tuple(feet),
        paws=(-0.7 * tuck, -0.7 * tuck, -0.9 * tuck, -0.9 * tuck),
    )


def sit(t: float) -> Pose:
    s, gaze = _rise(t, 0.05, 0.48), _rise(t, 0.5, 0.62)
    return Pose(
        offset=(-0.035 * s, 0, -0.105 * s - 0.02 * sin(pi * s) ** 2),
        body=(0, 0.66 * s, 0),
        bend=(0, 0.16 * s, 0),
        neck=(0, -0.40 * s, 0),
        head=(0, -0.26 * s + 0.10 * gaze, 0.20 * gaze * sin(2 * pi * 2 * (t - 0.5))),
        ears=(-0.10 * gaze, -0.10 * gaze),
        tail=_tail(0.28 * s, -0.10 * s, 2 * pi * 2 * t),
        feet=((0, 0, 0), (0, 0, 0), (0.085 * s, 0.045 * s, 0), (0.085 * s, -0.045 * s, 0)),
    )


def look_around(t: float) -> Pose:
    e, way = _hold(t, 0.0, 0.1, 0.9, 1.0), sin(2 * pi * t)
    up = _hold(t, 0.30, 0.45, 0.55, 0.70)
    return Pose(
        offset=(0, -0.012 * way, 0.008 * up),
        bend=(0.22 * way, 0, 0),
        neck=(0.55 * way, 0.16 * up, 0),
        head=(0.55 * way, 0.28 * up - 0.12 * abs(way), 0.16 * way),
        ears=(e * (0.10 + 0.25 * sin(2 * pi * 3 * t)), e * (0.10 - 0.25 * sin(2 * pi * 3 * t))),
        tail=_tail(0.10 * e, 0.02 * e, 2 * pi * t),
    )


def bow(t: float) -> Pose:
    e = _hold(t, 0.04, 0.26, 0.74, 0.96)
    return Pose(
        offset=(-0.055 * e, 0, -0.055 * e),
        body=(0.05 * e * sin(2 * pi * 4 * t), -0.36 * e, 0),
        bend=(-0.12 * e * sin(2 * pi * 4 * t), -0.18 * e, 0),
        neck=(0, 0.30 * e, 0),
        head=(0, 0.30 * e, 0.10 * e * sin(2 * pi * 2 * t)),
        ears=(0.30 * e, 0.30 * e),
        tail=_tail(0.42 * e, 0.06 * e, 2 * pi * 4 * t, lag=0.4),
        feet=((0.10 * e, 0.015 * e, 0), (0.10 * e, -0.015 * e, 0), (-0.02 * e, 0, 0), (-0.02 * e, 0, 0)),
    )


def shake(t: float) -> Pose:
    e, beat = _hold(t, 0.08, 0.24, 0.66, 0.94), 2 * pi * 4 * t
    return Pose(
        offset=(0, 0.012 * e * sin(beat), -0.030 * e),
        body=(0, 0, 0.26 * e * sin(beat)),
        bend=(0.10 * e * sin(beat), 0, -0.30 * e * sin(beat - 0.5)),
        neck=(0.15 * e * sin(beat - 0.7), -0.14 * e, 0.15 * e * sin(beat - 0.7)),
        head=(0.22 * e * sin(beat - 1.2), -0.06 * e, 0.42 * e * sin(beat - 1.2)),
        ears=(e * (0.3 + 0.5 * sin(beat - 2.0)), e * (0.3 - 0.5 * sin(beat - 2.0))),
        tail=_tail(0.34 * e, -0.05 * e, beat, lag=0.8),
        feet=((0, 0.012 * e, 0), (0, -0.012 * e, 0), (0, 0.012 * e, 0), (0, -0.012 * e, 0)),
    )


def turn(t: float) -> Pose:
    e, way, ahead = _hold(t, 0.0, 0.1, 0.9, 1.0), sin(2 * pi * t), cos(2 * pi * t)
    feet, paws = _gait(e, 3 * t + 0.3, 0.05, 0.055, turn=1.2 * ahead)
    return Pose(
        offset=(0, 0, e * (-0.012 + 0.006 * sin(2 * pi * 6 * t))),
        heading=0.85 * way,
        bend=(0.35 * e * ahead, 0, 0),
        neck=(0.25 * e * ahead, 0, 0),
        head=(0.20 * e * ahead, 0, -0.10 * e * ahead),
        tail=_tail(-0.22 * e * ahead, 0.0, pi / 2, lag=0.0),
        feet=feet,
        paws=paws,
    )


def wave(t: float) -> Pose:
    e, beat = _hold(t, 0.05, 0.27, 0.78, 0.97), _hold(t, 0.22, 0.30, 0.75, 0.80) * sin(2 * pi * 5 * (t - 0.25))
    return Pose(
        offset=(-0.035 * e, -0.035 * e, -0.012 * e),
        body=(-0.06 * e, 0.14 * e, 0.10 * e),
        neck=(0.10 * e, 0.02 * e, 0),
        head=(0.05 * e, 0, -0.24 * e),
        ears=(-0.08 * e, 0.22 * e),
        tail=_tail(0.22 * e, 0.03 * e, 2 * pi * 2 * t),
        feet=((0.145 * e, 0.085 * e + 0.055 * beat, 0.35 * e), (0.01 * e, 0.02 * e, 0), (0, 0, 0), (0, 0, 0)),
        paws=(0.9 * e, 0, 0, 0),
    )


def walk_turn(t: float) -> Pose:
    e, beat, way = _hold(t, 0.0, 0.12, 0.88, 1.0), 2 * pi * 2 * t, _rise(t, 0.06, 0.94)
    feet, paws = _gait(e, 2 * t + 0.30, 0.13, 0.075, turn=-0.35)
    return Pose(
        offset=(0, 0.010 * e * sin(beat), e * (-0.014 + 0.009 * sin(2 * beat))),
        heading=-1.0 * way,
        body=(0.03 * e * sin(beat), 0.02 * e * sin(2 * beat + 1), 0.05 * e * sin(beat)),
        bend=(-0.30 * e + 0.10 * e * sin(beat + 0.6), 0, 0),
        neck=(-0.22 * e, 0.05 * e * sin(2 * beat), 0),
        head=(-0.18 * e, -0.06 * e * sin(2 * beat), 0.06 * e),
        ears=(0.12 * e * sin(2 * beat), 0.12 * e * sin(2 * beat + 0.5)),
        tail=_tail(0.20 * e, 0.0, beat),
        feet=feet,
        paws=paws,
    )


CLIPS = (
    Clip("walk", "a spotted turquoise cub walking calmly", "train", True, 2.0, walk),
    Clip("gallop", "a spotted turquoise cub galloping fast", "train", True, 1.4, gallop),
    Clip("jump", "a spotted turquoise cub crouching and jumping high into the air", "train", True, 1.6, jump),
    Clip("sit", "a spotted turquoise cub sitting down and tilting its head", "train", False, 2.4, sit),
    Clip(
        "look_around",
        "a spotted turquoise cub standing and looking around to both sides",
        "train",
        True,
        2.8,
        look_around,
    ),
    Clip("bow", "a spotted turquoise cub bowing playfully and wagging its tail", "train", True, 2.2, bow),
    Clip("shake", "a spotted turquoise cub shaking itself dry", "train", True, 1.6, shake),
    Clip("turn", "a spotted turquoise cub turning to its left and to its right on the spot", "train", True, 2.4, turn),
    Clip("wave", "a spotted turquoise cub raising its front paw and waving", "held_out", True, 2.2, wave),
    Clip("walk_turn", "a spotted turquoise cub walking while turning to its right", "held_out", False, 2.2, walk_turn),
)
