"""``moedesk info``: what a capture holds."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moedesk.core.label import Label
    from moedesk.core.model import ModelInfo
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
    from moedesk.analysis.spared import spared_passes
    from moedesk.capture.schema import VERSION

    return {
        "format": VERSION,
        "complete": store.complete,
        "model": store.model.name,
        "passes": store.n_passes,
        "spared": spared_passes(store),
        "steps": _steps(store),
        "tokens": sum(_rows(store).values()),
        "verification": None if store.model.verification is None else store.model.verification.to_json(),
        "layers": [
            {"path": layer.path, "experts": layer.experts, "top_k": layer.top_k} for layer in store.model.layers
        ],
        "labels": [
            {"name": label.name, "stream": label.stream or None, "first": label.first, "last": label.last}
            for label in store.labels
        ],
        "overrides": [one.to_json() for one in store.overrides],
        "attributions": dict(Counter(explanation.KIND for explanation in store.attributions)),
        "notes": list(store.notes),
    }


def as_text(store: "Store") -> str:
    """Return the facts as lines to read."""
    from moedesk.analysis.spared import spared_note, spared_passes

    model, rows = store.model, _rows(store)
    spared = spared_note(spared_passes(store), store.n_passes)
    streams = ", ".join(f"{count:,} {stream}" for stream, count in rows.items())
    lines = [
        store.name,
        f"  model      {model.name} ({model.class_name}, {model.parameters:,} parameters, {model.dtype or 'no dtype'})",
        f"  recording  {'complete' if store.complete else 'incomplete'}",
        f"  passes     {store.n_passes:,}",
        *([f"  spared     {spared}"] if spared else []),
        *_step_lines(_steps(store)),
        f"  tokens     {sum(rows.values()):,} rows kept" + (f" ({streams})" if len(rows) > 1 else ""),
        *_label_lines(store.labels),
        *_override_lines(store),
        *_explanation_lines(store),
        f"  self-test  {_self_test(model)}",
        f"  layers     {len(model.layers)} MoE layers",
    ]
    for layer in model.layers:
        shared = f", {layer.shared} shared" if layer.shared else ""
        stream = f", stream {layer.stream}" if layer.stream != "main" else ""
        lines.append(f"    {layer.place:>3}  {layer.path}  {layer.experts} experts, top-{layer.top_k}{shared}{stream}")
    lines += [f"  note       {note}" for note in store.notes]
    return "\n".join(lines)


def _steps(store: "Store") -> dict[str, Any] | None:
    """Return number and range of the training steps, and first, last, smallest and largest loss (None: unknown)."""
    if not store.n_steps:
        return None
    import numpy as np

    rows = store.read_steps()
    losses = rows["loss"][np.isfinite(rows["loss"])].tolist()
    known = {"first": losses[0], "last": losses[-1], "min": min(losses), "max": max(losses)} if losses else None
    return {"count": len(rows), "first": int(rows["step"][0]), "last": int(rows["step"][-1]), "loss": known}


def _step_lines(steps: dict[str, Any] | None) -> list[str]:
    if steps is None:
        return []
    loss = steps["loss"]
    said = (
        ""
        if loss is None
        else f", loss {loss['first']:.4g} to {loss['last']:.4g} ({loss['min']:.4g}–{loss['max']:.4g})"
    )
    return [f"  training   {steps['count']:,} steps, {steps['first']:,} to {steps['last']:,}{said}"]


def _label_lines(labels: "Sequence[Label]") -> list[str]:
    """Return how many passes and token rows each label names."""
    from moedesk.core.label import names_of

    lines: list[str] = []
    for name in names_of(labels):
        named = [label for label in labels if label.name == name]
        passes = _covered(label for label in named if not label.stream)
        rows = sum(
            _covered(label for label in named if label.stream == stream)
            for stream in {label.stream for label in named} - {""}
        )
        parts = [f"{count:,} {what}" for count, what in ((passes, "passes"), (rows, "token rows")) if count]
        lines.append(f"  {'' if lines else 'labels':<10} {name}: {', '.join(parts)}")
    return lines


def _override_lines(store: "Store") -> list[str]:
    """Return which overrides acted, and on which passes."""
    from moedesk.core.acted import first_few

    said = first_few(one.said for one in store.overrides)
    return [f"  {'' if number else 'overridden':<10} {one}" for number, one in enumerate(said)]


def _explanation_lines(store: "Store") -> list[str]:
    """Return how many explanations of each kind there are."""
    counts = Counter(explanation.KIND for explanation in store.attributions)
    return [f"  explained  {', '.join(f'{count:,} × {kind}' for kind, count in counts.items())}"] if counts else []


def _covered(labels: "Iterable[Label]") -> int:
    """Return how many passes or rows these labels name, each counted once."""
    covered = reached = 0
    for label in sorted(labels, key=lambda label: label.first):
        covered += max(0, label.last - max(label.first, reached))
        reached = max(reached, label.last)
    return covered


def _self_test(model: "ModelInfo") -> str:
    """Return what the exactness self-test found, and when."""
    found = model.verification
    return "never run on this model" if found is None else f"{found.summary} ({found.created})"


def _rows(store: "Store") -> dict[str, int]:
    """Return the token rows of each stream."""
    return {stream: store.n_tokens(stream) for stream in store.model.streams}
