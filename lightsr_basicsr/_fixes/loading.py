"""Loading images: errors that name the file, and that reach the training."""

from __future__ import annotations

import sys
from typing import Any

from lightsr_basicsr._fixes.detect import uses, wrapped_by


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


def images_that_are_decoded() -> bool:
    """Let ``imfrombytes`` take what a file client gives in the place of bytes: an image that is decoded already.

    Why: data sets decode an image each time they read it, which takes as long as the step of a small network
    (``datasets.train.cache``). Since: always. Until: BasicSR keeps decoded images.
    """
    from basicsr.utils import img_util

    decode = img_util.imfrombytes
    if wrapped_by(decode, __name__):
        return False

    def imfrombytes(content: Any, flag: str = "color", float32: bool = False) -> Any:
        decoded = getattr(content, "decoded", None)
        return decode(content, flag, float32) if decoded is None else decoded(decode, flag, float32)

    imfrombytes.__wrapped__ = decode
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "basicsr"]:
        for name in [name for name, value in vars(module).items() if value is decode]:
            setattr(module, name, imfrombytes)
    return True


def one_iterator_of_an_epoch() -> bool:
    """Let ``CPUPrefetcher`` start its loader when an epoch begins, and not before too.

    Why: it starts all workers, which read batches that nobody takes; with ``prefetch_mode: cpu`` and
    ``persistent_workers`` two threads then wait for the batches of one iterator, and the training hangs. Since: always.
    Until: BasicSR starts it once. Its loop calls ``reset`` at each epoch.
    """
    from basicsr.data.prefetch_dataloader import CPUPrefetcher

    if wrapped_by(CPUPrefetcher.__init__, __name__) or not uses(CPUPrefetcher.__init__, "iter"):
        return False

    def __init__(self: Any, loader: Any) -> None:  # noqa: N807
        self.ori_loader, self.loader = loader, iter(())

    CPUPrefetcher.__init__ = __init__
    return True
