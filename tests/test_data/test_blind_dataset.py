"""Blind degradation while training: what is drawn, who applies it, that validation equals prepared files."""

import math
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from torch.utils.data import default_collate

from lightsr_basicsr import cli
from lightsr_basicsr.data.blind_dataset import KERNELS, ClassicBlindDataset, SecondOrderDataset
from lightsr_basicsr.data.degradations import anisotropic_kernel, classic_degradation
from lightsr_basicsr.data.low_resolution import Blur, degrade_batch
from lightsr_basicsr.tools.prepare.blind import prepare_blind
from tests import tiny
from tests.tiny import QUIET


@pytest.fixture
def photographs(workdir) -> Path:
    folder = workdir / "photos"
    folder.mkdir()
    for index in range(4):
        image = np.random.default_rng(index).integers(0, 256, (12, 15, 3), np.uint8)
        image = cv2.resize(image, (83, 67), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def section(phase: str = "train", **more) -> dict:
    options = {"name": "x", "dataroot_gt": "photos", "io_backend": {"type": "disk"}, "phase": phase, "scale": 4}
    return {**options, **({"gt_size": 48, "use_hflip": True, "use_rot": True} if phase == "train" else {}), **more}


ANISOTROPIC = {"blur": "anisotropic", "noise_level": [0, 25]}


def drawn(dataset, count: int = 200) -> dict[str, torch.Tensor]:
    return default_collate([dataset._draw() for _ in range(count)])


def test_the_recipe_draws_from_its_ranges(photographs):
    numbers = drawn(ClassicBlindDataset(section()))
    assert torch.equal(numbers["sigma_1"], numbers["sigma_2"])
    assert 0.2 <= numbers["sigma_1"].min() < 0.4
    assert 3.8 < numbers["sigma_1"].max() <= 4.0
    assert not numbers["level"].any()
    assert not numbers["theta"].any()
    numbers = drawn(ClassicBlindDataset(section(**ANISOTROPIC)))
    assert not torch.equal(numbers["sigma_1"], numbers["sigma_2"])
    assert 0 <= numbers["theta"].min() < 0.1
    assert 3.0 < numbers["theta"].max() < math.pi
    assert 23 < numbers["level"].max() < 25


def test_numbers_are_drawn_in_the_order_of_the_official_code(photographs, monkeypatch):
    """Recorded there: theta, then both deviations, then the noise level."""
    given = iter([0.61, 0.83, 0.12, 0.45])
    monkeypatch.setattr(np.random, "uniform", lambda low, high: low + next(given) * (high - low))
    numbers = ClassicBlindDataset(section(**ANISOTROPIC))._draw()
    assert numbers["theta"].item() == pytest.approx(0.61 * math.pi)
    assert numbers["sigma_1"].item() == pytest.approx(0.2 + 0.83 * 3.8)
    assert numbers["sigma_2"].item() == pytest.approx(0.2 + 0.12 * 3.8)
    assert numbers["level"].item() == pytest.approx(0.45 * 25)


def test_a_batch_shares_blur_and_level_and_not_the_noise(photographs):
    dataset = ClassicBlindDataset(section(**ANISOTROPIC))
    batch = default_collate([dataset[index] for index in range(4)])
    low = degrade_batch(batch["gt"], batch["degradation"])
    first = {key: batch["degradation"][key][:1] for key in ("sigma_1", "sigma_2", "theta", "level")}
    kernel = anisotropic_kernel(first["sigma_1"], first["sigma_2"], first["theta"])
    clean = classic_degradation(batch["gt"], kernel, 4)
    noise = (low - clean) * 255
    inside = (clean > 0.3) & (clean < 0.7)
    for image, where in zip(noise, inside, strict=True):
        assert image[where].std().item() == pytest.approx(first["level"].item(), rel=0.2)
    assert (noise[0] - noise[1]).abs().mean() > 1
    assert torch.equal(low, degrade_batch(batch["gt"], batch["degradation"]))


def test_each_image_has_its_own_degradation_on_demand(photographs):
    dataset = ClassicBlindDataset(section(degradation_per="image"))
    batch = default_collate([dataset[index] for index in range(4)])
    low = degrade_batch(batch["gt"], batch["degradation"])
    for index, sigma in enumerate(batch["degradation"]["sigma_1"]):
        alone = classic_degradation(batch["gt"][index : index + 1], Blur(float(sigma)).kernel(), 4)[0]
        assert ((low[index] - alone).abs() * 255).max() < 1.01  # one level where rounding turns
        assert (low[index] != alone).float().mean() < 0.01


def test_a_worker_can_degrade_for_any_model(photographs):
    dataset = ClassicBlindDataset(section(degradation_per="image", degrade_on="worker", noise_level=10))
    item = dataset[0]
    assert item.keys() == {"gt", "lq", "gt_path", "lq_path"}
    assert item["lq"].shape == (3, 12, 12)
    assert torch.equal((item["lq"] * 255).round() / 255, item["lq"])


@pytest.mark.parametrize(("blurs", "options"), [
    ([Blur(2.6)], {"sigma": 2.6}),
    ([Blur(3.5, 1.5, 30)], {"blur": "anisotropic", "sigma": 3.5, "sigma_2": 1.5, "theta": 30}),
])  # fmt: skip
@pytest.mark.parametrize("noise", [0, 10])
def test_validation_equals_the_files_of_prepare_blind(photographs, blurs, options, noise):
    done = prepare_blind("photos", "set", 4, blurs, [noise], work=QUIET)
    files = PairedImageDataset({**done.section["test_1"], "phase": "val", "scale": 4})
    files.paths.sort(key=lambda paths: paths["gt_path"])
    dataset = ClassicBlindDataset(section("val", noise_level=noise, **options))
    for stored, made in zip(files, dataset, strict=True):
        assert torch.equal(stored["gt"], made["gt"])
        assert torch.equal(stored["lq"], made["lq"])


@pytest.mark.parametrize(("phase", "options", "message"), [
    ("train", {"blur": "motion"}, "blur must be isotropic or anisotropic, got 'motion'"),
    ("train", {"sigma": [4, 0.2]}, r"sigma must be a number .*, or \[lowest, highest\], got \[4, 0.2\]"),
    ("train", {"noise_level": "25"}, "noise_level must be a number"),
    ("train", {"sigma": [0.2, float("inf")]}, r"sigma must be a number .*got \[0.2, inf\]"),
    ("train", {"theta": float("nan")}, "theta must be a number .*got nan"),
    ("train", {"noise_level": True}, "noise_level must be a number .*got True"),
    ("val", {"sigma": 2, "sigma_2": "3"}, "sigma_2 must be a number of at least 0, got '3'"),
    ("val", {"sigma": 2, "noise_seed": -1}, "noise_seed must be a whole number of at least 0, got -1"),
    ("train", {"gt_size": 8}, "gt_size must be larger than 10, half of the blur kernel, got 8"),
    ("train", {"gt_size": "48"}, "gt_size must be a whole number of at least 1, got '48'"),
    ("train", {"gt_size": 50}, "gt_size must be a multiple of the scale 4, .*, got 50"),
    ("train", {"noise": [0, 25]}, "noise is not an option of ClassicBlindDataset: did you mean .*'noise_level'"),
    ("train", {"sigam": 3}, "sigam is not an option of ClassicBlindDataset: did you mean 'sigma'"),
    ("train", {"xyz": 3}, "xyz is not an option of ClassicBlindDataset; it takes meta_info_file, .*, blur, sigma, "),
    ("train", {"degrade_on": "worker"}, "degrade_on: worker needs degradation_per: image"),
    ("train", {"degradation_per": "epoch"}, "batch or image, got 'epoch'"),
    ("val", {}, r"sigma must be one number in validation, so that results are comparable, got \[0.2, 4.0\]"),
])  # fmt: skip
def test_mistakes_are_explained(photographs, phase, options, message):
    with pytest.raises(ValueError, match=message):
        ClassicBlindDataset(section(phase, **options))


def training(model_type: str = "LossDictModel", **more) -> dict:
    options = tiny.train_options(total_iter=3)
    options["model_type"] = model_type
    train = options["datasets"]["train"]
    del train["dataroot_lq"]
    train.update(type="ClassicBlindDataset", dataroot_gt="photos", gt_size=24, batch_size_per_gpu=2, **more)
    fixed = {"type": "ClassicBlindDataset", "dataroot_gt": "photos", "io_backend": {"type": "disk"}, "sigma": 1.2}
    options["datasets"]["val"] = {"name": "v", **fixed}
    return options


def weights() -> dict[str, torch.Tensor]:
    return torch.load("experiments/tiny/models/net_g_latest.pth")["params"]


@pytest.mark.parametrize("per", ["batch", "image"])
def test_training_repeats_whatever_the_workers(photographs, per):
    runs = []
    for workers in (0, 2):
        options = training(degradation_per=per, num_worker_per_gpu=workers, blur="anisotropic", noise_level=[0, 25])
        assert cli.main(["train", "-opt", tiny.write(options)]) == 0
        runs.append(weights())
        Path("experiments").rename(f"run{workers}")
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_a_resumed_blind_run_ends_where_an_uninterrupted_one_ends(photographs):
    options = training(**ANISOTROPIC)
    options["train"]["total_iter"] = 5
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0
    whole = weights()
    Path("experiments").rename("uninterrupted")
    options["train"]["total_iter"] = 3
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0
    options["train"]["total_iter"] = 5
    assert cli.main(["train", "-opt", tiny.write(options), "--auto_resume"]) == 0
    assert all(torch.equal(whole[key], value) for key, value in weights().items())


def test_a_model_that_does_not_degrade_is_refused(photographs, capsys):
    assert cli.main(["train", "-opt", tiny.write(training("SRModel"))]) == 2
    assert (
        "datasets.train: gives gt, gt_path, degradation, but the model needs lq: use another model_type"
        in capsys.readouterr().err
    )
    worker = training("SRModel", degrade_on="worker", degradation_per="image")
    assert cli.main(["train", "-opt", tiny.write(worker)]) == 0


def test_a_model_that_is_not_known_to_degrade_is_refused(photographs, capsys):
    options = training("RealESRNetModel")
    assert cli.main(["train", "-opt", tiny.write(options)]) == 2
    assert (
        "datasets.train: gives gt, gt_path, degradation, but the model does not take degradation: use model_type"
        in capsys.readouterr().err
    )
    assert not Path("experiments").exists()


def test_a_misspelt_option_stops_the_run_before_it_makes_anything(photographs, capsys):
    assert cli.main(["train", "-opt", tiny.write(training(sigam=3))]) == 2
    assert "datasets.train.sigam: is not read by ClassicBlindDataset: did you mean 'sigma'?" in capsys.readouterr().err
    assert not Path("experiments").exists()


def second_order(phase: str = "train", **more) -> dict:
    return {"name": "x", "dataroot_gt": "photos", "io_backend": {"type": "disk"}, "phase": phase, "scale": 4,
            "use_hflip": True, "use_rot": False, **more}  # fmt: skip


def test_second_order_reads_a_folder_a_list_and_an_lmdb(photographs):
    Path("list.txt").write_text("1.png\n3.png\n")
    make_lmdb_from_imgs("photos", "photos.lmdb", ["0.png", "2.png"], ["0", "2"], map_size=1 << 20)
    folder = SecondOrderDataset(second_order())
    listed = SecondOrderDataset(second_order(meta_info="list.txt"))
    in_lmdb = SecondOrderDataset(second_order(dataroot_gt="photos.lmdb", io_backend={"type": "lmdb"}))
    assert [len(dataset) for dataset in (folder, listed, in_lmdb)] == [4, 2, 2]
    for dataset in (folder, listed, in_lmdb):
        random.seed(0)
        item = dataset[1]
        assert item["gt"].shape == (3, 400, 400)
        for kernel in ("kernel1", "kernel2", "sinc_kernel"):
            assert item[kernel].shape == (21, 21)
            assert item[kernel].sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("options", "message"), [
    ({"blur_sigma3": [0.2, 3]}, "blur_sigma3 is not an option of SecondOrderDataset: did you mean 'blur_sigma"),
    ({"meta_info_file": "list.txt"}, "meta_info_file is not an option of SecondOrderDataset: did you mean 'meta_info'"),
    ({"meta_info": "none.txt"}, "list of images none.txt does not exist"),
    ({"meta_info": "list.txt"}, "photos lacks 9.png, which list.txt lists: is it the list of another folder"),
    ({"io_backend": {}}, "io_backend must be {type: disk} or {type: lmdb}, got {}"),
])  # fmt: skip
def test_second_order_explains_mistakes(photographs, options, message):
    Path("list.txt").write_text("1.png\n9.png\n")
    with pytest.raises(ValueError, match=message):
        SecondOrderDataset(second_order(**options))


