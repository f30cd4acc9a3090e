"""A training project of one's own photographs: data, option files, and the commands to go on."""
