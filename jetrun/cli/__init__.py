"""The command line: a command parses, builds adapters, calls one function, prints, exits with one code."""
