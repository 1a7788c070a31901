"""What the kernel says about processes (Linux)."""

import os
from pathlib import Path


def listening_addresses(pid: int) -> set[str]:
    """The local addresses, as the kernel writes them in hex, on which a process listens for TCP."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[len("socket:[") : -1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in sockets:
                found.add(local.rpartition(":")[0])
    return found


def session_of(pid: int) -> int:
    """The session a process belongs to; a terminal's Ctrl-C reaches one session only."""
    return os.getsid(pid)
