"""Channel lists: candidates as published, targets, files, and lists that do not fit."""

import pytest

from lightsr_basicsr.archs.drn_arch import DRN
from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.pruning.channel_lists import (
    ChannelListError,
    candidate_widths,
    listed,
    targets_of,
    write_channel_list,
)

# Measured with the official code: width, then the candidates at 0.3, 0.5 and 0.7.
TABLE = {
    64: ("20 24 32 36 40 44", "16 20 20 24 28 32", "8 12 12 16 16 20"),
    32: ("12 12 16 16 20 20", "8 8 12 12 12 16", "4 4 4 8 8 8"),
    16: ("4 4 8 8 8 12", "4 4 4 4 8 8", "4 4 4 4 4 4"),
    8: ("4 4 4 4 4 4", "4 4 4 4 4 4", "4 4 4 4 4 4"),
    120: ("40 48 56 68 76 84", "28 36 40 48 52 60", None),
    256: ("88 108 124 144 160 180", "64 76 88 100 116 128", "36 44 52 60 68 76"),
    10: ("4 4 4 4 4 8", None, None),
}
SITES = [Site("a", "a.0", ("a.1",), 16), Site("b", "b.qkv", ("b.proj",), 10, "heads", 6)]


@pytest.mark.parametrize("width", TABLE)
def test_candidates_are_those_of_the_official_code(width):
    for rate, expected in zip((0.3, 0.5, 0.7), TABLE[width], strict=True):
        if expected:
            assert candidate_widths(width, rate) == [int(number) for number in expected.split()]


def test_a_width_below_four_has_itself_as_candidate():
    assert set(candidate_widths(3, 0.5)) == {3}


@pytest.mark.parametrize("name", ["search_x4p03", "search_x4p05", "search_x4p07", "search_x8p03", "search_x8p05"])
def test_the_published_lists_are_made_of_candidates(shared, name):
    numbers = [int(number) for number in (shared / "golden/drc_configs" / f"{name}.txt").read_text().split()]
    sites = DRN(*((16, 30, 4) if "x4" in name else (8, 30, 8))).prunable_sites()
    rate = int(name[-1]) / 10
    assert all(number in candidate_widths(site.width, rate) for site, number in zip(sites, numbers, strict=True))


def test_targets_come_from_a_list_a_file_or_a_rate(tmp_path):
    assert targets_of(SITES, [12, 48]) == [12, 8]
    write_channel_list(tmp_path / "list.txt", listed(SITES, [12, 8]))
    assert (tmp_path / "list.txt").read_text() == "12\n48\n"
    (tmp_path / "list.txt").write_bytes(b"12\r\n48")
    assert targets_of(SITES, tmp_path / "list.txt") == [12, 8]
    assert targets_of(SITES, rate=0.3) == [12, 7]


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([12], "expects 2 numbers in `channels`, got 1"),
        ([0, 6], "number 0 of `channels` must be within 1 and 16, got 0"),
        ([17, 6], "within 1 and 16, got 17"),
        ([2.5, 6], "whole numbers in `channels`, got 2.5"),
        ([12, "x"], "whole numbers"),
        ([True, 6], "whole numbers"),
        ([12, 20], "Number 1 of `channels`, of b, must be a multiple of its 6 heads, got 20"),
        ([float("inf"), 6], "whole numbers"),
        (5, "whole numbers"),
        ([[1], [2]], "whole numbers"),
        ("n" * 5000, "finds no channel list|cannot be read"),
        (".", "finds no channel list"),
        ("no such file.txt", "finds no channel list at no such file.txt"),
    ],
)
def test_a_list_that_does_not_fit_is_explained(channels, message):
    with pytest.raises(ChannelListError, match=message):
        targets_of(SITES, channels)


@pytest.mark.parametrize("rate", [0, 1, -0.3, 1.5, True, "0.3", None])
def test_a_rate_outside_of_0_and_1_is_explained(rate):
    with pytest.raises(ChannelListError, match=r"within \(0, 1\), got"):
        targets_of(SITES, rate=rate)
    with pytest.raises(ChannelListError, match=r"within \(0, 1\), got"):
        candidate_widths(64, rate)
