"""Functions behind the commands, usable from Python: no printing, no argument parsing."""
