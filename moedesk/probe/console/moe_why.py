"""The part of ``moe`` that says why a token went to its experts."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from moedesk.core.attribution import Explanation
from moedesk.core.attribution_json import taken_apart
from moedesk.core.errors import MoedeskError
from moedesk.probe.console.tasks import Result

T = TypeVar("T", bound=Explanation)

if TYPE_CHECKING:
    from torch import nn

    from moedesk.core.attribution import Why
    from moedesk.link.server import LinkServer
    from moedesk.probe.attach import Attachment
    from moedesk.probe.explaining.passage import Passage


class MoeWhy:
    """What ``moe`` has to explain a choice; docs/attribution.md is its page."""

    attachment: "Attachment | None"

    if TYPE_CHECKING:

        @property
        def clients(self) -> int:
            """Apps that are connected."""

        @property
        def server(self) -> "LinkServer":
            """The link."""

        @property
        def model(self) -> "nn.Module | None":
            """The model."""

        @property
        def tokenizer(self) -> Any:
            """Of the model, or None."""

    def why(
        self,
        token: Any,
        layer: int | str,
        index: int = -1,
        *,
        experts: int | Sequence[int] | None = None,
        decoder: Any = None,
    ) -> "Why":
        """Say why a token went to its experts at one layer: what was ranked, and what the logits are made of.

        The router's dot product is split over what was added to the residual stream before it: embedding, attentions, MLPs,
        MoE blocks. Runs the model again on the sequence, unrecorded.

        Parameters
        ----------
        token : a token selected in the app, str, sequence of token ids, or tuple (sequence, column)
            ``$0``; or a text, or token ids, of which ``index`` is meant; or a token that ran, by the number of its sequence
            since the model was attached and its column, both from 0.
        layer : int or str
            Place or path of an MoE layer.
        index : int
            Which token of a text or of ids; negative counts from the end.
        experts : int or sequence of int, optional
            More experts whose logits to split, where there are over 64.
        decoder : str or sequence of token ids, optional
            What the decoder of an encoder-decoder model reads; the token is then one of it, else one of the encoder.

        Returns
        -------
        Why
            ``logits``, ``ranked``, ``margin``, ``runner_up``, ``components``, ``contributions``, ``remainder``, …; a table.

        Examples
        --------
        >>> moe.why($0, 3)
        >>> moe.why("def add(a, b):", layer=3, index=-2)
        >>> moe.why((0, 5), layer=3)
        """
        from moedesk.probe.explaining.why import why

        return self._kept(why(self._explained(), self._passage(token, index, decoder, layer), layer, experts))

    def do_why(self, value: Mapping[str, Any], progress: Callable[[float, str], None]) -> Result:
        """Do the task ``why`` of an app: ``passage``, ``layer``, and ``experts`` if it gives them."""
        from moedesk.probe.explaining.asked import asked_passage
        from moedesk.probe.explaining.why import why

        passage, layer = asked_passage(value.get("passage", {})), value.get("layer")
        if not isinstance(layer, int | str):
            raise MoedeskError("the app asked why without a layer; update it")
        return taken_apart(why(self._explained(), passage, layer, value.get("experts"), progress=progress))

    def _kept(self, explanation: T) -> T:
        """Give an explanation to the apps that follow the model, which keep it with its capture."""
        attachment = self.attachment
        if attachment is not None and attachment.stream is not None and self.clients:
            self.server.explain(attachment.stream, *taken_apart(explanation))
        return explanation

    def _explained(self) -> "nn.Module":
        model = self.model
        if model is None:
            raise MoedeskError('no model to explain; type moe.load("sample"), then moe.attach()')
        return model

    def _ran(self, sequence: int, column: int, layer: int | str | None = None) -> "Passage":
        raise NotImplementedError

    def _passage(self, token: Any, index: int, decoder: Any = None, layer: int | str | None = None) -> Any:
        from moedesk.probe.console.passages import passage_of

        ran = None if self.attachment is None else partial(self._ran, layer=layer)
        return passage_of(token, index, self.tokenizer, decoder, self.model, ran)
