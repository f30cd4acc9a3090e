"""Published numbers, whole images, through the same code as ``basicsr test``: needs official weights and images."""

import pytest

from lightsr_basicsr.tools.options import find_option_file, read_options
from lightsr_basicsr.tools.run.compare import compare_run, mean_scores

# PSNR in dB / SSIM per image, measured with the official code on LR files with a replicated border.
DDISTILL_X4 = {"baby": 33.8037, "bird": 35.1178, "butterfly": 28.7454, "head": 32.9151, "woman": 30.8450}
IMDN_X4 = {"baby": 33.7749, "bird": 35.0515, "butterfly": 28.5610, "head": 32.9239, "woman": 30.7458}


def compare(shared, option_file: str, scale: int, weights: str, *overrides: str):
    options = read_options(find_option_file(option_file), overrides)
    options["datasets"]["test_1"] |= {
        "dataroot_gt": str(shared / "data" / "Set5" / f"HR_x{scale}"),
        "dataroot_lq": str(shared / "data" / "Set5" / f"LRBI_x{scale}"),
    }
    return compare_run(options, {"network": (options["network_g"], shared / "weights" / weights)})


def test_imdn_x4_on_set5(shared):
    found = compare(shared, "test_imdn_x4.yml", 4, "IMDN_x4.pth")
    for comparison in found:
        assert comparison.scores["network"][0] == pytest.approx(IMDN_X4[comparison.name], abs=1e-3)
    psnr, ssim = mean_scores(found)["network"]
    assert psnr == pytest.approx(32.2114, abs=1e-4)
    assert ssim == pytest.approx(0.8948, abs=5e-5)


def test_imdn_rtc_x2_on_set5(shared):
    psnr, ssim = mean_scores(compare(shared, "test_imdn_rtc_x2.yml", 2, "model_RTC.pth"))["network"]
    assert psnr == pytest.approx(37.3147, abs=1e-4)
    assert ssim == pytest.approx(0.9583, abs=5e-5)


@pytest.mark.parametrize(("chop", "expected"), [("false", (32.2168, 0.8954)), ("true", (32.2267, 0.8955))])
def test_fdiwn_x4_on_set5(shared, chop, expected):
    found = compare(shared, "test_fdiwn_x4.yml", 4, "FDIWN_x4.pt", f"network_g:chop={chop}")
    psnr, ssim = mean_scores(found)["network"]
    assert psnr == pytest.approx(expected[0], abs=1e-4)
    assert ssim == pytest.approx(expected[1], abs=5e-5)


def test_ddistill_sr_x4_on_set5(shared):
    found = compare(shared, "test_ddistill_sr_x4.yml", 4, "DDistill-SRx4_inference.pth")
    for comparison in found:
        assert comparison.scores["network"][0] == pytest.approx(DDISTILL_X4[comparison.name], abs=1e-3)
    psnr, ssim = mean_scores(found)["network"]
    assert psnr == pytest.approx(32.2854, abs=1e-4)
    assert ssim == pytest.approx(0.8961, abs=5e-5)
