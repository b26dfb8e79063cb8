"""Connections that keep no thread waiting: gunicorn's threads read whatever a caller sends, for as long as it takes.

A caller that stops in the middle of its request, as one does whose machine was switched off, would hold a thread for
ever, and a handful of such callers the whole service. Here each request has its time to arrive and each answer its time
to leave. A gateway in front that sends whole requests on is better still: whoever opens connections anew all the time
takes the threads for a while each time.
"""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gunicorn.util import close_graceful
from gunicorn.workers.gthread import TConn, ThreadWorker

#: Slower than that, no request may come nor answer go once the time of `receive_timeout_s` is over.
BYTES_PER_S = 64 * 1024
#: For a connection's first byte; then it waits with the others, without a thread.
FIRST_BYTE_S = 0.01
#: For a caller to close its side as well, so that it loses nothing of the answer (RFC 9112, section 9.6).
LINGER_S = 0.5


class TimedSocket(socket.socket):
    """Raises ConnectionResetError, which gunicorn takes for a caller that left, where the time is over."""

    _until = float("inf")
    _allowed_s = 0.0

    def begin(self, allowed_s: float) -> None:
        """A request may take so long to arrive from now on, and a second more for each BYTES_PER_S of it."""
        self._allowed_s = allowed_s
        self._until = time.monotonic() + allowed_s

    def recv(self, size: int, flags: int = 0) -> bytes:
        with self._at_most(self._until - time.monotonic()):
            data = super().recv(size, flags)
        self._until += len(data) / BYTES_PER_S
        return data

    def sendall(self, data: Any, flags: int = 0) -> None:
        with self._at_most(self._allowed_s + len(data) / BYTES_PER_S):
            super().sendall(data, flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        with self._at_most(self._allowed_s):  # for each piece that the kernel takes
            return super().sendfile(file, offset, count)

    @contextmanager
    def _at_most(self, seconds: float) -> Iterator[None]:
        given = self.gettimeout()
        if seconds <= 0:
            raise ConnectionResetError(errno.ECONNRESET, "the caller was too slow")
        if given != 0:  # else it does not wait at all
            self.settimeout(seconds if given is None else min(seconds, given))
        try:
            yield
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the caller was too slow") from None
        finally:
            if self.fileno() >= 0:
                self.settimeout(given)


def timed_worker(receive_timeout_s: float) -> type[ThreadWorker]:
    """gunicorn's threaded worker for callers that may be slow."""

    class TimedWorker(ThreadWorker):  # type: ignore[misc]
        def handle(self, conn: Any) -> Any:
            if not isinstance(conn.sock, TimedSocket):
                conn.sock = TimedSocket(fileno=conn.sock.detach())
                conn.wait_for_data = lambda _timeout: TConn.wait_for_data(conn, FIRST_BYTE_S)
            conn.sock.begin(receive_timeout_s)
            kept = super().handle(conn)
            if not kept:
                # Here rather than in the loop that accepts the others' connections, where gunicorn does it.
                close_graceful(conn.sock, LINGER_S)
            return kept

    return TimedWorker
