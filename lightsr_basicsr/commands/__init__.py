"""Sub-commands of ``basicsr`` that need more than a few lines: arguments, examples, printing."""
