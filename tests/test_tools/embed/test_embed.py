"""`basicsr embed`: vectors are the networks' own, numbers are right, files and mistakes are handled."""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

from lightsr_basicsr import cli
from lightsr_basicsr.data.low_resolution import BlindSet, Blur
from lightsr_basicsr.errors import install_command
from lightsr_basicsr.tools.embed.numbers import agreement, project, separability
from lightsr_basicsr.tools.embed.picture import make_figure, write_csv
from lightsr_basicsr.tools.embed.vectors import (
    EmbedError,
    collect_vectors,
    degradations,
    describe,
    embed,
    load_network,
    take_crops,
)
from tests.test_tools.prepare.test_prepare_lr import photographs

pytest.importorskip("sklearn", reason="the extra embed is not installed")
pytest.importorskip("matplotlib", reason="the extra embed is not installed")

SETS = [BlindSet(Blur(1.0), 0, 4), BlindSet(Blur(3.0, 1.5, 30), 10, 4, seed=3)]
PAIR = {"teacher": "net_TA.pth", "student": "net_g.pth"}


def network(role: str, scale: int = 4, n_feats: int = 8) -> torch.nn.Module:
    name = {"teacher": "BlindSR_TA", "student": "BlindSR_ST"}[role]
    return ARCH_REGISTRY.get(name)(n_feats, 1, scale, 1).eval()


@pytest.fixture
def pair(workdir):
    """Checkpoints of a teacher and a student in a working directory with four HR images."""
    for role, file in PAIR.items():
        torch.save({"params": network(role).state_dict()}, file)
    photographs(workdir / "HR", count=4, height=64, width=72)
    return workdir


def command(*arguments: str) -> int:
    return cli.main(["embed", "-i", "HR", "--crop", "32", "--sigma", "1", "3", "--quiet", *arguments])


def both(*arguments: str) -> int:
    return command("--teacher", "net_TA.pth", "--student", "net_g.pth", *arguments)


def tensors(images: list[np.ndarray]) -> torch.Tensor:
    return torch.stack(
        [torch.from_numpy(image[..., ::-1].astype(np.float32) / 255).permute(2, 0, 1) for image in images]
    )


def test_vectors_are_those_of_the_networks_for_the_degradations_of_prepare(workdir):
    crops, _ = take_crops(photographs(Path("HR"), count=18), 18, 32, progress=False)
    nets = {role: network(role) for role in PAIR}
    found = collect_vectors(nets, crops, SETS, progress=False)
    hr = tensors([crop.image for crop in crops])
    with torch.no_grad():
        for row, each in enumerate(SETS):
            lr = tensors([each.degrade(crop.image, crop.name) for crop in crops])
            for role, seen in (("teacher", (lr, hr)), ("student", (lr,))):
                compressed, (distilled,) = nets[role].cpu().represent(*seen)
                for ours, theirs in ((found[role].compressed, compressed), (found[role].distilled, distilled)):
                    assert ours.shape == (2, *theirs.shape)
                    assert torch.allclose(torch.from_numpy(ours[row]), theirs, atol=1e-5)


def test_many_files_give_their_centres_and_few_give_crops_that_do_not_overlap(workdir):
    photographs(Path("HR"), count=5, height=64, width=72)
    crops, _ = take_crops("HR", 2, 32, progress=False)
    assert [crop.name for crop in crops] == ["00.png:16:20", "02.png:16:20"]
    assert np.array_equal(crops[1].image, cv2.imread("HR/02.png")[16:48, 20:52])
    crops, _ = take_crops("HR", 12, 32, progress=False)
    assert [crop.name.split(":")[0] for crop in crops[:6]] == [f"{index:02d}.png" for index in (0, 1, 2, 3, 4, 0)]
    places = [crop.name for crop in crops]
    assert len(set(places)) == 12
    assert {place.split(".png")[1] for place in places} <= {":0:4", ":0:36", ":32:4", ":32:36"}


