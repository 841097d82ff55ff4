"""What `lastgood latest` is made of: a directory is read, judged, and its state file mended when asked.

examine        reads names, the state file, and bytes until a checkpoint is whole
decide         what TensorFlow would take, what it should, and why the two differ; pure
leftovers      what lies orphaned or leaked, by names and sizes; pure
state_file     TensorFlow's state file, as TensorFlow reads and writes it
path_patterns  which files TensorFlow finds at a path, which it takes for a pattern
repair         lets the state file name the newest whole checkpoint
"""
