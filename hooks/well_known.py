"""`/.well-known/jwks.json`: the public keys that we sign with, for authorization servers (RFC 7517 section 5)."""

import json

from flask import Flask, Response

from cds.signing_key import jwk_set
from hooks.context import Context

PATH = "/.well-known/jwks.json"


def well_known_routes(app: Flask, context: Context) -> None:
    """Where no key is configured, there is no such address."""
    if not context.signing_keys:
        return
    body = json.dumps(jwk_set(context.signing_keys))

    @app.get(PATH)
    def keys() -> Response:
        response = Response(body, mimetype="application/json")
        # SMART App Launch 2.2, "Registering a client": whoever fetches it may keep it, not for long.
        response.headers["Cache-Control"] = "public, max-age=300"
        return response
