"""Work that goes on in a thread beside the network, with a bounded number of things in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

Item, Made = TypeVar("Item"), TypeVar("Made")
WAIT = 0.1  # seconds after which a thread looks whether it is still wanted
_END = object()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Line:
    """A queue that is given up together."""

    def __init__(self, most: int) -> None:
        self.queue: Queue[Any] = Queue(most)
        self.ended = Event()

    def put(self, item: Any) -> bool:
        """Wait for room and return True; False if nobody takes it any more."""
        while not self.ended.is_set():
            try:
                self.queue.put(item, timeout=WAIT)
            except Full:
                continue
            return True
        return False

    def get(self) -> Any:
        """Return the next one; ``_END`` if there will be none."""
        while not self.ended.is_set():
            try:
                return self.queue.get(timeout=WAIT)
            except Empty:
                continue
        return _END


@contextmanager
def made_ahead(items: Callable[[], Iterator[Item]], most: int = 1) -> Iterator[Iterator[Item]]:
    """Give the items of an iterator that runs in a thread, at most so many ahead; what it raises is raised here.

    Args:
        items (Callable): Returns the iterator; called and closed in the thread.
        most (int): How many items wait. Default: 1.
    """
    line = _Line(most)

    def make() -> None:
        found = items()
        try:
            for item in found:
                if not line.put(item):
                    break
            line.put(_END)
        except BaseException as error:
            line.put(_Failed(error))
        finally:
            found.close()

    def take() -> Iterator[Item]:
        while (item := line.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item

    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        line.ended.set()
        thread.join()


class _GivenUpError(Exception):
    """Nothing more comes, and what was made of it is not wanted."""


class Behind(Generic[Item, Made]):
    """Gives items to a function that runs in a thread; at most one waits while one is worked on.

    As a context manager it waits until all is done. What the function raises is raised by the next call, or at the end.
    After an error elsewhere the function gets an error instead of the next item.

    Args:
        work (Callable): Called once, with an iterator over the items.

    Attributes:
        made: What the function has returned, at the end.
    """

    made: Made

    def __init__(self, work: Callable[[Iterator[Item]], Made]) -> None:
        self.work, self.line = work, _Line(1)
        self.error: BaseException | None = None
        self.thread = Thread(target=self._run, daemon=True)

    def __call__(self, item: Item) -> None:
        """Hand over an item, as soon as the one before has been taken."""
        if not self.line.put(item):
            self._raise()

    def __enter__(self) -> Behind[Item, Made]:
        """Start."""
        self.thread.start()
        return self

    def __exit__(self, kind: Any, *others: Any) -> None:
        """Wait until all is done; after an error leave out what waits."""
        if kind is None:
            self.line.put(_END)
        else:
            self.line.ended.set()
        self.thread.join()
        if kind is None:
            self._raise()

    def _items(self) -> Iterator[Item]:
        while (item := self.line.get()) is not _END:
            yield item
        if self.line.ended.is_set():
            raise _GivenUpError

    def _run(self) -> None:
        try:
            self.made = self.work(self._items())
        except BaseException as error:
            self.error = error
        finally:
            self.line.ended.set()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error
