"""Connections for `cds.upstream`: every read of an answer, header and body, ends at the deadline of its exchange.

A time-out of a socket begins anew with every byte, so a server that sends one now and then would hold us for ever.
"""

import http.client
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import urllib3.connection
import urllib3.connectionpool

from cds.deadline import Deadline
from cds.tls import Tls

_exchange = threading.local()


@contextmanager
def bounded(total: Deadline, read_timeout_s: float) -> Iterator[None]:
    """Reads of this thread, within the block, take at most what is left of `total`, and `read_timeout_s` each.

    They raise TimeoutError, or DeadlineExceeded where nothing was left before.
    """
    _exchange.limits = (total, read_timeout_s)
    try:
        yield
    finally:
        _exchange.limits = None


class BoundedAdapter(requests.adapters.HTTPAdapter):
    """What `requests` sends through. tls: in place of what the session or the environment says."""

    def __init__(self, tls: Tls, *, pool_size: int) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=pool_size)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        tls = self._tls
        if tls.certificate:
            cert = (tls.certificate, tls.key) if tls.key else tls.certificate
        return super().send(request, stream, timeout, tls.ca_bundle or verify or True, cert, proxies)


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp: Any = io.BufferedReader(_Bounded(self.fp.detach(), sock))


class _Bounded(io.RawIOBase):
    def __init__(self, raw: Any, sock: socket.socket) -> None:
        self._raw, self._sock = raw, sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        limits = getattr(_exchange, "limits", None)
        if limits is not None:
            total, read_timeout_s = limits
            self._sock.settimeout(total.remaining(at_most=read_timeout_s))
        size: int | None = self._raw.readinto(buffer)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _HttpConnection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _HttpPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}
