"""Alembic's entry. The gateway hands its own connection over; a developer names a database: ``alembic -x url=…``."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

from gateway.storage.schema import metadata


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=False)
    with context.begin_transaction():
        context.run_migrations()


handed_over: Connection | None = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if url is None:
        raise SystemExit("run `gateway db upgrade CONFIG`, or name a database to develop against: alembic -x url=…")
    with create_engine(url).begin() as own:
        run(own)
