"""Names of official files, and the table they come from."""

import re
from pathlib import Path

import pytest

from lightsr_basicsr.weights.content import find_problem
from lightsr_basicsr.weights.names import WeightsError, entries_named, files, find_entry
from lightsr_basicsr.weights.official import official_networks

LICENCES = {
    "DRN": "MIT", "DCLS-SR": "MIT", "DDistill-SR": "Apache-2.0", "IMDN": None, "FDIWN": None, "DRC": None, "KDSR": None,
}  # fmt: skip


def test_every_network_has_one_name_of_its_own():
    plain = [re.sub(r"[\W_]", "", entry.name).casefold() for entry in official_networks()]
    assert len(set(plain)) == len(plain)
    assert len({entry.file.casefold() for entry in files()}) == len(files())


@pytest.mark.parametrize("entry", files(), ids=lambda entry: entry.name)
def test_short_name_file_and_stem_mean_the_same(entry):
    assert re.fullmatch(r"\w+_x\d", entry.name)
    for name in (entry.name, entry.name.lower(), entry.name.replace("_", "-"), entry.file, Path(entry.file).stem):
        assert find_entry(name) == entry


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("IMDN_x4", "IMDN_x4.pth"), ("DRN_S_x4", "DRNS4x.pt"), ("KDSR_x4", "KDSRsM_iso_x4.pt"),
        ("imdn_rtc_x2", "model_RTC.pth"),
        ("DRN-S30 x8", "DRNS_8x_Prune_30.pt"), ("kdsr_aniso_x4", "KDSRsM_anisonoise_x4.pt"),
    ],
)  # fmt: skip
def test_a_name_means_a_file(name, file):
    assert find_entry(name).file == file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("IMDM_x4", "No official file is named 'IMDM_x4'. Did you mean IMDN_x4"),
        ("IMDN_x3_bd", "Did you mean IMDN_x3"),
        ("IMDN", "Did you mean IMDN_x4"),
        ("", "No official file is named ''. `basicsr fetch --list`"),
        ("x" * 5000, "No official file is named 'xxx"),
        ("\0", "No official file is named"),
        ("kdsrgan_x4", "Several official files could be 'kdsrgan_x4': name one of KDSR_S_GAN_x4, KDSR_S_GAN_V2_x4."),
        ("FDIWN_M_x4", "No official file of FDIWN-M x4 is known."),
    ],
)
def test_a_wrong_name_is_explained(name, message):
    with pytest.raises(WeightsError) as caught:
        find_entry(name)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_table_says_where_files_come_from():
    """Addresses of files are entered only by whoever has read them on the authors' page."""
    for entry in files():
        if entry.packaged:
            assert (entry.source, entry.licence, entry.address) == ("this package", "Apache-2.0", None)
            continue
        assert entry.source.startswith("https://github.com/")
        assert entry.licence == LICENCES[entry.source.rsplit("/", 1)[1]]
        assert entry.address is None or entry.address.startswith("https://")
        assert entry.size is None or len(entry.sha256) == 64


def test_files_at_hand_are_those_of_the_table(shared):
    at_hand = [entry for entry in files() if (shared / "weights" / entry.file).is_file()]
    assert len(at_hand) == 4
    for entry in at_hand:
        file = shared / "weights" / entry.file
        assert (entry.size, find_problem(file, entry)) == (file.stat().st_size, None)


def test_an_unknown_name_has_no_entries():
    assert entries_named("nothing") == []