def test_what_cannot_be_used_is_skipped_and_reported(pair, capsys):
    Path("HR/01.png").write_bytes(b"no image")
    cv2.imwrite("HR/small.png", np.zeros((20, 90, 3), np.uint8))
    assert both("--method", "pca") == 0
    said = capsys.readouterr()
    assert "skipped: HR/01.png: no image" in said.err
    assert "skipped: HR/small.png: 90x20 is smaller than a crop, 32x32" in said.err
    assert "12 images of 32x32 pixels, 2 degradations" in said.out


def test_crops_fit_the_scale(workdir):
    torch.save(network("student", scale=3).state_dict(), "net.pth")
    photographs(Path("HR"), count=4)
    found = embed({"student": "net.pth"}, "HR", images=4, crop=32, method="pca", progress=False)
    assert found.crops[0].image.shape == (30, 30, 3)
    assert [each.blur.sigma_1 for each in found.sets] == [0.45, 1.05, 1.65, 2.25, 2.85]


def test_degradations_are_each_blur_with_each_noise_once():
    assert [each.blur.sigma_1 for each in degradations(4)] == [0.6, 1.4, 2.2, 3.0, 3.8]
    sets = degradations(2, [Blur(1), Blur(2.5, 1, 30), Blur(1)], [0, 10, 0])
    names = ["sigma 1.0", "2.5 x 1.0 at 30 deg", "sigma 1.0, noise 10", "2.5 x 1.0 at 30 deg, noise 10"]
    assert [describe(each) for each in sets] == names


def test_silhouette_separates_groups_from_a_mixture():
    noise = np.random.default_rng(0).standard_normal((3, 20, 6)).astype(np.float32)
    apart = noise + 50 * np.arange(3, dtype=np.float32)[:, None, None]
    assert separability(apart) > 0.9
    assert abs(separability(noise)) < 0.1


def test_agreement_is_the_distillation_loss():
    teacher, student = (torch.randn(2, 5, 16) for _ in range(2))
    loss = LOSS_REGISTRY.get("KDLoss")()
    found = agreement(teacher.numpy(), student.numpy())
    for row, (divergence, cosine) in enumerate(found):
        assert divergence == pytest.approx(loss([teacher[row]], [student[row]]).item(), rel=1e-4)
        assert cosine == pytest.approx(torch.cosine_similarity(teacher[row], student[row]).mean().item(), abs=1e-6)
    assert agreement(teacher.numpy(), teacher.numpy())[0] == pytest.approx((0, 1))


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("images", [2, 20])
def test_projections_repeat_and_go_with_the_degradation(method, images):
    vectors = np.random.default_rng(0).standard_normal((2, images, 6)).astype(np.float32)
    vectors[1] += 9
    first, again = (project(vectors, method, seed=5) for _ in range(2))
    assert first.points.shape == (2, images, 2)
    assert np.array_equal(first.points, again.points)
    assert first.points[1, :, 0].mean() > first.points[0, :, 0].mean()


def test_pca_axes_name_their_share():
    vectors = np.zeros((2, 2, 3), np.float32)
    vectors[1, :, 0], vectors[:, 1, 1] = 2, 1
    assert project(vectors, "pca").axes == ("PC 1 (80% of variance)", "PC 2 (20% of variance)")
    with pytest.raises(ValueError, match="got 'umap'"):
        project(vectors, "umap")


def test_the_command_draws_two_panels_and_prints_numbers(pair, capsys):
    assert both("--csv", "v.csv") == 0
    output = capsys.readouterr().out
    found = embed(PAIR, "HR", blurs=[Blur(1), Blur(3)], crop=32, progress=False)
    assert "16 images of 32x32 pixels, 2 degradations" in output
    for role, file in PAIR.items():
        assert f"{role}  {found.silhouettes[role]:>10.3f}  {file}" in output
    for each, (divergence, cosine) in zip(("sigma 1.0", "sigma 3.0"), found.agreement, strict=True):
        assert f"\n{each:<19}  {divergence:.4f}  {cosine:.4f}\n" in output
    assert output.endswith("Written: degradation_vectors.png\n")
    height, width = cv2.imread("degradation_vectors.png").shape[:2]
    assert command("--student", "net_g.pth", "-o", "one.png") == 0
    assert "KL" not in capsys.readouterr().out
    one = cv2.imread("one.png").shape[:2]
    assert one[0] == height
    assert one[1] < 0.65 * width


