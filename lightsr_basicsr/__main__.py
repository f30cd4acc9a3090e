"""``python -m lightsr_basicsr``: the same as the command ``basicsr``."""

import runpy

# Under the name of cli, because spawned workers import the main module again, but never one called __main__.
runpy.run_module("lightsr_basicsr.cli", run_name="__main__", alter_sys=True)
