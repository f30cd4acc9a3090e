"""The keys of BasicSR 1.4.2 that most option files hold: which values they take, and what they mean.

Dotted keys; ``*`` stands for the name of a data set, or for the end of a key (``network_*``). Which class reads which
key is not written here but derived from its source, and a test holds this table against BasicSR's sources.
"""

from __future__ import annotations

from lightsr_basicsr.fields import (
    Field,
    anything,
    count,
    file_name,
    file_suffix,
    flag,
    number,
    one_of,
    section,
    several,
    text,
)

OPTIMIZER = "`type` (of torch.optim), `lr`, `betas`, `weight_decay`."
LOSS = "`type` (see `basicsr list losses`), `loss_weight` and the other arguments of that loss."
# numpy takes 32 bits, of which BasicSR adds the number of the process.
MOST_SEED = 4_000_000_000
# Of options of a data set. Larger ones fill the memory, in the check or in the run, or load images for hours.
LARGEST = {
    "num_worker_per_gpu": 500, "batch_size_per_gpu": 10_000, "dataset_enlarge_ratio": 100_000,
    "num_prefetch_queue": 1000, "blur_kernel_size": 255, "blur_kernel_size2": 255,
}  # fmt: skip


def _of_order(order: str, number_name: str) -> dict[str, Field]:
    """Return the numbers of one of the two orders of Real-ESRGAN's degradation; ``order`` is '' or '2'."""
    of = f"of the {number_name} degradation"
    return {
        f"resize_prob{order}": several(
            f"Weights of enlarging, shrinking and keeping the size {of}.", number(least=0), 3
        ),
        f"resize_range{order}": several(
            f"Lowest and highest factor of the resizing {of}.", number(above=0, most=20), 2
        ),
        f"gaussian_noise_prob{order}": number(f"Probability of Gaussian noise {of}; else it is Poisson.", 0, most=1),
        f"noise_range{order}": several(f"Standard deviations of Gaussian noise {of}, of 255.", number(least=0), 2),
        f"poisson_scale_range{order}": several(f"Scales of Poisson noise {of}.", number(least=0), 2),
        f"gray_noise_prob{order}": number(f"Probability that the noise {of} is the same in all channels.", 0, most=1),
        f"jpeg_range{order}": several(f"Lowest and highest JPEG quality {of}.", number(least=0, most=100), 2),
    }


def _kernels(order: str, number_name: str) -> dict[str, Field]:
    """Return the keys of the blur kernels of one of the two orders; ``order`` is '' or '2'."""
    of = f"of the {number_name} blur"
    shape = f"Lowest and highest shape parameter of {{}} kernels {of}."
    return {
        f"blur_kernel_size{order}": count(f"Side of the largest kernel {of} in pixels."),
        f"kernel_list{order}": several(f"Kinds of kernels {of}.", text()),
        f"kernel_prob{order}": several(f"Probabilities of these kinds {of}.", number(least=0, most=1)),
        f"sinc_prob{order}": number(f"Probability of a sinc kernel {of}.", 0, most=1),
        f"blur_sigma{order}": several(f"Lowest and highest standard deviation {of} in pixels.", number(least=0), 2),
        f"betag_range{order}": several(shape.format("generalized Gaussian"), number(above=0), 2),
        f"betap_range{order}": several(shape.format("plateau-shaped"), number(above=0), 2),
    }


GENERAL: dict[str, Field] = {
    "name": file_name("Name of the run and of its folder in experiments/ or results/.", required="always"),
    "model_type": text("The training model: see `basicsr list models`.", required="always"),
    "scale": number("HR over LR side; BasicSR hands it to every data set.", above=0),
    "num_gpu": one_of("Number of GPUs, 0 for the CPU.", count(least=0), text(choices=("auto",)), required="always"),
    "manual_seed": count("Seed of all random numbers; without it one is drawn.", 0, MOST_SEED, null=True),
    "datasets": section(
        "One section per data set: `train`, `val` or `val_1` ..., in tests `test_1` ...", required="always"
    ),
    "network_*": section("A network: `type` (see `basicsr list networks`) and its arguments."),
    "path": section("Checkpoints to start from.", required="always"),
    "train": section("Losses, optimizer, schedule.", required="train"),
    "val": section("Validation, or what a test computes.", null=True, required="test"),
    "logger": section("Log lines and checkpoints.", required="train"),
    "dist_params": section("`backend` and `port`, for the launcher slurm."),
    "find_unused_parameters": flag(
        "Whether distributed training looks for parameters without gradients.", default=False
    ),
}

