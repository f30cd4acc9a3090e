"""A network to measure: its variants on the backends, its costs, and its rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.published import published_form
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.agreement import deviation
from lightsr_basicsr.runtimes.base import BACKENDS, BackendError, Runtime
from lightsr_basicsr.runtimes.choice import READERS, check_precision
from lightsr_basicsr.runtimes.metadata import Metadata, format_of
from lightsr_basicsr.runtimes.saving import FORMATS, save_graph
from lightsr_basicsr.tools.benchmark.measure import REFERENCE, Variant, open_variant, runner
from lightsr_basicsr.tools.benchmark.plan import Plan
from lightsr_basicsr.tools.benchmark.rows import Row
from lightsr_basicsr.tools.benchmark.sources import BenchmarkError, Subject
from lightsr_basicsr.tools.complexity import count_activations, count_convolutions, count_multi_adds, count_parameters
from lightsr_basicsr.tools.photographs import image_of_size


class Costs(NamedTuple):
    """Costs of one forward pass; None where unknown."""

    parameters: int | None = None
    multi_adds: int | None = None
    activations: int | None = None


class Candidate:
    """A network with its variants: which of them could be opened, and why not the others.

    Args:
        subject (Subject): The network to measure.
        plan (Plan): How to measure.
        metadata (Metadata | None): Of an exported file. Default: None.
        origin (Subject | None): The checkpoint that an exported file was made from, if it exists. Default: None.

    Raises:
        BenchmarkError: If the network cannot be opened, or cannot take images of these sizes.
    """

    def __init__(
        self, subject: Subject, plan: Plan, metadata: Metadata | None = None, origin: Subject | None = None
    ) -> None:
        self.subject, self.plan, self.metadata = subject, plan, metadata
        # The network of the reference and the costs, None for another program's file.
        self.base = origin or (_embedded_network(subject, metadata) if subject.exported else subject)
        self.same_weights = not subject.exported or origin is not None
        self.net = None if self.base is None else self.base.network()
        self.runtimes: dict[Variant, Runtime] = {}
        self.problems: dict[Variant, str] = {}
        self.folder: tempfile.TemporaryDirectory | None = None
        self._exported: dict[str, Path | BackendError] = {}
        self._costs: dict[tuple[str, int, int], Costs] = {}
        least = 1 if self.net is None else self.net.min_side
        for height, width in plan.sizes:
            if min(height, width) < least:
                raise BenchmarkError(
                    f"{subject.title} needs LR images of at least {least}x{least} pixels, got {height}x{width}: "
                    "name a larger --size."
                )

    @property
    def scale(self) -> float:
        """Output side over input side; 0 if unknown."""
        if self.net is not None:
            return self.net.upscale
        return next((runtime.scale for runtime in self.runtimes.values()), 0)

    @cached_property
    def variants(self) -> list[Variant]:
        """The variants to measure, the reference first."""
        reference = [] if self.net is None else [REFERENCE]
        backends, precisions, form = self.plan.backends, self.plan.precisions, "deployed"
        if self.subject.exported:
            able, form = READERS[format_of(self.subject.path)], "exported"
            backends = [name for name in backends if name in able] or [name for name in BACKENDS if name in able]
            made_in = "fp32" if self.metadata is None else self.metadata.precision
            # OpenVINO and ncnn can run an fp32 file in bf16.
            precisions = [name for name in precisions if name in ("fp32", "bf16") and made_in == "fp32"] or [made_in]
        return [*reference, *(Variant(form, one, other) for one in backends for other in precisions)]

    def weights_of(self, variant: Variant) -> Subject:
        """Return the subject whose weights a variant has."""
        return self.base if variant == REFERENCE else self.subject

    def file_for(self, variant: Variant) -> Subject:
        """Return the file or section that a child process opens for a variant: a graph where the backend needs one.

        Raises:
            BackendError: If there is no such graph, or the backend cannot run it in this precision.
        """
        subject, backend, precision = self.weights_of(variant), variant.backend, variant.precision
        if subject.exported or backend == "torch":
            return subject
        check_precision(backend, precision, self.plan.device)
        if precision not in ("fp32", "bf16"):
            return subject  # the backend converts the graph itself
        return Subject(subject.title, path=str(self._graph("ncnn" if backend == "ncnn" else "onnx")))

    def _graph(self, kind: str) -> Path:
        """Return the file of the network's graph in a format; made once, because exporters take long."""
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="basicsr_benchmark_")
        if kind not in self._exported:
            net, path = self.net, Path(self.folder.name, f"graph{FORMATS[kind]}")
            traits = (net.upscale, net.num_in_ch, net.num_out_ch, net.min_side)
            try:
                save_graph(net, Metadata(self.base.title, {}, *traits), path)
                self._exported[kind] = path
            except Exception as error:
                # Exporters raise exceptions of any type.
                self._exported[kind] = BackendError(short_message(error))
        if isinstance(self._exported[kind], BackendError):
            raise self._exported[kind]
        return self._exported[kind]

    def open(self, variant: Variant) -> None:
        """Open a variant, or record why that is not possible."""
        try:
            self.runtimes[variant] = open_variant(
                self.file_for(variant), self.net, variant, self.plan.device, self.plan.num_threads
            )
        except Exception as error:
            # Backends raise exceptions of any type, and the other variants continue.
            self.problems[variant] = short_message(error)

    def close(self) -> None:
        """Release the runtimes and remove the files made for them."""
        self.runtimes.clear()
        if self.folder is not None:
            self.folder.cleanup()
        self.folder = None
        self._exported.clear()

    def convolutions(self, variant: Variant, height: int, width: int) -> int:
        """Return how many convolutions a variant's form runs for one image."""
        return count_convolutions(self._forms[_form_of(variant)], height, width)

    @cached_property
    def _forms(self) -> dict[str, nn.Module]:
        return {"deployed": deploy(self.net), "reference": published_form(self.net)}

    def costs(self, variant: Variant, height: int, width: int) -> Costs:
        """Return the costs of a variant's form for one image."""
        if self.net is None:
            return Costs()
        key = (_form_of(variant), height, width)
        if key not in self._costs:
            self._costs[key] = _count(self._forms[key[0]], height, width)
        return self._costs[key]

    def blank_row(self, variant: Variant, height: int, width: int) -> Row:
        """Return the row of one variant and size, with the values known before anything runs."""
        weights, costs = self.weights_of(variant).weights, self.costs(variant, height, width)
        problem = self.problems.get(variant, "")
        return Row(self.subject.title, weights, self.scale, *variant, height, width, *costs, problem=problem)

    def first_outputs(self, image: Tensor, rows: dict[Variant, Row]) -> Iterator[Variant]:
        """Run each variant once and yield those that can be timed; record differences, or why it did not run.

        Args:
            image (Tensor): LR image (1, C, H, W).
            rows (dict): By variant; changed.
        """
        expected: Tensor | None = None
        for variant, runtime in self.runtimes.items():
            try:
                output = runner(runtime, image)()
            except Exception as error:
                # Backends raise exceptions of any type.
                rows[variant] = replace(rows[variant], problem=short_message(error))
                continue
            if variant == REFERENCE:
                expected = output
            if not torch.isfinite(output).all():
                rows[variant] = replace(rows[variant], problem="its output is not finite, so times mean little")
            elif expected is not None and self.same_weights:
                found = deviation(output, expected)
                rows[variant] = replace(rows[variant], difference=None if found is None else found.largest)
            yield variant

    def image(self, height: int, width: int) -> Tensor:
        """Return the LR image (1, C, height, width) on the device."""
        channels = next((runtime.num_in_ch for runtime in self.runtimes.values()), 3)
        return image_of_size(height, width, channels).to(self.plan.device)


def _form_of(variant: Variant) -> str:
    return "reference" if variant == REFERENCE else "deployed"


def _count(net: nn.Module, height: int, width: int) -> Costs:
    try:
        multi_adds = count_multi_adds(net, height, width)
    except RuntimeError:
        multi_adds = None  # torch < 2.1 has no counter
    return Costs(count_parameters(net), multi_adds, count_activations(net, height, width))


def _embedded_network(subject: Subject, metadata: Metadata | None) -> Subject | None:
    """Return the network in an exported file's metadata, with random weights."""
    if metadata is None:
        return None
    return Subject(subject.title, {"type": metadata.network, **metadata.arguments})
