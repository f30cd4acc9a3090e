"""The sample images of scikit-image, a dependency of BasicSR: test images that every installation has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

PHOTOGRAPHS = {
    "train": (
        "astronaut.png", "rocket.jpg", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "retina.jpg",
        "brick.png", "grass.png", "gravel.png", "camera.png",
    ),
    "val": ("chelsea.png", "coffee.png"),
}  # fmt: skip


def photographs(names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name without suffix and the image (H, W, 3), BGR uint8, of each file in ``names``.

    Raises:
        ImportError: If scikit-image is missing.
        FileNotFoundError: If it is installed without the image.
    """
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    for name in names:
        # OpenCV opens no paths that are not UTF-8.
        image = cv2.imdecode(np.fromfile(folder / name, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(f"{folder / name} cannot be read: reinstall scikit-image, which contains it")
        yield Path(name).stem, image
