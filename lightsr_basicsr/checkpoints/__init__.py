"""Checkpoints: read, unwrap, compare and write the weights of a network.

The modules exported here import no network. ``identify`` and ``misfit`` know the networks of this package, ``states``
finds the training state from which a run resumes.
"""

# ruff: noqa: F401 (exported)
from lightsr_basicsr.checkpoints.files import SUFFIXES, WRAPPERS, CheckpointError, read_state_dict, unwrap
from lightsr_basicsr.checkpoints.keys import describe_difference, fitting
from lightsr_basicsr.checkpoints.whole import write_whole
from lightsr_basicsr.checkpoints.write import split_list, write_state_dict
