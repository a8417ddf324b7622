"""Brings the tables up to date."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from limpet_activity.store.databases import Database, explained
from limpet_activity.store.port import StoreError

_SCRIPTS: Final = Path(__file__).parent / "migrations"

NEWEST: Final = ScriptDirectory(str(_SCRIPTS)).get_current_head()
"""The revision of the tables that this version knows."""


def migrate(database: Database) -> None:
    """Make the changes that are missing, one process at a time. Raises StoreError."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    with explained(), database.engine.begin() as connection:
        database.check(connection)
        database.write(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                f"the tables are of a later version than this one, whose newest is {NEWEST}: upgrade ({error})"
            ) from error
