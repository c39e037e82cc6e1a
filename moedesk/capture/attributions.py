"""Explanations in an HDF5 file: a group each, with JSON and arrays."""

import json
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np

from moedesk.core.attribution import Explanation
from moedesk.core.attribution_json import put_together, taken_apart
from moedesk.core.errors import MoedeskError

GROUP = "attributions"
MOST = 10_000
"""Explanations in a file at most."""
MOST_BYTES = 64 << 20
"""A larger array or text is not read."""


def write_explanations(file: h5py.File, explanations: Iterable[Explanation]) -> None:
    """Add explanations to those in a file that is open for writing."""
    group = file.require_group(GROUP)
    for explanation in explanations:
        value, arrays = taken_apart(explanation)
        entry = group.create_group(str(len(group)))
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        entry.create_dataset("json", data=np.frombuffer(text, np.uint8), track_times=False)
        for name, array in arrays.items():
            packed: dict[str, Any] = {"compression": "gzip", "shuffle": True} if array.nbytes > 4096 else {}
            entry.create_dataset(f"arrays/{name}", data=array, track_times=False, **packed)


def read_explanations(file: h5py.File) -> tuple[tuple[Explanation, ...], str]:
    """Return the explanations in a file, and what was left out, in one line (empty: nothing)."""
    group = file.get(GROUP)
    if not isinstance(group, h5py.Group):
        return (), ""
    found, wrong = [], []
    for number in sorted(group, key=lambda name: (len(name), name))[:MOST]:
        try:
            found.append(_read(group[number]))
        except (MoedeskError, OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
            wrong.append(f"{number} ({str(error).splitlines()[0][:80] if str(error) else type(error).__name__})")
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return tuple(found), f"explanation {wrong[0]}{more} left out: not readable" if wrong else ""


def _read(entry: h5py.Group) -> Explanation:
    value = json.loads(_array(entry["json"]).astype(np.uint8).tobytes())
    arrays = entry.get("arrays", {})
    return put_together(value, {name: _array(arrays[name]) for name in arrays})


def _array(dataset: h5py.Dataset) -> np.ndarray:
    if dataset.nbytes > MOST_BYTES:
        raise MoedeskError(f"{dataset.name} is larger than {MOST_BYTES >> 20} MiB")
    return np.asarray(dataset[()])
