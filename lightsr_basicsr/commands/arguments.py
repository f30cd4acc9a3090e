"""Arguments that several commands share."""

from __future__ import annotations

import argparse

FORM = argparse.RawDescriptionHelpFormatter


def add_blurs(parser: argparse.ArgumentParser, sigmas: str, noise: str) -> None:
    """Add ``--sigma``, ``--kernel`` and ``--noise``; ``sigmas`` and ``noise`` end their help texts."""
    parser.add_argument(
        "--sigma",
        nargs="+",
        type=float,
        default=[],
        metavar="SIGMA",
        help=f"isotropic Gaussians, standard deviation in HR pixels; {sigmas}",
    )
    parser.add_argument(
        "--kernel",
        nargs="+",
        type=kernel,
        default=[],
        metavar="S1,S2,ANGLE",
        help="anisotropic Gaussians: two standard deviations in HR pixels and an angle in degrees",
    )
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0], metavar="LEVEL", help=noise)


def kernel(text: str) -> tuple[float, float, float]:
    """Return two standard deviations and an angle of ``S1,S2,ANGLE``, as a type for argparse.

    Raises:
        argparse.ArgumentTypeError: If ``text`` is not three numbers.

    Examples:
        >>> kernel("3.5,1.5,30")
        (3.5, 1.5, 30.0)
    """
    try:
        sigma_1, sigma_2, theta = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected S1,S2,ANGLE such as 3.5,1.5,30, got '{text}'") from None
    return sigma_1, sigma_2, theta
