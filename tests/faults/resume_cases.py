"""Option files of small runs, one for each training model and for each way of loading images."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from basicsr.archs import build_network
from basicsr.utils.logger import initialized_logger

from tests import dcls, kdsr, tiny
from tests.cases import SWINIR_SMALL
from tests.test_models.test_dual_regression_model import DRN, DRN_DUAL, DUAL_OPT, EDSR, dual_of

Options = dict
UNET = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 2}
GAN_OPT = {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1}
IMDN = {"type": "IMDN", "num_feat": 16, "num_block": 1, "upscale": 2}
MSRRESNET = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
SWINIR = {"type": "SwinIR", "img_size": 8, "window_size": 4, "depths": [2, 2], "embed_dim": 8, "num_heads": [2, 2],
          "upscale": 2, "upsampler": "pixelshuffledirect", "drop_path_rate": 0.3}  # fmt: skip
DRN_TEACHER = {**DRN, "num_feat": 8}
EDSR_X2 = {**EDSR, "upscale": 2}
DENSE = {"drn": DRN, "drn_dual": DRN_DUAL, "drn_teacher": DRN_TEACHER, "edsr": EDSR_X2, "imdn": IMDN}


def make_data(folder: Path) -> None:
    """Write what all cases read: pairs at x2 and x4, a teacher of KDSR, and networks to compress."""
    tiny.make_pairs(folder / "data", 7, side=48)
    tiny.make_pairs(folder / "data4", 7, side=48, scale=4)
    kdsr.save_teacher(folder / "T.pth")
    torch.manual_seed(0)
    for name, section in DENSE.items():
        torch.save(build_network(deepcopy(section)).state_dict(), folder / f"{name}.pth")
    # Building a network has set up BasicSR's logger, which a run would then leave without its file.
    initialized_logger.clear()
    logging.getLogger("basicsr").handlers.clear()


def plain(model: str = "LossDictModel", network: dict | None = None, loading: dict | None = None, **train) -> Options:
    """Return the options of a run on pairs: 12 iterations, states at every third, validations at every second."""
    options = tiny.train_options(**{"total_iter": 12, **train})
    options["datasets"]["train"].update({"batch_size_per_gpu": 2, **(loading or {})})
    options["val"].update(val_freq=2, save_img=False)
    options["logger"]["save_checkpoint_freq"] = 3
    return {**options, "model_type": model, **({"network_g": network} if network else {})}


def gan(model: str, **train) -> Options:
    """Return the options of a run with a discriminator."""
    steps = {"optim_d": deepcopy(kdsr.ADAM), "gan_opt": dict(GAN_OPT), "net_d_iters": 1, "net_d_init_iters": 0}
    return {**plain(model, MSRRESNET, **{**steps, **train}), "network_d": dict(UNET)}


def second_order(options: Options, **loading) -> Options:
    """Return the options with Real-ESRGAN's degradations, for 8 iterations of which the first two fill the pool."""
    pairs = options["datasets"]["train"]
    pairs = {key: pairs[key] for key in ("name", "num_worker_per_gpu", "use_hflip", "use_rot")}
    images = {"type": "SecondOrderDataset", "dataroot_gt": "data/HR", "io_backend": {"type": "disk"}}
    options["datasets"]["train"] = {**pairs, **images, "batch_size_per_gpu": 1, **loading}
    options["train"]["total_iter"], options["logger"]["save_checkpoint_freq"] = 8, 2
    return {**options, **deepcopy(kdsr.SYNTHESIS), "queue_size": 2}


def blind(model: str, **train) -> Options:
    """Return the options of one stage of KDSR on classic degradations."""
    options = kdsr.run_options(total_iter=12)
    distills = {"kd_opt": {"type": "KDLoss"}} if model != "KDSRNetTAModel" else {}
    steps = {"optim_g": dict(kdsr.ADAM), "scheduler": deepcopy(kdsr.STEPS), "pixel_opt": {"type": "L1Loss"}}
    options["train"] = {"total_iter": 12, "ema_decay": 0.9, **steps, **distills, **train}
    options["val"]["val_freq"], options["logger"]["save_checkpoint_freq"] = 2, 3
    if model == "KDSRNetTAModel":
        options["network_g"] = options.pop("network_TA")
    else:
        options["path"] = {"pretrain_network_TA": "T.pth"}
    return {**options, "name": "tiny", "model_type": model}


def blind_gan() -> Options:
    """Return the options of KDSR's third stage on Real-ESRGAN's degradations."""
    steps = {"optim_d": dict(kdsr.ADAM), "gan_opt": dict(GAN_OPT)}
    return {**second_order(blind("KDSRGANSTModel", **steps)), "network_d": dict(UNET), "gan_gt_usm": True,
            "usm_targets": "per_loss"}  # fmt: skip


def two_stages() -> Options:
    """Return the options of KDSR's two stages in one run."""
    options = kdsr.run_options(teacher_iter=5, total_iter=12)
    options["logger"]["save_checkpoint_freq"] = 2
    return {**options, "name": "tiny"}


