"""``moedesk screenshot``: a picture of the app showing a capture, without a display."""

import argparse
from pathlib import Path

NAME = "screenshot"
HELP = "save a picture of a panel showing a capture; needs no display"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a capture")
    parser.add_argument("-o", "--output", metavar="PNG", required=True, help="the picture to write")
    parser.add_argument("--panel", metavar="NAME", default="network", help="the panel in front (network)")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument(
        "--size", metavar="WxH", type=size, default=(1400, 900), help="of the window, in pixels (1400x900)"
    )
    parser.add_argument("--layer", metavar="N", type=int, help="select an MoE layer, by place")
    parser.add_argument("--expert", metavar="N", type=int, help="select an expert of --layer")
    parser.add_argument("--pass", dest="pass_id", metavar="N", type=int, help="select a pass")
    parser.add_argument("--replay", metavar="N", type=int, help="put the replay at a pass")


def run(arguments: argparse.Namespace) -> int:
    """Save the picture and say where it lies."""
    from moedesk.cli.window import check_qt
    from moedesk.core.errors import MoedeskError
    from moedesk.ui.screenshot import Picture, take

    if arguments.expert is not None and arguments.layer is None:
        raise MoedeskError("--expert needs --layer: an expert's number counts within its layer")
    check_qt()
    picture = Picture(
        Path(arguments.file),
        arguments.panel,
        arguments.theme,
        arguments.size,
        arguments.layer,
        arguments.expert,
        arguments.pass_id,
        arguments.replay,
    )
    take(picture, Path(arguments.output))
    print(arguments.output)
    return 0


def size(text: str) -> tuple[int, int]:
    """Return width and height in ``1400x900``."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and 200 <= int(width) <= 8000 and 200 <= int(height) <= 8000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size from 200x200 to 8000x8000; write 1400x900")
    return int(width), int(height)
