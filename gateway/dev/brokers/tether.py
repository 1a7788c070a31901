"""Runs a command that dies with the process that started it: `python tether.py PARENT_PID COMMAND [ARG…]`.

Run as a script, never imported: it takes the command's place (exec), so the command keeps this process' id.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL when the parent dies (Linux only; elsewhere just run), then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the kernel was asked; then no signal would ever come.
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


main()
