"""How an app connects to this very kernel."""

import shlex


def app_command() -> str:
    """Return one line that says how to connect an app to this process."""
    try:
        from ipykernel.connect import get_connection_file

        path = get_connection_file()
    except (ImportError, RuntimeError):  # a terminal or a script: nothing that an app could connect to
        return "no app connected, and none can: this is no Jupyter kernel; moedesk.record writes a file instead"
    return f"no app connected: moedesk --kernel {shlex.quote(path)}"
