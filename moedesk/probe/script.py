"""Runs a user's script and records every MoE model that it calls, from the first call on."""

import contextlib
import gc
import runpy
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from moedesk.core.errors import CaptureError, MoedeskError, NoMoELayersError
from moedesk.probe.finding.discovery import find_candidates
from moedesk.probe.record import Recording, record


def run_script(script: str, arguments: Sequence[str], output: Path, **options: Any) -> int:
    """Run ``script`` as ``python script arguments…`` would, and record the MoE models that it calls.

    Parameters
    ----------
    script : str
        Python file.
    arguments : sequence of str
        Its ``sys.argv[1:]``.
    output : Path
        The capture of the first model; those of further ones are ``name-2.h5``, ….
    **options
        As of ``record``: ``layers``, ``every``, ``counts_only``, ``logits``, ``weights``, ``byte_budget``.

    Returns
    -------
    int
        The script's exit code (1 if it raised: its traceback is printed); 2 if it was fine but nothing was recorded.

    Raises
    ------
    MoedeskError
        If there is no such script, or the capture can't be written there.
    """
    path = Path(script)
    if not path.is_file():
        raise MoedeskError(f"no script {script!r} to run; give the path of a Python file")
    if not output.parent.is_dir():
        raise CaptureError(
            f"{output} can't be written: there is no folder {output.parent}; make it or choose another with -o"
        )
    recorder = ScriptRecorder(output, options)
    with recorder:
        code = _run(path, list(arguments))
    for recording in recorder.recordings:
        _say(f"{recording.path}: {recording.passes:,} passes of {type_name(recording)} recorded")
    if not any(recording.passes for recording in recorder.recordings):
        _say(f"nothing was recorded: {script} called no model with Mixture-of-Experts layers")
        return code or 2
    return code


class ScriptRecorder:
    """While entered, starts a recording at the first call of every model that has MoE layers.

    Watches ``torch.nn.Module.__call__`` rather than a global forward hook: that one doesn't see keyword arguments, and hooks
    that it adds would miss the call it was called for.

    Attributes
    ----------
    recordings : list of Recording
    """

    def __init__(self, output: Path, options: dict[str, Any]) -> None:
        self.recordings: list[Recording] = []
        self._output = output
        self._options = options
        self._seen: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._stack = contextlib.ExitStack()
        self._call: Callable[..., Any] | None = None

    def __enter__(self) -> "ScriptRecorder":
        call = self._call = nn.Module.__call__
        seen, consider = self._seen, self._consider

        def watched(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if module not in seen:
                consider(module)
            return call(module, *args, **kwargs)

        nn.Module.__call__ = watched  # type: ignore[method-assign]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        nn.Module.__call__ = self._call  # type: ignore[method-assign, assignment]
        self._stack.close()

    def _consider(self, module: nn.Module) -> None:
        """Record the model that a called module belongs to, if it has MoE layers and isn't recorded yet."""
        self._seen.update(module.modules())
        try:
            find_candidates(module)
        except NoMoELayersError:
            return
        model = _outermost(module)
        known = {part for recording in self.recordings for part in recording.module.modules()}
        self._seen.update(model.modules())
        if not known.isdisjoint(model.modules()):
            return
        number = len(self.recordings) + 1
        path = self._output if number == 1 else self._output.with_stem(f"{self._output.stem}-{number}")
        try:
            recording = record(model, path, tokenizer=_find_tokenizer(model), **self._options)
            self.recordings.append(self._stack.enter_context(recording))
        except MoedeskError as error:  # the script goes on
            _say(f"{type(model).__name__} is not recorded: {error}")


def type_name(recording: Recording) -> str:
    """Return the class name of a recording's model."""
    return type(recording.module).__name__


def _run(path: Path, arguments: list[str]) -> int:
    with _as_main(path, arguments):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):
                return end.code or 0
            _say(str(end.code))
            return 1
        except KeyboardInterrupt:
            return 130
        except BaseException as error:
            traceback.print_exception(error.with_traceback(_own_frames(error, path)))
            return 1
    return 0


@contextlib.contextmanager
def _as_main(path: Path, arguments: list[str]) -> Iterator[None]:
    """What ``python path arguments…`` sets: ``sys.argv`` and the first place to import from."""
    argv, places = sys.argv, list(sys.path)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv = argv
        sys.path[:] = places


def _own_frames(error: BaseException, path: Path) -> TracebackType | None:
    """The traceback from the script on, without the frames that ran it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != str(path):
        trace = trace.tb_next
    return trace or error.__traceback__


def _outermost(module: nn.Module) -> nn.Module:
    """The largest transformers model that holds a module (``generate`` calls an encoder before the model), or itself."""
    models = sys.modules.get("transformers.modeling_utils")
    kind = getattr(models, "PreTrainedModel", None)
    if kind is None:
        return module
    holders = [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), kind) and any(part is module for part in thing.modules())
    ]
    return max([module, *holders], key=lambda holder: sum(1 for _ in holder.modules()))


def _find_tokenizer(model: nn.Module) -> Any:
    """The script's tokenizer of this model's name, or its only one; else the one stored beside the model."""
    base = sys.modules.get("transformers.tokenization_utils_base")
    kind = getattr(base, "PreTrainedTokenizerBase", None)
    name = getattr(model, "name_or_path", "")
    if kind is not None:
        alive = [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]
        for tokenizer in alive:
            if name and tokenizer.name_or_path == name:
                return tokenizer
        if len(alive) == 1:
            return alive[0]
    if not name:
        return None
    from moedesk.probe.load import load_tokenizer  # imports transformers: only once a model of theirs was found

    return load_tokenizer(name)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
