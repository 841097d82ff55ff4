"""Alembic's way in: migrates over the connection that the store hands in, and never opens one of its own."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
