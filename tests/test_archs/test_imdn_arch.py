"""Tests of the IMDN family alone."""

import pytest
import torch

from lightsr_basicsr.archs.imdn_arch import IMDN, IMDN_AS, IMDN_RTC, IMDN_RTE, MultiDistillationTrunk


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: IMDN(upscale=5), "`upscale` 2, 3 or 4, got 5"),
        (lambda: IMDN(num_feat=30), "multiple of 4, got 30"),
        (lambda: IMDN(num_feat=12), "at least 16.*got 12"),
        (lambda: IMDN(num_block=0), "at least 1, got 0"),
        (lambda: IMDN_RTC(upscale=0), "at least 1, got 0"),
        (lambda: IMDN_RTE(upscale=4), "`upscale` 2 only, got 4"),
        (lambda: IMDN_RTE(img_range=0), "positive `img_range`"),
        (lambda: IMDN_RTE(num_feat=18), "multiple of 4, got 18"),
    ],
)
def test_impossible_arguments_are_explained(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_num_block_builds_that_many_blocks():
    net = IMDN(num_feat=16, num_block=2)
    assert net(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)
    assert not hasattr(net, "IMDB3")


def test_as_refuses_to_train_on_sides_that_it_cannot_halve_twice():
    with pytest.raises(ValueError, match="multiples of 4, got 16x18"):
        IMDN_AS(num_feat=16).train()(torch.rand(1, 3, 16, 18))


def test_as_crops_to_multiples_of_four(monkeypatch):
    sizes = []
    monkeypatch.setattr(MultiDistillationTrunk, "forward", lambda net, crop: sizes.append(crop.shape) or crop)
    image = torch.rand(1, 3, 102, 147)
    assert torch.equal(IMDN_AS(num_feat=16).eval()(image), image)
    assert sizes == [(1, 3, 80, 104)] * 4  # half + 32, down to a multiple of 4


def test_rte_works_on_its_own_range():
    net = IMDN_RTE(num_feat=8).eval()
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net.forward_even(image * 255) / 255)
