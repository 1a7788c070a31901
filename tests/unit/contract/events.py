"""Any call event that the contract allows."""

from __future__ import annotations

from hypothesis import strategies as st

from gateway.contract.events import CALL_EVENT_TYPES, CallData, CallEvent, Evidence, source_of
from gateway.contract.times import utc

times = st.integers(0, 4_000_000_000_000).map(utc)
texts = st.text(max_size=12)
call_ids = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26)
optional = st.none() | texts


@st.composite
def call_events(draw: st.DrawFn) -> CallEvent:
    account, call_id, sequence = draw(st.integers(1, 10**9)), draw(call_ids), draw(st.integers(1, 1_000))
    data = CallData(
        account=account,
        call_id=call_id,
        sequence=sequence,
        src=draw(texts),
        dst=draw(texts),
        direction=draw(st.sampled_from([None, "incoming", "outgoing", "internal"])),
        not_before=draw(times),
        not_after=draw(times),
        observed_at=draw(times),
        evidence=draw(st.sampled_from(Evidence)),
        ambiguous=draw(st.booleans()),
        answered=draw(st.sampled_from([None, True, False])),
        disposition=draw(optional),
        duration=draw(st.none() | st.integers(0, 10**6)),
        rec_file=draw(optional),
        changed=draw(st.lists(st.sampled_from(["time", "duration", "rec_file"]), unique=True).map(tuple)),
    )
    return CallEvent(
        id=f"{call_id}-{sequence}",
        source=source_of(account),
        type=draw(st.sampled_from(CALL_EVENT_TYPES)),
        subject=call_id,
        time=draw(times),
        sequence=str(sequence),
        data=data,
    )


ONE = CallEvent(
    id="01HF7YAT00000000000000000A-1",
    source="/ringcloud/accounts/1000",
    type="call.started",
    subject="01HF7YAT00000000000000000A",
    time=utc(1_700_000_000_123),
    data=CallData(
        account=1000,
        call_id="01HF7YAT00000000000000000A",
        sequence=1,
        src="79001234567",
        dst="400",
        direction=None,
        not_before=utc(1_699_999_999_000),
        not_after=utc(1_700_000_001_000),
        observed_at=utc(1_700_000_001_234),
        evidence=Evidence.ACTIVE,
        ambiguous=False,
        answered=None,
    ),
)
