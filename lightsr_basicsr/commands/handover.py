"""Hand an option file over to BasicSR's pipelines: its content as it was read and overridden, not the file's text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.whole import write_whole

if TYPE_CHECKING:
    from lightsr_basicsr.tools.options import OptionFile


AS_WRITTEN = "_as_written.yml"


def hand_over(file: OptionFile, options: dict, args: argparse.Namespace) -> Any:
    """Run BasicSR's pipeline; return the network if another backend ran it in a test, None if torch did.

    Args:
        file (OptionFile): The option file, of which BasicSR keeps a copy.
        options (dict): Its content, overrides included; ``path.resume_state`` is where a resumed run starts from.
        args (Namespace): The command line of ``basicsr train`` or ``basicsr test``.
    """
    import basicsr.test as test
    import basicsr.train as train
    from basicsr.utils import options as module

    parse_options, build_model = module.parse_options, test.build_model
    arguments = ["-opt", str(file.path), "--launcher", args.launcher, "--local_rank", str(args.local_rank)]
    arguments += ["--debug"] if args.debug else []
    replaced: list[Any] = []

    def loader(stream: Any) -> SimpleNamespace:
        """Return a YAML loader that gives ``options``, whatever is in the stream."""
        return SimpleNamespace(get_single_data=lambda: deepcopy(options), dispose=lambda: None)

    def parse(*args: Any, **kwargs: Any) -> tuple:
        # The rest of BasicSR sees the whole command line, which it writes into its copy of the option file.
        with _changed(sys, argv=[sys.argv[0], *arguments]), _changed(module, ordered_yaml=lambda: (loader, None)):
            return parse_options(*args, **kwargs)

    def build(*args: Any, **kwargs: Any) -> Any:
        model = build_model(*args, **kwargs)
        _replace_network(model, replaced)
        return model

    copy = _copier(file, train.copy_opt_file)
    with (
        _changed(train, parse_options=parse, copy_opt_file=copy),
        _changed(test, parse_options=parse, build_model=build),
    ):
        (train.train_pipeline if args.command == "train" else test.test_pipeline)(str(Path.cwd()))
    return next(iter(replaced), None)


def _copier(file: OptionFile, copy_opt_file: Callable) -> Callable:
    """Return a function that leaves the option file in the run's folder, resolved, so that it can be started again."""
    from basicsr.utils.dist_util import master_only

    alone = file.stands_alone
    # Read now: the file may lie in the folder of the run, which BasicSR renames to make room.
    written = file.path.read_bytes()
    resolved = written if alone else file.text().encode()

    @master_only
    def copy(opt_file: str, experiments_root: str) -> None:
        if alone and Path(experiments_root).resolve() not in file.path.resolve().parents:
            copy_opt_file(opt_file, experiments_root)
            return
        with TemporaryDirectory() as folder:
            source = Path(folder, file.path.name)
            source.write_bytes(resolved)
            copy_opt_file(str(source), experiments_root)
        if not alone:
            write_whole(Path(experiments_root, f"{file.path.stem}{AS_WRITTEN}"), written)

    return copy


@contextmanager
def _changed(module: Any, **values: Any) -> Iterator[None]:
    """Change attributes of ``module`` within the block."""
    before = {name: getattr(module, name) for name in values}
    vars(module).update(values)
    try:
        yield
    finally:
        vars(module).update(before)


def _replace_network(model: Any, replaced: list[Any]) -> None:
    """Let the backend that ``val`` names run the network of a test; each process validates a share of the images."""
    from basicsr.utils import get_root_logger

    from lightsr_basicsr.runtimes.validation import run_by_backend, settings_of

    settings = settings_of(model.opt)
    if settings is not None:
        network = run_by_backend(model, settings)
        get_root_logger().info(f"The network is run by {network.runtime.explained}.")
        replaced.append(network)
