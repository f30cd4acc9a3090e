"""Official files of networks: the table of them, their names, the folder that keeps them, and their download."""
