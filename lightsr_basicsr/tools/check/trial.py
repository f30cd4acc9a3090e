"""Put one item of every data set through the network, small and on the CPU, and compare the output with HR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import DiffJPEG, USMSharp
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn
from torch.utils.data import default_collate

from lightsr_basicsr._fixes.sampling import seeded
from lightsr_basicsr.data.low_resolution import degrade_batch
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.runtimes.validation import settings_of
from lightsr_basicsr.tools.check.bounds import Bounds, NoMemoryError, TooLargeError
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.names import takes_argument

# Sides that are tried until the network runs, as LR pixels. A network for windows or levels may need the larger ones.
SIDES = (16, 64, 128)
# Parameters times LR pixels, about the multiply-adds of a convolutional network: one to three seconds on a CPU.
MOST_WORK = 2e10


def try_items(run: Run) -> Iterator[Finding]:
    """Yield data sets whose items the network, or its loss, cannot be run with.

    Nothing is said of models whose steps are unknown: those of other packages that do more than BasicSR's.
    """
    settings = settings_of(run.options)
    if not run.contract.runs_on_lr(run.is_train) or (settings is not None and settings.exported is not None):
        return
    for key, seen in run.seen.items():
        training = str(key).split("_")[0] == "train"
        with seeded(0), torch.no_grad():
            yield from _try_item(run, f"datasets.{key}", seen.item, training)


def _try_item(run: Run, where: str, item: Any, training: bool) -> Iterator[Finding]:
    try:
        low, high = _images(run, item)
    except Exception as error:
        # As the model would raise at its first batch.
        yield Finding(where, f"LR images cannot be made of its items: {short_message(error)}")
        return
    net = run.networks.get("network_g")
    if low is None or net is None or (high is None and run.contract.needs_gt):
        return
    name = type(net).__name__
    try:
        whole = training or run.contract.tests_whole_images
        output, part = _run_small(net, low, high if run.contract.needs_gt else None, whole)
    except TooLargeError as error:
        yield Finding(where, f"not tried with {name}: {error}", fatal=False)
    except Exception as error:
        # Networks of other packages may raise any exception. What needs a GPU is no mistake.
        if not (isinstance(error, NotImplementedError) or "cuda" in str(error).lower()):
            yield Finding(where, f"{name} cannot run on LR images {_size(low)}: {short_message(error)}")
    else:
        yield from _compare(run, where, name, (output, part, low, high), training)


def _images(run: Run, item: Any) -> tuple[Tensor | None, Tensor | None]:
    """Return the LR and the HR image of an item as a batch, None where there is none.

    A training model makes LR images of some data sets on its device; so does this, on the CPU.
    """
    if not isinstance(item, Mapping):
        return None, None
    keys = [key for key in ("lq", "gt", "degradation", "kernel1", "kernel2", "sinc_kernel") if key in item]
    batch = default_collate([{key: item[key] for key in keys}])
    low, high = batch.get("lq"), batch.get("gt")
    if low is None and "degradation" in batch:
        low = degrade_batch(high, batch["degradation"])
    elif low is None and "kernel1" in batch:
        model = SimpleNamespace(
            opt={"gt_usm": False, **run.options}, device=torch.device("cpu"), is_train=True,
            usm_sharpener=USMSharp(), jpeger=DiffJPEG(differentiable=False), _dequeue_and_enqueue=lambda: None,
        )  # fmt: skip
        RealESRNetModel.feed_data(model, batch)
        low, high = model.lq, model.gt
    return low if isinstance(low, Tensor) else None, high if isinstance(high, Tensor) else None


def _run_small(net: nn.Module, low: Tensor, high: Tensor | None, whole: bool) -> tuple[Any, Tensor]:
    """Return the output of ``net`` in evaluation mode, and the part of ``low`` that it was given.

    The part is as small as the network takes. ``high`` is for networks that are shown HR images too. With ``whole`` the
    sides of the part are divisible by 2, 4, 8 and 16 if those of ``low`` are; without, the model pads them itself.
    """
    training, error = net.training, None
    parameters = sum(parameter.numel() for parameter in net.parameters())
    for least in _sides(net, low):
        rows, columns = (min(side, least + (side % 16 if whole else 0)) for side in low.shape[-2:])
        part = low[..., :rows, :columns]
        if parameters * part[..., 0, :, :].numel() / 3 > MOST_WORK:
            raise TooLargeError(f"{parameters / 1e6:.0f} million parameters: it would take long on the CPU") from error
        try:
            with Bounds():
                return net.eval()(part, *(() if high is None else (_same_part(high, low, part),))), part
        except TooLargeError as problem:
            if isinstance(problem, NoMemoryError) and least == SIDES[0]:
                raise MemoryError(str(problem)) from problem  # and crops of a training are larger
            raise
        except Exception as problem:  # any, see above
            error = problem
        finally:
            net.train(training)
    raise error


def _sides(net: nn.Module, low: Tensor) -> Iterator[int]:
    """Yield multiples of 16 to which the sides of ``low`` are shortened, until it is whole."""
    least = -(-getattr(net, "min_side", 1) // 16) * 16
    for side in sorted({max(side, least) for side in SIDES}):
        yield side
        if side >= max(low.shape[-2:]):
            return


def _same_part(high: Tensor, low: Tensor, part: Tensor) -> Tensor:
    """Return the part of ``high`` that shows the ``part`` of ``low``."""
    rows, columns = (high.shape[axis] * part.shape[axis] // low.shape[axis] for axis in (-2, -1))
    return high[..., :rows, :columns]


def _compare(run: Run, where: str, name: str, images: Sequence[Any], training: bool) -> Iterator[Finding]:
    """Yield an output that is no image, or is not as large as HR."""
    output, part, low, high = images
    if not isinstance(output, Tensor):
        if run.contract.steps_like_srmodel:
            yield Finding(where, f"{name} gives {type(output).__name__}, but {run.contract.name} takes one image")
        return
    if high is None or output.ndim != high.ndim:
        return
    wanted = [*high.shape[:-2], *_same_part(high, low, part).shape[-2:]]
    exact = all(high.shape[axis] * part.shape[axis] == output.shape[axis] * low.shape[axis] for axis in (-2, -1))
    if exact and list(output.shape) == wanted:
        yield from _try_losses(run, output, high) if training else ()
        return
    factor = output.shape[-1] / part.shape[-1]
    made = f"{output.shape[-3]}x{round(low.shape[-2] * factor)}x{round(low.shape[-1] * factor)}"
    text = f"network_g ({name}) makes {made} of LR {_size(low)}, but HR is {_size(high)}"
    yield Finding(where, text + _advice(run, output, low, high, factor), training or _compared(run, where))


def _advice(run: Run, output: Tensor, low: Tensor, high: Tensor, factor: float) -> str:
    size, ratio = run.section("datasets", "train").get("gt_size"), high.shape[-1] / low.shape[-1]
    if output.shape[-3] != high.shape[-3]:
        return ": set num_out_ch of the network, or `color: y` of the data set"
    if isinstance(size, int) and round(ratio) == factor != ratio and high.shape[-1] == size:
        return f": gt_size must be a multiple of {factor:g}, for example {int(size // factor * factor)}"
    return f": it enlarges by {factor:g}, and the images need {ratio:g}"


def _compared(run: Run, where: str) -> bool:
    """Return whether SR images of the set are compared with HR; they may just be saved."""
    named = run.section("comparison").get("dataset")
    if where.removeprefix("datasets.") in (named if isinstance(named, list) else [named]):
        return True
    metrics = run.section("val").get("metrics") or {}
    functions = [look_up(METRIC_REGISTRY, content.get("type")) for content in metrics.values()]
    return any(function is not None and takes_argument(function, "img2") for function in functions)


def _try_losses(run: Run, output: Tensor, high: Tensor) -> Iterator[Finding]:
    """Yield a perceptual loss or a discriminator that does not take the output, which will be as large as ``high``."""
    if run.section("train", "perceptual_opt") and output.shape[-3] != 3:
        yield Finding("train.perceptual_opt", f"takes images of 3 channels, network_g gives {output.shape[-3]}")
    net = run.networks.get("network_d")
    if net is None or not run.contract.judges_output or not run.section("train", "gan_opt"):
        return
    fixed = any(isinstance(module, nn.Linear) for module in net.modules())
    image = high if fixed else high[..., :64, :64]
    try:
        with Bounds():
            net.eval()(image)
    except TooLargeError as error:
        yield Finding("network_d", f"not tried: {error}", fatal=False)
    except Exception as error:  # any, see above
        yield Finding("network_d", f"{type(net).__name__} cannot judge images {_size(image)}: {short_message(error)}")
    finally:
        net.train()


def _size(images: Tensor) -> str:
    return "x".join(str(side) for side in images.shape[1:])
