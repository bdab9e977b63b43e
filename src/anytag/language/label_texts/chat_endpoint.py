"""A language model behind an OpenAI-compatible API, hosted or local."""

from __future__ import annotations

import http.client
import json
import random
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from anytag.errors import AnytagError, UsageError
from anytag.foundations.http import NOT_NOW, TransientError, reason_of, retry_after

#: Conflict; some of these servers send it when they are busy.
_CONFLICT = 409
#: Status codes of servers that do not support several answers per request.
_UNSUPPORTED = {400, 422, 501}
#: Longest pause between two tries, and longest wait that a server may ask for, in seconds.
_LONGEST_PAUSE, _LONGEST_WAIT = 60.0, 600.0
_LARGEST_ANSWER = 16 << 20


class EndpointError(AnytagError):
    """The language model cannot be used."""

    kind = "endpoint"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: urllib would send the key along, and turn the POST into a GET."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


class ChatEndpoint:
    """A client for one model, which retries transient failures with growing pauses; thread-safe.

    Args:
        url: ``https://host``, ``https://host/v1`` or the full address with ``/chat/completions``.
        model: The model's name on the server.
        key: Bearer token, if needed; never shown in messages.
        temperature: 0.99 in RAM++, for varied answers.
        max_tokens: Longest answer; 77 in RAM++, the input length of CLIP's text encoder.
        timeout: Seconds without an answer or a byte after which a try has failed.
        attempts: Tries per question.
        pause: Seconds before the second try, doubled before each further one, unless the server says how long.

    Raises:
        UsageError: If the address is invalid, or the key contains blanks or control characters.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        temperature: float = 0.99,
        max_tokens: int = 77,
        timeout: float = 60.0,
        attempts: int = 6,
        pause: float = 1.0,
    ):
        self.url, self.model = completions_url(url), model
        self.temperature, self.max_tokens = temperature, max_tokens
        self.timeout, self.attempts, self.pause = timeout, attempts, pause
        self._key = (key or "").strip()
        if any(not " " < letter < "\x7f" for letter in self._key):
            raise UsageError("the key contains blanks or invalid characters; set ANYTAG_API_KEY again")
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._one_at_a_time = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let threads that wait for another try give up."""
        self._stopped.set()

    def ask(self, question: str, count: int = 1) -> list[str]:
        """Ask a question, the only message of the conversation, for ``count`` answers; a server may return fewer.

        Raises:
            EndpointError: If the server refuses, or every try fails.
        """
        last = TransientError("not asked")
        for attempt in range(self.attempts):
            if attempt and self._stopped.wait(self._pause(last, attempt)):
                break
            try:
                return self._try(question, 1 if self._one_at_a_time else count)
            except TransientError as failure:
                last = failure
        raise EndpointError(f"{self.url}: {last} ({self.attempts} tries); run this again when the server answers")

    def _pause(self, failure: TransientError, attempt: int) -> float:
        if failure.wait is None:
            # Jitter, so that threads do not all retry at once.
            return min(self.pause * 2.0 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
        if failure.wait > _LONGEST_WAIT:
            raise EndpointError(
                f"{self.url}: {failure}; the server asks to wait {failure.wait:.0f} s, run this again then"
            )
        return failure.wait

    def _try(self, question: str, count: int) -> list[str]:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "n": count,
        }
        request = urllib.request.Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        if self._key:
            request.add_header("Authorization", f"Bearer {self._key}")
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                answer = response.read(_LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in _UNSUPPORTED and count > 1:
                    self._one_at_a_time = True
                    return self._try(question, 1)
                raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(self._safe(reason_of(error))) from None
        return _contents(answer)

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """Return the error for a status of 300 or more, transient or not."""
        message = self._safe(_message(error))
        what = f"answered {error.code} {error.reason}" + (f": {message}" if message else "")
        if error.code in NOT_NOW | {_CONFLICT} or (error.code >= 500 and error.code not in _UNSUPPORTED):
            return TransientError(what, retry_after(error))
        if error.code in (401, 403):
            advice = "set ANYTAG_API_KEY (or OPENAI_API_KEY) to a key that has access"
        elif error.code == 404:
            advice = f"check the address, and that it serves {self.model!r}"
        elif 300 <= error.code < 400:
            advice = f"give the address that it sends to ({error.headers.get('Location', 'unknown')})"
        else:
            advice = f"it does not accept the question for {self.model!r}"
        return EndpointError(f"{self.url}: {what}; {advice}")

    def _safe(self, text: str) -> str:
        """Put a server's message on one line, without the key."""
        text = text.replace(self._key, "***") if self._key else text
        return " ".join(text.split())[:300]


def completions_url(address: str) -> str:
    """Return the full address for requests.

    Raises:
        UsageError: If it is not http or https, names no host, or contains credentials, a query or a fragment.
    """
    parts = urlsplit(address.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{address!r} is not the address of a model; give something like http://localhost:8080/v1")
    if parts.username or parts.query or parts.fragment:
        raise UsageError("the endpoint's address must have only scheme, host and path; keys belong in ANYTAG_API_KEY")
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = f"{path or '/v1'}/chat/completions"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _contents(answer: bytes) -> list[str]:
    try:
        choices = json.loads(answer)["choices"]
        found = [choice["message"]["content"] for choice in choices]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TransientError("gave an answer that is cut short or no chat completion") from None
    return [text for text in found if isinstance(text, str)]


def _message(error: urllib.error.HTTPError) -> str:
    """Return the server's error message, if any."""
    try:
        record = json.loads(error.read(_LARGEST_ANSWER))
        message = record.get("error", record.get("detail", record.get("message", "")))
        return str(message.get("message", "") if isinstance(message, dict) else message)
    except (OSError, ValueError, AttributeError, RecursionError, http.client.HTTPException):
        return ""
