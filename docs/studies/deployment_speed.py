"""Measure steps towards faster float32 inference, each beside the form without it.

``python docs/studies/deployment_speed.py [--rounds N] [--size HxW]`` runs the forms by turns on one thread and prints
the median (smallest to largest) of the processor time without a step over that with it, so that other programs disturb
little:

- channels padded with zeros to whole vectors in OpenVINO's convolutions, for the widths of FDIWN and DDistill-SR;
- the fusion of IMDN's block outputs split into one convolution per block, in torch and in OpenVINO;
- memory of feature maps kept while torch runs IMDN, at the size and at four times its pixels.

Weights are random. Takes some minutes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from statistics import median
from time import process_time

import numpy as np
import openvino
import torch
from openvino import opset13 as ops
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.allocator import freed_memory_kept
from lightsr_basicsr.archs.imdn_arch import IMDN

# Input, output channels and kernel of convolutions; then the same, padded to multiples of 16 or 8.
PADDED = [
    ((24, 24, 3), (32, 32, 3)), ((12, 24, 3), (16, 32, 3)), ((12, 24, 3), (16, 24, 3)), ((24, 60, 1), (32, 64, 1)),
    ((24, 60, 1), (24, 64, 1)), ((60, 12, 1), (64, 16, 1)), ((60, 12, 1), (64, 12, 1)), ((48, 108, 1), (48, 112, 1)),
    ((56, 56, 3), (64, 64, 3)),
]  # fmt: skip
LAYERS = 8
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}


def compare(name: str, forms: list[Callable[[], object]], rounds: int) -> None:
    """Run two forms by turns and print the processor time of the first over that of the second."""
    seconds: list[list[float]] = [[], []]
    for form in forms:
        form()
    for _ in range(rounds):
        for index in random.sample((0, 1), 2):
            start = process_time()
            forms[index]()
            seconds[index].append(process_time() - start)
    ratios = sorted(before / after for before, after in zip(*seconds, strict=True))
    before, after = (1e3 * median(taken) for taken in seconds)
    print(
        f"{name:<52} {before:>7.1f} ms -> {after:>7.1f} ms  {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def request_of(outputs: list[openvino.Output], given: list[openvino.Node]) -> Callable[[], object]:
    """Return a call that runs an OpenVINO model on random feature maps."""
    request = openvino.Core().compile_model(openvino.Model(outputs, given), "CPU", SETTINGS).create_infer_request()
    maps = {i: np.random.rand(*node.shape).astype(np.float32) for i, node in enumerate(given)}
    return partial(request.infer, maps, share_inputs=True, share_outputs=True)


def convolve(x: openvino.Output, num_in: int, num_out: int, side: int) -> openvino.Node:
    """Return a convolution with random weights."""
    kernel = ops.constant(np.random.rand(num_out, num_in, side, side).astype(np.float32) / (num_in * side**2))
    edge = [side // 2] * 2
    return ops.convolution(x, kernel, [1, 1], edge, edge, [1, 1])


def layers(num_in: int, num_out: int, side: int, size: list[int]) -> Callable[[], object]:
    """Return a call that runs some equal convolutions by turns with their way back to ``num_in`` channels."""
    x = given = ops.parameter([1, num_in, *size], np.float32)
    for _ in range(LAYERS):
        x = ops.relu(convolve(x, num_in, num_out, side))
        x = ops.relu(convolve(x, num_out, num_in, 1))
    return request_of([ops.reduce_mean(x, np.array([2, 3])).output(0)], [given])


def fusion(split: bool, size: list[int], maps: int = 6, width: int = 64) -> Callable[[], object]:
    """Return a call that fuses the outputs of convolutions, at once or one by one."""
    x = given = ops.parameter([1, width, *size], np.float32)
    outputs = []
    for _ in range(maps):
        x = ops.relu(convolve(x, width, width, 3))
        outputs.append(x)
    if split:
        fused = convolve(outputs[0], width, width, 1)
        for out in outputs[1:]:
            fused = ops.add(convolve(out, width, width, 1), fused)
    else:
        fused = convolve(ops.concat(outputs, 1), maps * width, width, 1)
    return request_of([ops.reduce_mean(fused, np.array([2, 3])).output(0)], [given])


def torch_fusion(split: bool, size: list[int]) -> None:
    """Fuse six feature maps in torch, at once or one by one."""
    maps = [torch.rand(1, 64, *size).to(memory_format=torch.channels_last) for _ in range(6)]
    kernel = torch.rand(64, 384, 1, 1)
    with torch.no_grad():
        if not split:
            F.conv2d(torch.cat(maps, 1), kernel)
            return
        total = F.conv2d(maps[0], kernel[:, :64])
        for index, feature_map in enumerate(maps[1:], 1):
            total += F.conv2d(feature_map, kernel[:, 64 * index : 64 * index + 64])


def run_imdn(net: torch.nn.Module, image: torch.Tensor, keep: bool) -> None:
    """Run IMDN with the memory of feature maps kept or not."""
    with torch.no_grad(), freed_memory_kept() if keep else nullcontext():
        net(image)


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--size", default="180x320", help="of the LR image; default: %(default)s")
    given = parser.parse_args()
    size = [int(side) for side in given.size.split("x")]
    torch.set_num_threads(1)
    for (*plain, side), wide in PADDED:
        name = f"OpenVINO, {side}x{side}, {plain[0]} -> {plain[1]} as {wide[0]} -> {wide[1]} channels, and back"
        compare(name, [layers(*plain, side, size), layers(*wide, size)], given.rounds)
    compare("OpenVINO, fusion of six maps one by one", [fusion(way, size) for way in (False, True)], given.rounds)
    compare(
        "torch, fusion of six maps one by one",
        [partial(torch_fusion, way, size) for way in (False, True)],
        given.rounds,
    )
    net = IMDN().eval().to(memory_format=torch.channels_last)
    for factor in (1, 2):
        image = torch.rand(1, 3, *(factor * side for side in size)).to(memory_format=torch.channels_last)
        forms = [partial(run_imdn, net, image, keep) for keep in (False, True)]
        compare(f"torch, IMDN at {factor * size[0]}x{factor * size[1]}, memory kept", forms, given.rounds)


if __name__ == "__main__":
    main()
