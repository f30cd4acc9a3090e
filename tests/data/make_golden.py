"""Record tests/data/golden: python -m tests.data.make_golden [NAME] (only after parity with the official code)."""

import copy
import json
import math
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lightsr_basicsr.data.degradations import BORDERS, imresize, isotropic_kernel
from lightsr_basicsr.plugins import registries
from tests import dcls, drc, kdsr
from tests.cases import CASES
from tests.golden import OWN, load, state_dict

# Recorded by the official code only: larger forms of networks that are here in another size.
LEFT_OUT = re.compile("_full|_gan$|dcls_x4|dcls_drc_x4|drn_l_|s50|s70|sdrn_s30_x8|swinir_dr_x4")
# Bare fill weights make these explode or saturate; a factor on a few of them keeps float32 meaningful.
FACTORS = (
    (re.compile(r"[Ss]ub_mean\.weight"), 1 / 255),  # of networks that work on 0 to 255
    (re.compile(r"dy_branch\.(bn2|fc_phi|p)\.weight"), 0.25),
    (re.compile(r"dbb_1x1_kxk.conv2|dbb_origin.conv|rbr_dense.conv"), 0.5),
    (re.compile(r"unit\.unit[12]\..*conv2?\.weight"), 0.25),
    (re.compile(r"up_blocks\..*body\.2\.weight"), 0.3),
    (re.compile(r"\.temperature"), 0.1),
    (re.compile(r"Restorer\.head2\.grad_filter\.6\.weight"), 5),
    (re.compile(r"Restorer\.upscale\.(2|4)\.weight"), 0.005),
)
# Without these the kernel of DCLS has no sum to speak of, and its pixels are saturated.
VALUES = ((re.compile(r"Estimator\.dec\.\d\.bias"), 0.1), (re.compile(r"Restorer\.upscale\.(2|4)\.bias"), 0.5))
SIDES = {"DDistill_SR": (15, 17), "SwinIR_DR": (9, 13), "DAT_DR": (16, 19), "DCLS": (11, 14)}


def image(seed: int, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((1, 3, height, width), np.float32))


def describe(case, net: nn.Module) -> dict:
    """List the weights, without the buffers that a constructor computes."""
    computed = {name for name, _ in net.named_buffers() if not re.search(r"running_|num_batches", name)}
    factors = FACTORS if not case.fill else ()
    entries = []
    for key, value in net.state_dict().items():
        if key not in computed:
            dtype = str(value.dtype).removeprefix("torch.")
            entries.append({"key": key, "shape": list(value.shape), "dtype": dtype})
            entries[-1]["factor"] = math.prod(factor for name, factor in factors if name.search(key))
            entries[-1] |= next(({"value": number} for name, number in VALUES if name.search(key)), {})
    return {"arch": case.name, "state_dict": entries}


def run(case, net: nn.Module) -> dict[str, torch.Tensor]:
    """Return inputs and outputs under the names that tests/golden.py compares."""
    unit = 255.0 if case.golden_kwargs.get("img_range") and case.name != "IMDN_RTE" else 1.0
    dtype = next(net.parameters()).dtype
    x = image(0, *SIDES.get(case.name, (8, 12))).to(dtype) * unit
    if case.name.startswith("BlindSR"):
        arrays = {"lq": x}
        if case.name == "BlindSR_TA":
            arrays["gt"] = image(1, 8 * case.scale, 12 * case.scale).to(dtype)
        sr, (distilled,) = net.train()(*arrays.values())
        return {**arrays, "train_out": sr, "train_fea_0": distilled, "out": net.eval()(*arrays.values())}
    if case.name in ("DRN", "DRNDual"):
        levels = net.forward_levels(x) if case.name == "DRN" else net([x] * len(net._modules))
        return {"in0": x, **{f"out0_{index}": level for index, level in enumerate(levels)}}
    arrays = {"in0": x, "out0": net(x)}
    if case.name == "DDistill_SR":
        arrays["pre0"] = net.forward_raw(x)
    if case.name == "DCLS":
        arrays["kernel0"] = net.super_resolve(x)[1]
    if getattr(net, "dual_model", None) is not None:
        arrays["dual0"] = net.dual_model(arrays["out0"])
    if case.name == "FDIWN":
        arrays |= {"chop_in0": image(1, 19, 22).to(dtype) * unit}
        arrays["chop_out0"] = net.forward_chopped(arrays["chop_in0"])
    if case.name == "IMDN_AS":
        arrays |= {"acs_in0": image(1, 61, 66).to(dtype)}
        arrays["acs_out0"] = net(arrays["acs_in0"])
    if case.name == "IMDN_RTE":
        arrays |= {"odd_in0": image(1, 7, 9).to(dtype)}
        arrays["odd_out0"] = net.forward_even(arrays["odd_in0"])
    return arrays


