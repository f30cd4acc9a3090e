"""Tools of ``basicsr train`` and ``basicsr test`` around BasicSR's pipelines."""
