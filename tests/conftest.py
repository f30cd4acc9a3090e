"""Imports the package, which makes BasicSR importable; seeds; one torch thread."""

import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import lightsr_basicsr  # noqa: F401  first, so that tests may import basicsr above it

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _seed():
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _fresh_logger():
    """BasicSR sets its logger up once per process, without level and file if anything but a run asks for it first."""
    from basicsr.utils.logger import initialized_logger

    logger = logging.getLogger("basicsr")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    initialized_logger.clear()
    logger.propagate = True


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of official checkpoints and test images, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference material at {SHARED}: official weights and images are not part of the repository")
    return SHARED


@pytest.fixture
def workdir(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
