"""Watch a training: let signals, broken images and diverged weights end it with a good state.

BasicSR's loop stays as it is. The model that it builds, its data sets and its prefetcher are wrapped; between two
iterations, where the prefetcher is asked for the next batch, all processes agree on whether to continue.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from basicsr.utils import get_root_logger
from torch.utils.data._utils import signal_handling

from lightsr_basicsr.data.readable import BROKEN, MOST_BROKEN, BrokenImageError, Readable
from lightsr_basicsr.errors import OtherProcessError, UserError, short_message
from lightsr_basicsr.tools.run.loading import built_sets
from lightsr_basicsr.tools.run.step_guard import StepGuard
from lightsr_basicsr.tools.run.together import gather, is_lost, largest

# Exit status by signal. SIGUSR1 is Slurm's warning that the time is nearly up.
STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143, "SIGHUP": 129}
# What processes agree on is 0, that one of them met broken images, that one cannot continue, or this plus the number of
# a signal, which is also why its workers may have died.
BROKE, FAILED, SIGNALLED = 1, 2, 1000
# Launchers pass a Ctrl-C on that the processes have got as well.
ECHO_SECONDS = 1.0


class Stopped(KeyboardInterrupt):
    """A signal ended the run; ``status`` is its exit status. No handler of errors may stop it on its way."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(name)
        self.status = STATUS.get(name, 128 + number)


class RunEndedError(UserError):
    """A run cannot continue; what it had reached is saved."""


class DivergedError(RunEndedError):
    """A run's weights are of no use any more; the states of before are kept. ``model`` may know ``if_diverged``."""

    def __init__(self, found: str, model: Any) -> None:
        usual = (
            "Set train.max_norm and resume from an earlier state, or start another run from earlier weights "
            "(path.pretrain_network_g) with a lower learning rate."
        )
        super().__init__(f"{found} {getattr(model, 'if_diverged', usual)}")


@contextmanager
def watched_training() -> Iterator[None]:
    """Watch the training that BasicSR's pipeline runs in this block.

    Raises:
        Stopped: After SIGTERM, SIGINT, SIGUSR1 or SIGHUP: a state of the running iteration is saved.
        RunEndedError: If too many images are broken, loading fails, or losses or gradients stay NaN or Inf.
    """
    import basicsr.train as train

    watch = Watch()
    kept = {name: getattr(train, name) for name in ("build_model", "build_dataset", "CPUPrefetcher", "CUDAPrefetcher")}
    train.build_model = lambda opt: watch.attach(kept["build_model"](opt), opt)
    train.build_dataset = lambda section: _readable(kept["build_dataset"](section), section)
    train.CPUPrefetcher, train.CUDAPrefetcher = (
        _prefetcher(kept[name], watch) for name in ("CPUPrefetcher", "CUDAPrefetcher")
    )
    try:
        with _handlers(watch), _no_error_within_a_step():
            yield
    except BrokenImageError as error:
        watch.save()
        raise RunEndedError(f"{error}.") from error
    except Exception as error:
        watch.save()
        if is_lost(error):
            text = short_message(error, 160)
            raise RunEndedError(f"Another process of the run has ended, see its messages ({text}).") from error
        raise
    finally:
        vars(train).update(kept)


@contextmanager
def named_images() -> Iterator[None]:
    """Let errors of the test sets that are built in this block name the image."""
    import basicsr.test as test

    with built_sets(test, _readable):
        yield


def _readable(dataset: Any, section: Mapping[str, Any]) -> Readable:
    training = section["phase"] == "train"
    return Readable(dataset, training, int(section.get("max_broken", MOST_BROKEN if training else 0)))


@contextmanager
def _handlers(watch: Watch) -> Iterator[None]:
    """Let ``watch`` receive the signals that are not ignored (nohup ignores SIGHUP)."""
    numbers = [getattr(signal, name) for name in STATUS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number in numbers if before[number] not in (signal.SIG_IGN, None)]
    try:
        for number in mine:
            signal.signal(number, watch.receive)
    except ValueError:  # not the main thread, which alone gets signals
        mine = []
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGTERM within the block: launchers end the other processes as soon as one has ended."""
    try:
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_error_within_a_step() -> Iterator[None]:
    """Report a killed worker where its batch is awaited; torch's handler would raise in the middle of a step."""
    before = getattr(signal_handling, "_SIGCHLD_handler_set", True)
    signal_handling._SIGCHLD_handler_set = True
    try:
        yield
    finally:
        signal_handling._SIGCHLD_handler_set = before


