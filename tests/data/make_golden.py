"""Record tests/data/golden: python -m tests.data.make_golden (only after parity with the official code)."""

import json

import numpy as np
import torch

from lightsr_basicsr.data.degradations import BORDERS, imresize_uint8
from lightsr_basicsr.tools.plugins import registries
from tests.cases import CASES
from tests.golden import OWN, fill


def image(seed: int, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((1, 3, height, width), np.float32))


def record(case) -> None:
    net = registries()["networks"].get(case.name)(**{**case.kwargs, **case.golden_kwargs}).eval()
    own = net.state_dict()
    net.load_state_dict({key: fill(key, list(value.shape)) for key, value in own.items()})
    entries = [{"key": key, "shape": list(value.shape), "dtype": "float32"} for key, value in own.items()]
    arrays = {"in0": image(0, 8, 12), "out0": net(image(0, 8, 12))}
    if case.name == "IMDN_AS":
        arrays |= {"acs_in0": image(1, 61, 66), "acs_out0": net(image(1, 61, 66))}
    if case.name == "IMDN_RTE":
        arrays |= {"odd_in0": image(1, 7, 9), "odd_out0": net.forward_even(image(1, 7, 9))}
    OWN.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    (OWN / f"{case.golden}.json").write_text(f'{{"arch": "{case.name}", "state_dict": [\n{lines}\n]}}\n')
    np.savez_compressed(OWN / f"{case.golden}.npz", **{key: value.numpy() for key, value in arrays.items()})


def record_resize() -> None:
    """LR images of imresize_uint8, after it equalled MATLAB's Set5 files bit for bit."""
    high = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    low = {f"{border}_x{s}": imresize_uint8(high, 1 / s, border) for s in (2, 3, 4) for border in BORDERS}
    np.savez_compressed(OWN / "imresize.npz", high=high, **low)


if __name__ == "__main__":
    record_resize()
    with torch.no_grad():
        for case in CASES:
            record(case)
