"""Check folders, pairs and LMDBs of images."""