def test_second_order_takes_the_options_of_real_esrgan(photographs):
    assert len(SecondOrderDataset(second_order(gt_size=256, **KERNELS))) == 4


def test_second_order_names_a_broken_image(photographs):
    (photographs / "2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"2.png in photos cannot be read by OpenCV"):
        SecondOrderDataset(second_order())[2]


def test_second_order_training_on_cpu_through_the_command(photographs):
    noise = {
        "gaussian_noise_prob": 0.5,
        "noise_range": [1, 30],
        "poisson_scale_range": [0.05, 3],
        "gray_noise_prob": 0.4,
    }
    options = training("RealESRNetModel")
    options.update(
        scale=4, queue_size=4, gt_size=64, gt_usm=False, high_order_degradation=True,
        resize_prob=[0.2, 0.7, 0.1], resize_range=[0.15, 1.5], jpeg_range=[30, 95], second_blur_prob=0.8,
        resize_prob2=[0.3, 0.4, 0.3], resize_range2=[0.3, 1.2], jpeg_range2=[30, 95], **noise,
        gaussian_noise_prob2=0.5, noise_range2=[1, 25], poisson_scale_range2=[0.05, 2.5], gray_noise_prob2=0.4,
        network_g={"type": "IMDN", "num_feat": 16, "num_block": 2, "upscale": 4},
    )  # fmt: skip
    options["datasets"]["train"] = {
        "name": "t", "type": "SecondOrderDataset", "dataroot_gt": "photos", "io_backend": {"type": "disk"},
        "use_hflip": True, "use_rot": False, "num_worker_per_gpu": 0, "batch_size_per_gpu": 2,
    }  # fmt: skip
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0
    assert all(torch.isfinite(value).all() for value in weights().values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_is_degraded_on_the_gpu(photographs):
    dataset = ClassicBlindDataset(section(blur="anisotropic"))
    batch = default_collate([dataset[index] for index in range(4)])
    low = degrade_batch(batch["gt"].cuda(), batch["degradation"])
    assert low.is_cuda
    apart = (low.cpu() - degrade_batch(batch["gt"], batch["degradation"])).abs() * 255
    assert apart.max() < 1.01
    assert (apart > 0.5).float().mean() < 0.01
