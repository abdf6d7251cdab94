"""What the model gives nerfstudio for a camera: ns-render and the viewer take all of it and use one or two images."""

from collections import UserDict
from collections.abc import Callable

from torch import Tensor


class Outputs(UserDict[str, Tensor]):
    """Images [h, w, c] by name."""

    def later(self, name: str, make: Callable[[], Tensor]) -> None:
        """Adds an image that is made when it is first taken."""
        self.data[name] = make  # pyright: ignore

    def __getitem__(self, name: str) -> Tensor:
        image = self.data[name]
        if not isinstance(image, Tensor):
            image = self.data[name] = image()
        return image
