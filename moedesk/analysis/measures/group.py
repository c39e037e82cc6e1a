"""Which rows belong together: all of them, those of a pass, of a rank, or of a label."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label, labelled, names_of
from moedesk.core.store import Store

By = Literal["layer", "pass", "domain", "rank"]
BY: tuple[By, ...] = get_args(By)


@dataclass(frozen=True)
class Groups:
    """Names of groups, and which rows are theirs. Groups by label may overlap.

    Attributes
    ----------
    names : tuple of str
        Empty text for the only group there is.
    of_pass : (passes,) int64 array or None
        Place in ``names``, -1 for none.
    labels : tuple of Label
        If groups are those of labels.
    """

    names: tuple[str, ...]
    of_pass: npt.NDArray[np.int64] | None = None
    labels: tuple[Label, ...] = ()

    def split(
        self, stream: str, i: int, passes: npt.NDArray[np.integer]
    ) -> list[tuple[int, npt.NDArray[np.bool_] | None]]:
        """Return for rows i… of a stream, of these passes, each group that is there and which rows are its; None for all."""
        if self.labels:
            masks = [labelled(self.labels, name, stream, i, passes) for name in self.names]
            return [(place, mask) for place, mask in enumerate(masks) if mask.any()]
        if self.of_pass is None:
            return [(0, None)]
        groups = self.of_pass[passes]
        return [(int(group), groups == group) for group in np.unique(groups) if group >= 0]


def groups_of(store: Store, by: By) -> Groups:
    """Return the groups of a capture.

    Raises
    ------
    MoedeskError
        If the capture has nothing to group by.
    """
    if by == "layer":
        return Groups(("",))
    if by == "rank":
        ranks, places = np.unique(store.read_passes()["rank"], return_inverse=True)
        return Groups(tuple(map(str, ranks.tolist())), places.astype(np.int64))
    labels = store.labels
    if not labels:
        raise MoedeskError(
            f"{store.name} has no labels to group by; label passes with rec.label('python') when recording, or afterwards "
            f"with `moedesk label {store.name} python --passes 0:10`"
        )
    return Groups(names_of(labels), labels=labels)
