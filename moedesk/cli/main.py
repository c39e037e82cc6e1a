"""The command ``moedesk``: opens captures, or hands over to a sub-command that is imported only when used."""

import argparse
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import moedesk.cli
from moedesk import __version__
from moedesk.core.errors import MoedeskError

FAILED = 2
"""Exit code of wrong use and of input that can't be read."""
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 fine, 1 a finding the user asked to fail on, 2 wrong use or input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments and arguments[0] in command_names():
            return _run_command(arguments[0], arguments[1:])
        return _open_window(arguments)
    except MoedeskError as error:
        print(f"moedesk: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; without this the interpreter complains once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def command_names() -> list[str]:
    """Return the names of all sub-commands: the modules beside this one."""
    return sorted(module.name for module in pkgutil.iter_modules(moedesk.cli.__path__) if _is_command(module.name))


def _is_command(name: str) -> bool:
    return name not in ("main", "window") and not name.startswith("_")


def _command(name: str) -> ModuleType:
    return import_module(f"moedesk.cli.{name}")


def _run_command(name: str, arguments: list[str]) -> int:
    command = _command(name)
    parser = argparse.ArgumentParser(
        prog=f"moedesk {name}",
        description=command.HELP,
        epilog=getattr(command, "EPILOG", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    rest: list[str] = []
    if getattr(command, "TAKES_REST", False) and "--" in arguments:
        at = arguments.index("--")
        arguments, rest = arguments[:at], arguments[at + 1 :]
    return int(command.run(parser.parse_args(arguments, argparse.Namespace(rest=rest))))


def _open_window(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="moedesk",
        usage="moedesk [FILE …] [--opengl auto|on|off] [--theme light|dark|system]\n       moedesk COMMAND …",
        description="Chrome DevTools for Mixture-of-Experts models. Without a command: opens captures in a window.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"moedesk {__version__}")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="captures to open; ./info opens a file named like a command"
    )
    window = import_module("moedesk.cli.window")
    window.add_window_arguments(parser)
    options = parser.parse_args(arguments)
    return int(window.open_window(options.files, options))


def _epilog() -> str:
    commands = [_command(name) for name in command_names()]
    width = max(len(command.NAME) for command in commands)
    lines = [f"  {command.NAME:<{width}}  {command.HELP.splitlines()[0]}" for command in commands]
    return "\n".join(["commands (moedesk COMMAND --help says more):", *lines])


if __name__ == "__main__":
    sys.exit(main())
