"""The picture of the terminal demo: what `make run` writes to a terminal, as SVG."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import pty
import re
import signal
import struct
import sys
import termios
from fcntl import ioctl

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

_COLUMNS, _LINES = 128, 40
# Lines that are shown: those of the start, and events.
_SHOWN = 24
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
# The demo keeps its last line in place: back to its begin, and all of it erased.
_ERASED = re.compile(r"^.*\r\x1b\[2K", re.DOTALL)
# Moves of the cursor and the like: everything but colours.
_CONTROLS = re.compile(r"\x1b\[\??[0-9;]*[A-Za-ln-z]|\r")
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
_COMMENTS = re.compile(r"<!--.*?-->\s*")


class Screen:
    """What a terminal shows of a program that writes line after line and keeps one line at the bottom."""

    def __init__(self) -> None:
        """Begin empty."""
        self.lines: list[str] = []
        self.bottom = ""
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take what the program wrote, in pieces that may end anywhere."""
        *whole, self._rest = (self._rest + text).split("\n")
        self.lines += [_CONTROLS.sub("", _ERASED.sub("", line)) for line in whole]
        # Only a line that is there as a whole: the cursor is hidden and shown again around what is written.
        bottom = _CONTROLS.sub("", _ERASED.sub("", self._rest))
        if "429" in bottom:
            self.bottom = bottom


async def terminal() -> str:
    """Run the demo in a terminal until there is a screenful; give its picture. Raises RuntimeError where it fails."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "dev"), stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    screen, full = Screen(), asyncio.Event()
    os.set_blocking(master, False)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    loop = asyncio.get_running_loop()
    loop.add_reader(master, lambda: _read(master, screen, decoder, full))
    try:
        async with asyncio.timeout(_START_SECONDS):
            await full.wait()
        shown = [*screen.lines[:_SHOWN], screen.bottom]
    except TimeoutError:
        raise RuntimeError("the demo showed too little:\n" + "\n".join(screen.lines)) from None
    finally:
        if demo.returncode is None:
            demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(_STOP_SECONDS):
            await demo.wait()
        loop.remove_reader(master)
        os.close(master)
    return picture(shown)


def picture(lines: list[str]) -> str:
    """Lines with colours (ANSI) as SVG that refers to nothing outside itself."""
    console = Console(record=True, file=io.StringIO(), width=_COLUMNS, force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop", highlight=False)
    return console.export_svg(title="make run", theme=MONOKAI, code_format=_format(), unique_id="demo")


def _format() -> str:
    from rich._export_format import CONSOLE_SVG_FORMAT

    return _COMMENTS.sub("", _FONTS.sub("", CONSOLE_SVG_FORMAT))


def _read(master: int, screen: Screen, decoder: codecs.IncrementalDecoder, full: asyncio.Event) -> None:
    try:
        data = os.read(master, 65536)
    except OSError:
        # The demo is gone: so says Linux.
        return
    screen.feed(decoder.decode(data))
    if len(screen.lines) >= _SHOWN and screen.bottom:
        full.set()
