"""The part of ``moe`` that says what a token's experts did, and what others would have done."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moedesk.core.attribution_json import taken_apart
from moedesk.core.errors import MoedeskError
from moedesk.probe.console.progress import ProgressLine
from moedesk.probe.explaining.asked import asked_passage

if TYPE_CHECKING:
    from torch import nn

    from moedesk.core.attribution import Attribution
    from moedesk.probe.explaining.passage import Passage

START = 'no model to explain; type moe.load("sample"), then moe.attach()'


class MoeAttribution:
    """What ``moe`` has to attribute an output to experts; docs/attribution.md is its page."""

    if TYPE_CHECKING:

        @property
        def model(self) -> "nn.Module | None":
            """The model."""

        @property
        def tokenizer(self) -> Any:
            """Of the model, or None."""

        def _passage(self, token: Any, index: int) -> "Passage": ...

    def attribute(
        self,
        token: Any,
        index: int = -1,
        *,
        layer: int | str | Sequence[int | str] | None = None,
        target: int | str | None = None,
        value: str = "logit",
        method: str | Sequence[str] = ("direct", "gradient", "ablation", "norm"),
    ) -> "Attribution":
        """Say what each expert of a token did to a logit or log-probability at that token.

        Runs the model again on the sequence up to the token, unrecorded and without overrides; the model is left as it was,
        also after Ctrl+C.

        Parameters
        ----------
        token : a token selected in the app, str, or sequence of token ids
            ``$0``; or a text, or token ids, of which ``index`` is meant.
        index : int
            Which token of a text or of ids; negative counts from the end.
        layer : int, str or sequence of these, optional
            Places or paths of MoE layers; all if left out.
        target : int or str, optional
            Whose logit it is: a token id, or the text of one token. The token that came next if left out, or the model's best
            where none did.
        value : {"logit", "logprob"}
            What gradients and ablations are of; direct contributions are of the logit.
        method : str or sequence of str
            ``direct``, ``gradient``, ``ablation``, ``norm``: one, or several.

        Returns
        -------
        Attribution
            ``experts``, ``weights``, ``norms``, ``direct``, ``gradient``, ``ablation`` (L, k), ``components``, ``residual``, …; a
            table.

        Examples
        --------
        >>> moe.attribute($0)
        >>> moe.attribute("The capital of France is", target=" Paris", value="logprob")
        >>> moe.attribute(ids, index=12, layer=[3, 4], method="ablation")
        """
        from moedesk.probe.explaining.attribute import attribute

        model = self._explained()
        passage = self._passage(token, index)
        return _with_line(
            "attributing",
            lambda progress: attribute(
                model,
                passage,
                self.tokenizer,
                layer=layer,
                target=target,
                value=value,
                method=method,
                progress=progress,
            ),
        )

    def do_attribute(
        self, value: Mapping[str, Any], progress: Callable[[float, str], None]
    ) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        """Do the task ``attribute`` of an app: ``passage``, and ``layer``, ``target``, ``value``, ``method`` if it gives them."""
        from moedesk.probe.explaining.attribute import attribute

        options = {name: value[name] for name in ("layer", "target", "value", "method") if value.get(name) is not None}
        passage = asked_passage(value.get("passage", {}))
        return taken_apart(attribute(self._explained(), passage, self.tokenizer, progress=progress, **options))

    def _explained(self) -> "nn.Module":
        model = self.model
        if model is None:
            raise MoedeskError(START)
        return model


def _with_line(what: str, work: Callable[[Callable[[float, str], None]], Any]) -> Any:
    """Do work whose progress is shown in a line that rewrites itself."""
    line = ProgressLine(what)
    try:
        found = work(lambda share, text: line(share, text))
    except BaseException:
        line.stop()
        raise
    line.done(f"{what}: done")
    return found
