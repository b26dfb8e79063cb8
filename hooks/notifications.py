"""`/fhir-notifications`: where the FHIR server says that a study is new. What else it sends is not read."""

import hmac
from collections.abc import Callable

from flask import Flask, Response, request

from cds.errors import Unauthenticated
from cds.ports import WatchStore
from cds.subscription import HEADER
from hooks.context import Context

PATH = "/fhir-notifications"


def notification_routes(app: Flask, context: Context) -> None:
    """Where no Subscription is wanted, there is no such address."""
    notified = context.notified
    if notified is None:
        return

    from hooks.early_metrics import NOTIFICATIONS  # not before the folder that processes count in is named

    @app.post(PATH)
    def notification() -> Response:
        try:
            notified(request.headers.get(HEADER, ""))
        except Unauthenticated:
            NOTIFICATIONS.labels(result="refused").inc()
            raise
        NOTIFICATIONS.labels(result="taken").inc()
        return Response(status=200)


def taker(store: WatchStore, server: str) -> Callable[[str], None]:
    """What `Context.notified` is: compares the secret with the one in the store, and makes a look due."""

    def take(secret: str) -> None:
        known = store.watch(server).secret
        if not hmac.compare_digest(secret.encode("utf-8", "surrogateescape"), known.encode()):
            raise Unauthenticated("notification")
        store.look_now(server, notified=True)

    return take
