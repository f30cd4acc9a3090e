"""Each fix: what fails without it works with it, and nothing is done twice."""

import subprocess
import sys
from types import SimpleNamespace

import basicsr.train
import lmdb
import numpy as np
import pytest
import torch
from basicsr.data import degradations
from basicsr.models.base_model import BaseModel
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import DiffJPEG, FileClient, USMSharp
from basicsr.utils.file_client import LmdbBackend

from lightsr_basicsr import _compat, _fixes


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import lightsr_basicsr, basicsr",
        "import lightsr_basicsr; from basicsr.utils.registry import ARCH_REGISTRY",
        "from lightsr_basicsr.archs.imdn_arch import IMDN; import basicsr",
        "from lightsr_basicsr.models.base import LossDictModel; import basicsr",
        "import lightsr_basicsr.data.demo_dataset, basicsr",
        # A failed import before ours does no lasting harm. Where it succeeds, torchvision may warn: not ours to stop.
        "import warnings; warnings.simplefilter('ignore', UserWarning)\n"
        "try:\n import basicsr\nexcept ImportError:\n pass\nimport lightsr_basicsr, basicsr",
    ],
)
def test_any_order_of_imports_registers_and_is_silent(code):
    check = "from basicsr.utils.registry import *; assert 'IMDN' in ARCH_REGISTRY and 'LossDictModel' in MODEL_REGISTRY"
    done = python(f"{code}\n{check}; assert 'DemoPairedDataset' in DATASET_REGISTRY")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [
        line for line in done.stderr.splitlines() if "DeprecationWarning" not in line and "import" not in line
    ] == []


def test_importing_us_loads_neither_torch_nor_basicsr():
    done = python("import sys, lightsr_basicsr; print({'torch', 'basicsr', 'cv2'} & set(sys.modules))")
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("module", ["archs.imdn_arch", "models", "data.degradations"])
def test_without_basicsr_an_import_says_what_to_do(module):
    hide = "import importlib.util as u; r = u.find_spec; u.find_spec = lambda n: None if n == 'basicsr' else r(n)"
    done = python(f"import lightsr_basicsr; {hide}; import lightsr_basicsr.{module}")
    assert done.returncode == 1
    assert "The package basicsr is not installed" in done.stderr
    assert "python -m lightsr_basicsr.bootstrap" in done.stderr


