"""How the controller's database came to be what it is: Alembic migrations, run when a controller opens its store."""
