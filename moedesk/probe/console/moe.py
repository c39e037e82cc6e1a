"""``moe``: load, attach, run. What a user of the console or a notebook works with."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moedesk.core.errors import MoedeskError
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.core.sides import DECODER, ENCODER
from moedesk.core.verification_text import verdict_text
from moedesk.probe.console.connection_file import app_command
from moedesk.probe.console.loaded import START, Loaded, load_with_progress
from moedesk.probe.console.moe_attribution import MoeAttribution
from moedesk.probe.console.moe_breakpoints import MoeBreakpoints
from moedesk.probe.console.moe_overrides import OverrideCalls
from moedesk.probe.console.moe_verification import MoeVerification
from moedesk.probe.console.moe_why import MoeWhy
from moedesk.probe.console.override_link import OverrideLink
from moedesk.probe.console.picture import Picture, load_picture
from moedesk.probe.console.run import Run, run
from moedesk.probe.console.status import Status
from moedesk.probe.console.tally import Counts, Tally, difference
from moedesk.probe.finding.names import Names

if TYPE_CHECKING:
    from torch import nn

    from moedesk.link.server import LinkServer
    from moedesk.probe.attach import Attachment
    from moedesk.probe.explaining.passage import Passage
    from moedesk.probe.labelling import Labelling
    from moedesk.probe.overriding.overrides import Overrides

ARRIVAL_SECONDS = 1.0
"""How long ``run`` waits for the counts of its last passes; they come from another thread."""


class Moe(MoeVerification, MoeBreakpoints, OverrideCalls, MoeWhy, MoeAttribution):
    """Loads Mixture-of-Experts models, attaches them to the moedesk app, and runs them.

    Parameters
    ----------
    names : Names
        Where ``load`` puts ``model`` and ``tokenizer``.
    server : function
        Gives the process's link server, which starts with the first call.

    Examples
    --------
    >>> moe.load("sample")        # or a folder, or a model in the Hugging Face cache
    >>> moe.attach()              # or moe.attach(model, tokenizer) with any model of your own
    >>> moe.run("def add(a, b):", max_new_tokens=32)
    >>> moe.status()
    >>> moe.detach()
    """

    def __init__(self, names: Names, server: Callable[[], "LinkServer"]) -> None:
        self._names = names
        self._open_server = server
        self._server: LinkServer | None = None
        self._loaded: Loaded | None = None
        self._tokenizer: Any = None  # the attached model's
        self._options: dict[str, Any] = {}
        self._tally: Tally | None = None
        self.override_link = OverrideLink(self._overrides_at, lambda: self._server)
        """Tells apps of overrides, and does what they order."""
        self.attachment: Attachment | None = None
        """The attached model's hooks, or None."""

    @property
    def model(self) -> "nn.Module | None":
        """The attached model, else the one that was loaded last, else None."""
        if self.attachment is not None:
            return self.attachment.module
        return self._loaded.model if self._loaded is not None else None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of ``model``, or None."""
        if self.attachment is not None:
            return self._tokenizer
        return self._loaded.tokenizer if self._loaded is not None else None

    @property
    def info(self) -> ModelInfo | None:
        """What is known about the attached model; its MoE layers once they ran."""
        return self.attachment.model if self.attachment is not None else None

    @property
    def counts(self) -> Counts:
        """Slots each expert received since the model was attached: an (E,) array for each layer's place."""
        return self._tally.counts() if self._tally is not None else {}

    @property
    def picture(self) -> Picture | None:
        """The load of every expert since the model was attached, or None."""
        return _picture(self.counts)

    def load(self, name: str | Path, **options: Any) -> Loaded:
        """Load a model and its tokenizer from this machine, also as ``model`` and ``tokenizer``.

        Parameters
        ----------
        name : str or path-like
            ``"sample"`` or ``"sample-sick"``, a folder, or the name of a model in the Hugging Face cache.
        **options
            More arguments of ``from_pretrained``, such as ``dtype="bfloat16"`` or ``device_map="auto"``.

        Returns
        -------
        Loaded
            ``model``, in evaluation mode, and ``tokenizer``, None if there is none.

        Examples
        --------
        >>> moe.load("sample")
        >>> model, tokenizer = moe.load("allenai/OLMoE-1B-7B-0924", device_map="auto")
        """
        model, tokenizer = loaded = self._loaded = load_with_progress(name, **options)
        taken = [
            name for name, value in (("model", model), ("tokenizer", tokenizer)) if not self._names.offer(name, value)
        ]
        if taken:
            are = "is a variable" if len(taken) == 1 else "are variables"
            print(
                f"{' and '.join(taken)} {are} of yours and stays as it is; moe.attach() and moe.run() use the loaded model"
            )
        return loaded

    def attach(self, model: "nn.Module | str | Path | None" = None, tokenizer: Any = None, **options: Any) -> Status:
        """Hook a model: from now on the app shows where its tokens go. Its outputs stay what they are.

        Parameters
        ----------
        model : torch.nn.Module, or what ``load`` takes, optional
            Any model with Mixture-of-Experts layers; the loaded one if left out.
        tokenizer : transformers tokenizer, optional
            For the text of the tokens.
        **options
            ``layers`` (places or module paths; all if left out), ``every`` (n: ids and weights of each n-th pass, counts of
            all), ``counts_only``, ``logits``, ``tokens`` (share of them), ``reservoir``, ``byte_rate``: see ``moedesk.attach``;
            ``verify`` (run the exactness self-test first).

        Returns
        -------
        Status

        Examples
        --------
        >>> moe.attach()
        >>> moe.attach(model, tokenizer, every=10)
        """
        from moedesk.probe.attach import attach, attachment_of
        from moedesk.probe.finding.discovery import find_candidates
        from moedesk.probe.taking.vocabulary import Vocabulary

        model, tokenizer = self._choose(model, tokenizer)
        find_candidates(model)  # says what is wrong before anything is changed
        self._let_go()
        earlier = attachment_of(model)
        if earlier is not None:
            earlier.detach()
        name = str(getattr(model, "name_or_path", "") or type(model).__name__)
        tally = Tally(self.server.open_stream(name, vocabulary=Vocabulary.of(tokenizer, model)))
        try:
            self.attachment = attach(model, tokenizer, sink=tally, **options)
        except BaseException:
            tally.close()
            raise
        self._tokenizer, self._tally, self._options = tokenizer, tally, {**options, "verify": False}
        self._attached(None if earlier is None else earlier.breakpoints)
        self._overrides_of(None)  # told to apps from now on
        self._share_verification(self.attachment)
        return self.status()

    def run(self, text: str | Sequence[str], max_new_tokens: int = 64, *, chat: bool = False, **options: Any) -> Run:
        """Let the attached or loaded model go on after a text, or several; without gradients.

        A model that can't generate runs one forward.

        Parameters
        ----------
        text : str or sequence of str
            Several run as one padded batch.
        max_new_tokens : int
        chat : bool
            Put the text into the tokenizer's chat template, as what the user says.
        **options
            More arguments of ``model.generate``, such as ``do_sample=True`` or ``num_beams=4``.

        Returns
        -------
        Run
            ``text``, ``new_ids``, ``seconds``, ``tokens_per_second``, ``picture``, …

        Examples
        --------
        >>> moe.run("def add(a, b):", max_new_tokens=32)
        >>> moe.run(["Berlin is", "Paris is"], do_sample=True).texts
        """
        model, tokenizer = self.model, self.tokenizer
        if model is None:
            raise MoedeskError(f"no model to run; type {START}")
        if tokenizer is None:
            raise MoedeskError(
                "moe.run needs a tokenizer: moe.attach(model, tokenizer); or call the model yourself, the app shows that too"
            )
        attachment, tally = self.attachment, self._tally
        before, passes = self.counts, attachment.passes if attachment is not None else 0
        texts = [text] if isinstance(text, str) else text
        result = run(model, tokenizer, texts, max_new_tokens, chat=chat, options=options)
        if attachment is None or tally is None or attachment is not self.attachment:
            return result
        picture = None
        if tally.wait(attachment.handed_over, ARRIVAL_SECONDS):
            picture = _picture(difference(tally.counts(), before))
        return replace(result, passes=attachment.passes - passes, picture=picture)

    def label(self, name: str | None) -> "Labelling":
        """Label the passes from now on, or those in a ``with`` block: the domain of a text, the part of an experiment.

        Every metric is then available by label. None ends it.

        Examples
        --------
        >>> with moe.label("python"):
        ...     model(**inputs)
        """
        if self.attachment is None:
            raise MoedeskError(f"nothing is attached; type {START}")
        return self.attachment.label(name)

    def detach(self) -> None:
        """Take every hook off the attached model; what was recorded stays in the app."""
        if self.attachment is None:
            print("nothing is attached")
            return
        name, passes = _short(self.attachment.name), self.attachment.passes
        self._let_go()
        print(f"{name}: detached after {passes:,} passes")

    def pause(self) -> None:
        """Record nothing until ``moe.resume()``; the hooks stay, and cost nothing."""
        self._recording(False)

    def resume(self) -> None:
        """Record again after ``moe.pause()``."""
        self._recording(True)

    def status(self) -> Status:
        """Return what is attached, what was recorded and left out, and what the hooks cost."""
        if self.attachment is None:
            if self._loaded is None:
                return Status("no model", hint=f"start with {START}; or moe.attach(model, tokenizer) with one of yours")
            return Status(
                f"{type(self._loaded.model).__name__}: loaded", hint="moe.attach() shows its routing in the app"
            )
        state = {"recording": "attached", "paused": "paused; moe.resume() goes on"}.get(
            self.attachment.state, self.attachment.state
        )
        return Status(
            f"{_short(self.attachment.name)}: {state}",
            self.attachment.model,
            self._counters,
            self.clients,
            picture=self.picture,
            verified=verdict_text(self.verification),
        )

    def inspect(self, x: Any) -> None:
        """Show an expert, a layer, a module, a token or a pass in the app; see ``inspect?``.

        Examples
        --------
        >>> moe.inspect("3.7")
        >>> moe.inspect(model.model.layers[3].mlp)
        """
        from moedesk.probe.console.reveal import find_place

        place = find_place(x, self.info, self.model)
        if not self.clients:
            print(app_command())
        else:
            self.server.reveal(place)

    @property
    def clients(self) -> int:
        """Apps that are connected."""
        return self._server.clients if self._server is not None else 0

    @property
    def server(self) -> "LinkServer":
        """The process's link server; it starts when it is first asked for."""
        self._server = self._open_server()
        return self._server

    def close(self) -> None:
        """Take every hook off, quietly, and all overrides."""
        self.override_link.close()
        self._let_go()

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()

    def __repr__(self) -> str:
        return repr(self.status())

    def _choose(self, model: "nn.Module | str | Path | None", tokenizer: Any) -> tuple["nn.Module", Any]:
        """What to attach: what is given, loaded now, or was loaded last."""
        given = self.load(model).model if isinstance(model, str | Path) else model
        loaded = self._loaded or Loaded(None, None)
        chosen = given if given is not None else loaded.model
        if chosen is None:
            raise MoedeskError(f"no model yet; type {START}, or moe.attach(model, tokenizer) with one of yours")
        if tokenizer is None and chosen is loaded.model:
            tokenizer = loaded.tokenizer
        return chosen, tokenizer

    def _attach_anew(self) -> None:
        """Begin a new session: the rows of the old one have another number of slots."""
        if self.attachment is not None:
            self.attach(self.attachment.module, self._tokenizer, **self._options)

    def _overrides_of(self, model: "nn.Module | None") -> "Overrides":
        from moedesk.probe.overriding.registry import overrides_of

        chosen = self.model if model is None else model
        if chosen is None:
            raise MoedeskError(f"no model to override; type {START}")
        found = overrides_of(chosen)
        self.override_link.follow(found)
        ours = self.attachment is not None and chosen is self.attachment.module
        found.attach_anew = self._attach_anew if ours else None
        return found

    def _overrides_at(self, stream: object) -> "Overrides":
        """The overrides of a session's model; of ``moe``'s for None."""
        from moedesk.probe.attach import attachment_at

        if stream is None:
            return self.overrides
        attachment = attachment_at(stream)
        if attachment is None:
            raise MoedeskError("this session's model is attached no more; moe.attach(model) comes first")
        return self._overrides_of(attachment.module)

    def _ran(self, sequence: int, column: int, layer: int | str | None = None) -> "Passage":
        """The passage of a token that ran; of the side of a layer in an encoder-decoder model, else of what it writes."""
        assert self.attachment is not None
        assert self._tally is not None
        self._tally.wait(self.attachment.handed_over, ARRIVAL_SECONDS)
        streams = tuple(self.attachment.model.streams) or ("main",)
        if set(streams) == {ENCODER, DECODER}:
            stream = DECODER if layer is None else self.attachment.model.layer(layer).stream
            return self._tally.passage(sequence, column, stream, self.tokenizer)
        if len(streams) > 1:
            raise MoedeskError(
                f"(sequence, column) is of which stream, {' or '.join(streams)}? give a text, or token ids"
            )
        return self._tally.passage(sequence, column, streams[0], self.tokenizer)

    @property
    def _counters(self) -> Counters:
        """What ran, as the hooks know it; what was left out, as the link knows it."""
        assert self.attachment is not None
        assert self._tally is not None
        ran, sent = self.attachment.counters, self._tally.counters
        return replace(sent, passes=ran.passes, hook_ns=ran.hook_ns, pass_ns=ran.pass_ns)

    def _recording(self, on: bool) -> None:
        if self.attachment is None:
            raise MoedeskError("nothing is attached; moe.attach() comes first")
        self.attachment.set_recording(on)

    def _let_go(self) -> None:
        attachment, self.attachment = self.attachment, None
        self._tokenizer = self._tally = None
        if attachment is not None:
            attachment.detach()


def _short(name: str) -> str:
    """A model's name without the folder it was loaded from."""
    return Path(name).name if Path(name).is_absolute() else name


def _picture(counts: Counts) -> Picture | None:
    places = sorted(counts)
    some = any(layer.any() for layer in counts.values())
    return load_picture([counts[place] for place in places], places) if some else None
