"""Channel lists: one number for each site, in the order of the sites; candidates for them, and files of them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from lightsr_basicsr.archs.layers import read_channels
from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.checkpoints import write_whole
from lightsr_basicsr.errors import UserError

# Of the width that the pruning rate leaves (official code).
FRACTIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MULTIPLE = 4


class ChannelListError(UserError):
    """Numbers of channels that do not fit a network's sites."""


def candidate_widths(width: int, rate: float, fractions: Sequence[float] = FRACTIONS) -> list[int]:
    """Return the numbers of channels that the search weighs at a site of ``width``, for a pruning rate within (0, 1).

    Multiples of 4 (a remainder of 3 is rounded up, 1 and 2 down) from 4 to ``width``. Some may be equal; the official
    code keeps them, and so the same list is searched.

    >>> candidate_widths(64, 0.3), candidate_widths(16, 0.3)
    ([20, 24, 32, 36, 40, 44], [4, 4, 8, 8, 8, 12])
    """
    check_rate(rate)
    found = (int(width * (1 - rate) * fraction) for fraction in fractions)
    rounded = ((number + 1) // MULTIPLE * MULTIPLE for number in found)
    return [min(max(number, MULTIPLE), width) for number in rounded]


def check_rate(rate: Any) -> None:
    """Raise ChannelListError unless ``rate``, the part of the channels to remove, is within (0, 1)."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < 1:
        raise ChannelListError(f"A pruning rate is the part of the channels to remove, within (0, 1), got {rate!r}.")


def targets_of(
    sites: Sequence[Site], channels: Sequence[int] | str | PathLike | None = None, rate: float | None = None
) -> list[int]:
    """Return how many channels to keep at each site, for attention those of one head.

    Args:
        sites (Sequence[Site]): The sites.
        channels (Sequence[int] | str | PathLike | None): A channel list, or a text file of one.
        rate (float | None): Without a list, the part of the channels to remove at every site.

    Raises:
        ChannelListError: If neither is given, or one does not fit.
    """
    if channels is None:
        check_rate(rate)
        return [max(site.width - int(site.width * rate), 1) for site in sites]
    try:
        numbers = read_channels(channels, [site.listed for site in sites], "The pruning")
    except ValueError as error:
        raise ChannelListError(str(error)) from error
    except OSError as error:  # a folder, a name that no file can have
        raise ChannelListError(f"The channel list {channels} cannot be read: {error.strerror}.") from error
    for index, (site, number) in enumerate(zip(sites, numbers, strict=True)):
        if number % site.unit:
            raise ChannelListError(
                f"Number {index} of `channels`, of {site.name}, must be a multiple of its {site.unit} heads, got "
                f"{number}."
            )
    return [number // site.unit for site, number in zip(sites, numbers, strict=True)]


def listed(sites: Sequence[Site], widths: Sequence[int]) -> list[int]:
    """Return the channel list of these numbers of channels; attention is listed as the width of all heads."""
    return [site.unit * width for site, width in zip(sites, widths, strict=True)]


def write_channel_list(path: str | PathLike, numbers: Sequence[int]) -> None:
    """Write a channel list as the official files are: one number in a line.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    write_whole(Path(path), "".join(f"{number}\n" for number in numbers).encode())
