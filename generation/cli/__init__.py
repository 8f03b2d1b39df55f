"""The command line: one module a command, each with a `register` that adds it to the parser."""
