"""Download pictures from web addresses in requests, without access to private networks."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from urllib.parse import SplitResult, urljoin, urlsplit

from anytag.service.errors import ServiceError

#: Highest number of redirects.
_REDIRECTS = 3

#: Timeout in seconds of a connection, and of each read.
_SECONDS = 10.0


def fetch(address: str, most: int, seconds: float) -> bytes:
    """Download the content of a public address.

    The name is resolved once, every address it resolves to must be public, and the connection goes to exactly that
    address, so that a name that resolves differently the next time gains nothing. Redirects are checked the same way.

    Args:
        address: ``http://`` or ``https://``.
        most: Highest number of bytes.
        seconds: Time limit for the whole download.

    Raises:
        ServiceError: If the address is not allowed or not reachable, or the content is too large.
    """
    end = time.monotonic() + seconds
    for _ in range(_REDIRECTS + 1):
        parts = _checked(address)
        connection = _connect(parts)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"User-Agent": "anytag", "Accept": "image/*"})
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                address = urljoin(address, answer.getheader("Location") or "")
                continue
            if answer.status != 200:
                raise ServiceError(422, "url", f"the address answered with status {answer.status}")
            return _read(answer, most, end)
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(422, "url", f"the address cannot be read ({type(error).__name__})") from None
        finally:
            connection.close()
    raise ServiceError(422, "url", "the address redirects too often")


def _checked(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise ServiceError(400, "url", "the address cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServiceError(400, "url", "addresses begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ServiceError(400, "url", "addresses with a user name are not fetched")
    return parts


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    """Connect to the address that was checked."""
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        raise ServiceError(422, "url", "the address's host is not known") from None
    places = [entry[4][0] for entry in found]
    if not places or not all(is_public(str(place)) for place in places):
        raise ServiceError(403, "url", "only public addresses are fetched")
    try:
        plain = socket.create_connection((str(places[0]), port), _SECONDS)
    except OSError as error:
        raise ServiceError(422, "url", f"the address cannot be reached ({error.strerror or 'no answer'})") from None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, port, timeout=_SECONDS)
        try:
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
        except OSError:
            plain.close()
            raise ServiceError(422, "url", "the address's certificate is not valid") from None
    else:
        connection = http.client.HTTPConnection(parts.hostname, port, timeout=_SECONDS)
        connection.sock = plain
    return connection


def is_public(address: str) -> bool:
    """Whether an IP address is public; an IPv4 address inside IPv6 counts as itself."""
    try:
        place = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(place, ipaddress.IPv6Address):
        inside = place.ipv4_mapped or place.sixtofour or (place.teredo[1] if place.teredo else None)
        if inside is not None:
            return inside.is_global and not inside.is_multicast
        if place in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(place) & 0xFFFFFFFF)))
    return place.is_global and not place.is_multicast


def _read(answer: http.client.HTTPResponse, most: int, end: float) -> bytes:
    parts, size = [], 0
    while part := answer.read1(1 << 16):
        size += len(part)
        if size > most:
            raise ServiceError(413, "too_large", f"the picture has more than {most:,} bytes")
        if time.monotonic() > end:
            raise ServiceError(504, "timeout", "the address took too long")
        parts.append(part)
    return b"".join(parts)
