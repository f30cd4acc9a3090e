"""A file to convert."""

import pytest
import torch

from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from tests.converting import distilled


@pytest.fixture
def saved(workdir) -> DDistill_SR:
    """A network, whose file is net.pth."""
    net = distilled()
    torch.save({"params": net.state_dict()}, "net.pth")
    return net
