"""Hand an option file over to BasicSR's pipelines: its content as it was read and overridden, not the file's text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any


def hand_over(path: Path, options: dict, args: argparse.Namespace) -> Any:
    """Run BasicSR's pipeline; return the network if another backend ran it in a test, None if torch did.

    Args:
        path (Path): The option file, of which BasicSR keeps a copy.
        options (dict): Its content, overrides included; ``path.resume_state`` is where a resumed run starts from.
        args (Namespace): The command line of ``basicsr train`` or ``basicsr test``.
    """
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    pipeline = train_pipeline if args.command == "train" else test_pipeline
    arguments = ["-opt", str(path), "--launcher", args.launcher, "--local_rank", str(args.local_rank)]
    arguments += ["--debug"] if args.debug else []
    replaced: list[Any] = []
    with parsed_options(options, arguments), changed_model(lambda model: _replace_network(model, replaced)):
        pipeline(str(Path.cwd()))
    return next(iter(replaced), None)


def _replace_network(model: Any, replaced: list[Any]) -> None:
    """Let the backend that ``val`` names run the network of a test; only the first process validates."""
    from basicsr.utils import get_root_logger

    from lightsr_basicsr.runtimes.validation import run_by_backend, settings_of

    settings = settings_of(model.opt)
    if settings is not None and model.opt["rank"] == 0:
        network = run_by_backend(model, settings)
        get_root_logger().info(f"The network is run by {network.runtime}, {network.runtime.chosen_because}.")
        replaced.append(network)


@contextmanager
def parsed_options(options: dict, arguments: list[str]) -> Iterator[None]:
    """Let BasicSR's pipelines use ``options`` as the content of the option file.

    Args:
        options (dict): Content of the file, overrides included.
        arguments (list[str]): The command line for BasicSR's own parser, ``-opt FILE`` and its flags. The rest of
            BasicSR still sees ``sys.argv``, which it writes into its copy of the option file.
    """
    import basicsr.test as test
    import basicsr.train as train
    from basicsr.utils import options as module

    class Loader:
        """Return ``options`` where a YAML loader would parse the stream."""

        def __init__(self, stream: Any) -> None:
            del stream

        def get_single_data(self) -> dict:
            return deepcopy(options)

        def dispose(self) -> None:
            pass

    original, ordered_yaml = module.parse_options, module.ordered_yaml

    def parse_options(*args: Any, **kwargs: Any) -> tuple:
        command_line, sys.argv = sys.argv, [sys.argv[0], *arguments]
        module.ordered_yaml = lambda: (Loader, None)
        try:
            return original(*args, **kwargs)
        finally:
            sys.argv, module.ordered_yaml = command_line, ordered_yaml

    train.parse_options = test.parse_options = parse_options
    try:
        yield
    finally:
        train.parse_options = test.parse_options = original


@contextmanager
def changed_model(change: Callable[[Any], None]) -> Iterator[None]:
    """Call ``change`` with the model that BasicSR's test pipeline builds, before it runs."""
    import basicsr.test as test

    original = test.build_model

    def build_model(*args: Any, **kwargs: Any) -> Any:
        model = original(*args, **kwargs)
        change(model)
        return model

    test.build_model = build_model
    try:
        yield
    finally:
        test.build_model = original
