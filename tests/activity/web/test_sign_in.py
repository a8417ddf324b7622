import pytest
from starlette.testclient import TestClient
from tests.activity.store.answers import T0, fill
from tests.activity.web.people import TOKEN, Clock, anonymous, bearer, signed_in

from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.web.app import web_app
from limpet_activity.web.guard import after_sign_in
from limpet_activity.web.settings import LOOPBACK_HOSTS, PageSettings
from limpet_activity.web.sign_in import COOKIE, WRONG_A_MINUTE, WrongTokens, cookie_value, is_signed_in, is_token


def test_a_cookie_holds_until_its_time() -> None:
    cookie = cookie_value(TOKEN, 1000)
    assert is_signed_in(cookie, TOKEN, 999)
    assert not is_signed_in(cookie, TOKEN, 1000)
    assert TOKEN not in cookie


@pytest.mark.parametrize("change", ["", ".", "2000.", "x.y", "²." + "0" * 64, "2000." + "0" * 64])
def test_no_other_cookie_holds(change: str) -> None:
    assert not is_signed_in(change, TOKEN, 999)


def test_a_cookie_that_was_given_more_time_does_not_hold() -> None:
    _, _, signature = cookie_value(TOKEN, 1000).partition(".")
    assert not is_signed_in(f"2000.{signature}", TOKEN, 999)
    assert not is_signed_in(cookie_value("another token", 1000), TOKEN, 999)


@pytest.mark.parametrize(
    ("given", "token", "right"), [("a", "a", True), ("", "", False), ("b", "a", False), ("ä", "a", False)]
)
def test_tokens(given: str, token: str, right: bool) -> None:
    assert is_token(given, token) is right


def test_an_address_may_be_wrong_so_often_a_minute() -> None:
    wrong = WrongTokens()
    for _ in range(WRONG_A_MINUTE):
        assert wrong.wait_s("10.0.0.1", 0) == 0
        wrong.count("10.0.0.1", 0)
    assert wrong.wait_s("10.0.0.1", 0) == pytest.approx(6)
    assert wrong.wait_s("10.0.0.1", 7) == 0
    assert wrong.wait_s("10.0.0.2", 0) == 0


