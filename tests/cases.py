"""The table of networks: what is built, how large it is, and the recorded output of the official implementation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lightsr_basicsr.tools.options import read_options

OPTIONS = Path(__file__).resolve().parents[1] / "options"


@dataclass(frozen=True)
class Case:
    """One row.

    ``golden`` names the recordings and the row; ``small`` are arguments that make the network quick where only its
    behaviour is tested; ``weights`` is its official file; ``dead`` matches parameters that may have no gradient because
    a hidden unit is off; ``fill`` says whether the fixed weights of the recordings keep its activations finite.
    """

    name: str
    params: int
    scale: float
    golden: str
    kwargs: dict = field(default_factory=dict)
    golden_kwargs: dict = field(default_factory=dict)
    small: dict = field(default_factory=dict)
    weights: str | None = None
    tolerance: float = 1e-5  # float32 noise of most networks is below 5e-6
    dead: str = "(?!)"
    fill: bool = True

    @property
    def id(self) -> str:
        return self.golden


def channels(stem: str) -> list[int]:
    """Return the channel list of an option file."""
    return read_options(OPTIONS / f"{stem}.yml")["network_g"]["channels"]


def _fdiwn(name: str, golden: str, scale: int, params: int, **more) -> Case:
    # Recorded on [0, 255]; float32 noise is 1e-3 there, the smallest of thirteen deliberate mistakes 6e-2.
    # Coefficient units have three hidden ReLUs, and a branch whose three are off has no gradient; the attention's
    # normalisation has none before its weight, zero at the start, has moved.
    return Case(name, params, scale, golden, {"upscale": scale}, {"img_range": 1.0}, tolerance=1e-2,
                dead=r"coffconv|\.gn\.", fill=False, **more)  # fmt: skip


def _ddistill(golden: str, scale: int, params: int, weights: str | None = None, **kwargs) -> Case:
    # The dynamic branch is quadratic, so fill weights overflow unless a recording tames them.
    return Case("DDistill_SR", params, scale, golden, {"upscale": scale, **kwargs}, weights=weights, fill=False)


def _kdsr(name: str, golden: str, params: int, sizes: tuple[int, int, int, int], tolerance: float = 1e-4) -> Case:
    # The fixed weights let activations grow; the tolerance is 1e-4 of the largest output, if that is above 1.
    names = ("n_feats", "n_encoder_res", "scale", "n_sr_blocks")
    small = {"n_feats": 16, "n_encoder_res": 1, "n_sr_blocks": 2}
    return Case(name, params, sizes[2], golden, dict(zip(names, sizes, strict=True)), {}, small, tolerance=tolerance)


def _dcls(golden: str, params: int, **kwargs) -> Case:
    small = DCLS_SMALL if "channels" not in kwargs else DCLS_PRUNED
    # The quotient of spectra amplifies rounding. Under fixed weights hardly a pixel is within [0, 1].
    return Case(
        "DCLS", params, kwargs["upscale"], golden, kwargs, {}, small, tolerance=1e-4, dead="conv_du", fill=False
    )


def _drn(golden: str, params: int, num_feat: int, num_block: int, scale: int, pruned: str | None = None) -> Case:
    kwargs = {"num_feat": num_feat, "num_block": num_block, "upscale": scale}
    kwargs |= {"channels": channels(pruned)} if pruned else {}
    small = {"num_block": 2, "channels": [value // 2 for value in _drn_dense(num_feat, scale)] if pruned else None}
    # Recorded on [0, 255]. Hidden ReLUs of the attention may all be off.
    return Case("DRN", params, scale, golden, kwargs, {"img_range": 1.0}, small, tolerance=1e-4, dead="conv_du",
                fill=False)  # fmt: skip


def _drn_dense(num_feat: int, scale: int) -> list[int]:
    from lightsr_basicsr.archs.drn_arch import dense_channels

    return dense_channels(num_feat, 2, scale)


DCLS_SMALL = {"num_feat": 16, "num_block": 2, "num_group": 2, "code_length": 16}
DCLS_PRUNED = {"num_feat": 16, "num_block": 2, "num_group": 2, "channels": [12, 8, 8, 10, 4, 8, 8, 4, 4, 8, 12]}
SWINIR_LIGHT = {"depths": [6] * 4, "num_heads": [6] * 4, "embed_dim": 60, "upsampler": "pixelshuffledirect"}
SWINIR_SMALL = {"depths": [2], "num_heads": [2], "embed_dim": 12}
DAT_SMALL = {"depth": [3], "num_heads": [2], "embed_dim": 32, "expansion_factor": 2.0, "split_size": [4, 8]}
CASES = [
    Case("IMDN", 694_404, 2, "imdn_x2", {"upscale": 2}),
    Case("IMDN", 703_059, 3, "imdn_x3", {"upscale": 3}),
    Case("IMDN", 715_176, 4, "imdn_x4", {"upscale": 4}, weights="IMDN_x4.pth"),
    Case("IMDN_AS", 752_104, 1, "imdn_as"),
    Case("IMDN_RTC", 20_190, 2, "imdn_rtc", weights="model_RTC.pth"),
    Case("TinySR", 23_776, 4, "tiny_x4", {"upscale": 4, "deploy": True}),
    Case("TinySR", 18_556, 2, "tiny_x2", {"upscale": 2, "deploy": True}),
    # The fixture was recorded on [0, 1] with the official module, which has no range of its own.
    Case("IMDN_RTE", 89_748, 2, "imdn_rte", golden_kwargs={"img_range": 1.0}),
    _fdiwn("FDIWN", "fdiwn_x2", 2, 629_176),
    _fdiwn("FDIWN", "fdiwn_x3", 3, 646_486),
    _fdiwn("FDIWN", "fdiwn_x4", 4, 663_848, weights="FDIWN_x4.pt"),
    _fdiwn("FDIWN_M", "fdiwn_m_x2", 2, 433_840),
    _fdiwn("FDIWN_M", "fdiwn_m_x3", 3, 446_814),
    _fdiwn("FDIWN_M", "fdiwn_m_x4", 4, 454_648),
    _ddistill("ddistill_sr_train_x2", 2, 1_154_824),
    _ddistill("ddistill_sr_train_x3", 3, 1_162_399),
    _ddistill("ddistill_sr_train_x4", 4, 1_173_004),
    _ddistill("ddistill_sr_deploy_x4", 4, 675_780, "DDistill-SRx4_inference.pth", deploy=True),
    _ddistill("ddistill_sr_lite_train_x4", 4, 834_764, lite=True),
    _ddistill("ddistill_sr_lite_deploy_x4", 4, 599_172, lite=True, deploy=True),
    _ddistill("ddistill_sr_vgg_x4", 4, 720_188, style="VGG"),
    _ddistill("ddistill_sr_resdbb_x4", 4, 2_141_868, style="ResDBB"),
    _ddistill("ddistill_sr_srd_x4", 4, 1_173_004, style="SRD"),
    _ddistill("ddistill_sr_staticdcd_x4", 4, 675_780, style="StaticDCD"),
    _kdsr("BlindSR_TA", "kdsr_t_classic_x2", 85_227, (16, 2, 2, 4)),
    _kdsr("BlindSR_TA", "kdsr_t_classic_x4", 99_691, (16, 2, 4, 4)),
    _kdsr("BlindSR_TA", "kdsr_t_gan", 99_691, (16, 2, 4, 4)),
    _kdsr("BlindSR_TA", "kdsr_t_gan_full", 18_901_403, (128, 6, 4, 42), tolerance=5e-4),
    _kdsr("BlindSR_TA", "kdsr_t_x3", 98_987, (16, 2, 3, 4)),
    _kdsr("BlindSR_ST", "kdsr_s_classic_x2", 83_499, (16, 2, 2, 4)),
    _kdsr("BlindSR_ST", "kdsr_s_classic_x4", 92_779, (16, 2, 4, 4)),
    _kdsr("BlindSR_ST", "kdsr_s_gan", 92_779, (16, 2, 4, 4)),
    _kdsr("BlindSR_ST", "kdsr_s_x3", 95_099, (16, 2, 3, 4)),
    _kdsr("BlindSR_ST", "kdsr_s_gan_full", 18_846_107, (128, 6, 4, 42), tolerance=7e-4),
    _kdsr("BlindSR_ST", "kdsr_s_classic_m_full", 5_795_099, (64, 9, 4, 53), tolerance=6.7e-3),
    _kdsr("BlindSR_ST", "kdsr_s_classic_l_full", 14_191_003, (128, 5, 4, 28), tolerance=4e-4),
    _drn("drn_s_x4", 4_804_065, 16, 30, 4),
    _drn("drn_l_x4", 9_825_893, 20, 40, 4),
    _drn("drn_s_x8", 5_403_000, 8, 30, 8),
    _drn("drn_l_x8", 10_004_018, 10, 36, 8),
    _drn("sdrn_s30_x4", 3_116_637, 16, 30, 4, "test_drn_s30_x4"),
    _drn("sdrn_s50_x4", 2_267_417, 16, 30, 4, "test_drn_s50_x4"),
    _drn("sdrn_s70_x4", 1_427_545, 16, 30, 4, "test_drn_s70_x4"),
    _drn("sdrn_s30_x8", 3_490_832, 8, 30, 8, "test_drn_s30_x8"),
    _drn("sdrn_s50_x8", 2_548_420, 8, 30, 8, "test_drn_s50_x8"),
    _drn("sdrn_s70_x8", 1_572_288, 8, 30, 8, "test_drn_s70_x8"),
    _dcls("dcls_small_x2_k11", 200_479, upscale=2, kernel_size=11, **DCLS_SMALL),
    _dcls("dcls_small_x3_k21", 514_543, upscale=3, kernel_size=21, **DCLS_SMALL),
    _dcls("dcls_small_x4_k21", 512_223, upscale=4, kernel_size=21, **DCLS_SMALL),
    _dcls("dcls_drc_small_x2", 134_917, upscale=2, kernel_size=11, dual=True, **DCLS_PRUNED),  # ours alone
    _dcls("dcls_x4", 19_054_027, upscale=4, kernel_size=31),
    _dcls("dcls_drc_x4", 14_169_511, upscale=4, kernel_size=31, channels=channels("test_dcls_drc_x4"),
          dual=True),
    Case("DRNDual", 1_728, 0.5, "drn_dual_x4", {"upscale": 4}, tolerance=2e-3),  # 1e-5 of a range of 190
    Case("DualNetwork", 3_168, 0.25, "drc_dual_down_x4", {"downscale": 4}),
    Case("DualNetwork", 1_632, 1 / 3, "dual_down_x3", {"downscale": 3}),  # ours alone
    Case("SwinIR_DR", 932_796, 4, "swinir_light_dr_x4", SWINIR_LIGHT, {}, SWINIR_SMALL, fill=False),
    Case("SwinIR_DR", 634_800, 4, "swinir_light_drc_x4",
         {**SWINIR_LIGHT, "channels": channels("test_swinir_light_drc_x4")}, {},
         {**SWINIR_SMALL, "channels": [8, 20, 12, 16]}, fill=False),
    Case("SwinIR_DR", 11_903_367, 4, "swinir_dr_x4", {}, {}, SWINIR_SMALL, fill=False),
    # Biases before batch normalisation have no gradient but for rounding; position networks are two wide when small.
    Case("DAT_DR", 14_805_219, 4, "dat_dr_x4", {}, {}, DAT_SMALL, fill=False,
         dead=r"\.pos\.|_interaction\.[01]\.bias|dwconv\.0\.bias"),
]  # fmt: skip
