"""Option files as users write them: found by name, extending each other, with overrides of the command line."""
