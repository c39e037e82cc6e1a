"""What the user works with besides one session: all sessions, and the kernels that hold models."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moedesk.core.event import Event
from moedesk.core.selection import Selection
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session

if TYPE_CHECKING:  # it brings Jupyter with it, which a window without a kernel does without
    from moedesk.session.kernel import Kernel


class Desk(Protocol):
    """The application's state, without Qt; what a panel of scope ``desk`` is made with.

    Attributes
    ----------
    changed : Event of str
        ``session`` (another one is current), ``selection`` (of the current one), ``kernels`` (one came, went or is current);
        always in the GUI thread.
    jobs : Jobs
        Where panels of scope ``desk`` put their queries.
    session : Session or None
        The current one.
    kernels : sequence of Kernel
    kernel : Kernel or None
        The one whose console is on show.
    """

    changed: Event[str]
    jobs: Jobs

    @property
    def session(self) -> Session | None:
        """The current session."""

    @property
    def kernels(self) -> "Sequence[Kernel]":
        """All kernels, in the order they came."""

    @property
    def kernel(self) -> "Kernel | None":
        """The kernel whose console is on show."""

    def choose_kernel(self, kernel: "Kernel") -> None:
        """Make a kernel the current one."""

    def start_kernel(self, python: str = "") -> "Kernel":
        """Start a kernel with a Python interpreter (this one if left out) and make it current."""

    def connect_kernel(self, connection_file: Path, ssh: str = "") -> "Kernel":
        """Connect to a kernel that runs already, through an ssh host if given, and make it current."""

    def close_kernel(self, kernel: "Kernel") -> None:
        """End a kernel that the app started, or let go of one it only connected to."""

    def reveal(self, selection: Selection) -> None:
        """Select something in the current session and show it."""
