"""``moedesk info``: what a capture holds."""

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moedesk.core.store import Store

NAME = "info"
HELP = "say what a capture holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a capture")
    parser.add_argument("--json", action="store_true", help="print JSON, whose fields stay as they are")


def run(arguments: argparse.Namespace) -> int:
    """Print what the capture holds."""
    from moedesk.capture.open import open_capture

    with open_capture(arguments.file) as capture:
        print(json.dumps(as_json(capture), indent=1, ensure_ascii=False) if arguments.json else as_text(capture))
    return 0


def as_json(store: "Store") -> dict[str, Any]:
    """Return the facts as JSON values; ``tokens`` counts the token rows kept, of all streams."""
    from moedesk.capture.schema import VERSION

    return {
        "format": VERSION,
        "complete": store.complete,
        "model": store.model.name,
        "passes": store.n_passes,
        "tokens": sum(_rows(store).values()),
        "layers": [
            {"path": layer.path, "experts": layer.experts, "top_k": layer.top_k} for layer in store.model.layers
        ],
        "notes": list(store.notes),
    }


def as_text(store: "Store") -> str:
    """Return the facts as lines to read."""
    model, rows = store.model, _rows(store)
    streams = ", ".join(f"{count:,} {stream}" for stream, count in rows.items())
    lines = [
        store.name,
        f"  model      {model.name} ({model.class_name}, {model.parameters:,} parameters, {model.dtype or 'no dtype'})",
        f"  recording  {'complete' if store.complete else 'incomplete'}",
        f"  passes     {store.n_passes:,}",
        f"  tokens     {sum(rows.values()):,} rows kept" + (f" ({streams})" if len(rows) > 1 else ""),
        f"  layers     {len(model.layers)} MoE layers",
    ]
    for layer in model.layers:
        shared = f", {layer.shared} shared" if layer.shared else ""
        stream = f", stream {layer.stream}" if layer.stream != "main" else ""
        lines.append(f"    {layer.place:>3}  {layer.path}  {layer.experts} experts, top-{layer.top_k}{shared}{stream}")
    lines += [f"  note       {note}" for note in store.notes]
    return "\n".join(lines)


def _rows(store: "Store") -> dict[str, int]:
    """Return the token rows of each stream."""
    return {stream: store.n_tokens(stream) for stream in store.model.streams}
