"""Images in Python: the same type out, gray and alpha and depth kept, any scale."""

import copy
import pickle
import re
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lightsr_basicsr
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.upscale.plan import TileError
from lightsr_basicsr.upscale.resizing import ScaleError
from lightsr_basicsr.upscale.upscaler import Upscaler
from tests.test_upscale import made


class Nearest(nn.Module):
    """Enlarges exactly, so that the result is known."""

    def __init__(self, channels: int = 3, scale: int = 2):
        super().__init__()
        self.body = nn.Conv2d(channels, channels, 1)
        self.upscale = scale

    def forward(self, x):
        return nn.functional.interpolate(x, scale_factor=self.upscale, mode="nearest")


def upscaler(channels: int = 3, scale: int = 2, **settings) -> Upscaler:
    return Upscaler(Nearest(channels, scale).eval(), **{**made.SETTINGS, **settings})


def repeated(image, times: int = 2):
    return image.repeat(times, axis=0).repeat(times, axis=1)


@pytest.mark.parametrize("channels_of_network", [1, 3])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64", "float16"])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 1), (7, 9, 3), (1, 1, 3)])
def test_arrays_come_back_as_they_are(channels_of_network, kind, shape):
    rng = np.random.default_rng(0)
    top = 1 if kind.startswith("float") else np.iinfo(kind).max
    image = (rng.random(shape) * top).astype(kind)
    result = upscaler(channels_of_network).upscale(image)
    assert (result.dtype, result.shape) == (image.dtype, (2 * shape[0], 2 * shape[1], *shape[2:]))
    np.testing.assert_allclose(result, repeated(image), rtol=1e-3 if kind == "float16" else 1e-6)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_alpha_is_enlarged_too(channels, kind):
    image = made.smooth(20, 30, channels)
    image = image if kind == "float32" else (image * np.iinfo(kind).max).astype(kind)
    result = upscaler().upscale(image)
    assert (result.dtype, result.shape) == (image.dtype, (40, 60, channels))
    np.testing.assert_allclose(result[:, :, -1], repeated(image)[:, :, -1])


def test_hidden_colors_do_not_bleed_and_opaque_stays_opaque():
    image = np.zeros((20, 20, 4), np.uint8)
    image[5:15, 5:15] = (200, 100, 50, 255)
    result = Upscaler(made.network(), **made.SETTINGS, outscale=3).upscale(image)
    other = image.copy()
    other[image[:, :, 3] == 0, :3] = (0, 255, 255)
    again = Upscaler(made.network(), **made.SETTINGS, outscale=3).upscale(other)
    np.testing.assert_array_equal(result, again)
    assert (result[18:42, 18:42, 3] == 255).all()
    assert (result[:12, :, 3] == 0).all()
    opaque = np.dstack([made.eight(3), np.full((made.HEIGHT, made.WIDTH), 255, np.uint8)])
    assert (upscaler().upscale(opaque)[:, :, 3] == 255).all()


def test_sixteen_bits_are_used():
    image = np.linspace(20_000, 20_400, 64).astype(np.uint16)[None, :, None].repeat(8, axis=0)
    result = upscaler(outscale=4).upscale(image)[16]
    assert len(np.unique(result)) > 128  # more than the picture held, of 2 that 8 bits would have
    assert np.abs(np.diff(result[:, 0].astype(int))).max() <= 8


def test_floats_beyond_one_keep_their_range():
    image = made.smooth(12, 12, 3) * 7 - 2
    np.testing.assert_allclose(upscaler().upscale(image), repeated(image), atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "given_back"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("P", "RGB"), ("CMYK", "RGB"),
     ("YCbCr", "RGB"), ("I;16", "I;16"), ("I", "I"), ("F", "F")],
)  # fmt: skip
def test_images_of_pillow(mode, given_back):
    image = Image.fromarray(made.eight(3))
    if mode == "I;16":
        image = Image.fromarray((made.smooth(made.HEIGHT, made.WIDTH, 1)[:, :, 0] * 65535).astype(np.uint16))
    elif mode in ("I", "F", "1", "LA"):
        image = image.convert("L").convert(mode)
    else:
        image = image.convert(mode)
    image.info["dpi"] = (300, 300)
    result = upscaler().upscale(image)
    assert (result.mode, result.size) == (given_back, (2 * made.WIDTH, 2 * made.HEIGHT))
    assert result.info["dpi"] == (300, 300)
    if mode == given_back:
        np.testing.assert_allclose(np.asarray(result), repeated(np.asarray(image)), rtol=1e-6)


@pytest.mark.parametrize("orientation", [1, 6, 8, 3])
def test_images_of_pillow_come_back_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = orientation, "Leitz"
    Image.fromarray(made.eight(3)).save(tmp_path / "a.png", exif=exif)
    result = upscaler().upscale(Image.open(tmp_path / "a.png"))
    turns = {1: 0, 6: -1, 8: 1, 3: 2}[orientation]
    np.testing.assert_array_equal(np.asarray(result), repeated(np.rot90(made.eight(3), turns)))
    assert result.getexif().get(0x112, 1) == 1
    assert result.getexif()[0x10F] == "Leitz"


