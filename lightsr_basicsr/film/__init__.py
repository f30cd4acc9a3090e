"""Films, enlarged frame by frame: sound and time stamps kept, in constant memory, resumed where a run was killed."""
