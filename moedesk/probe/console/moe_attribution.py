"""The part of ``moe`` that says what a token's experts did, and what others would have done."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from moedesk.core.attribution import Explanation
from moedesk.core.attribution_json import taken_apart
from moedesk.probe.console.progress import ProgressLine
from moedesk.probe.explaining.asked import asked_passage

if TYPE_CHECKING:
    from torch import nn

    from moedesk.core.attribution import Attribution, Counterfactual
    from moedesk.probe.explaining.passage import Passage


T = TypeVar("T", bound=Explanation)


class MoeAttribution:
    """What ``moe`` has to attribute an output to experts; docs/attribution.md is its page."""

    if TYPE_CHECKING:

        @property
        def tokenizer(self) -> Any:
            """Of the model, or None."""

        def _explained(self) -> "nn.Module": ...

        def _passage(self, token: Any, index: int, decoder: Any = None) -> "Passage": ...

        def _kept(self, explanation: T) -> T: ...

    def attribute(
        self,
        token: Any,
        index: int = -1,
        *,
        layer: int | str | Sequence[int | str] | None = None,
        target: int | str | None = None,
        value: str = "logit",
        method: str | Sequence[str] = ("direct", "gradient", "ablation", "norm"),
        decoder: Any = None,
    ) -> "Attribution":
        """Say what each expert of a token did to a logit or log-probability at that token.

        Runs the model again on the sequence up to the token, unrecorded and without overrides; the model is left as it was,
        also after Ctrl+C.

        Parameters
        ----------
        token : a token selected in the app, str, sequence of token ids, or tuple (sequence, column)
            ``$0``; or a text, or token ids, of which ``index`` is meant; or a token that ran, by the number of its sequence
            since the model was attached and its column, both from 0.
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
        decoder : str or sequence of token ids, optional
            What the decoder of an encoder-decoder model reads: the token is one of it, and the first argument what the encoder
            reads.

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
        passage = self._passage(token, index, decoder)
        found = _with_line(
            "attributing",
            partial(attribute, model, passage, self.tokenizer, layer=layer, target=target, value=value, method=method),
        )
        return self._kept(found)

    def counterfactual(
        self,
        token: Any,
        index: int = -2,
        *,
        layers: int | str | Sequence[int | str] | None = None,
        target: int | str | None = None,
        runners: int = 4,
        tries: int = 32,
        seed: int = 0,
        decoder: Any = None,
    ) -> "Counterfactual":
        """Say what other routes of a token would have done to the loss of the token that came next.

        At each layer each of its experts is replaced by each of those that the router ranked next; then whole routes are
        sampled. The choice is forced inside the layer's own selection, so weights are what the model makes of it. Runs the
        model again, unrecorded and without overrides; it is left as it was, also after Ctrl+C.

        Parameters
        ----------
        token : a token selected in the app, str, sequence of token ids, or tuple (sequence, column)
            ``$0``; or a text, or token ids, of which ``index`` is meant; or a token that ran, by the number of its sequence
            since the model was attached and its column, both from 0.
        index : int
            Which token of a text or of ids; the last but one if left out, since the next one has to be known.
        layers : int, str or sequence of these, optional
            Places or paths of MoE layers; all if left out.
        target : int or str, optional
            Whose loss it is, where the next token is not known or another one is meant.
        runners : int
            How many of those that the router ranked next.
        tries : int
            Whole routes that are sampled, through all these layers at once.
        seed : int
            Of the sampled routes.
        decoder : str or sequence of token ids, optional
            As in ``attribute``.

        Returns
        -------
        Counterfactual
            ``losses`` of ``experts`` at ``layers``, ``ranks`` and ``regrets`` of the router's choice, ``whole_losses``; a table.

        Examples
        --------
        >>> moe.counterfactual($0)
        >>> moe.counterfactual("The capital of France is Paris", layers=3, runners=8)
        """
        from moedesk.probe.explaining.counterfactual import counterfactual

        model = self._explained()
        passage = self._passage(token, index, decoder)
        found = _with_line(
            "trying other routes",
            partial(
                counterfactual,
                model,
                passage,
                self.tokenizer,
                layers=layers,
                target=target,
                runners=runners,
                tries=tries,
                seed=seed,
            ),
        )
        return self._kept(found)

    def do_counterfactual(
        self, value: Mapping[str, Any], progress: Callable[[float, str], None]
    ) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        """Do the task ``counterfactual`` of an app: ``passage``, and ``layers`` and other options if it gives them."""
        from moedesk.probe.explaining.counterfactual import counterfactual

        names = ("layers", "target", "runners", "tries", "seed")
        options = {name: value[name] for name in names if value.get(name) is not None}
        passage = asked_passage(value.get("passage", {}))
        return taken_apart(counterfactual(self._explained(), passage, self.tokenizer, progress=progress, **options))

    def do_attribute(
        self, value: Mapping[str, Any], progress: Callable[[float, str], None]
    ) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        """Do the task ``attribute`` of an app: ``passage``, and ``layer``, ``target``, ``value``, ``method`` if it gives them."""
        from moedesk.probe.explaining.attribute import attribute

        options = {name: value[name] for name in ("layer", "target", "value", "method") if value.get(name) is not None}
        passage = asked_passage(value.get("passage", {}))
        return taken_apart(attribute(self._explained(), passage, self.tokenizer, progress=progress, **options))


def _with_line(what: str, work: Callable[..., T]) -> T:
    """Do work that tells its ``progress``, which is shown in a line that rewrites itself."""
    line = ProgressLine(what)
    try:
        found = work(progress=line)
    except BaseException:
        line.stop()
        raise
    line.done(f"{what}: done")
    return found
