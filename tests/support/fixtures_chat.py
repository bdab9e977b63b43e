"""A stand-in for a language model's server: answers as told, on a thread of this process."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer:
    """Requests that came, and what to answer.

    Attributes:
        requests: Path, headers and body of each.
        plan: Called with the number of the request (from 0) and its body; gives status, headers and content, or
            ``None`` for as many different answers as were asked for.
        url: The server's address.
    """

    def __init__(self):
        self.requests = []
        self.plan = lambda number, body: None
        self.url = ""
        self._counter = itertools.count()
        self._lock = threading.Lock()

    def take(self, path, headers, body):
        with self._lock:
            number = len(self.requests)
            self.requests.append((path, headers, body))
        return self.plan(number, body) or (200, {}, self.answers(body["n"]))

    def answers(self, count):
        return completion(*(f"It looks like number {next(self._counter)} of its kind." for _ in range(count)))


def completion(*texts):
    """The content of a chat completion."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}} for text in texts]}).encode()


@contextmanager
def serving():
    """A server that runs until the block ends."""
    chat = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, content = chat.take(self.path, dict(self.headers), body)
            if status is None:
                return  # Hang up without a word.
            self.send_response(status)
            for name, value in {"Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
