"""The distillation loss against its definition and the official recording."""

import pytest
import torch

from lightsr_basicsr.losses.kd_loss import KDLoss
from tests import golden


def by_definition(teacher, student, temperature):
    p, q = (torch.softmax(vector / temperature, dim=1) for vector in (teacher.double(), student.double()))
    return (p * (p / q).log()).sum(dim=1).mean()


def test_it_is_the_divergence_of_the_softened_vectors():
    teacher, student = torch.randn(3, 16), torch.randn(3, 16)
    loss = KDLoss(loss_weight=2.0, temperature=0.5)([teacher], [student])
    assert loss.item() == pytest.approx(2 * by_definition(teacher, student, 0.5).item(), rel=1e-5)


def test_it_sums_over_vectors_and_is_nothing_between_equal_ones():
    pairs = [(torch.randn(4, 8), torch.randn(4, 8)), (torch.randn(4, 5), torch.randn(4, 5))]
    each = [KDLoss()([teacher], [student]) for teacher, student in pairs]
    both = KDLoss()([teacher for teacher, _ in pairs], [student for _, student in pairs])
    assert both.item() == pytest.approx(sum(loss.item() for loss in each))
    assert KDLoss()([pairs[0][0]], [pairs[0][0]]).item() == pytest.approx(0, abs=1e-6)


def test_the_teacher_gets_no_gradient_and_far_vectors_are_finite():
    teacher, student = (torch.randn(2, 64).mul(100).requires_grad_() for _ in range(2))
    loss = KDLoss()([teacher], [student])
    loss.backward()
    assert teacher.grad is None
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("shapes", [[(2, 8), (2, 9)], [(2, 8), (3, 8)]])
def test_vectors_of_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match=r"expects vectors of equal shapes, got \[\(2, 8\)\] \(teacher\)"):
        KDLoss()([torch.zeros(shapes[0])], [torch.zeros(shapes[1])])


def test_a_temperature_must_be_positive():
    with pytest.raises(ValueError, match="positive `temperature`, got 0"):
        KDLoss(temperature=0)


def test_it_equals_the_official_one(shared):
    description, arrays = golden.read(shared / "golden", "kdsr_kd_loss")
    assert len(description["cases"]) == 7
    for case in description["cases"]:
        vectors = {
            who: [torch.from_numpy(arrays[f"{case['name']}_{who}_{i}"]) for i in range(len(case["shapes"]))]
            for who in ("teacher", "student")
        }
        student = [vector.requires_grad_() for vector in vectors["student"]]
        loss = KDLoss(case["loss_weight"], case["temperature"])(vectors["teacher"], student)
        loss.backward()
        assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
        for index, vector in enumerate(student):
            assert golden.worst(vector.grad, arrays[f"{case['name']}_student_grad_{index}"]) < 1e-5
