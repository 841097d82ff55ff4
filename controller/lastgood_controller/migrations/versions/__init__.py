"""One file per change of the database, each naming the one before it."""