def two_stages_of_second_order() -> Options:
    """Return the same on Real-ESRGAN's degradations: each stage has a pool of its own."""
    options = second_order(two_stages())
    options["train"]["teacher_iter"] = 4
    return options


def drn() -> Options:
    """Return the options of DRN with its rules for steps, at x4."""
    options = plain("DualRegressionModel", DRN, dual_opt=DUAL_OPT, skip_threshold=0.9, epoch_iter=3, schedule_every=2)
    options["train"]["scheduler"] = {"type": "CosineAnnealingRestartLR", "periods": [40], "eta_min": 1e-7}
    section = options["datasets"]["train"]
    del section["dataroot_lq"]
    section.update(type="MultiScalePairedDataset", dataroot_gt="data4/HR")
    options["datasets"]["val"] = tiny.paired("v", "data4")
    return {**options, "network_dual": deepcopy(DRN_DUAL), "scale": 4}


def dual(**train) -> Options:
    """Return the options of dual regression around another network."""
    options = plain("DualRegressionModel", {**EDSR, "upscale": 2}, dual_opt=DUAL_OPT, **train)
    return {**options, "network_dual": dual_of(2)}


def of_levels(model: str, **train) -> Options:
    """Return the options of DRN for a stage of its compression."""
    options = drn()
    for key in ("skip_threshold", "epoch_iter", "schedule_every", "ema_decay"):
        del options["train"][key]
    options["train"].update(train)
    options["path"] = {"pretrain_network_dual": "drn_dual.pth"}
    return {**options, "model_type": model}


def search() -> Options:
    """Return the options of a channel search of DRN."""
    options = of_levels("ChannelSearchModel", pruning_rate=0.3, optim_alpha={"type": "Adam", "lr": 0.01})
    options["path"]["pretrain_network_g"] = "drn.pth"
    options["datasets"]["train"]["halves"] = True
    return options


def search_within_budget() -> Options:
    """Return the options of a channel search of IMDN that holds a budget, and loads its images in workers."""
    options = dual(pruning_rate=0.1, cost={"type": "multi_adds", "target": 0.8}, total_iter=12)
    del options["train"]["ema_decay"]
    options["datasets"]["train"].update(halves=True, num_worker_per_gpu=2, dataset_enlarge_ratio=3)
    options["path"] = {"pretrain_network_g": "imdn.pth"}
    return {**options, "model_type": "ChannelSearchModel", "network_g": dict(IMDN)}


def prune() -> Options:
    """Return the options of a pruning of DRN to 12 channels in 24 iterations."""
    options = of_levels("ChannelPruningModel", channels=[2, 1, 3, 2, 2, 2], pass_iter=1, total_iter=24)
    del options["train"]["optim_g"], options["train"]["scheduler"]
    options["path"]["pretrain_network_dense"] = "drn.pth"
    return options


def finetune() -> Options:
    """Return the options of the fine-tuning of a narrow DRN beside a teacher."""
    options = of_levels("DistillFinetuneModel", kd_nums=2, ema_decay=0.9)
    options["path"]["pretrain_network_teacher"] = "drn_teacher.pth"
    return {**options, "network_g": {**DRN, "channels": [2, 1, 3, 2, 2, 1]}, "network_teacher": dict(DRN_TEACHER)}


def compression(**train) -> Options:
    """Return the options of a compression of DRN: 6 iterations of search, 28 set aside, 8 of fine-tuning."""
    options, rates = search(), {}
    for key in ("optim_g", "scheduler", "optim_alpha"):
        rates[key] = options["train"].pop(key)
    del options["train"]["total_iter"], options["path"]["pretrain_network_g"]
    alpha = {"optim_alpha": rates.pop("optim_alpha")}
    own = {"search": {**deepcopy(rates), **alpha}, "prune": {"pass_iter": 1, "channels_per_round": 4},
           "finetune": {**rates, "ema_decay": 0.9}}  # fmt: skip
    options["train"].update({"search_iter": 6, "finetune_iter": 8, **own, **train})
    options["path"].update(pretrain_network_dense="drn.pth", pretrain_network_teacher="drn_teacher.pth")
    return {**options, "model_type": "CompressionModel", "network_teacher": dict(DRN_TEACHER)}


def compression_of_named_sites() -> Options:
    """Return the options of a compression of EDSR, whose site the option file names, chosen by the size of weights."""
    options = compression(prune={"criterion": "l1"}, sites=[["body.0.conv1", "body.0.conv2"]], finetune_iter=5)
    options["train"]["finetune"].update(kd_image_opt={"type": "L1Loss"}, optim_g={"type": "Adam", "lr": 1e-3})
    sets = plain()["datasets"]
    sets["train"].update(halves=True, batch_size_per_gpu=2, num_worker_per_gpu=1)
    options["path"] = {f"pretrain_network_{name}": "edsr.pth" for name in ("dense", "teacher")}
    return {**options, "datasets": sets, "scale": 2, "network_g": dict(EDSR_X2), "network_teacher": dict(EDSR_X2),
            "network_dual": dual_of(2)}  # fmt: skip


