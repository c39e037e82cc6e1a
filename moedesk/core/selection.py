"""What the user points at: ``$0``, shared by all panels of a session."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """What a selection is, by its most specific part."""

    NOTHING = "nothing"
    PASS = "pass"
    LAYER = "layer"
    EXPERT = "expert"
    TOKEN = "token"
    MODULE = "module"


@dataclass(frozen=True)
class Selection:
    """A pass, layer, expert, token or module, with the context it was picked in.

    Attributes
    ----------
    kind : Kind
        What was picked; the other fields are its context and may be None.
    pass_id : int or None
    layer : int or None
        Place in ``ModelInfo.layers``.
    expert : int or None
        Logical expert id within ``layer``.
    token : int or None
        Row in the tokens of ``stream``.
    stream : str or None
        Stream of ``token``; None for the main one.
    module : str or None
        Module path.
    """

    kind: Kind = Kind.NOTHING
    pass_id: int | None = None
    layer: int | None = None
    expert: int | None = None
    token: int | None = None
    stream: str | None = None
    module: str | None = None

    def __str__(self) -> str:
        match self.kind:
            case Kind.PASS:
                return f"pass {self.pass_id}"
            case Kind.LAYER:
                return f"layer {self.layer}"
            case Kind.EXPERT:
                return f"expert {self.layer}.{self.expert}"
            case Kind.TOKEN:
                return f"token {self.token}" + (f" ({self.stream})" if self.stream else "")
            case Kind.MODULE:
                return f"module {self.module or '(model)'}"
            case _:
                return "nothing selected"

    def with_context(self, previous: Self) -> Self:
        """Fill pass, layer, expert, token from ``previous`` where this selection leaves them open.

        An expert only makes sense in its layer, so it is kept only if the layer stays the same.
        """
        layer = self.layer if self.layer is not None else previous.layer
        expert = self.expert
        if expert is None and self.kind not in (Kind.LAYER, Kind.MODULE) and layer == previous.layer:
            expert = previous.expert
        same_pass = self.pass_id is None or self.pass_id == previous.pass_id
        keep_token = self.token is None and same_pass
        return replace(
            self,
            pass_id=self.pass_id if self.pass_id is not None else previous.pass_id,
            layer=layer,
            expert=expert,
            token=previous.token if keep_token else self.token,
            stream=previous.stream if keep_token else self.stream,
        )


NOTHING = Selection()
