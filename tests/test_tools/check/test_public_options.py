"""Keys as public option files have them, in our own words: none of them is refused."""

import pytest

from tests.test_tools.check.test_check_keys import of_keys

LOADER = {"num_worker_per_gpu": 4, "batch_size_per_gpu": 4, "dataset_enlarge_ratio": 100, "prefetch_mode": None}
LOGGER = {
    "print_freq": 100,
    "save_checkpoint_freq": 5e3,
    "use_tb_logger": True,
    "wandb": {"project": None, "resume_id": None},
}
DISK = {"type": "disk"}
VIDEO = {"dataroot_gt": "a", "dataroot_lq": "b", "io_backend": DISK, "meta_info_file": "c.txt"}
CLIPS = {
    **VIDEO, **LOADER, "name": "REDS", "val_partition": "REDS4", "num_frame": 5, "gt_size": 256, "interval_list": [1],
    "random_reverse": False, "use_hflip": True, "use_rot": True, "use_shuffle": True,
}  # fmt: skip
STEPS = {
    "optim_g": {"type": "Adam", "lr": 4e-4},
    "scheduler": {"type": "MultiStepLR", "milestones": [600000], "gamma": 0.5},
    "total_iter": 600000,
    "warmup_iter": -1,
}
GAN = {"optim_d": {"type": "Adam", "lr": 1e-4}, "gan_opt": {"type": "GANLoss", "gan_type": "vanilla"},
       "net_d_iters": 1, "net_d_init_iters": 0}  # fmt: skip
SYNTHESIS = {
    "resize_prob": [0.2, 0.7, 0.1], "resize_range": [0.15, 1.5], "gaussian_noise_prob": 0.5, "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 3], "gray_noise_prob": 0.4, "jpeg_range": [30, 95], "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3], "resize_range2": [0.3, 1.2], "gaussian_noise_prob2": 0.5, "noise_range2": [1, 25],
    "poisson_scale_range2": [0.05, 2.5], "gray_noise_prob2": 0.4, "jpeg_range2": [30, 95], "gt_size": 256,
    "queue_size": 180,
}  # fmt: skip


def public(model: str, sets: dict, train: dict | None = None, val: dict | None = None, **more) -> dict:
    options = {"name": "public", "model_type": model, "scale": 4, "num_gpu": 8, "manual_seed": 0, "datasets": sets,
               "network_g": {"type": "Any"}, "path": {"pretrain_network_g": None, "strict_load_g": True},
               "val": {"save_img": False, **(val or {})}, **more}  # fmt: skip
    if train is None:
        return options
    options["val"]["val_freq"] = 5e3
    return {**options, "train": {**STEPS, **train}, "logger": LOGGER, "dist_params": {"backend": "nccl", "port": 29500}}


def lq(**more) -> dict:
    return {"name": "s", "type": "SingleImageDataset", "dataroot_lq": "a", "io_backend": DISK, **more}


def gt(**more) -> dict:
    return {
        "name": "p",
        "type": "PairedImageDataset",
        "dataroot_gt": "a",
        "dataroot_lq": "b",
        "io_backend": DISK,
        **more,
    }