def test_colors_show_the_blur_and_shapes_the_noise(pair):
    found = embed(PAIR, "HR", blurs=[Blur(1), Blur(2), Blur(3)], noises=[0, 10], crop=32, method="pca", progress=False)
    figure = make_figure(found)
    legend = {line.get_label(): line for line in figure.axes[-1].get_legend().get_lines()}
    assert len(legend) == 6
    for axes, role in zip(figure.axes, PAIR, strict=True):
        (dots,) = axes.collections
        drawn = {tuple(place): look for place, *look in zip(
            dots.get_offsets().tolist(), dots.get_facecolors(), dots.get_paths(), strict=True
        )}  # fmt: skip
        for each, points in zip(found.sets, found.projections[role].points, strict=True):
            words = describe(each).replace("sigma", "\N{GREEK SMALL LETTER SIGMA} =")
            for point in points.tolist():
                color, shape = drawn[tuple(point)]
                assert np.allclose(color[:3], legend[words].get_color()[:3])
                assert (len(shape.vertices) > 10) == (legend[words].get_marker() == "o") == (each.noise == 0)


def test_the_table_holds_every_vector(pair):
    found = embed(PAIR, "HR", blurs=[Blur(1), Blur(3)], crop=32, vector="compressed", progress=False)
    assert (
        found.agreement == embed(PAIR, "HR", blurs=[Blur(1), Blur(3)], crop=32, method="pca", progress=False).agreement
    )
    write_csv(found, "v.csv")
    with open("v.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 16
    assert list(rows[0]) == ["network", "image", "degradation", "x", "y", *(f"v{index}" for index in range(8))]
    last = rows[-1]
    assert (last["network"], last["image"], last["degradation"]) == ("student", found.crops[-1].name, "sigma 3.0")
    vector = np.array([last[f"v{index}"] for index in range(8)], np.float32)
    assert np.array_equal(vector, found.vectors["student"][-1, -1])
    assert float(last["x"]) == pytest.approx(found.projections["student"].points[-1, -1, 0], rel=1e-6)


def test_seeds_repeat_noise_and_picture(pair):
    arguments = ("--noise", "10", "--csv", "v.csv")
    results = []
    for seed in ("1", "1", "2"):
        assert both("--seed", seed, *arguments) == 0
        results.append((Path("v.csv").read_bytes(), Path("degradation_vectors.png").read_bytes()))
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]


@pytest.mark.parametrize("name", ["p.png", "p.pdf", "p.svg"])
def test_its_own_files_are_replaced_and_no_others(pair, name, capsys):
    for _ in range(2):
        assert both("--method", "pca", "-o", name, "--csv", "v.csv") == 0
    capsys.readouterr()
    for option, place in (("-o", f"mine{Path(name).suffix}"), ("--csv", "mine.csv")):
        Path(place).write_text("mine", encoding="utf-8")
        assert both(option, place) == 2
        assert f"{place} exists and was not made by this command" in capsys.readouterr().err
        assert Path(place).read_text(encoding="utf-8") == "mine"


def test_formulas_and_long_file_names_are_drawn_as_they_are(pair):
    name = f"{'very' * 9}_$x_{{$.pth"
    Path("net_g.pth").rename(name)
    assert command("--student", name, "--method", "pca") == 0


