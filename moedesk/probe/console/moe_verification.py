"""The part of ``moe`` that tests whether what is captured is what the model does."""

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from moedesk.core.errors import MoedeskError
from moedesk.core.verification import Verification
from moedesk.probe.console.loaded import START
from moedesk.probe.console.progress import ProgressLine

if TYPE_CHECKING:
    from torch import nn

    from moedesk.probe.attach import Attachment
    from moedesk.probe.finding.discovery import LayerChoice


class MoeVerification:
    """What ``moe`` has to test itself; docs/verify.md is its page."""

    _verified: tuple[Callable[[], Any], Verification | None] = (lambda: None, None)
    attachment: "Attachment | None"

    if TYPE_CHECKING:

        @property
        def model(self) -> "nn.Module | None":
            """The model."""

        @property
        def tokenizer(self) -> Any:
            """Of the model, or None."""

    def verify(
        self,
        model: "nn.Module | None" = None,
        tokenizer: Any = None,
        inputs: Mapping[str, Any] | None = None,
        layers: "LayerChoice" = None,
    ) -> Verification:
        """Test that what is captured of the attached or loaded model is what it does; docs/verify.md says how.

        Runs a small batch a few times, with and without hooks. None of it is recorded, and the model is left as it was, also
        after Ctrl+C. What it finds is shown in the app and kept in captures.

        Parameters
        ----------
        model : torch.nn.Module, optional
            Another model.
        tokenizer : transformers tokenizer, optional
        inputs : mapping, optional
            Keyword arguments of the model's forward, where token ids alone won't do.
        layers : places or module paths, optional
            Layers to test; all if left out.

        Returns
        -------
        Verification
            ``summary``, ``verdict``, ``layers`` with their ``checks``.

        Examples
        --------
        >>> moe.verify()
        >>> moe.verify(inputs={"input_ids": ids, "pixel_values": images}).layers[3].checks
        """
        if model is None:
            model, tokenizer = self.model, tokenizer if tokenizer is not None else self.tokenizer
        if model is None:
            raise MoedeskError(f"no model to test; type {START}")
        from moedesk.probe.exactness.verify import verify

        line = ProgressLine(f"testing {type(model).__name__}")
        try:
            found = verify(model, tokenizer, inputs, layers=layers, progress=lambda text, share: line(share, text))
        except BaseException:
            line.stop()
            raise
        line.done(f"{found.model}: {found.summary}")
        self._verified = weakref.ref(model), found
        if self.attachment is not None and self.attachment.module is model:
            self.attachment.set_verification(found)
        return found

    @property
    def verification(self) -> Verification | None:
        """What ``moe.verify()`` found of ``model``, or None."""
        tested, found = self._verified
        return found if tested() is not None and tested() is self.model else None

    def _share_verification(self, attachment: "Attachment") -> None:
        """Tell a new attachment what was found of its model before, or take over what it found itself."""
        if attachment.model.verification is not None:
            self._verified = weakref.ref(attachment.module), attachment.model.verification
        elif self.verification is not None:
            attachment.set_verification(self.verification)
