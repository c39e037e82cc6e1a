"""``moedesk diff``: where two captures route the same tokens to other experts, and what explains it."""

import argparse
import json
import operator
import re
from typing import TYPE_CHECKING

from moedesk.core.errors import MoedeskError

if TYPE_CHECKING:
    from moedesk.analysis.diff.report import RoutingDiff

NAME = "diff"
HELP = "compare the routing of the same texts in two captures, and say what explains the difference"
EPILOG = """conditions for --fail-on, several joined by commas:
  flips>0.01          share of decisions (token x layer) with another set of experts
  token-flips>0.05    share of tokens with another set at any layer
  weights>0.001       mean total variation of the weights
  noise, logic        a verdict at least that bad"""

_NUMBERS = {"flips": "flip_rate", "token-flips": "token_flip_rate", "weights": "weight_tv"}
_VERDICTS = ("same", "noise", "logic")
_COMPARE = {">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(r"\s*([a-z-]+)\s*(>=?)\s*([0-9.eE+-]+)\s*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("a", metavar="A", help="a capture")
    parser.add_argument("b", metavar="B", help="another one, of the same texts")
    parser.add_argument("--json", action="store_true", help="print JSON, whose fields stay as they are")
    parser.add_argument(
        "--precision", metavar="DTYPE", help="what the coarser one computed in, e.g. tf32 (default: as recorded)"
    )
    parser.add_argument("--fail-on", metavar="CONDITION", help="exit with 1 if it holds, e.g. flips>0.01 or logic")


def run(arguments: argparse.Namespace) -> int:
    """Print the difference; return 1 if a condition of ``--fail-on`` holds."""
    from moedesk.analysis.diff.report import diff
    from moedesk.capture.open import open_capture

    conditions = [_condition(text) for text in arguments.fail_on.split(",")] if arguments.fail_on else []
    with open_capture(arguments.a) as a, open_capture(arguments.b) as b:
        found = diff(a, b, arguments.precision)
    print(
        json.dumps(found.to_json(), indent=1, ensure_ascii=False, allow_nan=False) if arguments.json else as_text(found)
    )
    return int(any(_holds(found, *condition) for condition in conditions))


def as_text(found: "RoutingDiff") -> str:
    """Return the difference as lines to read."""
    judgement = found.judgement
    lines = [
        f"{found.name_a} → {found.name_b}: {judgement.verdict}",
        f"  {judgement.reason}",
        f"  {found.tokens_aligned:,} tokens aligned, {found.token_flip_rate:.2%} with other experts at some layer, "
        f"{found.flip_rate:.2%} of decisions",
    ]
    if found.overridden:
        lines.append(f"  {found.overridden}")
    if found.left_out:
        lines.append(f"  {found.left_out}")
    lines += [
        "",
        f"  {'layer':<32}{'flips':>9}{'first here':>12}{'margin at flip':>16}{'weights TV':>12}{'load TV':>10}",
    ]
    first = found.first_divergent
    for layer in found.layers:
        path = layer.layer.path
        lines.append(
            f"  {path:<32}{layer.flip_rate:>9.2%}{first[path]:>12,}{_number(layer.median_margin_at_flip):>16}"
            f"{_number(layer.weight_tv):>12}{_number(layer.load_tv):>10}"
        )
    if judgement.verdict == "logic":
        lines += ["", "  where to look, the first place first:"]
        lines += [f"    {one.layer}: {one.what}" for one in judgement.evidence]
    return "\n".join(lines)


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.3g}"


def _condition(text: str) -> tuple[str, str, float]:
    """(what, comparison, number); a verdict has no comparison."""
    if text.strip() in _VERDICTS[1:]:
        return text.strip(), "", 0.0
    match = _CONDITION.fullmatch(text)
    try:
        if match and match[1] in _NUMBERS:
            return match[1], match[2], float(match[3])
    except ValueError:
        pass
    raise MoedeskError(
        f"--fail-on {text!r} isn't a condition; use flips>0.01, token-flips>0.05, weights>0.001, noise or logic"
    )


def _holds(found: "RoutingDiff", what: str, comparison: str, number: float) -> bool:
    if not comparison:
        return _VERDICTS.index(found.judgement.verdict) >= _VERDICTS.index(what)
    return bool(_COMPARE[comparison](getattr(found, _NUMBERS[what]), number))