def test_a_transparent_palette_becomes_rgba(tmp_path):
    made.MADE["palette.png"](tmp_path / "p.png")
    assert upscaler().upscale(Image.open(tmp_path / "p.png")).mode == "RGBA"


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("shape", [(3, 7, 9), (2, 3, 7, 9), (1, 7, 9), (2, 4, 7, 9)])
def test_tensors(kind, shape):
    image = (torch.rand(shape) * (255 if kind == torch.uint8 else 1)).to(kind)
    told = []
    result = upscaler().upscale(image, told.append)
    assert (result.dtype, result.shape) == (kind, (*shape[:-2], 14, 18))
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 1e-2}.get(kind, 1e-5)
    wanted = image.repeat_interleave(2, -2).repeat_interleave(2, -1)
    torch.testing.assert_close(result, wanted, atol=tolerance, rtol=tolerance)
    assert told[-1] == 1
    assert all(one < other for one, other in pairwise(told))


@pytest.mark.parametrize(
    ("image", "got"),
    [
        ("photo.png", "got str"),
        (np.zeros((0, 3)), r"\(0, 3\)"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((4, 4), int), "int64"),
        (np.full((4, 4), np.nan), "NaN"),
        (torch.zeros(4, 4), r"\(4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64"),
        (torch.zeros(0, 3, 4, 4), r"\(0, 3, 4, 4\)"),
        (Image.fromarray(np.full((2, 2), -1, np.int32)), "outside 0 to 65535"),
        (Image.new("HSV", (2, 2)), "HSV"),
    ],
)
def test_other_things_are_refused(image, got):
    with pytest.raises(ImageError, match=f"Expected an image.*{got}"):
        upscaler().upscale(image)


@pytest.mark.parametrize(("outscale", "size"), [(3, (54, 72)), (1, (18, 24)), (1.5, (27, 36)), (0.01, (1, 1))])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_any_scale(outscale, size, kind):
    image = 0.1 + 0.9 * made.smooth(18, 24, 4)
    image = image if kind == "float32" else (image * np.iinfo(kind).max).astype(kind)
    result = upscaler(outscale=outscale).upscale(image)
    assert (result.dtype, result.shape) == (image.dtype, (*size, 4))
    if outscale >= 1:
        like = cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(result - like).max() < 0.12 * image.max()


@pytest.mark.parametrize("outscale", [0, -1, float("nan"), float("inf"), 65, "2", True])
def test_impossible_scales(outscale):
    with pytest.raises(ScaleError, match="Expected a scale above 0 and up to 64"):
        upscaler(outscale=outscale)


def test_self_ensemble_is_the_mean_over_eight_forms():
    image = made.smooth(18, 24, 3)
    net = made.network()
    ensemble = Upscaler(net, **made.SETTINGS, self_ensemble=True).upscale(image)
    x, results = torch.from_numpy(image).permute(2, 0, 1)[None], []
    for turns in range(4):
        for mirrored in (False, True):
            with torch.no_grad():
                form = net(torch.rot90(x.flip(3) if mirrored else x, turns, (2, 3)))
            form = torch.rot90(form, -turns, (2, 3))
            results.append(form.flip(3) if mirrored else form)
    expected = torch.stack(results).mean(0)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    np.testing.assert_allclose(ensemble, expected, atol=1e-6)


def test_tiles_give_the_same_pixels_and_say_so():
    image, said = made.eight(3), []
    whole = Upscaler(made.network(), **made.SETTINGS).upscale(image)
    tiled = Upscaler(made.network(), **made.SETTINGS, tile=8, report=said.append)
    np.testing.assert_array_equal(tiled.upscale(image), whole)
    tiled.upscale(image)
    assert said == ["24x18 pixels in 3 tiles of 8, as asked for. The result is that of the whole picture."]


def pooling_network():
    from basicsr.archs import build_network

    return build_network({"type": "IMDN", "num_feat": 16, "num_block": 3, "upscale": 2}).eval()


def test_tiles_of_networks_that_pool_are_compared_with_the_whole():
    said = []
    Upscaler(pooling_network(), **made.SETTINGS, tile=16, tile_pad=4, tile_passes=0, report=said.append).upscale(
        made.smooth(40, 40, 3)
    )
    assert len(said) == 1
    assert re.search(r"\d+ dB against the whole, measured on parts of it in tiles of 16", said[0])
    assert "tile_passes 1 gives more" in said[0] or int(re.search(r"(\d+) dB", said[0])[1]) >= 60


def test_tiles_of_another_backend_are_run_by_torch():
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    said, image = [], made.smooth(40, 40, 3)
    runs = Upscaler(pooling_network(), tile=16, device="cpu", report=said.append)
    assert runs.runtime.backend == "openvino"
    runs.upscale(image)
    assert "by torch, since openvino would see nothing of a picture but the tile" in said[0]
    asked = Upscaler(pooling_network(), tile=16, device="cpu", backend="openvino", report=said.append)
    asked.upscale(image)
    assert "by torch" not in said[1]


