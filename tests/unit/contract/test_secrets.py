"""An endpoint's signing secrets: what may be declared, and what a rotation makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.endpoints import Endpoint
from gateway.contract.faults import fault
from gateway.contract.secrets import (
    DEFAULT_OVERLAP,
    MAX_OVERLAP,
    ExpiringSecret,
    SigningSecret,
    expiry_of,
    reference_of,
    rotated,
    secrets_fault,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

references = st.sampled_from(["env:A", "env:B", "env:C", "file:/run/secrets/d"])
declared = st.lists(
    references
    | st.builds(ExpiringSecret, ref=references, expires_at=st.timedeltas(-30 * DAY, MAX_OVERLAP).map(NOW.__add__)),
    min_size=1,
    max_size=8,
    unique_by=reference_of,
)


def expiring(ref: str, left: timedelta) -> ExpiringSecret:
    return ExpiringSecret(ref=ref, expires_at=NOW + left)


@pytest.mark.parametrize(
    ("secrets", "found"),
    [
        (["env:A"], None),
        (["env:A", expiring("env:B", DAY)], None),
        ([expiring("env:B", MAX_OVERLAP), "env:A"], None),
        (["env:A", expiring("env:B", -400 * DAY)], None),
        (
            ["env:A", expiring("env:B", DAY), expiring("env:C", MAX_OVERLAP + timedelta(seconds=1))],
            ("secrets[2].expires_at", "is more than 7 days ahead"),
        ),
        ([expiring("env:B", DAY)], ("secrets", "all of them expire: one must stay, without expires_at")),
        ([expiring("env:B", -DAY)], ("secrets", "all of them expire: one must stay, without expires_at")),
    ],
)
def test_what_is_wrong_is_told_with_its_field(secrets: list[SigningSecret], found: tuple[str, str] | None) -> None:
    assert secrets_fault(secrets, NOW) == found


def test_an_old_secret_signs_a_day_longer_by_default() -> None:
    assert timedelta(hours=24) == DEFAULT_OVERLAP
    assert rotated(["env:A"], "env:B", NOW) == ("env:B", expiring("env:A", DAY))


def test_without_an_overlap_only_the_new_one_is_left() -> None:
    assert rotated(["env:A", expiring("env:B", DAY)], "env:C", NOW, timedelta(0)) == ("env:C",)


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), MAX_OVERLAP + timedelta(seconds=1)])
def test_an_overlap_has_bounds(overlap: timedelta) -> None:
    with pytest.raises(ValueError, match="0 to 7 days"):
        rotated(["env:A"], "env:B", NOW, overlap)


@given(secrets=declared, new=references, overlap=st.timedeltas(timedelta(0), MAX_OVERLAP))
def test_after_a_rotation_the_new_one_stays_and_none_signs_longer_than_it_would_have(
    secrets: list[SigningSecret], new: str, overlap: timedelta
) -> None:
    after = rotated(secrets, new, NOW, overlap)
    assert after[0] == new
    assert secrets_fault(after, NOW) is None
    before = {reference_of(one): expiry_of(one) for one in secrets}
    for one in after[1:]:
        expiry = expiry_of(one)
        assert expiry is not None
        assert NOW < expiry <= NOW + overlap
        assert expiry <= (before.pop(reference_of(one)) or expiry)
    # What was left out had expired, was given no overlap, or is the new one.
    for ref, expiry in before.items():
        assert ref == new or overlap == timedelta(0) or (expiry is not None and expiry <= NOW)


@pytest.mark.parametrize(
    ("secrets", "field", "reason"),
    [
        ([{"ref": "env:A"}], "secrets[0].expires_at", "is missing"),
        ([{"expires_at": "2026-03-01T00:00:00Z"}], "secrets[0].ref", "is missing"),
        ([{"ref": "env:A", "expires": 1}], "secrets[0].expires", "is not known"),
        ([{"ref": "A", "expires_at": "2026-03-01T00:00:00Z"}], "secrets[0].ref", "must be env:NAME or file:PATH"),
        ([{"ref": "env:A", "expires_at": "2026-03-01T00:00:00"}], "secrets[0].expires_at", ""),
        (["A"], "secrets[0]", "must be env:NAME or file:PATH"),
        (["env:A"] * 9, "secrets", ""),
        ([], "secrets", ""),
    ],
)
def test_what_does_not_fit_names_the_field(secrets: list[object], field: str, reason: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"id": "crm", "url": "https://crm.example.com", "secrets": secrets}, Endpoint, str_keys=True)
    found = fault(caught.value)
    assert found[0] == field
    assert reason in found[1]


def test_secrets_survive_json() -> None:
    endpoint = Endpoint(id="crm", url="https://crm.example.com", secrets=("env:A", expiring("env:B", DAY)))
    assert msgspec.json.decode(msgspec.json.encode(endpoint), type=Endpoint) == endpoint
