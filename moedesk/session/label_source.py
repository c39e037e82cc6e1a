"""Labels from a file that someone wrote, JSON or CSV, for a capture."""

from collections.abc import Iterable
from pathlib import Path

from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label
from moedesk.core.label_set import parse_csv, parse_json
from moedesk.core.store import Store

MOST_BYTES = 4 << 20


def read_labels(path: Path, store: Store) -> tuple[Label, ...]:
    """Return the labels in a .csv or .json file.

    Raises
    ------
    MoedeskError
        If it can't be read, or holds something else, or labels what the store doesn't have.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise MoedeskError(f"{path} is larger than {MOST_BYTES >> 20} MiB; put neighbours together")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MoedeskError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MoedeskError(f"{path} is no UTF-8 text; labels come as JSON or CSV") from None
    try:
        main = store.model.streams[0] if store.model.layers else "main"
        labels = (parse_csv(text) if path.suffix.lower() == ".csv" else parse_json(text, main)).labels
    except MoedeskError as error:
        raise MoedeskError(f"{path}: {error}") from None
    check_rows(labels, store)
    return labels


def check_rows(labels: Iterable[Label], store: Store) -> None:
    """Refuse labels of passes or token rows that a store doesn't have."""
    for label in labels:
        if label.stream:
            check_stream(label.stream, store)
        rows = store.n_tokens(label.stream) if label.stream else store.n_passes
        what = "token rows" if label.stream else "passes"
        if label.last > rows:
            raise MoedeskError(f"{store.name} has {rows:,} {what}, label {label.name!r} goes on to {label.last:,}")


def check_stream(stream: str, store: Store) -> None:
    """Refuse a stream that a store doesn't have."""
    if stream not in store.model.streams:
        raise MoedeskError(f"{store.name} has no stream {stream!r}; it has {', '.join(store.model.streams)}")