@pytest.mark.parametrize(
    ("goal", "path"),
    [
        ("/activity?model=a", "/activity?model=a"),
        ("https://example.com", "/"),
        ("//example.com", "/"),
        ("/\\example.com", "/"),
        ("/a\r\nset-cookie: b", "/"),
        ("/sign-out", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_this_page_alone(goal: str, path: str) -> None:
    assert after_sign_in(goal) == path


def test_a_link_with_the_token_leads_to_the_clean_address() -> None:
    client = anonymous()
    answer = client.get(f"/activity?model=m-large&token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/activity?model=m-large")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("said", ["https", "HTTPS, http"])
def test_the_cookie_is_secure_behind_a_proxy_that_speaks_https(said: str) -> None:
    answer = anonymous().get(f"/?token={TOKEN}", headers={"x-forwarded-proto": said}, follow_redirects=False)
    assert "Secure" in answer.headers["set-cookie"]


def test_a_page_without_sign_in_is_a_form_that_comes_back() -> None:
    answer = anonymous().get("/activity?model=m")
    assert answer.status_code == 401
    assert 'value="/activity?model=m"' in answer.text
    assert "r1" not in answer.text


def test_the_form() -> None:
    client = anonymous()
    same = {"origin": "http://localhost"}
    assert client.post("/sign-in", data={"token": "wrong"}, headers=same).status_code == 401
    answer = client.post("/sign-in", data={"token": TOKEN, "next": "/activity"}, headers=same, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/activity")
    assert client.get("/").status_code == 200
    assert client.post("/sign-out", headers=same, follow_redirects=False).status_code == 303
    assert client.get("/").status_code == 401


def test_after_a_wrong_token_the_form_still_leads_to_what_was_asked_for() -> None:
    given = {"token": "wrong", "next": "/activity?model=m"}
    answer = anonymous().post("/sign-in", data=given, headers={"origin": "http://localhost"})
    assert 'name="next" value="/activity?model=m"' in answer.text
    assert 'name="next" value="/activity?model=m"' in anonymous().get("/activity?model=m&token=wrong").text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://example.com"},
        {"origin": "null"},
        {"origin": "http://localhost", "sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(headers: dict[str, str]) -> None:
    for path in ("/sign-in", "/sign-out"):
        assert anonymous().post(path, data={"token": TOKEN}, headers=headers).status_code == 403


def test_a_form_that_is_far_too_long_is_refused() -> None:
    answer = anonymous().post("/sign-in", data={"token": "a" * 5000}, headers={"origin": "http://localhost"})
    assert answer.status_code == 413


def test_who_tries_tokens_waits_and_the_right_one_always_passes() -> None:
    clock = Clock(T0)
    client = anonymous(clock)
    for _ in range(WRONG_A_MINUTE):
        assert client.get("/?token=wrong").status_code == 401
    answer = client.get("/?token=wrong")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 6
    assert client.get("/api/state", headers={"authorization": "Bearer wrong"}).status_code == 429
    assert client.get("/api/state", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get(f"/?token={TOKEN}", follow_redirects=False).status_code == 303
    clock.s += 60
    assert anonymous(clock).get("/?token=wrong").status_code == 401


def test_wrong_bearers_count_too() -> None:
    client = anonymous()
    for _ in range(WRONG_A_MINUTE):
        assert client.get("/api/state", headers={"authorization": "Bearer wrong"}).status_code == 401
    answer = client.get("/api/state", headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "not_signed_in"


@pytest.mark.parametrize("origin", ["http://[::1", "http://", "//"])
def test_an_origin_that_is_none_is_refused_with_the_usual_headers(origin: str) -> None:
    answer = anonymous().post("/sign-in", data={"token": TOKEN}, headers={"origin": origin})
    assert answer.status_code == 403
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_program_sends_the_token_as_bearer() -> None:
    assert bearer().get("/api/state").json()["last"] == 8
    answer = anonymous().get("/api/state")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")
    assert anonymous().get(f"/api/state?token={TOKEN}").status_code == 401


def test_a_proxy_names_the_person_only_where_it_is_configured() -> None:
    by_proxy = {"x-auth-request-email": "ann@example.com"}
    assert anonymous().get("/api/state", headers=by_proxy).status_code == 401
    store = InMemoryStore()
    fill(store)
    settings = PageSettings(TOKEN, trusted_user_header="x-auth-request-email")
    client = TestClient(web_app(store, settings, Clock(T0)))
    assert client.get("/api/state", headers=by_proxy).status_code == 200
    assert client.get("/api/state", headers={"x-auth-request-email": ""}).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:4200", 200),
        ("127.0.0.1:4200", 200),
        ("[::1]:4200", 200),
        ("LOCALHOST", 200),
        ("rebound.example.com", 421),
        ("localhost.example.com", 421),
        ("[::1", 421),
        ("rebound.example.com@localhost", 421),
        ("", 421),
    ],
)
def test_a_laptop_is_asked_by_its_own_names(host: str, status: int) -> None:
    client = TestClient(web_app(InMemoryStore(), PageSettings(TOKEN, LOOPBACK_HOSTS), Clock(T0)))
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/state", headers=headers).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    assert signed_in().request(method, "/api/activity").status_code == 405
    assert signed_in().request(method, "/").status_code == 405


@pytest.mark.parametrize("path", ["/", "/api/state", "/nothing", "/healthz", "/api/activity?model="])
def test_every_answer_has_the_headers_of_a_careful_page(path: str) -> None:
    for client in (signed_in(), anonymous()):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_health_of_the_page_needs_no_token() -> None:
    assert anonymous().get("/healthz").status_code == 200


def test_the_cookie_is_the_one_that_is_named() -> None:
    assert COOKIE in signed_in().cookies