# What public option files are like: of BasicSR (EDVR, BasicVSR, its GAN, ECBSR, StyleGAN2, HiFaceGAN, TOFlow),
# Real-ESRGAN, HAT, DAT and KDSR.
SHAPES = {
    "edvr": public("EDVRModel", {"train": {**CLIPS, "type": "REDSDataset", "dataroot_flow": None},
                                 "val": {**VIDEO, "name": "v", "type": "VideoTestDataset", "cache_data": False,
                                         "num_frame": 5, "padding": "reflection_circle"}},
                   {"tsa_iter": 50000, "dcn_lr_mul": 1, "pixel_opt": {"type": "CharbonnierLoss", "reduction": "sum"}},
                   find_unused_parameters=True),
    "basicvsr": public("VideoRecurrentModel",
                       {"train": {**CLIPS, "type": "REDSRecurrentDataset", "test_mode": False},
                        "val": {**VIDEO, "name": "v", "type": "VideoRecurrentTestDataset", "cache_data": True,
                                "num_frame": -1, "padding": "reflection_circle"}},
                       {"fix_flow": 5000, "flow_lr_mul": 0.125}, {"flip_seq": True, "center_frame_only": False}),
    "basicvsr_gan": public("VideoRecurrentGANModel", {"train": {**CLIPS, "type": "REDSRecurrentDataset"}},
                           {**GAN, "lr_flow": 0.0, "fix_flow": None, "ema_decay": 0.999}, network_d={"type": "Any"}),
    "ecbsr": public("SRModel", {"train": gt(color="y", filename_tmpl="{}", gt_size=256, use_hflip=True, use_rot=True,
                                            use_shuffle=True, **LOADER), "val": gt(color="y"), "val_2": gt(color="y")},
                    {"ema_decay": 0}, {"pbar": False}),
    "stylegan2": public("StyleGAN2Model", {"train": {"name": "f", "type": "FFHQDataset", "dataroot_gt": "f.lmdb",
                                                     "io_backend": {"type": "lmdb"}, "use_hflip": True,
                                                     "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], **LOADER}},
                        {**GAN, "r1_reg_weight": 10, "path_batch_shrink": 2, "path_reg_weight": 2, "mixing_prob": 0.9,
                         "net_g_reg_every": 4, "net_d_reg_every": 16}, network_d={"type": "Any"}),
    "hifacegan": public("HiFaceGANModel", {"train": gt(gt_size=512, use_hflip=True, use_rot=False, **LOADER)},
                        {**GAN, "feature_matching_opt": {"type": "GANFeatLoss", "loss_weight": 10.0}}),
    "toflow": public("VideoBaseModel", {"test": {**VIDEO, "name": "v", "type": "VideoTestDataset", "num_frame": 7,
                                                 "cache_data": False, "padding": "reflection_circle"}},
                     val={"save_img": True, "suffix": None}, save_img=True),
    "realesrgan": public("RealESRGANModel", {"train": gt(type="RealESRGANPairedDataset", meta_info="m.txt", gt_size=256,
                                                         use_hflip=True, use_rot=False, **LOADER)},
                         {**GAN, "ema_decay": 0.999, "ldl_opt": {"type": "L1Loss"}}, high_order_degradation=False,
                         l1_gt_usm=True, percep_gt_usm=True, gan_gt_usm=False, network_d={"type": "Any"}),
    "realesrnet": public("RealESRNetModel", {"train": {"name": "d", "type": "RealESRGANDataset", "dataroot_gt": "d",
                                                       "meta_info": "m.txt", "io_backend": DISK, "use_hflip": True,
                                                       "use_rot": False, "gt_size": 256, "final_sinc_prob": 0.8,
                                                       "blur_kernel_size": 21, "kernel_list": ["iso"],
                                                       "kernel_prob": [1], "sinc_prob": 0.1, "blur_sigma": [0.2, 3],
                                                       "betag_range": [0.5, 4], "betap_range": [1, 2], **LOADER}},
                         {"ema_decay": 0.999}, gt_usm=True, **SYNTHESIS),
    "hat": public("HATModel", {"train": gt(type="ImageNetPairedDataset", gt_size=256, **LOADER), "val_1": gt()}, {}),
    "hat_tiles": public("HATModel", {"test_1": gt(), "test_3": gt()}, tile={"tile_size": 256, "tile_pad": 32}),
    "dat": public("DATModel", {"train": gt(task="SR", gt_size=256, use_hflip=True, use_rot=True, **LOADER),
                               "val": gt(task="SR")}, {}),
    "dat_single": public("DATModel", {"test_1": lq()}, val={"use_chop": False, "suffix": "x4"}),
    "kdsr_test": public("KDSRNetSTModel", {"val_1": gt(), "val_2": gt()}, val={"suffix": None},
                        network_TA={"type": "BlindSR_TA"}),
    "kdsr_student": public("KDSRNetSTModel", {"train": {"name": "d", "type": "RealESRGANDataset", **LOADER}},
                           {"lr_sr": 1e-4, "gamma_sr": 0.1, "lr_decay_sr": 3000, "encoder_iter": 0, "lr_encoder": 1e-3,
                            "gamma_encoder": 0.1, "lr_decay_encoder": 60, "kd_opt": {"type": "KDLoss"}},
                           network_TA={"type": "BlindSR_TA"}, gt_usm=True, **SYNTHESIS),
    "kdsr_gan": public("KDSRGANSTModel", {"train": {"name": "d", "type": "RealESRGANDataset", **LOADER}},
                       {**GAN, "kd_opt": {"type": "KDLoss"}}, l1_gt_usm=True, percep_gt_usm=True, gan_gt_usm=False,
                       network_TA={"type": "BlindSR_TA"}, network_d={"type": "Any"}, **SYNTHESIS),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_public_option_files_are_not_refused(name):
    options = SHAPES[name]
    if "kdsr" in name and "train" in options:
        options["path"].update(pretrain_network_TA="t.pth", ignore_resume_networks="network_TA", param_key_TA="params")
    assert of_keys(options, "train" in options) == []