SYNTHESIS: dict[str, Field] = {
    "gt_usm": flag("Whether HR images are sharpened before they are degraded."),
    "l1_gt_usm": flag("Whether the pixel loss compares with sharpened HR images."),
    "percep_gt_usm": flag("Whether the perceptual loss compares with sharpened HR images."),
    "gan_gt_usm": flag("Whether the discriminator sees sharpened HR images."),
    "high_order_degradation": flag("Whether LR images are made in the model, of images with kernels.", default=True),
    "gt_size": count("Side of the HR crops that are left after the degradation, in pixels."),
    "queue_size": count("Images of the pool that mixes batches: a multiple of the batch.", default=180),
    "second_blur_prob": number("Probability of a second blur.", 0, most=1),
    **_of_order("", "first"),
    **_of_order("2", "second"),
}

TRAIN: dict[str, Field] = {
    "train.total_iter": count("Iterations of the whole training.", as_float=True, required="train"),
    "train.warmup_iter": count(
        "Iterations in which the learning rate rises; -1 for none.", -1, as_float=True, default=-1
    ),
    "train.ema_decay": number(
        "Decay of the averaged network that is validated and saved too; 0 for none.", 0, most=1, default=0
    ),
    "train.optim_g": section(f"Optimizer of `network_g`: {OPTIMIZER}"),
    "train.optim_d": section(f"Optimizer of `network_d`: {OPTIMIZER}"),
    "train.scheduler": section(
        "Schedule of the learning rate: `type` MultiStepLR (`milestones`, `gamma`) or CosineAnnealingRestartLR "
        "(`periods`, `restart_weights`, `eta_min`)."
    ),
    "train.pixel_opt": section(f"Pixel loss: {LOSS}", null=True),
    "train.perceptual_opt": section(f"Perceptual loss: {LOSS}", null=True),
    "train.gan_opt": section(f"Adversarial loss: {LOSS}", null=True),
    "train.ldl_opt": section(f"Loss on locally discriminated artifacts: {LOSS}", null=True),
    "train.feature_matching_opt": section(f"Loss on the features of the discriminator: {LOSS}", null=True),
    "train.net_d_iters": count("The generator takes a step every so many iterations.", default=1),
    "train.net_d_init_iters": count(
        "Iterations at the start that train the discriminator alone.", 0, as_float=True, default=0
    ),
    "train.tsa_iter": count("Iterations at the start that train EDVR's TSA module alone.", 0, null=True),
    "train.dcn_lr_mul": number("Factor of the learning rate of deformable convolutions.", least=0, default=1),
    "train.fix_flow": count("Iterations at the start in which the optical flow network is fixed.", 0, null=True),
    "train.flow_lr_mul": number("Factor of the learning rate of the optical flow network.", least=0, default=1),
}

VAL: dict[str, Field] = {
    "val.val_freq": count("Iterations between validations.", as_float=True, required="train"),
    "val.save_img": flag("Whether SR images are saved.", required="always"),
    "val.suffix": file_suffix("Added to the names of saved images; `~` adds the name of the run.", null=True),
    "val.pbar": flag("Whether a progress bar is shown.", default=False),
    "val.metrics": section("One section per metric: `type` (see `basicsr list metrics`) and its arguments.", null=True),
    "val.flip_seq": flag("Whether a video is also run backwards, and the mean is taken.", default=False),
    "val.center_frame_only": flag("Whether only the middle frame is validated.", default=False),
}

PATH: dict[str, Field] = {
    "path.pretrain_network_*": text("Checkpoint that this network starts from.", null=True),
    "path.param_key_*": text(
        "Which weights of that checkpoint: `params`, `params_ema`, or `~` for a bare one.", null=True, default="params"
    ),
    "path.strict_load_*": flag("Whether all tensors of that checkpoint must fit.", default=True),
    "path.resume_state": text("Training state to resume from.", null=True),
    "path.ignore_resume_networks": one_of(
        "Networks that a resumed run does not load from its own folder.", text(), several("", text()), null=True
    ),
}

