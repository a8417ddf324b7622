from tests.activity.store.answers import RECORDS, T0
from tests.activity.web.people import bearer

from limpet_activity.store.objects import as_object


def test_records_have_the_names_of_their_fields() -> None:
    answer = bearer().get("/api/records/r3").json()
    assert answer["provider"] == "beta"
    assert answer["attempts"][0] == {
        "provider": "alpha",
        "outcome": "failed",
        "status": 500,
        "cause": "ServerError",
        "begun_s": None,
        "took_s": None,
    }
    assert answer == as_object(RECORDS[2])


def test_pages_of_records() -> None:
    client = bearer()
    first = client.get("/api/activity?limit=3").json()
    assert [record["id"] for record in first["records"]] == ["r8", "r7", "r6"]
    assert first["newer"] is None
    second = client.get("/api/activity", params={"limit": 3, "older": first["older"]}).json()
    assert [record["id"] for record in second["records"]] == ["r5", "r4", "r3"]
    back = client.get("/api/activity", params={"limit": 3, "newer": second["newer"]}).json()
    assert back["records"] == first["records"]


def test_following() -> None:
    answer = bearer().get("/api/activity?after=6&model=m-small").json()
    assert [record["id"] for record in answer["records"]] == ["r4", "r5"]
    assert answer["last"] == 8


def test_a_conversation() -> None:
    answer = bearer().get("/api/conversations/c0ffee01").json()
    assert [turn["id"] for turn in answer["turns"]] == ["r1", "r2", "r3"]


def test_the_overview() -> None:
    answer = bearer().get("/api/overview?range=1h").json()
    assert answer["sums"]["requests"] == 8
    assert answer["until_s"] == T0 + 660
    assert len(answer["steps"]) == 60
    assert {group["value"] for group in answer["providers"]} == {"alpha", "beta", "gamma", ""}


def test_providers() -> None:
    answer = bearer().get("/api/providers?range=1h").json()
    assert [(seen["report"]["provider"], seen["gateway"]) for seen in answer["seen"]] == [
        ("alpha", "gw-1"),
        ("alpha", "gw-2"),
        ("beta", "gw-1"),
    ]
    assert answer["last_errors"]["alpha"]["record_id"] == "r7"


def test_the_state() -> None:
    assert bearer().get("/api/state").json()["state"]["records"] == 8


def test_what_is_not_there() -> None:
    assert bearer().get("/api/records/r99").json()["error"]["code"] == "no_record"
    assert bearer().get("/api/conversations/00").json()["error"]["code"] == "no_conversation"
    answer = bearer().get("/api/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
