"""What a camera may say beyond a pinhole that stands still: refused by name where it would change the pictures, and
noted by name where it is not read."""

from collections.abc import Iterable
from typing import Any

from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields, is_finite

INTRINSICS = ("w", "h", "fl_x", "fl_y", "cx", "cy")
PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV")
"""Models of cameras without distortion, and nerfstudio's own name for one, whose distortion may be zero."""
DISTORTIONS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "skew", "distortion", "distortion_params", "dist_coeffs")
PASSED_OVER = ("convention", "fovy_deg", "radius", "camera_model", *DISTORTIONS)
"""Fields that say again what others say, or were found to say nothing."""


def check_lens(camera: Fields) -> None:
    """Raises DimoError for a camera that is no pinhole."""
    model = camera.values.get("camera_model")
    if model is not None and str(model).upper() not in PINHOLES:
        raise camera.error("camera_model", f"one of {', '.join(PINHOLES)}: make pinhole pictures of these first")
    for key in DISTORTIONS:
        if any(value != 0 for value in numbers(camera.values.get(key))):
            raise camera.error(key, "0: cameras are pinholes; take the distortion out of the pictures first")


def check_still(camera: Fields) -> None:
    """Raises DimoError for a camera that moves."""
    for key, value in camera.values.items():
        if moves(value):
            raise DimoError(
                f"{camera.where}: '{key}' has a pose for each frame; expected one 'c2w' of 4 x 4 for all of them: "
                "cameras that move are not read, only ones that stand still while the object moves."
            )


def unread(camera: Fields, known: Iterable[str]) -> list[str]:
    """The names of fields that are not read, in the order of the file."""
    return [key for key in camera.values if key not in (*known, *INTRINSICS, *PASSED_OVER)]


def numbers(value: Any) -> list[float]:
    """The numbers in a value of JSON."""
    if isinstance(value, list):
        return [number for entry in value for number in numbers(entry)]
    if isinstance(value, dict):
        return [number for entry in value.values() for number in numbers(entry)]
    return [value] if is_finite(value) else []


def moves(value: Any) -> bool:
    """Whether this is a list of poses: of matrices with 4 columns, or of objects that hold one."""
    if not isinstance(value, list) or not value:
        return False
    if isinstance(value[0], dict):
        return any(is_pose(entry) for entry in value[0].values())
    return is_pose(value[0])


def is_pose(value: Any) -> bool:
    """Whether this looks like a matrix of 3 or 4 rows and 4 columns."""
    return isinstance(value, list) and len(value) in (3, 4) and all(isinstance(r, list) and len(r) == 4 for r in value)