LOGGER: dict[str, Field] = {
    "logger.print_freq": count("Iterations between log lines.", as_float=True, required="train"),
    "logger.save_checkpoint_freq": count("Iterations between checkpoints.", as_float=True, required="train"),
    "logger.use_tb_logger": flag("Whether TensorBoard files are written.", required="train"),
    "logger.wandb": section("Weights & Biases, which needs `use_tb_logger`.", null=True),
    "logger.wandb.project": text("Project there; `~` for none.", null=True),
    "logger.wandb.resume_id": text("Run there to continue.", null=True),
}

DATASETS: dict[str, Field] = {
    f"datasets.*.{key}": field
    for key, field in {
        "name": file_name("Name of the set in logs and folders.", required="always"),
        "type": text("See `basicsr list datasets`.", required="always"),
        "dataroot_gt": anything("Folder or LMDB of HR images."),
        "dataroot_lq": anything("Folder or LMDB of LR images."),
        "dataroot_flow": text("Folder of optical flow.", null=True),
        "io_backend": section("`type: disk` or `type: lmdb`."),
        "meta_info_file": text("List of the images to take.", null=True),
        "meta_info": text("List of the images to take."),
        "filename_tmpl": text("Name of an LR image, `{}` being that of its HR image.", default="{}"),
        "gt_size": count("Side of the HR crops in pixels; training only.", null=True),
        "use_hflip": flag("Whether crops are flipped at random; training only.", null=True),
        "use_rot": flag("Whether crops are turned at random; training only.", null=True),
        "color": text("`y` takes the luma channel alone.", null=True),
        "mean": several("Mean of each channel, subtracted.", number(), null=True),
        "std": several("Standard deviation of each channel, divided by.", number(), null=True),
        "num_worker_per_gpu": count("Processes that load images; 0: the main process does.", 0, required="train"),
        "batch_size_per_gpu": count("Images in a batch.", required="train"),
        "dataset_enlarge_ratio": number("How often an epoch shows each image.", above=0, default=1),
        "prefetch_mode": text("Loads batches ahead.", ("cpu", "cuda"), null=True),
        "num_prefetch_queue": count("Batches that `prefetch_mode: cpu` loads ahead.", default=1),
        "pin_memory": flag("Whether batches are kept in pinned memory; `prefetch_mode: cuda` needs it.", default=False),
        "persistent_workers": flag("Whether loading processes are kept over epochs.", default=False),
        "random_reverse": flag("Whether videos are reversed at random."),
        "interval_list": several("Distances of frames to choose from.", count()),
        "cache_data": flag("Whether all images are kept in memory."),
        "final_sinc_prob": number("Probability of the last sinc filter.", 0, most=1),
        **_kernels("", "first"),
        **_kernels("2", "second"),
    }.items()
}

METRICS: dict[str, Field] = {
    "crop_border": count("Pixels left out at each side.", 0),
    "test_y_channel": flag("Whether the luma channel alone is compared.", default=False),
    "input_order": text("Order of the axes.", ("HWC", "CHW"), default="HWC"),
    "better": text("Which value is the better one.", ("higher", "lower"), default="higher"),
}

# Keys of `train.optim_*`, `train.scheduler` and `train.*_opt` whose values their classes do not check, or in words
# that name no key.
OF_TRAINING: dict[str, dict[str, Field]] = {
    "optim_": {
        "type": text("Optimizer of torch."),
        "lr": number("Learning rate.", least=0),
        "weight_decay": number("Weight decay.", least=0),
        "momentum": number("Momentum of SGD.", least=0),
        "eps": number("Term of the denominator.", least=0),
        "betas": several("Decays of the two means.", number(least=0, most=1), 2),
    },
    "scheduler": {
        "type": text("Scheduler of BasicSR."),
        "milestones": several("Iterations at which the rate falls.", count(as_float=True)),
        "gamma": number("Factor of the rate.", least=0),
        "periods": several("Lengths of the periods.", count(as_float=True)),
        "restarts": several("Iterations of the restarts.", count(least=0, as_float=True)),
        "restart_weights": several("Factor of the rate in each period.", number(least=0)),
        "eta_min": number("Lowest rate.", least=0),
    },
    "_opt": {"loss_weight": number("Factor of the loss.")},
}

FIELDS: dict[str, Field] = {**GENERAL, **SYNTHESIS, **TRAIN, **VAL, **PATH, **LOGGER, **DATASETS}
