"""What the app asks about a token of a capture, answered by the console's ``moe``."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from moedesk.core.attribution_json import taken_apart
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.asked import asked_passage
from moedesk.probe.explaining.passage import Passage

if TYPE_CHECKING:
    from moedesk.core.attribution import Explanation
    from moedesk.probe.console.moe import Moe
    from moedesk.probe.console.tasks import Function

Progress = Callable[[float, str], None]
Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


def explain_tasks(moe: "Moe") -> dict[str, "Function"]:
    """Return the tasks ``why``, … by their names."""

    def why(value: Mapping[str, Any], progress: Progress) -> Answer:
        return _sent(moe.why(_passage(moe, value), value["layer"]))

    return {"why": why}


def _passage(moe: "Moe", value: Mapping[str, Any]) -> Passage:
    """The passage that is asked about, of the model that ``moe`` has."""
    from moedesk.probe.attach import attached

    stream = value.get("stream")
    for attachment in attached():
        if attachment.stream == stream and attachment.module is not moe.model:
            raise MoedeskError(
                f"moe works with another model than this session's; type moe.attach() with {attachment.name}"
            )
    return asked_passage(value.get("passage", {}))


def _sent(explanation: "Explanation") -> Answer:
    return taken_apart(explanation)
