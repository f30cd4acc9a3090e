"""``basicsr prepare demo``: the other sub-commands on test images of scikit-image, printed as they run."""

from __future__ import annotations

import argparse
import shlex
from os.path import expanduser
from pathlib import Path
from typing import Any

from lightsr_basicsr.commands.prepare.common import add_kind

# {} is the output folder; `basicsr prepare` is left out.
COMMANDS = (
    "lr -i {}/photos -o {} --scale 2 3 4",
    "lr -i {}/photos -o {} --scale 3 --degradation bd",
    "lr -i {}/photos -o {} --scale 3 --degradation dn",
    "blind -i {}/photos -o {} --sigma 1.8 3.2",
    "blind -i {}/photos -o {} --kernel 3.5,1.5,30 --noise 10",
    "multiscale -i {}/photos -o {}/multiscale",
    "subimages -i {}/HR_x4 -o {}/HR_x4_sub --crop 120 --step 60 --scale 4 --lr {}/LRBI_x4 --lr-output {}/LRBI_x4_sub",
    "meta -i {}/HR_x4_sub -o {}/meta_info.txt",
    "lmdb -i {}/HR_x4_sub {}/LRBI_x4_sub -o {}",
    "check {}/HR_x4_sub {}/LRBI_x4_sub --scale 4 --patch 96",
)
SETS = {
    "HR": ("HR_x4", 1),
    "BI x4": ("LRBI_x4", 4),
    "BI x3": ("LRBI_x3", 3),
    "BD x3": ("LRBD_x3", 3),
    "DN x3": ("LRDN_x3", 3),
    "blind, sigma 1.8, x4": ("LRiso_x4_sig1.8", 4),
    "blind, sigma 3.2, x4": ("LRiso_x4_sig3.2", 4),
    "blind, 3.5/1.5/30, noise 10": ("LRaniso_x4_3.5_1.5_30_n10", 4),
}


def add_demo(kinds: Any) -> None:
    """Add ``prepare demo``."""
    parser = add_kind(
        kinds,
        "demo",
        "run all sub-commands on test images that come with scikit-image, and draw the results",
        _run_demo,
        "  basicsr prepare demo\n  basicsr prepare demo -o somewhere",
        rule=False,
    )
    parser.add_argument(
        "-o", "--output", default="datasets/prepare_demo", metavar="OUT", help="default: datasets/prepare_demo"
    )
    parser.set_defaults(overwrite=False)  # it writes files, and continues


def _run_demo(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.demo import check_sheet, draw_contact_sheet, write_test_images
    from lightsr_basicsr.tools.prepare.jobs import PrepareError

    out = Path(expanduser(args.output))
    check_sheet(out)
    try:
        names = write_test_images(out / "photos")
    except ImportError as error:
        raise PrepareError(f"{error}: the demo needs the test images of scikit-image. Install it.") from error
    shared = [*(["--jobs", str(args.jobs)] if args.jobs else []), *(["--quiet"] if args.quiet else [])]
    for text in COMMANDS:
        command = ["prepare", *(part.replace("{}", str(out)) for part in text.split())]
        print(f"\n$ basicsr {shlex.join(command)}", flush=True)
        status = args.main([*command, *shared])
        if status:
            return status
    print(f"\nLook at {draw_contact_sheet(out, names, SETS)}")
    return 0
