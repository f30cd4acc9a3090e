"""Build the networks of an option file, within bounds of size and time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.bounds import MOST_NUMBER, Bounds, TooLargeError, too_large_numbers
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.names import arguments_of, check_section_of_type


def check_networks(run: Run) -> Iterator[Finding]:
    """Yield networks that cannot be built, and keep the others in ``run.networks``."""
    keys = [key for key in run.options if str(key).startswith("network_")]
    if not keys:
        yield Finding("network_g", "is missing: name the network, for example {type: IMDN, upscale: 4}")
    bounds = Bounds()
    for key in keys:
        content = run.options[key]
        findings = _check_section(key, content)
        yield from findings
        if not findings:
            try:
                with bounds:
                    run.networks[key] = look_up(ARCH_REGISTRY, content["type"])(**arguments_of(content))
            except TooLargeError as error:
                yield Finding(key, f"{content['type']} is not built: {error}")
            except Exception as error:
                # Constructors of other plugins may raise any exception; the run would stop with it.
                yield Finding(key, f"{content['type']} cannot be built: {short_message(error)}")


def _check_section(key: str, content: Any) -> list[Finding]:
    """Return what is wrong with the type and the arguments of a network, before it is built."""
    findings = check_section_of_type(key, content, ARCH_REGISTRY, "network")
    large = {} if findings else dict(too_large_numbers(content, key))
    text = f"no network takes a number above {MOST_NUMBER:,}, got "
    return findings or [Finding(where, text + short_message(repr(value), 80)) for where, value in large.items()]
