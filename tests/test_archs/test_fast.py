"""Fast forms of sums, products and gates: their formulas, their gradients, and what they overwrite."""

import pytest
import torch

from lightsr_basicsr.archs import fast

FORMS = {
    "add_in_place": (2, lambda x, y: x + y),
    "add_product": (3, lambda x, a, b: x + a * b),
    "add_product_in_place": (3, lambda x, a, b: x + a * b),
    "multiply_in_place": (2, lambda x, y: x * y),
    "sigmoid_in_place": (1, torch.sigmoid),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_fast_form_is_its_formula(name):
    count, formula = FORMS[name]
    given = [torch.rand(2, 3, 4, 5, dtype=torch.double) for _ in range(count)]
    kept = [x.clone() for x in given]
    with torch.no_grad():
        out = getattr(fast, name)(*given)
    torch.testing.assert_close(out, formula(*kept))
    assert all(torch.equal(x, before) for x, before in zip(given[1:], kept[1:], strict=True))
    assert (out.data_ptr() == given[0].data_ptr()) is name.endswith("_in_place")


@pytest.mark.parametrize("name", FORMS)
def test_a_fast_form_has_the_gradients_of_its_formula(name):
    count, _ = FORMS[name]
    given = [torch.rand(1, 2, 3, 2, dtype=torch.double, requires_grad=True) for _ in range(count)]
    # A sum in between, so that no leaf is overwritten.
    assert torch.autograd.gradcheck(lambda x, *rest: getattr(fast, name)(x + 1, *rest), given)


def test_a_sum_of_two_dtypes_is_a_new_tensor():
    x, y = torch.rand(1, 2, 3, 3, dtype=torch.bfloat16), torch.rand(1, 2, 3, 3)
    before = x.clone()
    with torch.no_grad():
        assert fast.add_in_place(x, y).dtype == torch.float32
    assert torch.equal(x, before)


def test_steps_run_one_after_the_other():
    first, second = torch.nn.Conv2d(3, 4, 3), torch.nn.PixelShuffle(2)
    x = torch.rand(1, 3, 5, 5)
    assert torch.equal(fast.run_steps([first, second], x), second(first(x)))
    assert fast.run_steps([], x) is x


def test_concatenating_empties_the_list():
    parts = [torch.rand(1, 2, 3, 3), torch.rand(1, 1, 3, 3)]
    expected = torch.cat(parts, dim=1)
    assert torch.equal(fast.concat_and_release(parts), expected)
    assert parts == []


def test_running_fusion_equals_the_convolution_of_all():
    """Maps taken one by one give what the convolution of all side by side gives, with gradients the same bits."""
    conv, maps = torch.nn.Conv2d(9, 4, 1), [torch.randn(2, width, 5, 6) for width in (2, 4, 3)]
    expected = conv(torch.cat(maps, dim=1))
    for recording in (False, True):
        with torch.set_grad_enabled(recording):
            fusion = fast.RunningFusion(conv)
            for feature_map in maps:
                fusion.add(feature_map)
            torch.testing.assert_close(
                fusion.finish(), expected, rtol=0 if recording else 1e-5, atol=0 if recording else 1e-6
            )
            assert len(fusion.waiting) == 0
