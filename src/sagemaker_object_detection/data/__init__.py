"""From the files of a channel to batches: forms of input, sources, the gate and the loader."""
