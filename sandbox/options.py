"""The options that say what a sandbox is like, common to one process and to the nodes of a cluster."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from sandbox.settings import KeySpec, SandboxSettings

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--key", "keys", multiple=True, help="API key, <account>_<body>. May be repeated."),
    click.option("--password", "passwords", multiple=True, help="Password of the key, one for each --key."),
    click.option("--calls-per-minute", default=0.0, show_default=True, help="Mean rate over all accounts."),
    click.option("--seed", default=1, show_default=True, help="The same seed gives the same traffic."),
    click.option(
        "--profile",
        type=click.Choice(["documented", "live"]),
        default="documented",
        show_default=True,
        help="Status of active rows: always `current`, or `ringing` and `answered`.",
    ),
    click.option("--time-zone", default="Europe/Moscow", show_default=True, help="Zone of the times in rows."),
    click.option(
        "--clock-skew",
        "clock_skew_seconds",
        default=0.0,
        show_default=True,
        help="Seconds by which the API's clock is off.",
    ),
    click.option("--reuse-channels", is_flag=True, help="Give a channel's name again once its call has ended."),
)


def sandbox_options(command: F) -> F:
    """Give a command all of these options; `settings_of` reads what it is called with."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_of(keys: tuple[str, ...], passwords: tuple[str, ...], **given: Any) -> SandboxSettings:
    """The settings that the options say; UsageError when they contradict themselves."""
    if not keys:
        raise click.UsageError("Missing option '--key'.")
    if len(keys) != len(passwords):
        raise click.UsageError("give one --password for each --key")
    try:
        return SandboxSettings(
            keys=[KeySpec(key, password) for key, password in zip(keys, passwords, strict=True)], **given
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def arguments_of(parameters: Iterable[click.Parameter], values: Mapping[str, Any]) -> list[str]:
    """The command line that gives these parameters these values."""
    line: list[str] = []
    for parameter in parameters:
        option, value = parameter.opts[0], values[parameter.name or ""]
        if value is True:
            line.append(option)
        elif value is not False:
            # One word each: a value may begin with a dash.
            line += [f"{option}={one}" for one in (value if isinstance(value, tuple) else (value,))]
    return line
