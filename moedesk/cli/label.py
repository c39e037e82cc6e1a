"""``moedesk label``: names passes and tokens of a capture after it was recorded."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from moedesk.core.errors import MoedeskError

if TYPE_CHECKING:
    from moedesk.capture.reader import Capture
    from moedesk.core.label import Label
    from moedesk.core.label_set import LabelSet

NAME = "label"
HELP = "name passes or tokens of a capture, such as the domain of a text; metrics and panels then tell them apart"
EPILOG = """examples:
  moedesk label run.h5 python --passes 0:10,20:25
  moedesk label run.h5 preamble --tokens 0:120
  moedesk label run.h5 --from labels.csv       columns name,first,last and, for token rows, stream
  moedesk label run.h5 --from labels.json      [{"name": "python", "passes": [0, 10]}, …]
  moedesk label run.h5 --list
  moedesk label run.h5 --remove python

Ends are excluded. The capture stays as it is: labels go to run.h5.labels.json beside it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a capture")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the label: one line of at most 64 bytes")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--passes", metavar="A:B,…", help="passes to label")
    rows.add_argument("--tokens", metavar="A:B,…", help="token rows to label")
    parser.add_argument("--stream", metavar="S", help="stream of the token rows (the main one if left out)")
    parser.add_argument("--from", metavar="PATH", dest="source", help="take labels from a .json or .csv file")
    parser.add_argument("--remove", metavar="NAME", help="remove a label wherever it stands, recorded ones too")
    parser.add_argument("--list", action="store_true", help="print the labels (after changes, if any)")


def run(arguments: argparse.Namespace) -> int:
    """Change the labels, and say what there is."""
    from moedesk.capture.open import open_capture
    from moedesk.core.label import names_of
    from moedesk.session.label_source import check_rows, read_labels

    _check_use(arguments)
    with open_capture(arguments.file) as capture:
        later = changed = capture.label_file.current
        if arguments.remove is not None:
            changed = _without(capture, arguments.remove)
        elif arguments.source is not None:
            found = read_labels(Path(arguments.source), capture)
            changed = changed.with_labels(found)
        elif arguments.name is not None:
            changed = changed.with_labels(_named(arguments, capture))
        if changed != later:
            if arguments.remove is None:
                check_rows(changed.labels[len(later.labels) :], capture)
            capture.label_file.save(changed)
        if arguments.list:
            print("\n".join(_line(label) for label in capture.labels) or f"{capture.name} has no labels")
        else:
            names = ", ".join(names_of(capture.labels)) or "none"
            print(f"{capture.name}: labels {names} ({capture.label_file.path.name})")
    return 0


def _check_use(arguments: argparse.Namespace) -> None:
    asked = [arguments.name is not None, arguments.source is not None, arguments.remove is not None]
    if sum(asked) > 1 or not (any(asked) or arguments.list):
        raise MoedeskError("say one of: NAME with --passes or --tokens, --from PATH, --remove NAME, --list")
    if (arguments.name is None) != (arguments.passes is None and arguments.tokens is None):
        raise MoedeskError("a NAME and what has it belong together: moedesk label run.h5 python --passes 0:10")


def _named(arguments: argparse.Namespace, capture: "Capture") -> list["Label"]:
    from moedesk.core.label import Label
    from moedesk.core.label_set import checked
    from moedesk.session.label_source import check_stream

    if arguments.passes is not None:
        stream, rows, spans = "", capture.n_passes, arguments.passes
    else:
        stream = arguments.stream or capture.model.streams[0]
        check_stream(stream, capture)
        rows, spans = capture.n_tokens(stream), arguments.tokens
    return [checked(Label(arguments.name, *_span(part, rows), stream)) for part in spans.split(",")]


def _span(text: str, rows: int) -> tuple[int, int]:
    """Return first and last (end excluded) of ``3:7``, ``3:``, ``:7`` or ``3``."""
    low, colon, high = text.strip().partition(":")
    try:
        first = int(low) if low else 0
        last = int(high) if high else rows if colon else first + 1
    except ValueError:
        raise MoedeskError(f"{text!r} is no range; write 0:10 (end excluded), 5: or a list as in 0:3,7:9") from None
    return first, last


def _without(capture: "Capture", name: str) -> "LabelSet":
    from moedesk.core.label import names_of

    known = names_of(capture.labels)
    if name not in known:
        raise MoedeskError(f"{capture.name} has no label {name!r}; it has {', '.join(known) or 'none'}")
    return capture.label_file.current.without_name(name, capture.recorded_labels)


def _line(label: "Label") -> str:
    what = f"tokens of {label.stream}" if label.stream else "passes"
    return f"{label.name}\t{what}\t{label.first}:{label.last}"
