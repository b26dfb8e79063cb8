"""Pages about the service itself: a front page, and what became of the cards."""

from flask import Flask, render_template, request

from hooks.context import Context
from hooks.feedback_table import AGREEMENT_NOTE, NOTE, agreement_table, parse_since, table, unknown
from hooks.services import SERVICE_ID
from hooks.visitors import any_visitor
from hooks.wording import NOT_A_DIAGNOSIS, minute


def page_routes(app: Flask, context: Context) -> None:
    @app.get("/")
    def home() -> str:
        any_visitor(look=False)
        return render_template(
            "home.html", service_id=SERVICE_ID, model=context.model, notice=NOT_A_DIAGNOSIS
        )

    @app.get("/feedback")
    def feedback() -> str:
        """Counts alone: no patient, no user, no comment."""
        any_visitor(staff=True)
        text = request.args.get("since", "")
        since = parse_since(text) if text else None
        summary = context.store.feedback_summary(since)
        return render_template(
            "feedback.html",
            rows=table(summary),
            unknown=unknown(summary),
            note=NOTE,
            agreement=agreement_table(context.store.agreement(since)),
            agreement_note=AGREEMENT_NOTE,
            since=minute(since) if since else None,
        )
