"""What ``basicsr train`` and ``basicsr test`` use around BasicSR's pipelines."""
