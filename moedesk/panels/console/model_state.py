"""What bar and banner say about a kernel."""

from dataclasses import dataclass

from moedesk.session.kernel import Kernel, KernelState

START_HINT = "No kernel yet. A kernel is a Python process of its own that holds your model."


@dataclass(frozen=True)
class Bar:
    """The bar's state.

    Attributes
    ----------
    text : str
        One or two words.
    icon, role : str
        A sign beside it, and its colour in the theme.
    can_interrupt, can_restart : bool
    restart_text, restart_hint : str
        What the restart button says and does.
    """

    text: str
    icon: str
    role: str
    can_interrupt: bool
    can_restart: bool
    restart_text: str
    restart_hint: str


@dataclass(frozen=True)
class Banner:
    """Trouble, or something to know.

    Attributes
    ----------
    text : str
        What happened and what to do.
    kind : {"error", "warning", "info"}
    detail : tuple of str
    restart, stacks : bool
        Whether to offer a restart, and to ask where it hangs.
    """

    text: str
    kind: str
    detail: tuple[str, ...] = ()
    restart: bool = False
    stacks: bool = False


_SIGNS = {
    KernelState.STARTING: ("Starting…", "pause", "muted"),
    KernelState.READY: ("Ready", "success", "success"),
    KernelState.SILENT: ("Not answering", "warning", "warning"),
    KernelState.ENDED: ("Ended", "error", "error"),
    KernelState.FAILED: ("Failed", "error", "error"),
}


def bar(kernel: Kernel, busy: bool) -> Bar:
    """Return what the bar says; ``busy`` is whether a cell runs."""
    text, icon, role = _SIGNS[kernel.state]
    if kernel.stopped and kernel.state is KernelState.READY:
        text, icon, role = "Stopped", "pause", "warning"
    elif busy and kernel.state is KernelState.READY:
        text, icon, role = "Busy", "play", "accent"
    alive = kernel.state in (KernelState.READY, KernelState.SILENT)
    if kernel.own:
        return Bar(text, icon, role, alive, True, "Restart", "Restart the kernel: what it holds is lost")
    return Bar(text, icon, role, alive, True, "Reconnect", "Connect to the kernel again; it goes on meanwhile")


def banner(kernel: Kernel) -> Banner | None:
    """Return what the banner says, if anything."""
    if not kernel.said and not kernel.detail:
        return None
    state, detail = kernel.state, kernel.detail
    if state is KernelState.STARTING:
        return None
    if state is KernelState.READY:
        return Banner(kernel.said or "Where each thread stands", "info" if not kernel.said else "warning", detail)
    if state is KernelState.SILENT:
        return Banner(kernel.said, "warning", detail, restart=True, stacks=kernel.own)
    return Banner(kernel.said, "error", detail, restart=True)
