"""The command line: one thin file per command group, over the same code that programs use."""
