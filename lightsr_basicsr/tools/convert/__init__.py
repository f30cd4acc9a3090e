"""Convert a training form to its deployed form, and change the format of checkpoints."""
