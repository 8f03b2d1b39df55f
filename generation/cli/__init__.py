"""The command line: one module per command, each with a function `register` that adds it to the parser."""
