"""Loading images: errors that name the file, and that reach the training."""

from __future__ import annotations

from typing import Any

from lightsr_basicsr._fixes.detect import uses


def remember_the_file_being_read() -> bool:
    """Keep in ``FileClient.being_read`` what was read last: the client, the path or key, and the kind of image.

    Why: an image that OpenCV cannot decode ends as ``'NoneType' object has no attribute 'astype'``, without its name.
    Since: always. Until: BasicSR names the file.
    """
    from basicsr.utils import FileClient

    if hasattr(FileClient, "being_read"):
        return False
    original = FileClient.get

    def get(self: Any, filepath: Any, client_key: str = "default") -> Any:
        FileClient.being_read = (self.client, filepath, client_key)
        return original(self, filepath, client_key)

    FileClient.being_read, FileClient.get = None, get
    return True


def errors_of_the_prefetcher() -> bool:
    """Raise in the training what ``prefetch_mode: cpu`` meets in its thread.

    Why: the thread ends with the error, and the training waits for its next batch for ever. Since: always. Until:
    BasicSR hands errors over.
    """
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    original = PrefetchGenerator.run
    if not uses(original, "put") or uses(original, "error"):
        return False

    def run(self: Any) -> None:
        self.error = None
        try:
            for item in self.generator:
                self.queue.put(item)
        except Exception as error:
            self.error = error
        self.queue.put(None)

    def __next__(self: Any) -> Any:  # noqa: N807
        item = self.queue.get()
        if item is not None:
            return item
        raise self.error or StopIteration

    PrefetchGenerator.run, PrefetchGenerator.__next__ = run, __next__
    return True
