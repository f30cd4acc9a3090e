"""The command ``basicsr prepare``: one file per sub-command, or per group of them."""
