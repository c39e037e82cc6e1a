"""The part of ``moe`` that stops the model where its routing is what one looks for."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.errors import MoedeskError

if TYPE_CHECKING:
    from torch import nn

    from moedesk.link.server import LinkServer
    from moedesk.probe.attach import Attachment
    from moedesk.probe.breaking.breakpoints import Breakpoints
    from moedesk.probe.breaking.placed import PlacedBreakpoint
    from moedesk.probe.breaking.stop import Stop
    from moedesk.probe.finding.names import Names


class MoeBreakpoints:
    """What ``moe`` has for breakpoints; docs/breakpoints.md is its page."""

    if TYPE_CHECKING:
        _names: Names
        attachment: Attachment | None

        @property
        def clients(self) -> int:
            """Apps that are connected."""

        @property
        def server(self) -> LinkServer:
            """The process's link server."""

    _breakpoints: "Breakpoints | None" = None
    show_stop: "Callable[[Stop], None]" = staticmethod(lambda stop: None)
    """Told where the model stops, to point it out."""
    may_ask: Callable[[], bool] = staticmethod(lambda: True)
    """Whether a cell of the user's runs, whose frontend can be asked for a line."""

    def break_on(
        self, text: str, log: str = "", condition: str = "", ignore: int = 0, model: "nn.Module | None" = None
    ) -> "PlacedBreakpoint":
        """Stop the model where a token is routed so; until it is removed, or in a ``with`` block.

        The model's thread stops inside the pass, before the layer's experts run. Go on at the prompt (``c``), or with F8 in the
        app.

        Parameters
        ----------
        text : str
            A filter, as in Network: ``layer:3 expert:7 margin<0.01``. Also ``is:nonfinite``, ``is:dropped``, ``load>2`` (an
            expert gets more than twice its fair share).
        log : str
            A text with ``{fields}`` to print in place of stopping: ``"{token!r} to {expert} at {layer}"``.
        condition : str
            A Python expression that must be true too: ``"token.isupper() and weight > limit"``.
        ignore : int
            How many matches are passed over first.
        model : torch.nn.Module, optional
            Another model than ``moe``'s, attached by ``moedesk.attach``.

        Returns
        -------
        PlacedBreakpoint
            ``on`` (may be set), ``hits``, ``remove()``.

        Raises
        ------
        MoedeskError
            If it can't break; in one line.

        Examples
        --------
        >>> moe.break_on("layer:3 expert:7")
        >>> moe.break_on("is:nonfinite")
        >>> with moe.break_on("margin<0.001", log="{layer} {token!r} {margin:.5f}"):
        ...     moe.run("def add(a, b):")
        """
        return self._breakpoints_of(model).add(Breakpoint(text, log, condition, ignore))

    @property
    def breakpoints(self) -> "Breakpoints":
        """The breakpoints; ``clear()`` removes all, ``active = False`` switches all off."""
        if self._breakpoints is None:
            self._breakpoints = self._no_breakpoints()
            if self.attachment is not None:
                self._breakpoints.attach(self.attachment)
        return self._breakpoints

    def order_breakpoints(self, value: Mapping[str, Any]) -> None:
        """Change the breakpoints of a session's model as an app asks."""
        found = self._of_session(value)
        if found is not None:
            self._breakpoints_of(found.module).order(value)

    def order_on(self, value: Mapping[str, Any]) -> None:
        """Let a session's model, which is stopped, go on as an app asks."""
        found = self._of_session(value)
        if found is not None and found.breakpoints is not None:
            found.breakpoints.go_on(value)

    @property
    def stands(self) -> bool:
        """Whether a model stands at a breakpoint."""
        hold = sys.modules.get("moedesk.probe.breaking.hold")  # not loaded as long as there are no breakpoints
        return hold is not None and bool(hold.one_stands())

    def tell_hits(self) -> None:
        """Tell apps what was hit since the last word."""
        if "moedesk.probe.attach" not in sys.modules:  # which loads torch
            return
        from moedesk.probe.attach import attached

        for attachment in attached():
            if attachment.breakpoints is not None:
                attachment.breakpoints.tell_hits()

    def _attached(self, earlier: "Breakpoints | None") -> None:
        """Have breakpoints break in the model that is attached now, those too that it had as another model than ``moe``'s."""
        assert self.attachment is not None
        if earlier is not None and earlier is not self._breakpoints:
            self.breakpoints.take_over(earlier)
        if self._breakpoints is not None:
            self._breakpoints.attach(self.attachment)

    def _breakpoints_of(self, model: "nn.Module | None") -> "Breakpoints":
        """The list of ``moe``'s model, or of another one that is attached."""
        if model is None or (self.attachment is not None and model is self.attachment.module):
            return self.breakpoints
        from moedesk.probe.attach import attachment_of

        attachment = attachment_of(model)
        if attachment is None:
            raise MoedeskError(
                f"this {type(model).__name__} is not attached; moedesk.attach(model, tokenizer) comes first"
            )
        if attachment.breakpoints is None:
            self._no_breakpoints().attach(attachment)
            assert attachment.breakpoints is not None
        return attachment.breakpoints

    def _no_breakpoints(self) -> "Breakpoints":
        from moedesk.probe.breaking.breakpoints import Breakpoints

        made = Breakpoints(self._names.namespace, lambda: self.clients, self._tell)
        made.hold.show, made.hold.may_ask = self.show_stop, self.may_ask
        return made

    def _of_session(self, value: Mapping[str, Any]) -> "Attachment | None":
        """The attachment that an app's order is about; None if it was detached meanwhile."""
        from moedesk.probe.attach import attachment_at

        return self.attachment if value.get("stream") is None else attachment_at(value["stream"])

    def _tell(self, topic: str, value: Mapping[str, Any], stream: int | None) -> None:
        if stream is not None:
            self.server.tell(topic, value, stream)
