"""The long forms of fault tests run by hand: ``LIGHTSR_FAULTS=5000 pytest tests/faults``."""

import os

import pytest

long_form = pytest.mark.skipif(
    not os.environ.get("LIGHTSR_FAULTS"), reason="long form, minutes: set LIGHTSR_FAULTS=5000 to run it"
)