def _prefetcher(base: type, watch: Watch) -> type:
    class Prefetcher(base):
        """The prefetcher of BasicSR's loop, which is asked for a batch between two iterations."""

        def next(self) -> Any:
            return watch.between(super().next, self.ori_loader)

    return Prefetcher


class Watch:
    """What a training has done, and whether it should stop.

    ``done`` is the last iteration that ended; ``settled`` is whether none is running, so that its state can be saved.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.opt: Mapping[str, Any] = {}
        self.guard = StepGuard()
        self.done = self.saved = self.epoch = self.wanted = 0
        self.settled = self.looping = self.together = False
        self.saver: Callable | None = None
        self.since, self.pid = 0.0, os.getpid()
        self.files: list[str] = []
        self.broken: set[str] = set()

    def attach(self, model: Any, opt: Mapping[str, Any]) -> Any:
        """Watch the steps and savings of ``model``, and return it."""
        self.model, self.opt = model, opt
        learn, feed, step, validate = (
            model.update_learning_rate, model.feed_data, model.optimize_parameters, model.validation,
        )  # fmt: skip
        self.saver = model.save

        def update_learning_rate(*args: Any, **kwargs: Any) -> None:
            self.settled = False
            learn(*args, **kwargs)

        def feed_data(data: Mapping[str, Any]) -> None:
            self.files = list(dict.fromkeys(each for key in ("lq_path", "gt_path") for each in data.get(key, ())))
            feed(data)

        model.update_learning_rate, model.feed_data = update_learning_rate, feed_data
        model.optimize_parameters = lambda current_iter: self._step(step, current_iter)
        model.save = lambda epoch, current_iter: self._together(self._save, epoch, current_iter)
        model.validation = lambda *args, **kwargs: self._together(validate, *args, **kwargs)
        return model

    def _together(self, work: Callable, *args: Any, **kwargs: Any) -> None:
        """Save or validate; an error in one process, such as a full disk, ends all.

        Raises:
            RunEndedError: In the processes without an error of their own.
        """
        if not self.opt["dist"] or self.together:  # the first process saves the best network within a validation
            work(*args, **kwargs)
            return
        failed: Exception | None = None
        self.together = True
        try:
            work(*args, **kwargs)
        except Exception as error:
            if is_lost(error):
                raise
            failed = None if isinstance(error, OtherProcessError) else error
        finally:
            self.together = False
        if largest(self.opt, FAILED if failed else 0):
            found = gather(self.opt, [f"{short_message(failed).rstrip('.')}."] if failed else [])
            raise failed or RunEndedError(" ".join(dict.fromkeys(found)))

    def _step(self, step: Callable, iteration: int) -> None:
        self._bind()
        try:
            with self.guard.iteration():
                step(iteration)
        except RuntimeError as error:
            if "without overflow" not in str(error):
                raise
            found = f"Iteration {iteration} cannot be computed ({short_message(error, 100)})."
            raise DivergedError(found, self.guard.model) from error
        self.done, self.settled = iteration, True
        if self.guard.refused:
            self._report_skipped()
        if iteration == getattr(self.model, "handover", None):
            self._refuse_to_end_diverged()
        if self.wanted:
            self.save()  # before a validation, which may take longer than the time that is left

    def _bind(self) -> None:
        stage = getattr(self.model, "model", None)  # a run of stages has one of the models at a time
        self.guard.bind(stage if hasattr(stage, "optimizers") else self.model)

    def _report_skipped(self) -> None:
        guard, files = self.guard, gather(self.opt, self.files)
        get_root_logger().warning(
            f"Iteration {self.done}: loss or gradients are NaN or Inf, so the step was skipped ({guard.in_a_row} in a "
            f"row, {guard.skipped} in all; {guard.patience:g} in a row end the run). Images: {', '.join(files)}"
        )
        if guard.in_a_row >= guard.patience:
            self._refuse_to_end_diverged()

    def _refuse_to_end_diverged(self) -> None:
        guard = self.guard
        if not guard.in_a_row or guard.patience == float("inf"):
            return
        raise DivergedError(
            f"Loss or gradients were NaN or Inf in the last {guard.in_a_row} steps, up to iteration {self.done}: they "
            "were skipped, and nothing was saved since.",
            guard.model,
        )

    def _save(self, epoch: int, iteration: int) -> None:
        """Save, unless the weights have diverged: the last good files are kept."""
        if iteration == -1:
            self.looping = False  # from now on a signal need not wait
            if skipped := self.guard.skipped:
                get_root_logger().warning(f"{skipped} steps were skipped: loss or gradients were not finite.")
            self._refuse_to_end_diverged()
        self._bind()  # a run that is resumed at its end has made no step
        if not self.guard.weights_are_finite():
            found = f"Weights are NaN or Inf after iteration {self.done}, and were not saved."
            raise DivergedError(found, self.guard.model)
        if self.guard.in_a_row and iteration != -1:
            get_root_logger().warning(f"Iteration {iteration} is not saved: its step was skipped.")
            return
        settled, self.settled = self.settled, False
        self.saved = iteration if isinstance(iteration, int) else self.saved  # the best is no state
        self.saver(epoch, iteration)
        self.settled = settled

    def save(self) -> None:
        """Save the last iteration as the loop would, if it ended well and is not saved yet; not with the others."""
        sound = self.settled and not self.guard.in_a_row and self.guard.weights_are_finite()
        if sound and self.looping and self.saved != self.done:
            self._save(self.epoch, self.done)

    def receive(self, number: int, frame: Any) -> None:
        """Take a signal: stop after the running iteration, or at once where nothing can be lost."""
        if os.getpid() != self.pid:
            return  # a worker that was forked; its parent ends it
        echo = self.opt.get("dist") and time.monotonic() - self.since < ECHO_SECONDS
        again = self.wanted and number == signal.SIGINT and not echo
        if again or not self.looping:
            raise Stopped(number)
        self.wanted, self.since = self.wanted or number, time.monotonic()
        self.save()

    def between(self, load: Callable[[], Any], loader: Any) -> Any:
        """Return the next batch, unless a process was told to stop or cannot continue.

        Raises:
            Stopped, RunEndedError: In all processes after the same iteration, whose state is saved.
        """
        self.looping, self.epoch = True, getattr(loader.sampler, "epoch", 0)
        batch, problem = None, ""
        try:
            batch = load()
        except Exception as error:
            problem = _describe(error)
        new = self._new_broken(batch)
        code = SIGNALLED + self.wanted if self.wanted else FAILED if problem else BROKE if new else 0
        code = largest(self.opt, code)
        if code == BROKE:
            problem = self._count_broken(gather(self.opt, new))
        if not code or (code == BROKE and not problem):
            return batch
        self.save()
        # Also a barrier: launchers end the other processes as soon as one has ended.
        problems = gather(self.opt, [problem] if problem else [])
        if code >= SIGNALLED:
            raise Stopped(code - SIGNALLED)
        raise RunEndedError(" ".join(dict.fromkeys(problems)))

    def _new_broken(self, batch: Any) -> list[str]:
        """Return what could not be read in the place of images of a batch, and was not told yet."""
        found = batch.pop(BROKEN, ()) if isinstance(batch, dict) else ()
        return sorted({line for lines in found for line in lines.splitlines()} - self.broken)

    def _count_broken(self, new: list[str]) -> str:
        """Log broken images of all processes, and return why they are too many, '' if they are not."""
        self.broken.update(new)
        most = int(self.opt["datasets"]["train"].get("max_broken", MOST_BROKEN))
        for line in sorted(set(new)) if self.opt["rank"] == 0 else ():
            get_root_logger().error(f"{line}: another image takes its place ({len(self.broken)} of at most {most}).")
        if len(self.broken) <= most:
            return ""
        return f"{len(self.broken)} images are missing or broken, datasets.train.max_broken is {most}: see the log."


def _describe(error: Exception) -> str:
    """Return why a batch could not be loaded; torch adds the traceback of a worker to its message."""
    if isinstance(error, BrokenImageError):
        return str(error).strip().rsplit("BrokenImageError: ", 1)[-1] + "."
    return f"Images could not be loaded: {short_message(error)}"
