"""What a recording leaves out, said once: layers that can't be read, and layers that were not called."""

from collections.abc import Callable, Iterable

from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.notice import notice


class LeftOut:
    """Keeps which layers are left out, and says why.

    Parameters
    ----------
    note : function
        Takes a line that is kept with what is recorded.

    Attributes
    ----------
    paths : set of str
        Layers that could not be read, or no longer.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self.paths: set[str] = set()
        self._unseen: set[str] = set()
        self._note = note

    def leave(self, path: str, when: str, line: str) -> None:
        """Go on without a layer, or the whole model if it has no path."""
        self.paths.add(path)
        self._note(text := f"{path or 'the model'} is left out{when}: {line}")
        notice(text)

    def say(self, path: str, line: str) -> None:
        """Say a line about a layer."""
        self._note(f"{path or 'the model'}: {line}")

    def unseen(self, waiting: Iterable[Candidate], ran: set[str], anything: bool) -> None:
        """Say once which layers of what ran were not called: they are idle, or something calculates in their place.

        Parameters
        ----------
        waiting : iterable of Candidate
            Layers without a call so far.
        ran : set of str
            Paths of the stacks that were called in the pass.
        anything : bool
            Whether any MoE layer was called in it.
        """
        paths = [candidate.path for candidate in waiting if candidate.stack_path in ran and candidate.pool is None]
        new = [path for path in paths if path not in self._unseen]
        self._unseen.update(new)
        if new:
            names = ", ".join(new[:3]) + (f" and {len(new) - 3} more" if len(new) > 3 else "")
            text = (
                f"{names}: not called in a whole pass; if it should have been, a kernel, compiled code or a replaced forward "
                "calculates in its place, and none of its routing is recorded"
            )
            self._note(text)
            if not anything:
                notice(text)