def test_a_picture_that_does_not_fit_is_cut(monkeypatch):
    said, image = [], made.smooth(80, 80, 3)
    whole = upscaler().upscale(image)
    from lightsr_basicsr.upscale import memory

    monkeypatch.setattr(memory, "available_memory", lambda device: 700_000)
    np.testing.assert_array_equal(upscaler(report=said.append).upscale(image), whole)
    assert "since the whole does not fit into memory" in said[0]
    said.clear()
    np.testing.assert_array_equal(upscaler(report=said.append, tile=0).upscale(image), whole)
    assert said == []


def test_memory_that_runs_out_is_told_once():
    class Hungry(Nearest):
        def forward(self, x):
            if x.shape[2] > 64:
                raise MemoryError("out of memory")
            return super().forward(x)

    said, image = [], made.smooth(100, 100, 3)
    runs = Upscaler(Hungry().eval(), **made.SETTINGS, tile_pad=2, report=said.append)
    np.testing.assert_allclose(runs.upscale(image), repeated(image), atol=1e-6)
    assert [text for text in said if "memory ran out" in text] == said
    runs.upscale(image)
    assert len([text for text in said if "memory ran out" in text]) == 1


def test_wide_tiles_that_ran_out_of_memory_are_not_tried_again(monkeypatch):
    net, said, widths, image = made.network(), [], [], made.smooth(40, 300, 3)
    runs = type(net).forward

    def hungry(self, x):
        widths.append(x.shape[3])
        if x.shape[3] > 280:
            raise MemoryError("out of memory")
        return runs(self, x)

    monkeypatch.setattr(type(net), "forward", hungry)
    upscaler = Upscaler(net, **made.SETTINGS, tile=16, report=said.append)
    upscaler.upscale(image)
    assert "memory ran out: went on with tiles of 192 pixels." in said
    widths.clear()
    upscaler.upscale(image)
    assert max(widths) <= 280
    assert len(said) == 2


def test_a_result_that_cannot_be_held_is_refused_before_it_is_computed():
    picture = Picture(np.broadcast_to(np.uint8(0), (200_000, 200_000, 3)))
    with pytest.raises(ImageError, match=r"400000x400000 pixels need 480.0 GB of memory for the result alone"):
        upscaler().upscale_picture(picture)


def test_networks_that_do_not_enlarge_pictures():
    with pytest.raises(BackendError, match="Expected a network of 1 or 3 channels, got 4"):
        upscaler(channels=4)
    with pytest.raises(TileError, match="whole scale"):
        Upscaler(nn.Sequential(nn.Upsample(scale_factor=1.5), nn.Conv2d(3, 3, 1)).eval(), **made.SETTINGS)


def test_nan_is_an_error():
    net = Nearest().eval()
    net.forward = lambda x: torch.full((1, 3, 2 * x.shape[2], 2 * x.shape[3]), float("nan"))
    with pytest.raises(ImageError, match="the network gives NaN"):
        Upscaler(net, **made.SETTINGS).upscale(made.eight(3))


# load(...).upscale


def test_what_is_loaded_enlarges_and_keeps_its_scale(workdir):
    net = lightsr_basicsr.load(made.checkpoint())
    image = made.eight(3)
    expected = Upscaler("rtc.pth", **made.SETTINGS).upscale(image)
    assert (net.upscale, net.upscale * 2, f"{net.upscale:g}") == (2, 4, "2")
    np.testing.assert_array_equal(net.upscale(image, **made.SETTINGS), expected)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.upscale.net is other
        np.testing.assert_array_equal(other.upscale(image, **made.SETTINGS), expected)
    with pytest.raises(TypeError, match="titles"):
        net.upscale(image, titles=16)


def test_weights_that_have_changed_are_used(workdir):
    net = lightsr_basicsr.load(made.checkpoint())
    image = made.smooth(8, 8, 3)
    before = net.upscale(image, **made.SETTINGS)
    opened = net.upscale.opened[1]
    net.upscale(image, **made.SETTINGS)
    assert net.upscale.opened[1] is opened
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(0.5)
    assert not np.array_equal(net.upscale(image, **made.SETTINGS), before)


def test_load_takes_official_names(workdir):
    with pytest.raises(CheckpointError, match="basicsr fetch IMDN_x4"):
        lightsr_basicsr.load("IMDN_x4")


def test_the_examples_of_the_page_run(workdir):
    page = (Path(__file__).parents[2] / "docs" / "upscale.md").read_text(encoding="utf-8").split("## Memory")[0]
    made.checkpoint(Path("IMDN_x4.pth"), 4)
    made.fill(Path("photos"), "rgb.jpg")
    made.MADE["rgb.jpg"](Path("photo.jpg"))
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    *images, film_block = blocks
    assert len(images) == 2
    for block in images:
        exec(block, {})
    assert Image.open("large.png").size == (4 * made.WIDTH, 4 * made.HEIGHT)
    assert Image.open("large/rgb.jpg").size == (2 * made.WIDTH, 2 * made.HEIGHT)
    pytest.importorskip("av", reason="the extra video is not installed")
    from tests.test_film.made import film, held

    film("film.mp4")
    exec(film_block, {})
    assert held("large.mp4").size == (128, 96)