@pytest.mark.parametrize(("arguments", "message"), [
    (["--teacher", "net_g.pth", "--student", "net_TA.pth"],
     "expected a KDSR teacher (BlindSR_TA), but net_g.pth holds BlindSR_ST, which is a student: were the two swapped?"),
    (["--student", "imdn.pth"], "expected a KDSR student (BlindSR_ST), but imdn.pth holds IMDN_RTC."),
    (["--student", "missing.pth"], "There is no checkpoint at missing.pth"),
    (["--teacher", "net_TA.pth", "--student", "x2.pth"], "the teacher is x4, vectors of 32 and the student is x2"),
    (["--teacher", "net_TA.pth", "--student", "wide.pth"], "the student is x4, vectors of 48 numbers."),
    (["--student", "nan.pth"], "nan.pth gives vectors with NaN or infinity"),
    (["--student", "zero.pth"], "zero.pth gives the same vector for every image"),
    ([], "name a teacher, a student or both"),
])  # fmt: skip
def test_wrong_networks_are_explained(pair, capsys, arguments, message):
    torch.save(ARCH_REGISTRY.get("IMDN_RTC")(num_feat=8).state_dict(), "imdn.pth")
    torch.save(network("student", scale=2).state_dict(), "x2.pth")
    torch.save(network("student", n_feats=12).state_dict(), "wide.pth")
    state = network("student").state_dict()
    for name, factor in (("nan", float("nan")), ("zero", 0)):
        torch.save({key: value * factor for key, value in state.items()}, f"{name}.pth")
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("degradation_vectors.png").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--sigma", "2"], "expected two or more degradations to compare, got only sigma 2.0."),
    (["--sigma", "2", "-1"], "at least 0, got LRiso_x4_sig-1.0"),
    (["--sigma", *map(str, range(1, 20))], "at most 18 degradations and 6 levels of noise, got 19 and 1: name fewer"),
    (["--images", "1"], "expected at least two images"),
    (["--crop", "10"], "sides of more than 10 pixels, for the blur; got 100 of 8 pixels"),
    (["--crop", "200"], "HR gives 0 crops of 200x200 pixels, at least 2 are needed.\n  HR/00.png: 72x64 is smaller"),
    (["-i", "nowhere"], "folder nowhere does not exist"),
    (["-o", "HR/p.png"], "HR/p.png would lie among the HR images in HR: write it to another folder"),
    (["-o", "p.jpg"], "must end in .png, .pdf, .svg, got p.jpg"),
    (["-o", "nowhere/p.png"], "the folder nowhere for p.png is missing"),
])  # fmt: skip
def test_wrong_arguments_are_explained(pair, capsys, arguments, message):
    assert both(*arguments) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["HR", "net_TA.pth", "net_g.pth"]


@pytest.mark.parametrize(("keywords", "message"), [
    ({"method": "umap"}, "method must be tsne or pca, got 'umap'"),
    ({"vector": "D"}, "vector must be distilled or compressed, got 'D'"),
])  # fmt: skip
def test_python_callers_are_given_the_choices(pair, keywords, message):
    with pytest.raises(EmbedError, match=message):
        embed(PAIR, "HR", **keywords, progress=False)


@pytest.mark.parametrize(("absent", "named"), [
    (["sklearn"], "scikit-learn"), (["sklearn", "matplotlib"], "scikit-learn and matplotlib"),
])  # fmt: skip
def test_a_missing_package_is_named_with_the_command_that_helps(pair, capsys, monkeypatch, absent, named):
    for module in absent:
        monkeypatch.setitem(sys.modules, module, None)
    assert both() == 2
    assert f"this needs {named}: {install_command('embed')}" in capsys.readouterr().err


def test_any_form_of_checkpoint_is_read(pair):
    net = network("student")
    torch.save({"params_ema": {f"module.{key}": value for key, value in net.state_dict().items()}}, "ema.pth")
    loaded = load_network(Path("ema.pth"), "student")
    image = torch.rand(1, 3, 9, 7)
    assert torch.equal(loaded.represent(image)[0], net.represent(image)[0])
