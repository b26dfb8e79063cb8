"""The request that Flask is handling, itself: each look through `flask.request` costs a microsecond, and a hook takes
dozens."""

from typing import Any, cast

from flask import Flask, Request
from flask import request as _proxy


class Application(Flask):
    """Flask without what it does for coroutines: there are none here, and it looks for them at every function."""

    def ensure_sync(self, func: Any) -> Any:
        return func


def current_request() -> Request:
    return cast(Request, cast(Any, _proxy)._get_current_object())