def record(case) -> None:
    net = registries()["networks"].get(case.name)(**{**case.kwargs, **case.golden_kwargs}).eval()
    description = describe(case, net)
    load(net, description)
    arrays = {key: value.numpy() for key, value in run(case, net).items()}
    # A recording is of use only where rounding does not decide the outcome.
    exact = run(case, copy.deepcopy(net).double()) if case.name != "DAT_DR" else arrays
    noise = max(float(np.abs(np.asarray(exact[key]) - arrays[key]).max()) for key in arrays)
    assert all(np.isfinite(value).all() for value in arrays.values()), case.golden
    assert noise < case.tolerance / 2, (case.golden, noise)
    OWN.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OWN / f"{case.golden}.npz", description=json.dumps(description), **arrays)


def record_resize() -> None:
    """LR images of imresize, after it equalled MATLAB's Set5 files bit for bit."""
    high = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    low = {f"{border}_x{s}": imresize(high, 1 / s, border) for s in (2, 3, 4) for border in BORDERS}
    np.savez_compressed(OWN / "imresize.npz", high=high, **low)


def record_kdsr_steps() -> None:
    """Losses of three training steps, after four equalled those of the official models."""
    logged = {}
    for model in ("KDSRNetTAModel", "KDSRNetSTModel", "KDSRGANSTModel"):
        with tempfile.TemporaryDirectory() as folder:
            logged[model] = kdsr.steps(kdsr.make_filled(model, Path(folder)), 3)
    (OWN / "kdsr_steps.json").write_text(json.dumps(logged, indent=1) + "\n")


def record_dcls_step() -> None:
    """Losses and norms of gradients of one step, after those of the official code were equal."""
    with np.load(OWN / "dcls_small_x4_k21.npz") as arrays:
        weights = state_dict(json.loads(arrays["description"].item()))
    gt, kernel = torch.cat([image(seed, 96, 96) for seed in range(2)]), isotropic_kernel(torch.tensor([1.2, 2.6]), 21)
    with tempfile.TemporaryDirectory() as folder:
        found = dcls.step(Path(folder), weights, gt, kernel.float())
    (OWN / "dcls_step.json").write_text(json.dumps(found, indent=1) + "\n")


def record_dual_loss() -> None:
    """Losses and gradients of one dual-regression step, after they equalled those of the official trainer."""
    from tests.test_models.test_dual_regression_model import official_step

    case = next(case for case in CASES if case.golden == "drn_dual_x4")
    description = describe(case, registries()["networks"].get(case.name)(**case.kwargs))
    names = {"hr": 24, "lr_0": 6, "lr_1": 12, "sr_0": 6, "sr_1": 12, "sr_2": 24}
    arrays = {name: 255 * image(seed, side, side).numpy() for seed, (name, side) in enumerate(names.items())}
    with tempfile.TemporaryDirectory() as folder:
        recorded = official_step(state_dict(description), arrays, Path(folder))
    np.savez_compressed(OWN / "drn_dual_loss_x4.npz", description=json.dumps(description), **arrays, **recorded)


def record_drc(name: str) -> None:
    """Compression of a tiny DRN, after it equalled that of the official code."""
    with tempfile.TemporaryDirectory() as folder:
        description, arrays = drc.record(name, Path(folder))
    np.savez_compressed(OWN / f"{name}.npz", description=json.dumps(description), **arrays)


if __name__ == "__main__":
    wanted = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    if wanted.search("imresize"):
        record_resize()
    if wanted.search("kdsr_steps"):
        record_kdsr_steps()
    if wanted.search("dcls_step"):
        record_dcls_step()
    if wanted.search("drn_dual_loss_x4"):
        record_dual_loss()
    for name in filter(wanted.search, drc.RECORDED):
        record_drc(name)
    with torch.no_grad():
        for case in CASES:
            if wanted.search(case.golden) and not LEFT_OUT.search(case.golden):
                record(case)
