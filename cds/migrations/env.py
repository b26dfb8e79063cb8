"""What Alembic runs around the steps: they join the transaction of `cds.migrations.upgrade`, which commits."""

from alembic import context

from cds.store_schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter most of a table in place; batch mode rebuilds it.
    render_as_batch=True,
)
context.run_migrations()
