"""The store's schema, step by step (Alembic). Never change a step that was released: add one."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from cds.errors import StoreError


def upgrade(connection: Connection) -> None:
    """Run the missing steps inside the caller's transaction. Raises StoreError when the schema is newer than we are."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            "the assessment store was made by a newer LeukoCDS; this one cannot use it"
        ) from error
