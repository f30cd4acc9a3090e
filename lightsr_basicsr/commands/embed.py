"""The command ``basicsr embed``: arguments and tables; ``tools/embed/`` computes and draws."""

from __future__ import annotations

import argparse
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import FORM, add_blurs
from lightsr_basicsr.commands.console import say
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import install_command

if TYPE_CHECKING:
    from lightsr_basicsr.tools.embed.vectors import Embedding

DESCRIPTION = """Show what the degradation estimators of KDSR learned.
HR images are degraded in known ways, the encoders of teacher and student turn each LR image into a vector (the teacher
from LR and HR, the student only from LR), and the vectors are drawn in two dimensions, one color per blur. An
estimator that sees the degradation and not the content puts images of one color together."""
EXAMPLES = f"""examples:
  basicsr embed --teacher net_TA.pth --student net_g.pth -i datasets/BSD100
  basicsr embed --student KDSRsM_iso_x4.pt -i datasets/BSD100 -o student.pdf --sigma 1.8 2.4 3.0 --method pca
  basicsr embed --teacher net_TA.pth --student net_g.pth -i BSD100 --kernel 3.5,1.5,30 4,1.5,120 --noise 0 10
Needs scikit-learn and matplotlib: {install_command("embed")}

silhouette  of the vectors themselves, not of the picture: 1 if degradations lie far apart, 0 if they overlap
KL          the distillation loss: 0 if the student's distilled vectors equal the teacher's
cosine      similarity of the student's distilled vectors to the teacher's: 1 for the same direction
Each network is projected separately: compare the arrangement of the points in the two panels, not their positions.
t-SNE shows which points are near; distances between its groups have no meaning. PCA is linear; its axes name their
share of the variance."""


def add_embed(commands: Any) -> None:
    """Add ``embed`` to the parser's ``commands``."""
    text = "draw the degradation vectors of a KDSR teacher and student"
    parser = commands.add_parser("embed", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    add = parser.add_argument
    add("--teacher", metavar="FILE", help="checkpoint of BlindSR_TA; one of the two may be left out")
    add("--student", metavar="FILE", help="checkpoint of BlindSR_ST")
    add("-i", "--input", required=True, metavar="HR", help="folder of HR images")
    add(
        "-o", "--output", default="degradation_vectors.png", metavar="PICTURE", help=".png, .pdf or .svg; replaces an "
        "earlier picture of this command, but no other file (default: degradation_vectors.png)",
    )  # fmt: skip
    sigmas = "default at x4: 0.6 1.4 2.2 3.0 3.8, spread over KDSR's 0.2 to 4.0; in proportion at other scales"
    add_blurs(parser, sigmas, "gray levels of 255, each with each blur; default: 0")
    add(
        "--images", type=int, default=100, metavar="N", help="images per degradation, evenly spaced over the folder; "
        "fewer files give several crops each (default: 100)",
    )  # fmt: skip
    add("--crop", type=int, default=128, metavar="SIDE", help="side of the square crop, in HR pixels (default: 128)")
    add(
        "--vector", choices=("distilled", "compressed"), default="distilled", help="distilled: what the student learns "
        "to imitate; compressed: what conditions the SR network (default: distilled)",
    )  # fmt: skip
    add("--method", choices=("tsne", "pca"), default="tsne", help="default: tsne, as in the paper")
    add("--seed", type=int, default=0, help="of the noise and of t-SNE (default: 0)")
    add("--csv", metavar="FILE", help="also write all vectors and points as CSV")
    add("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=run_embed)


def run_embed(args: argparse.Namespace) -> int:
    """Draw the vectors, print the tables, and return the exit status."""
    import_basicsr()
    found = _embed(args)
    for line in found.skipped:
        say(f"skipped: {line}")
    _print_tables(found)
    print(f"\nWritten: {args.output}")
    return 0


def _embed(args: argparse.Namespace) -> Embedding:
    from lightsr_basicsr.data.low_resolution import Blur
    from lightsr_basicsr.tools.embed.picture import check_picture, check_table, draw, write_csv
    from lightsr_basicsr.tools.embed.vectors import SIGMAS_X4, embed

    blurs = [*map(Blur, args.sigma), *(Blur(*each) for each in args.kernel)]
    picture, table = Path(expanduser(args.output)), Path(expanduser(args.csv)) if args.csv else None
    # Before the long computation, not after it.
    source = Path(expanduser(args.input))
    check_picture(picture, len(set(blurs)) or len(SIGMAS_X4), len(set(args.noise)), source)
    if table is not None:
        check_table(table, picture, source)
    files = {role: file for role, file in (("teacher", args.teacher), ("student", args.student)) if file}
    same = {name: getattr(args, name) for name in ("images", "crop", "vector", "method", "seed")}
    found = embed(files, args.input, blurs=blurs, noises=args.noise, progress=not args.quiet, **same)
    draw(found, picture)
    if table is not None:
        write_csv(found, table)
    return found


def _print_tables(found: Embedding) -> None:
    from lightsr_basicsr.tools.embed.vectors import describe

    side = found.crops[0].image.shape[0]
    print(f"{len(found.crops)} images of {side}x{side} pixels, {len(found.sets)} degradations\n")
    rows = [(role, f"{found.silhouettes[role]:.3f}", file) for role, file in found.files.items()]
    print(table([("network", "silhouette", "file"), *rows], "<><"))
    if found.agreement:
        pairs = zip(found.sets, found.agreement, strict=True)
        rows = [(describe(each), f"{divergence:.4f}", f"{cosine:.4f}") for each, (divergence, cosine) in pairs]
        print(f"\n{table([('teacher and student', 'KL', 'cosine'), *rows], '<>')}")
