"""Judges what became of commands by the sandbox's ledger, which knows nothing of the gateway."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.ledger import LedgerRecord, UserChange

# What each change changes, as the ledger names it, and where its command carries the value.
CHANGES = {
    "user.create": ("created", "num"),
    "user.update_extension_number": ("num", "num"),
    "user.update_email": ("mail", "mail"),
}


@dataclass
class Verdict:
    """What was found. All but the counts must be empty."""

    commands: int
    succeeded: int = 0
    refused: int = 0  # told to have failed, and not done
    reconciled: int = 0  # found out by RingCloud's lists
    repeated: int = 0  # changes that were made more than once, as they may be
    calls: int = 0  # that were dialled
    observed: int = 0  # of these, those that were linked to their commands
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    claimed: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    unresolved: list[str] = field(default_factory=list)
    misnumbered: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    mislinked: list[str] = field(default_factory=list)

    def faults(self) -> dict[str, list[str]]:
        """What must not be, by its kind."""
        kinds = ("twice", "lost", "claimed", "denied", "unresolved", "misnumbered", "disordered", "mislinked")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}


def judge(
    sent: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    ledger: Sequence[LedgerRecord],
    changes: Sequence[UserChange],
) -> Verdict:
    """The verdict on commands, each of which dials a number or sets a value that no other does."""
    verdict = Verdict(commands=len(sent))
    done = _done(ledger, changes)
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        by_id[result["command_id"]].append(result)
    for command in sent:
        _judge_one(verdict, command, by_id[command["id"]], done[_what(command)])
    verdict.disordered = _disordered(sent, changes)
    calls = Counter(one["call_id"] for one in results if one["status"] == "observed")
    verdict.mislinked += [f"call {call} is of {count} commands" for call, count in calls.items() if count > 1]
    return verdict


def _judge_one(verdict: Verdict, command: dict[str, Any], told: list[dict[str, Any]], times: int) -> None:
    id_ = f"{command['id']} {command['type']}"
    steps = [one["status"] for one in told]
    if [one["sequence"] for one in told] != [*range(1, len(told) + 1)] or steps[:1] != ["accepted"]:
        verdict.misnumbered.append(f"{id_}: {steps}")
    seen = [one for one in told if one["status"] == "observed"]
    verdict.observed += len(seen)
    verdict.calls += times if command["type"] == "call.originate" else 0
    if len(seen) > 1 or (seen and (times == 0 or told[-1] is not seen[0])):
        verdict.mislinked.append(f"{id_}: {steps}, done {times} times")
    told = [one for one in told if one["status"] != "observed"]
    last = told[-1] if told else {"status": "", "reconciled": False}
    status = last["status"]
    verdict.reconciled += last["reconciled"]
    if command["type"] in ("call.originate", "user.create"):
        if times > 1:
            verdict.twice.append(f"{id_}: {times} times")
    else:
        verdict.repeated += times > 1
    if status == "outcome_unknown" and last["reconciled"]:
        verdict.unresolved.append(f"{id_}: done {times} times")
    elif status == "succeeded":
        verdict.succeeded += 1
        if times == 0:
            verdict.claimed.append(f"{id_}: {steps}")
    elif status in ("failed", "expired"):
        verdict.refused += 1
        if times:
            verdict.denied.append(f"{id_}: {steps}")
    else:
        verdict.lost.append(f"{id_}: {steps}")


def _what(command: dict[str, Any]) -> tuple[int, str, str]:
    """What a command does that no other does."""
    if command["type"] == "call.originate":
        return command["account"], "call", command["num"]
    what, where = CHANGES[command["type"]]
    return command["account"], what, command[where]


def _done(ledger: Sequence[LedgerRecord], changes: Sequence[UserChange]) -> Counter[tuple[int, str, str]]:
    done = Counter((call.account, "call", call.originated_by.num) for call in ledger if call.originated_by)
    done.update((change.account, change.what, change.value) for change in changes)
    return done


def _disordered(sent: Sequence[dict[str, Any]], changes: Sequence[UserChange]) -> list[str]:
    """Changes of one user that were made in another order than they were sent in, repetitions apart."""
    found = []
    wanted: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    made: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for command in sent:
        if command["type"] != "user.create" and command["type"] in CHANGES:
            what, where = CHANGES[command["type"]]
            wanted[command["account"], command["user"], what].append(command[where])
    for change in changes:
        values = made[change.account, change.user, change.what]
        if not values or values[-1] != change.value:
            values.append(change.value)
    for where_, values in wanted.items():
        expected = [value for value in values if value in made[where_]]
        if made[where_] != expected:
            found.append(f"{where_}: {made[where_]}, sent {values}")
    return found
