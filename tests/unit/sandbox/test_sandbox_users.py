"""Changes of users, recordings, balance and telephone numbers, as a client meets them."""

import io
import wave

import pytest

from sandbox.settings import KeySpec

CHANGES = ["update_password", "update_extension_number", "update_email", "voice_mail_box_on", "voice_mail_box_off"]
ALL_PARAMS = {"password": "p", "num": "450", "mail": "a@b.example"}


async def shown(api, name="400"):
    api.clock.advance(60)
    return (await api.get(f"/v1/users/{name}")).data


async def test_each_change_is_seen(api):
    for url, params, field, value in (
        ("update_password", {"password": "n3w"}, "password", "n3w"),
        ("update_extension_number", {"num": 450}, "num", "450"),
        ("update_email", {"mail": "a@b.example"}, "mail", "a@b.example"),
        ("voice_mail_box_on", {}, "voice_mail_box", "on"),
        ("voice_mail_box_off", {}, "voice_mail_box", "off"),
    ):
        assert (await api.change(f"/v1/users/400/{url}", **params)).data is None
        one = await shown(api)
        assert one[field] == value
        assert one["user"] == "400"


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"params": {}}', b"nonsense"])
async def test_the_voice_mail_box_needs_no_body(api, raw):
    answer = await api.request("POST", "/v1/users/400/voice_mail_box_on", raw=raw)
    assert answer.status == (200 if raw in (b"", b'{"params": {}}') else 400)


@pytest.mark.parametrize("change", CHANGES)
async def test_400_for_a_change_of_nobody(api, change):
    assert (await api.change(f"/v1/users/nobody/{change}", **ALL_PARAMS)).failure == 400


@pytest.mark.parametrize("change", [*(f"400/{change}" for change in CHANGES), "create"])
async def test_405_for_a_get(api, change):
    answer = await api.get(f"/v1/users/{change}")
    assert (answer.failure, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("change", "params"),
    [
        ("400/update_password", {}),
        ("400/update_password", {"password": ""}),
        ("400/update_email", {"mail": "nobody"}),
        ("400/update_email", {"mail": 7}),
        *(("400/update_extension_number", {"num": num}) for num in ("", "45", "500", "4500", "4x0", "401", None)),
        ("create", {"num": "450", "mail": "a@b.example"}),
        ("create", {"password": "p", "mail": "a@b.example"}),
        ("create", {"password": "p", "num": "450"}),
        ("create", {"password": "p", "num": "401", "mail": "a@b.example"}),
    ],
)
async def test_400_for_a_wrong_parameter_and_nothing_changes(api, change, params):
    before = (await api.get("/v1/users")).data
    api.clock.advance(60)
    assert (await api.change(f"/v1/users/{change}", **params)).failure == 400
    assert (await api.get("/v1/users")).data == before


async def test_a_created_user_is_one_like_the_others(api):
    name = (await api.change("/v1/users/create", password="p", num="450", mail="a@b.example")).data
    one = await shown(api, name)
    assert one == {
        "account_id": 1000,
        "num": "450",
        "user": name,
        "voice_mail_box": "off",
        "mail": "a@b.example",
        "password": "p",
    }
    assert (await api.originate(name, "401")).status == 200
    assert api.pbx.ledger.records()[0].direction == "internal"


async def test_a_number_that_was_given_up_is_free_and_names_stay_unique(api):
    assert (await api.change("/v1/users/400/update_extension_number", num="450")).status == 200
    name = (await api.change("/v1/users/create", password="p", num="400", mail="a@b.example")).data
    assert name != "400"
    assert (await shown(api))["num"] == "450"
    assert (await shown(api, name))["num"] == "400"
    # One's own number is taken by nobody else.
    assert (await api.change("/v1/users/400/update_extension_number", num="450")).status == 200


async def test_traffic_goes_to_the_new_number(api):
    for name in map(str, range(400, 410)):
        api.pbx.renumber(1000, name, f"4{int(name) - 350}")
    api.pbx.set_rate(600)
    api.clock.advance(60)
    numbers = {num for row in api.pbx.ledger.records() for num in (row.src, row.dst) if len(num) == 3}
    assert numbers == {str(number) for number in range(450, 460)}


@pytest.mark.parametrize(("talk_ms", "samples"), [(0, 0), (1, 8), (1_500, 12_000), (7_200_000, 240_000)])
async def test_a_recording_is_a_wav_file_as_long_as_the_talk(api, talk_ms, samples):
    api.pbx.place_call(1000, "74950000001", "400", "incoming", 2_000, talk_ms)
    api.clock.advance(1)
    assert (await api.get("/v1/users/400/records")).data == []
    api.clock.advance(7_300)
    (row,) = (await api.get("/v1/calls/complete")).data
    name = row["rec_file"].rpartition("/")[2]
    assert (await api.get("/v1/users/400/records")).data == [[name, "2025-03-03 12:00:02"]]
    status, content_type, body = await api.file(f"/v1/users/400/records/{name}")
    assert (status, content_type) == (200, "audio/wav")
    with wave.open(io.BytesIO(body)) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (8_000, 1)
        assert sound.getnframes() == samples
        assert len(set(sound.readframes(samples))) > 1 or not talk_ms


async def test_a_recording_belongs_to_both_colleagues_and_follows_the_user(api):
    api.pbx.place_call(1000, "400", "401", "internal", 100, 1_000)
    api.pbx.place_call(1000, "402", "401", "internal", 100, None, "BUSY")
    await api.change("/v1/users/400/update_extension_number", num="450")
    api.clock.advance(5)
    of = {name: (await api.get(f"/v1/users/{name}/records")).data for name in ("400", "401", "402")}
    assert len(of["400"]) == 1
    assert of["400"] == of["401"]
    assert of["402"] == []
    name = of["400"][0][0]
    assert (await api.file(f"/v1/users/402/records/{name}"))[0] == 404


async def test_a_recording_that_cannot_be_had_is_an_empty_body(api):
    path = "/v1/users/400/records/nothing.wav"
    for status, url, password in (
        (403, path, "wrong"),
        (404, path, "demo"),
        (429, path, "demo"),
        (400, "/v1/users/nobody/records/nothing.wav", "demo"),
    ):
        answer = await api.file(url, password=password)
        assert (answer[0], answer[2]) == (status, b"")
    order = {"account": 1000, "url": "record", "kind": "error500"}
    await api.put("faults", order)
    api.clock.advance(1)
    assert (await api.file(path))[::2] == (500, b"")
    assert (await api.get("/v1/users/nobody/records")).failure == 400


async def test_the_balance_of_the_own_account_only(start):
    api = await start(keys=[KeySpec("1000_demo", "demo"), KeySpec("2000_demo", "demo")])
    assert isinstance((await api.get("/v1/accounts/1000/balance")).data, float)
    assert (await api.get("/v1/accounts/2000/balance")).failure == 403
    assert (await api.get("/v1/accounts/2000/balance", key="2000_demo")).status == 200


async def test_telephone_numbers(api):
    for number, known in (
        ("%2B74950001122", ("Russia", "Moscow", "MGTS")),
        ("74950001122", ("Russia", "Moscow", "MGTS")),
        ("79990001122", ("Russia", None, None)),
        ("99990001122", (None, None, None)),
    ):
        data = (await api.get(f"/v1/phone_numbers/{number}")).data
        assert (data["country"], data["region"], data["operator"]) == known
    for wrong in ("7", "0123456789", "seven", "1234567890123456"):
        assert (await api.get(f"/v1/phone_numbers/{wrong}")).failure == 400
