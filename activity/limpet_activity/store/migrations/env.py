"""What Alembic runs: the changes that are missing, on the connection of `migrate.migrate`."""

from alembic import context

from limpet_activity.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
