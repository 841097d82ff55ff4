"""The library's own commands: one module and one `Command` each; `lastgood.cli` imports the one that is asked for."""
