"""What a person sees of the demo: a line an event, and one line of totals that stays at the bottom."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gateway.contract.commands import CommandResult
from gateway.dev.receiver import Arrival

_MARKS = {
    "call.started": ("●", "cyan", "started"),
    "call.answered": ("◆", "green", "answered"),
    "call.ended": ("■", "white", "ended"),
    "call.updated": ("◇", "magenta", "updated"),
}
_DISPOSITIONS = {"ANSWERED": "green", "NO ANSWER": "yellow", "BUSY": "red", "FAILED": "red"}
_ARROWS = {"incoming": "→", "outgoing": "←", "internal": "↔", None: "→"}
_RESULTS = {"succeeded": "green", "failed": "red", "rejected": "red", "outcome_unknown": "red"}


class Screen:
    """Lines on stdout. On a terminal the totals, and what is waited for, stay in the last line; elsewhere they don't."""

    def __init__(self) -> None:
        # Into a pipe or a file nothing is cut off.
        width = None if sys.stdout.isatty() else 140
        self._console = Console(file=sys.stdout, highlight=False, width=width)
        self._live: Live | None = None
        self._waiting = ""
        self.events: Counter[str] = Counter()
        self.rate_limited = 0
        self.refused = 0
        self._live_calls: set[str] = set()
        self._delays: deque[int] = deque(maxlen=500)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show things from here on; on the way out the terminal is left as it was."""
        with Live(
            get_renderable=self._bottom,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stderr=False,
        ) as live:
            self._live = live
            yield
        self._live = None

    def say(self, waiting: str) -> None:
        """Tell what is waited for while the stage is set."""
        self._waiting = waiting
        if not self._console.is_terminal:
            self.note(f"{waiting} …")

    def title(self, text: str) -> None:
        """A line across that begins a part."""
        self._waiting = ""
        self._console.print(Rule(Text(text, style="bold"), style="dim"))

    def note(self, text: str, style: str = "dim") -> None:
        """A line of plain words."""
        self._console.print(Text(text, style=style))

    def event(self, arrival: Arrival) -> None:
        """A verified webhook."""
        event = arrival.event
        data = event["data"]
        self.events[event["type"]] += 1
        if event["type"] == "call.started":
            self._live_calls.add(event["subject"])
        elif event["type"] == "call.ended":
            self._live_calls.discard(event["subject"])
        self._delays.append(arrival.at - round(_epoch(data["observed_at"]) * 1000))
        mark, colour, word = _MARKS[event["type"]]
        line = Text.assemble(
            (datetime.fromtimestamp(arrival.at / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3], "dim"),
            "  ",
            (f"{mark} {word:<8}", f"bold {colour}"),
            "  ",
            (str(data["account"]), "dim"),
            "  ",
            f"{data['src']:>12} {_ARROWS[data['direction']]} {data['dst']:<12}",
        )
        if event["type"] == "call.ended":
            disposition = data["disposition"] or "unconfirmed"
            line.append(f"  {disposition:<9}", _DISPOSITIONS.get(disposition, "yellow"))
            if data["duration"] is not None:
                line.append(f" {data['duration']:>3} s")
        else:
            line.append(" " * 17)
        late = max(0.0, arrival.at / 1000 - _epoch(event["time"]))
        line.append(f"  {late:4.1f} s after it happened", "dim")
        line.append("  ✔ signed", "green")
        if data["ambiguous"]:
            line.append("  ambiguous", "yellow")
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def command(self, what: str, result: CommandResult) -> None:
        """A step in the life of the demo's own command."""
        line = Text.assemble(
            (result.at.astimezone().strftime("%H:%M:%S.%f")[:-3], "dim"),
            "  ",
            ("☎ command ", "bold blue"),
            "  ",
            what,
            "  ",
            (result.status, f"bold {_RESULTS.get(result.status, 'blue')}"),
        )
        if result.message:
            line.append(f"  {result.message}", "red")
        self._console.print(line)

    def table(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Names and values."""
        table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
        for name, value in rows:
            table.add_row(Text(name, style="dim"), Text(value))
        self._console.print(table)

    def _bottom(self) -> RenderableType:
        if self._waiting:
            return Spinner("dots", Text(f" {self._waiting} …", style="bold"))
        delays = sorted(self._delays)
        middle = f"{delays[len(delays) // 2]} ms" if delays else "–"
        return Text.assemble(
            (" calls ", "reverse"),
            f" started {self.events['call.started']}  answered {self.events['call.answered']}  "
            f"ended {self.events['call.ended']}  live {len(self._live_calls)}   ",
            (" webhooks ", "reverse"),
            f" {self.events.total()} verified  {self.refused} refused   ",
            (" snapshot to webhook ", "reverse"),
            f" {middle}   ",
            (" 429 ", "reverse"),
            f" {self.rate_limited}",
        )


def _epoch(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
