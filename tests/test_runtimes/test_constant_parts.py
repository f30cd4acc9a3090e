"""What depends on weights alone is a constant of a traced graph; everything else stays in it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.fdiwn_arch import FDIWN_M
from lightsr_basicsr.runtimes.constant_parts import ConstantParts
from lightsr_basicsr.runtimes.graphs import quiet_tracer, to_onnx, to_openvino
from tests.converting import trained


class Preparing(nn.Module):
    """Prepares weights at every call, in place and out of place, and writes the image into one of the results."""

    num_in_ch, num_out_ch, upscale, min_side = 3, 3, 1, 1

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.factor = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x):
        kernel = torch.cat([(self.conv.weight * self.factor).flip(0)] * 1).mul_(0.5)
        base = torch.zeros(1, 3, 1, 1) + self.factor
        mean = base.add_(x.mean((0, 2, 3), keepdim=True))
        again = (self.conv.weight * self.factor).sum()
        base *= 2.0
        kernel = torch.cat([(self.conv.weight * self.factor).flip(0)] * 1).mul_(0.5) + kernel
        return F.conv2d(x, kernel, padding=1) + mean + base + again + (torch.zeros(1, 3, 1, 1) + self.factor)


def traced(net: nn.Module, x: torch.Tensor) -> torch.jit.ScriptModule:
    with quiet_tracer(), torch.no_grad(), ConstantParts(net):
        return torch.jit.trace(net, x, check_trace=False)


def test_a_graph_keeps_what_depends_on_the_image():
    net = Preparing().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    program = traced(net, torch.rand(2, 3, 7, 9))
    kinds = [node.kind() for node in program.graph.nodes()]
    assert not {"aten::flip", "aten::cat", "aten::sum", "aten::zeros"} & set(kinds)
    assert "aten::mean" in kinds
    for shape in ((2, 3, 7, 9), (1, 3, 12, 5)):
        images = torch.rand(shape)
        torch.testing.assert_close(program(images), net(images))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_one_computed_twice_is_one_constant():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3, 3, 1, 1), requires_grad=False)

        def forward(self, x):
            return F.conv2d(F.conv2d(x, self.weight.flip(0)), self.weight.flip(0))

    graph = traced(Twice(), torch.rand(1, 3, 4, 4)).inlined_graph
    values = [node.t("value") for node in graph.findAllNodes("prim::Constant")
              if node.hasAttribute("value") and node.kindOf("value") == "t"]  # fmt: skip
    constants = [value for value in values if value.ndim == 4]
    assert len(constants) == 1


def test_gradients_of_the_network_are_as_before_an_export():
    pytest.importorskip("onnx")
    net = trained(FDIWN_M())
    to_onnx(net)
    assert all(weight.requires_grad for weight in net.parameters())


def test_fdiwns_graph_holds_no_work_on_weights():
    pytest.importorskip("onnx")
    kinds = [node.op_type for node in to_onnx(FDIWN_M().eval()).graph.node]
    assert len([kind for kind in kinds if kind != "Constant"]) < 5200
    assert kinds.count("Conv") == 546


def test_openvino_computes_the_same():
    pytest.importorskip("openvino")
    import openvino

    net, images = trained(FDIWN_M()).eval(), torch.rand(1, 3, 20, 23)
    run = openvino.Core().compile_model(to_openvino(net), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        assert (torch.from_numpy(run(images.numpy())[0]) - net(images)).abs().max() < 1e-5
