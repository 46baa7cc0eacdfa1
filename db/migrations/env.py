"""Runs migrations on the connection that `db.engine.migrate` (or a test) puts into the configuration.

To write the next one, put the engine of a migrated store into `db.engine.alembic_config().attributes["connection"]`
and call `alembic.command.revision(config, "what changes", autogenerate=True)`; CHECKs and triggers are added by hand.
"""

from alembic import context
from sqlalchemy import Connection, Engine

from db import tables


def run(connection: Connection) -> None:
    """Run what was asked for; joins the transaction of `connection` when it is in one."""
    # Batch mode: SQLite changes a table by making it anew.
    context.configure(connection=connection, target_metadata=tables.Prompt.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes["connection"]
if isinstance(given, Engine):
    with given.begin() as opened:
        run(opened)
else:
    run(given)
