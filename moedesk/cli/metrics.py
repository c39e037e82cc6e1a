"""``moedesk metrics``: load, confidence, specialisation and more of every layer, each with its convention."""

import argparse
import csv
import io
import json
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from moedesk.core.errors import MoedeskError

if TYPE_CHECKING:
    from moedesk.analysis.measures.report import LayerMetrics, MetricsReport
    from moedesk.analysis.specialization import DomainLoad

NAME = "metrics"
HELP = "measure load, confidence, specialisation and more, each with its convention"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="a capture")
    parser.add_argument(
        "--by", choices=("layer", "pass", "domain", "rank"), default="layer", help="tell apart passes, labels or ranks"
    )
    parser.add_argument("--keys", metavar="KEY,…", help="only these metrics")
    parser.add_argument("--list", action="store_true", help="say what there is: key, formula, convention, source")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, whose fields stay as they are")
    form.add_argument("--csv", action="store_true", help="print a row per layer, group and metric")


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics."""
    from moedesk.analysis.measures.report import measure
    from moedesk.capture.open import open_capture

    if arguments.list:
        print(meanings_text())
        return 0
    if arguments.file is None:
        raise MoedeskError("name a capture, or ask for --list")
    keys = arguments.keys.split(",") if arguments.keys else None
    with open_capture(arguments.file) as capture:
        report = measure(capture, arguments.by, keys)
        if arguments.json:
            print(json.dumps(report.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
        elif arguments.csv:
            print(as_csv(report), end="")
        else:
            print(as_text(capture.name, report))
    return 0


def meanings_text() -> str:
    """Return every metric with its meaning, as lines to read."""
    from moedesk.analysis.measures.report import MEANINGS

    return "\n".join(
        f"{key}\n    {meaning.name}: {meaning.formula}\n    {meaning.convention}; {meaning.source}"
        for key, meaning in MEANINGS.items()
    )


def as_csv(report: "MetricsReport") -> str:
    """Return a row per layer, group and metric; what is unknown is empty."""
    from moedesk.analysis.measures.report import MEANINGS

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "group", "experts", "top_k", "tokens", "slots", "metric", "value", "convention"))
    for one in report.layers:
        layer = one.layer
        for key, value in one.values.items():
            written = repr(value) if isfinite(value) else ""
            row = layer.path, one.group, layer.experts, layer.top_k, one.tokens, one.slots, key, written
            writer.writerow((*row, MEANINGS[key].convention))
    return text.getvalue()


def as_text(name: str, report: "MetricsReport") -> str:
    """Return a table with a line per metric and a column per layer; by group, a table each."""
    groups: dict[str, list[LayerMetrics]] = {}
    for one in report.layers:
        groups.setdefault(one.group, []).append(one)
    lines = [f"{name}: what each metric means is told by `moedesk metrics --list`; – is what the capture doesn't hold"]
    lines += [report.note] if report.note else []
    lines += _domain_lines(report.domains)
    for group, layers in groups.items():
        heads = [str(one.layer.place) for one in layers]
        lines += ["", _line(f"{report.by} {group}" if group else "layer", heads)]
        lines.append(_line("tokens", [f"{one.tokens:,}" for one in layers]))
        keys = dict.fromkeys(key for one in layers for key in one.values)
        lines += [_line(key, [_number(one.values.get(key, float("nan"))) for one in layers]) for key in keys]
    return "\n".join(lines)


def _domain_lines(domains: "Sequence[DomainLoad]") -> list[str]:
    """Return for each label and layer the expert that gets most of the label's tokens, and how much that is."""
    if not domains:
        return []
    from moedesk.analysis.specialization import strongest

    first = domains[0]
    lines = [
        "",
        "The expert that gets most of a label's tokens: expert, percent of these tokens (100·c/T), × its even share (k/E)",
        f"{'label':<24}{'tokens':>10}" + "".join(f"{f'layer {load.layer.place}':>18}" for load in domains),
    ]
    for place, name in enumerate(first.names):
        cells = [load.share_of(int(load.counts[place].argmax()), place) for load in domains]
        shown = [
            f"{one.expert}  {100 * one.share:.0f} %  {one.times_even:.1f}×" if one.tokens else "–" for one in cells
        ]
        lines.append(f"{name:<24}{max(one.tokens for one in cells):>10,}" + "".join(f"{cell:>18}" for cell in shown))
    top = strongest(domains)
    if top is not None:
        low, high = top.interval
        lines += [
            "",
            f"{top.text}: {100 * top.share:.1f} % of its tokens (95 %: {100 * low:.1f}–{100 * high:.1f} %, Wilson)",
        ]
    return lines


def _line(head: str, cells: list[str]) -> str:
    return f"{head:<36}" + "".join(f"{cell:>10}" for cell in cells)


def _number(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "–"