def test_basicsr_that_is_imported_already_is_fixed_at_once():
    code = """
import sys, types, torchvision.transforms.functional as functional
name = 'torchvision.transforms.functional_tensor'
sys.modules.setdefault(name, types.ModuleType(name)).rgb_to_grayscale = functional.rgb_to_grayscale
import basicsr, lightsr_basicsr
from basicsr.utils.registry import ARCH_REGISTRY
assert 'IMDN' in ARCH_REGISTRY and lightsr_basicsr._compat.applied
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_the_finder_is_last_and_answers_for_one_name():
    assert sys.meta_path.count(_compat.FunctionalTensorFinder) == 1
    assert _compat.FunctionalTensorFinder.find_spec("torchvision.transforms.functional") is None


def test_applying_and_installing_twice_changes_nothing():
    before = (list(_compat.applied), basicsr.train.load_resume_state, BaseModel.model_to_device, list(sys.meta_path))
    functions = (RealESRGANModel.__init__, LmdbBackend.__init__, degradations.add_jpg_compression)
    _compat.apply()
    _compat.install(after=lambda: None)
    assert before == (_compat.applied, basicsr.train.load_resume_state, BaseModel.model_to_device, sys.meta_path)
    assert functions == (RealESRGANModel.__init__, LmdbBackend.__init__, degradations.add_jpg_compression)


def test_each_fix_sees_that_it_is_there():
    assert [fix.__name__ for fix in _fixes.FIXES if fix()] == []


def test_a_basicsr_without_the_part_is_left_alone(monkeypatch):
    def fix():
        raise AttributeError("no such function in this BasicSR")

    monkeypatch.setattr(_fixes, "FIXES", (fix,))
    before = list(_compat.applied)
    _compat.apply()
    assert _compat.applied == before


def test_fractional_jpeg_quality():
    image = np.random.default_rng(0).random((16, 16, 3), np.float32)
    out = degradations.add_jpg_compression(image, 55.7)
    assert out.shape == image.shape
    assert np.abs(out - image).mean() < 0.3


def test_jpeg_then_sharpening_on_cpu():
    image = DiffJPEG(differentiable=False)(torch.rand(2, 3, 64, 64), quality=torch.tensor([50.0, 80.0]))
    assert USMSharp()(image).shape == (2, 3, 64, 64)


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "x.lmdb"
    with lmdb.open(str(path), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    return str(path)


def test_one_lmdb_serves_two_datasets_and_travels_to_workers(database):
    first = FileClient("lmdb", db_paths=database, client_keys="gt")
    second = FileClient("lmdb", db_paths=[database], client_keys=["lq"])
    assert bytes(first.get("key", "gt")) == bytes(second.get("key", "lq")) == b"value"
    import pickle

    assert bytes(pickle.loads(pickle.dumps(first.client)).get("key", "gt")) == b"value"
    with pytest.raises(ValueError, match="got 1 paths and 2 keys"):
        LmdbBackend(database, client_keys=["a", "b"])


@pytest.mark.parametrize("model", [RealESRGANModel, RealESRNetModel])
def test_the_pair_pool_lives_on_the_device_of_the_data(model):
    fake = SimpleNamespace(queue_size=4, lq=torch.rand(2, 3, 4, 4), gt=torch.rand(2, 3, 8, 8))
    for _ in range(4):
        model._dequeue_and_enqueue(fake)
    assert fake.queue_lr.device.type == "cpu"
    assert fake.queue_gt.shape == (4, 3, 8, 8)
    fake = SimpleNamespace(queue_size=5, lq=torch.rand(2, 3, 4, 4), gt=torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match="`queue_size` 5 must be a multiple of the batch size 2"):
        model._dequeue_and_enqueue(fake)


def test_realesrnet_degrades_and_trains_on_cpu(workdir):
    """The whole second-order degradation, one step."""
    from tests.realesrgan import one_step

    losses = one_step(workdir)
    assert np.isfinite(losses["l_pix"])


@pytest.mark.gpu
def test_resume_state_loads_on_gpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    parameter = torch.nn.Parameter(torch.ones(2, device="cuda"))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    path = tmp_path / "1.state"
    torch.save({"optimizers": [optimizer.state_dict()]}, path)
    optimizer.load_state_dict(torch.load(path, map_location="cpu")["optimizers"][0])
    assert optimizer.state[parameter]["exp_avg"].is_cuda


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("size", [(16, 16), (24, 16), (16, 32)])
def test_attention_masks_keep_apart_what_a_shift_brought_together(size, shift):
    from basicsr.archs.swinir_arch import SwinTransformerBlock, window_partition

    block = SwinTransformerBlock(8, (32, 32), 2, window_size=8, shift_size=shift)
    rows, columns = ((torch.arange(side) + shift) % side for side in size)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)[None]
    windows = window_partition(places, 8).view(-1, 64, 2)
    near = ((windows[:, :, None] - windows[:, None]).abs() < 8).all(-1)
    mask = block.calculate_mask(size)
    assert mask.dtype == torch.float32
    assert torch.equal(mask, torch.where(near, 0.0, -100.0))


def test_windows_are_joined_to_as_many_images_as_a_trace_did_not_have():
    from basicsr.archs import swinir_arch

    def there_and_back(images):
        height, width = images.shape[1:3]
        return swinir_arch.window_reverse(swinir_arch.window_partition(images, 4), 4, height, width)

    traced = torch.jit.trace(there_and_back, torch.rand(2, 8, 8, 3), check_trace=False)
    for shape in ((1, 12, 8, 3), (3, 4, 16, 3)):
        images = torch.rand(shape)
        assert torch.equal(traced(images), images)
