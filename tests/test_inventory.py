"""Public names change on purpose only: they are those of ``tests/data/inventory.txt``."""

import pytest

from tests.inventory import FILE, inventory


def test_public_names_are_those_of_the_inventory():
    pytest.importorskip("spandrel", reason="DAT_DR is registered only with the extra spandrel")
    now, before = set(inventory().splitlines()), set(FILE.read_text(encoding="utf-8").splitlines())
    changes = [f"- {line}" for line in sorted(before - now)] + [f"+ {line}" for line in sorted(now - before)]
    assert not changes, "public names changed; if on purpose: python -m tests.inventory\n" + "\n".join(changes)
