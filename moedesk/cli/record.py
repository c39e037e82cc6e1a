"""``moedesk record``: runs a script and records the MoE models it calls."""

import argparse
from pathlib import Path

NAME = "record"
HELP = "run a Python script and record every MoE model that it calls"
EPILOG = "example:\n  moedesk record generate.py -o run.h5 --logits -- --prompt Hello"
TAKES_REST = True  # what follows "--" is the script's
UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("script", metavar="SCRIPT", help="a Python file")
    parser.add_argument("-o", "--output", metavar="FILE", help="the capture (SCRIPT's name with .h5, here)")
    parser.add_argument("--layers", metavar="N,N…", type=places, help="only these MoE layers, by place: 0,3,5-7")
    parser.add_argument("--every", metavar="N", type=positive, default=1, help="only every Nth pass")
    parser.add_argument("--counts-only", action="store_true", help="only how many tokens each expert got")
    parser.add_argument("--logits", action="store_true", help="router logits too")
    parser.add_argument("--weights", choices=("exact", "float16"), default="exact", help="how weights are kept")
    parser.add_argument("--tokens", metavar="SHARE", type=float, default=1.0, help="rows of this share of the tokens")
    parser.add_argument(
        "--reservoir", metavar="N", type=positive, default=0, help="rows of an even sample of N tokens of the whole run"
    )
    parser.add_argument("--byte-rate", metavar="SIZE", type=size, default=0, help="bytes of rows a second, e.g. 5M")
    parser.add_argument(
        "--byte-budget", metavar="SIZE", type=size, help="stop keeping ids and weights at this size, e.g. 500M or 2G"
    )
    parser.usage = "moedesk record SCRIPT [-o FILE] [options] [-- ARGS of the script]"


def run(arguments: argparse.Namespace) -> int:
    """Run the script; return its exit code."""
    from moedesk.probe.script import run_script

    output = Path(arguments.output or Path(arguments.script).with_suffix(".h5").name)
    return run_script(
        arguments.script,
        arguments.rest,
        output,
        layers=arguments.layers,
        every=arguments.every,
        counts_only=arguments.counts_only,
        logits=arguments.logits,
        tokens=arguments.tokens,
        reservoir=arguments.reservoir,
        byte_rate=arguments.byte_rate,
        weights=arguments.weights,
        byte_budget=arguments.byte_budget,
    )


def places(text: str) -> list[int]:
    """Return the numbers in ``0,3,5-7``."""
    chosen: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{part!r} is not a place; write 0,3,5-7")
        chosen += range(int(first), int(last or first) + 1)
    return chosen


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def size(text: str) -> int:
    """Return the bytes in ``2G`` or ``500M``."""
    number, unit = text.rstrip("bB"), 1
    if number and number[-1].lower() in UNITS:
        number, unit = number[:-1], UNITS[number[-1].lower()]
    try:
        return int(float(number) * unit)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 500M or 2G") from None
