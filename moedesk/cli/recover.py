"""``moedesk recover``: makes a capture that was cut short readable by every HDF5 tool."""

import argparse

NAME = "recover"
HELP = "make a capture of a killed recording readable by any HDF5 tool"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a capture that was cut short")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="replace the file, once its copy is whole; else FILE.recovered.h5 is written",
    )


def run(arguments: argparse.Namespace) -> int:
    """Recover the capture and say where it lies and what it holds."""
    from pathlib import Path

    from moedesk.capture.open import open_capture
    from moedesk.capture.recovery import recover

    target = recover(arguments.file, in_place=arguments.in_place)
    with open_capture(target) as capture:
        held = f"{capture.n_passes:,} passes, {capture.n_tokens():,} tokens"
    if target == Path(arguments.file) and not arguments.in_place:
        print(f"{target} needs no recovery: {held}")
    else:
        print(f"{target}: {held}")
    return 0
