"""The part of ``moe`` that stops the model where its routing is what one looks for."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from moedesk.core.breakpoint import Breakpoint

if TYPE_CHECKING:
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

        @property
        def tokenizer(self) -> Any:
            """Of the model, or None."""

    _breakpoints: "Breakpoints | None" = None
    show_stop: "Callable[[Stop], None]" = staticmethod(lambda stop: None)
    """Told where the model stops, to point it out."""
    may_ask: Callable[[], bool] = staticmethod(lambda: True)
    """Whether a cell of the user's runs, whose frontend can be asked for a line."""

    def break_on(self, text: str, log: str = "", condition: str = "", ignore: int = 0) -> "PlacedBreakpoint":
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
        return self.breakpoints.add(Breakpoint(text, log, condition, ignore))

    @property
    def breakpoints(self) -> "Breakpoints":
        """The breakpoints; ``clear()`` removes all, ``active = False`` switches all off."""
        if self._breakpoints is None:
            from moedesk.probe.breaking.breakpoints import Breakpoints

            self._breakpoints = Breakpoints(self._names.namespace, lambda: self.clients, self._tell)
            self._breakpoints.hold.show, self._breakpoints.hold.may_ask = self.show_stop, self.may_ask
            self._attached()
        return self._breakpoints

    @property
    def stands(self) -> bool:
        """Whether the model stands at a breakpoint."""
        return self._breakpoints is not None and self._breakpoints.hold.stop is not None

    def tell_hits(self) -> None:
        """Tell apps what was hit since the last word."""
        if self._breakpoints is not None:
            self._breakpoints.tell_hits()

    def _attached(self) -> None:
        """Have breakpoints break in the attached model."""
        if self._breakpoints is None or self.attachment is None:
            return
        from moedesk.probe.taking.vocabulary import Vocabulary

        self._breakpoints.attach(self.attachment, Vocabulary.of(self.tokenizer, self.attachment.module))

    def _tell(self, topic: str, value: Mapping[str, Any]) -> None:
        self.server.tell(topic, value)
