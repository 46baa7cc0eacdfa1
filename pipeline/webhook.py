"""One JSON document posted to one address, and nowhere else.

The host has to be on a list. Its name is resolved once, every address that it has is checked, and the connection goes
to one that was: a name that points elsewhere a moment later changes nothing (DNS rebinding). Redirects are not
followed, and proxies of the environment are not used. Messages name the host, never the rest of the URL, which is a
secret with many receivers.

Signed as Standard Webhooks says (standardwebhooks.com, version 1.0.0): HMAC-SHA256 over id, time and body, so that a
receiver can verify who sent it with a library that it has, refuse what is old, and know what it has seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import urllib3
from urllib3.util import Url, parse_url

from .errors import PrefloopError
from .sections import NotifySection

_SECRET_PREFIX = "whsec_"
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_SHOWN = 200  # bytes of an answer


class Undelivered(PrefloopError):
    """Nobody has taken the event; the message says why, without a secret."""


class _Unreachable(Undelivered):
    """No connection at all; the host may have another address."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: str  # its beginning


def post(section: NotifySection, body: bytes, key: str, now: datetime) -> Answer:
    """Send it; the receiver's answer, which is one of success. Raises Undelivered for all else.

    `key` is the same for every attempt. Tries once.
    """
    url = checked(section)
    host = str(url.host).strip("[]")
    headers = {
        "Host": url.netloc or "",
        "Content-Type": "application/json",
        "User-Agent": "prefloop",
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if (secret := signing_key(section)) is not None:
        headers["webhook-signature"] = signature(secret, key, headers["webhook-timestamp"], body)
    port = url.port or (443 if url.scheme == "https" else 80)
    *others, last = _resolved(host, port, private=host in section.private_hosts)
    for address in (*others, last):
        pool = _pool_for(address, port, host, url.scheme == "https", section.timeout_seconds)
        try:
            return _sent(pool, url, host, headers, body)
        except _Unreachable:
            if address == last:
                raise
        finally:
            pool.close()
    raise AssertionError("the last address answers or raises")


def checked(section: NotifySection) -> Url:
    """The parsed URL. Raises Undelivered unless it may be used."""
    try:
        url = parse_url(section.url)
    except urllib3.exceptions.LocationParseError:
        url = Url()
    if url.scheme not in ("http", "https") or not url.host or url.auth or url.fragment:
        raise Undelivered("notify.url cannot be used; write https://host/path, without a name or password in it")
    host = url.host.strip("[]")
    if host not in (*section.hosts, *section.private_hosts):
        raise Undelivered(
            f"the host of notify.url is {host}, which is not allowed; add it to notify.hosts, or to "
            "notify.private_hosts if it stands in a network of your own"
        )
    if url.scheme == "http" and host not in section.private_hosts:
        raise Undelivered(
            f"events would travel to {host} unencrypted; use https, or add it to notify.private_hosts if it stands in "
            "a network of your own"
        )
    return url


def signing_key(section: NotifySection) -> bytes | None:
    """The key in the environment variable; None where none is named. Raises Undelivered for one that cannot be."""
    name = section.secret_variable
    if not name:
        return None
    text = os.environ.get(name, "")
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(_SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise Undelivered(
            f"notify.secret_variable names {name}, which holds {'no signing secret' if text else 'nothing'}; set it to "
            f"{_SECRET_PREFIX} and 24 to 64 random bytes in base64 (docs/housekeeping.md)"
        )
    return key


def signature(secret: bytes, key: str, timestamp: str, body: bytes) -> str:
    """Of one attempt, as the header has it."""
    digest = hmac.new(secret, f"{key}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def is_public(address: str) -> bool:
    """Whether it is one of the open internet: not of this machine, a private network, or a cloud's metadata."""
    ip = _meant(ip_address(address.partition("%")[0]))
    return ip.is_global and not ip.is_multicast


def _resolved(host: str, port: int, private: bool) -> list[str]:
    """The host's addresses. Raises Undelivered if a single one of them may not be connected to."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Undelivered(f"the name {host} cannot be resolved; check notify.url, and the network") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if _meant(ip_address(address.partition("%")[0])).is_link_local:
            raise Undelivered(f"{host} has the link-local address {address}, to which nothing is ever sent")
        if not private and not is_public(address):
            raise Undelivered(
                f"{host} has the address {address}, which is not a public one; add it to notify.private_hosts if it "
                "stands in a network of your own"
            )
    return addresses


def _meant(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The address that a packet to this one reaches in the end."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(ip.packed[-4:])
    return ip.ipv4_mapped or ip.sixtofour or ip


def _pool_for(address: str, port: int, host: str, encrypted: bool, seconds: float) -> urllib3.HTTPConnectionPool:
    timeout = urllib3.Timeout(connect=seconds, read=seconds)
    if not encrypted:
        return urllib3.HTTPConnectionPool(address, port, timeout=timeout)
    # The certificate has to be the host's: that the connection is made by address does not change whose it is.
    return urllib3.HTTPSConnectionPool(address, port, timeout=timeout, server_hostname=host)


def _sent(pool: urllib3.HTTPConnectionPool, url: Url, host: str, headers: dict[str, str], body: bytes) -> Answer:
    try:
        answer = pool.urlopen(
            "POST", url.request_uri, body, headers, retries=False, redirect=False, preload_content=False
        )
        said = answer.read(_SHOWN)
    except urllib3.exceptions.NewConnectionError as error:
        raise _Unreachable(f"{host} does not answer: {_cause(error)}") from None
    except urllib3.exceptions.HTTPError as error:
        raise Undelivered(f"{host} does not answer: {_cause(error)}") from None
    shown = "".join(letter if letter.isprintable() else " " for letter in said.decode("utf-8", "replace")).strip()
    if 300 <= answer.status < 400:
        raise Undelivered(f"{host} answers with a redirect ({answer.status}), which is not followed")
    if not 200 <= answer.status < 300:
        raise Undelivered(f"{host} answers with status {answer.status}")
    return Answer(answer.status, shown)


def _cause(error: BaseException) -> str:
    """What went wrong, from the error at the bottom: those above it repeat the URL."""
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "timed out"
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused, {error.verify_message}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
