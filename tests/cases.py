"""The table of networks: what is built, how large it is, and the recorded output of the official implementation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One row: network, arguments, exact parameter count, scale, golden file, and what its official file is called."""

    name: str
    params: int
    scale: int
    golden: str
    kwargs: dict = field(default_factory=dict)
    golden_kwargs: dict = field(default_factory=dict)
    weights: str | None = None
    tolerance: float = 1e-5  # float32 noise of these networks is below 3e-6

    @property
    def id(self) -> str:
        return self.golden


CASES = [
    Case("IMDN", 694_404, 2, "imdn_x2", {"upscale": 2}),
    Case("IMDN", 703_059, 3, "imdn_x3", {"upscale": 3}),
    Case("IMDN", 715_176, 4, "imdn_x4", {"upscale": 4}, weights="IMDN_x4.pth"),
    Case("IMDN_AS", 752_104, 1, "imdn_as"),
    Case("IMDN_RTC", 20_190, 2, "imdn_rtc", weights="model_RTC.pth"),
    # The fixture was recorded on [0, 1] with the official module, which has no range of its own.
    Case("IMDN_RTE", 89_748, 2, "imdn_rte", golden_kwargs={"img_range": 1.0}),
]
