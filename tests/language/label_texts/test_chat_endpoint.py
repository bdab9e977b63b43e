import email.utils
import threading
import time

import pytest
from fixtures_chat import completion, serving

from anytag.errors import UsageError
from anytag.language.label_texts.chat_endpoint import ChatEndpoint, EndpointError, completions_url


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as chat:
        yield chat


def ask(server, count=1, **options):
    return ChatEndpoint(server.url, "tiny", pause=0.01, **options).ask("What?", count)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://localhost:8080", "http://localhost:8080/v1/chat/completions"),
        ("http://localhost:8080/", "http://localhost:8080/v1/chat/completions"),
        ("https://a.example/api/v1", "https://a.example/api/v1/chat/completions"),
        ("https://a.example/v1beta/openai/", "https://a.example/v1beta/openai/chat/completions"),
        ("https://a.example/v1/chat/completions", "https://a.example/v1/chat/completions"),
    ],
)
def test_addresses_may_be_short(address, url):
    assert completions_url(address) == url


@pytest.mark.parametrize("address", ["", "localhost:8080", "file:///etc/passwd", "ftp://a.example", "http://"])
def test_invalid_addresses_are_refused(address):
    with pytest.raises(UsageError, match="is not the address of a model; give something like http"):
        completions_url(address)


def test_keys_in_addresses_are_refused_and_not_shown():
    for address in ("https://me:secret@a.example/v1", "https://a.example/v1?key=secret"):
        with pytest.raises(UsageError, match="keys belong in ANYTAG_API_KEY") as caught:
            completions_url(address)
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="the key contains blanks") as caught:
        ChatEndpoint("http://a.example", "tiny", key="two secrets")
    assert "secrets" not in str(caught.value)


def test_a_question_goes_out_as_openai_wants_it(server):
    assert len(ask(server, 3, key="secret")) == 3
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "What?"}],
        "temperature": 0.99,
        "max_tokens": 77,
        "n": 3,
    }
    ask(server)
    assert "Authorization" not in server.requests[1][1]


FAILURES = {
    "500": (500, {}, b"oops"),
    "503 with words": (503, {}, b'{"error": {"message": "loading"}}'),
    "429": (429, {"Retry-After": "0"}, b"{}"),
    "429 with a date": (429, {"Retry-After": email.utils.formatdate(0)}, b"{}"),
    "429 with nonsense": (429, {"Retry-After": "soon"}, b"{}"),
    "truncated": (200, {"Content-Length": 500}, completion("It looks fine.")[:30]),
    "longer than said": (200, {"Content-Length": 20}, completion("It looks fine.")),
    "not JSON": (200, {}, b"<html>gateway</html>"),
    "not UTF-8": (200, {}, b"\xff\xfe\xfa"),
    "no choices": (200, {}, b'{"error": "busy"}'),
    "choices of nothing": (200, {}, b'{"choices": [null]}'),
    "a list": (200, {}, b"[1]"),
    "hung up": (None, {}, b""),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_transient_failures_are_retried(server, failure):
    server.plan = lambda number, body: FAILURES[failure] if number < 2 else None
    assert len(ask(server, 2)) == 2
    assert len(server.requests) == 3


def test_the_server_says_how_long_to_wait(server):
    server.plan = lambda number, body: (429, {"Retry-After": "1"}, b"{}") if number == 0 else None
    start = time.monotonic()
    ask(server)
    assert time.monotonic() - start >= 1
    server.plan = lambda number, body: (429, {"Retry-After": "7200"}, b'{"error": {"message": "quota"}}')
    with pytest.raises(EndpointError, match=r"answered 429 .*: quota; the server asks to wait 7200 s, run this again"):
        ask(server)
    assert len(server.requests) == 3


def test_permanent_failures_end_with_the_last_reason(server):
    server.plan = lambda number, body: (500, {}, b'{"error": {"message": "out of\\n memory"}}')
    with pytest.raises(
        EndpointError, match=r"/v1/chat/completions: answered 500 .*: out of memory \(3 tries\)"
    ) as caught:
        ask(server, attempts=3)
    assert caught.value.kind == "endpoint"
    assert len(server.requests) == 3


def test_missing_servers_and_timeouts_are_reported(server):
    release = threading.Event()
    server.plan = lambda number, body: release.wait(10) and None
    try:
        with pytest.raises(EndpointError, match=r"no answer in time \(2 tries\)"):
            ask(server, attempts=2, timeout=0.1)
    finally:
        release.set()
    with pytest.raises(EndpointError, match=r"refused.* \(2 tries\)"):
        ChatEndpoint("http://127.0.0.1:9", "tiny", attempts=2, pause=0.01).ask("What?")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, r"set ANYTAG_API_KEY \(or OPENAI_API_KEY\) to a key that has access"),
        (403, "set ANYTAG_API_KEY"),
        (404, "check the address, and that it serves 'tiny'"),
        (400, "it does not accept the question for 'tiny'"),
        (413, "it does not accept the question for 'tiny'"),
    ],
)
def test_refusals_are_not_retried_and_never_show_the_key(server, status, advice):
    server.plan = lambda number, body: (status, {}, b'{"error": {"message": "wrong: s3cr3t"}}')
    with pytest.raises(EndpointError, match=rf"answered {status} .*: wrong: \*\*\*; {advice}") as caught:
        ask(server, key="s3cr3t")
    assert "s3cr3t" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_do_not_carry_the_key_away(server, status):
    with serving() as elsewhere:
        server.plan = lambda number, body: (status, {"Location": elsewhere.url}, b"")
        with pytest.raises(EndpointError, match=rf"answered {status} .*give the address that it sends to \(http://127"):
            ask(server, key="secret")
        assert elsewhere.requests == []


def test_servers_with_one_answer_per_request_are_asked_repeatedly(server):
    server.plan = lambda number, body: (400, {}, b'{"error": "n must be 1"}') if body["n"] > 1 else None
    endpoint = ChatEndpoint(server.url, "tiny", pause=0.01)
    assert len(endpoint.ask("What?", 10)) == 1
    assert len(endpoint.ask("What?", 10)) == 1
    assert [body["n"] for _, _, body in server.requests] == [10, 1, 1]


def test_answers_without_text_are_left_out(server):
    server.plan = lambda number, body: (200, {}, completion("It looks fine.", None, 5))
    assert ask(server, 3) == ["It looks fine."]


def test_waiting_threads_can_be_stopped(server):
    server.plan = lambda number, body: (503, {"Retry-After": "500"}, b"{}")
    endpoint = ChatEndpoint(server.url, "tiny")
    threading.Timer(0.2, endpoint.stop).start()
    start = time.monotonic()
    with pytest.raises(EndpointError, match="answered 503"):
        endpoint.ask("What?")
    assert time.monotonic() - start < 60
