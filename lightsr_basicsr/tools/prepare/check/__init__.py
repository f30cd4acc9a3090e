"""Check folders, pairs and LMDBs of images before training or testing."""
