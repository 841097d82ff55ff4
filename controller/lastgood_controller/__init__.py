"""The controller: fences and records what agents report, judges, plans, and acts."""
