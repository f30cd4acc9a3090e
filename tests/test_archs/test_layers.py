"""Blocks that several networks share."""

import pytest
import torch

from lightsr_basicsr.archs.layers import Downscaler, MeanShift, read_channels, run_in_quarters, std_mean


@pytest.mark.parametrize("size", [(60, 61), (61, 63), (65, 90), (101, 64)])
@pytest.mark.parametrize("scale", [1, 3])
def test_running_in_quarters_puts_every_pixel_back(size, scale):
    image = torch.rand(2, 3, *size)

    def enlarge(crop):
        return crop.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    corner = (size[0] // 2 + 10, size[1] // 2 + 7)
    assert torch.equal(run_in_quarters(enlarge, image, corner, scale), enlarge(image))


def test_mean_shift_starts_as_the_mean_of_its_range():
    shifted = MeanShift(-1, img_range=255.0)(torch.zeros(1, 3, 2, 2))
    torch.testing.assert_close(shifted[0, :, 0, 0], torch.tensor([-114.444, -111.4605, -103.02]))
    assert not any(parameter.requires_grad for parameter in MeanShift(1, trainable=False).parameters())


@pytest.mark.parametrize(("steps", "side"), [(1, 9), (2, 5), (3, 3)])
def test_downscaler_halves_rounding_up(steps, side):
    assert Downscaler(3, 8, 3, steps)(torch.rand(1, 3, 17, 17)).shape == (1, 3, side, side)


def test_channels_come_from_a_list_or_from_any_text_of_numbers(tmp_path):
    path = tmp_path / "channels.txt"
    path.write_text("4\r\n8\r\n12")  # as some official lists are: CRLF, no newline at the end
    assert read_channels(path, [16, 16, 16], "DRN") == read_channels([4, 8, 12], [16, 16, 16], "DRN") == [4, 8, 12]


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([4, 8], r"DRN expects 3 numbers in `channels`, got 2"),
        ([4, 0, 12], r"number 1 of `channels` must be within 1 and 16, got 0"),
        ([4, 8, 17], r"number 2 of `channels` must be within 1 and 16, got 17"),
        (["4", "eight", "12"], r"whole numbers in `channels`"),
        ([4, 8, 11.5], r"whole numbers in `channels`, got 11.5"),
        ([4, True, 12], r"whole numbers in `channels`, got True"),
        ("missing.txt", r"no channel list at missing.txt"),
    ],
)
def test_impossible_channels_are_explained(channels, message, workdir):
    with pytest.raises(ValueError, match=message):
        read_channels(channels, [16, 16, 16], "DRN")


@pytest.mark.parametrize("training", [False, True])
def test_statistics_leave_the_feature_map_as_it_is_and_have_gradients(training):
    maps = torch.rand(2, 3, 5, 4, dtype=torch.double, requires_grad=training)
    before = maps.detach().clone()
    with torch.set_grad_enabled(training):
        std, mean = std_mean(maps)
    assert torch.equal(maps, before)
    torch.testing.assert_close(std[..., 0, 0], before.flatten(2).std(dim=2, correction=0))
    torch.testing.assert_close(mean[..., 0, 0], before.flatten(2).mean(dim=2))
    assert not training or torch.autograd.gradcheck(std_mean, (maps,))
