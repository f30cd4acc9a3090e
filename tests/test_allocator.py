"""Memory of feature maps that is kept while a network runs."""

import sys
import threading

import pytest

from lightsr_basicsr import allocator


class Library:
    """Stands for glibc and writes down what is set."""

    def __init__(self):
        self.set, self.trimmed = [], 0

    def mallopt(self, parameter, value):
        self.set.append((parameter, value))

    def malloc_trim(self, kept):
        self.trimmed += 1


@pytest.fixture
def library(monkeypatch):
    stand_in = Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: stand_in)
    return stand_in


def test_blocks_within_one_another_are_one(library):
    """Two threads or nested runs change the settings once, and the last to end restores them."""
    with allocator.freed_memory_kept():
        with allocator.freed_memory_kept():
            pass
        assert library.set == [(allocator.MMAP_MAX, 0), (allocator.TRIM_THRESHOLD, allocator.NEVER)]
    assert dict(library.set)[allocator.MMAP_MAX] == allocator.MAPPED_BLOCKS
    assert dict(library.set)[allocator.TRIM_THRESHOLD] == allocator.KEPT
    assert library.trimmed == 1


def test_settings_are_restored_after_an_error(library):
    with pytest.raises(RuntimeError), allocator.freed_memory_kept():
        raise RuntimeError
    assert dict(library.set)[allocator.MMAP_MAX] == allocator.MAPPED_BLOCKS


def test_threads_count_together(library):
    inside, leave = threading.Event(), threading.Event()

    def run():
        with allocator.freed_memory_kept():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    inside.wait(10)
    with allocator.freed_memory_kept():
        pass
    assert dict(library.set)[allocator.MMAP_MAX] == 0
    leave.set()
    thread.join()
    assert dict(library.set)[allocator.MMAP_MAX] == allocator.MAPPED_BLOCKS


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with allocator.freed_memory_kept():
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_the_real_library_takes_the_settings():
    library = allocator._glibc()
    if library is None:
        pytest.skip("another C library")
    assert library.mallopt(allocator.MMAP_THRESHOLD, allocator.SMALLEST_MAPPED) == 1
