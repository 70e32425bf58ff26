"""Alembic's entry for its own command line (making new migrations); the daemon uses `runner.py`."""

from alembic import context
from sqlalchemy import create_engine

from appeals.tables import metadata

url = context.get_x_argument(as_dictionary=True).get("url", "sqlite://")
with create_engine(url).connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
