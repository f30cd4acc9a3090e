"""Images for runs of the blind models."""

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def images(workdir) -> Path:
    """Five HR images larger than a crop."""
    Path("data/HR").mkdir(parents=True)
    for index in range(5):
        rough = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(f"data/HR/{index:03d}.png", cv2.resize(rough, (32, 32), interpolation=cv2.INTER_CUBIC))
    return workdir