def blind_kernels() -> Options:
    """Return the options of DCLS with kernels drawn in a worker."""
    options = plain("BlindKernelModel", {**dcls.SMALL, "dual": True}, {"num_worker_per_gpu": 1, "gt_size": 32},
                    kernel_opt={"type": "L1Loss"}, dual_opt=dict(DUAL_OPT), max_norm=1.0)  # fmt: skip
    crops = {key: options["datasets"]["train"][key] for key in
             ("gt_size", "use_hflip", "use_rot", "num_worker_per_gpu", "batch_size_per_gpu")}  # fmt: skip
    images = {"type": "KernelBlindDataset", "dataroot_gt": "data/HR", "kernel_size": 11, "io_backend": {"type": "disk"}}
    options["datasets"] = {"train": {"name": "t", **images, **crops}, "val": {"name": "v", **images}}
    return options


def reparam() -> Options:
    """Return the options of a network with branches and batch normalization."""
    return plain("ReparamModel", {"type": "Reparameterized", "network": dict(IMDN)})


def kept(keep: int) -> Options:
    """Return the options of a run that keeps the newest checkpoints and the best."""
    options = plain()
    options["logger"].update(keep_last=keep, keep_best="psnr", save_checkpoint_freq=1)
    return options


def drawn_in_workers() -> Options:
    """Return the options of a run whose LR images are made in workers, with random blur and noise."""
    options = plain()
    options["datasets"] = deepcopy(kdsr.run_options()["datasets"])
    options["datasets"]["train"].update(degrade_on="worker", num_worker_per_gpu=1, dataset_enlarge_ratio=3)
    return options


CASES: dict[str, Callable[[], Options]] = {
    "LossDictModel": plain,
    "LossDictModel, IMDN, no EMA, warm-up": lambda: plain(network=IMDN, ema_decay=0, warmup_iter=4),
    "LossDictModel, drop path": lambda: plain(network=SWINIR),
    "SRModel": lambda: plain("SRModel", MSRRESNET),
    "SwinIRModel": lambda: plain("SwinIRModel", SWINIR),
    "SRGANModel": lambda: gan("SRGANModel"),
    "ESRGANModel": lambda: gan("ESRGANModel", net_d_iters=2, net_d_init_iters=1),
    "RealESRNetModel": lambda: {**second_order(plain("RealESRNetModel", MSRRESNET)), "gt_usm": True},
    "RealESRGANModel": lambda: {
        **second_order(gan("RealESRGANModel")), "l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False},
    "RealESRGANModel, prefetched": lambda: {
        **second_order(gan("RealESRGANModel"), prefetch_mode="cpu", dataset_enlarge_ratio=2),
        "l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False},
    "KDSRNetTAModel": lambda: blind("KDSRNetTAModel"),
    "KDSRNetTAModel, second order": lambda: second_order(blind("KDSRNetTAModel"), num_worker_per_gpu=1),
    "KDSRNetSTModel": lambda: blind("KDSRNetSTModel"),
    "KDSRNetSTModel, second order": lambda: second_order(blind("KDSRNetSTModel")),
    "KDSRModel": two_stages,
    "KDSRModel, second order": two_stages_of_second_order,
    "KDSRGANSTModel, second order": blind_gan,
    "DualRegressionModel, DRN": drn,
    "DualRegressionModel": lambda: dual(ema_decay=0),
    "DualRegressionModel, EMA": dual,
    "DualRegressionModel, SwinIR_DR": lambda: plain(
        "DualRegressionModel", {"type": "SwinIR_DR", **SWINIR_SMALL, "upscale": 2}, dual_opt=DUAL_OPT),
    "ChannelSearchModel": search,
    "ChannelSearchModel, budget, 2 workers": search_within_budget,
    "ChannelPruningModel": prune,
    "DistillFinetuneModel": finetune,
    "CompressionModel": compression,
    "CompressionModel, named sites, l1": compression_of_named_sites,
    "BlindKernelModel": blind_kernels,
    "ReparamModel": reparam,
    "keep_last 1": lambda: kept(1),
    "keep_last 2": lambda: kept(2),
    "1 worker": lambda: plain(loading={"num_worker_per_gpu": 1}),
    "2 workers, enlarged": lambda: plain(loading={"num_worker_per_gpu": 2, "dataset_enlarge_ratio": 3}),
    "2 workers, persistent": lambda: plain(loading={"num_worker_per_gpu": 2, "persistent_workers": True}),
    "prefetched": lambda: plain(loading={"prefetch_mode": "cpu", "num_prefetch_queue": 3}),
    "prefetched, drop path": lambda: plain(network=SWINIR, loading={"prefetch_mode": "cpu"}),
    "prefetched, 1 worker": lambda: plain(loading={"prefetch_mode": "cpu", "num_worker_per_gpu": 1}),
    "prefetched, persistent": lambda: plain(
        loading={"prefetch": True, "num_worker_per_gpu": 2, "persistent_workers": True}
    ),
    "cached, 2 workers": lambda: plain(
        loading={"cache": "memory", "num_worker_per_gpu": 2, "persistent_workers": True}
    ),
    "blur and noise in workers": drawn_in_workers,
}  # fmt: skip
