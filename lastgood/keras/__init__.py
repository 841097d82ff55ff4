"""Keras's own files, `.keras` and `.weights.h5`: opened as a checkpoint, verified as far as they allow, and guarded.

files         an archive or a weights file as a `lastgood.opened.Checkpoint`
hdf5          the datasets of an HDF5 file, read defensively through h5py
apart         runs `hdf5` in a process of its own, which bytes may end or keep busy
verify        what can be said of such a file's bytes
model_config  the model's configuration, where it lies beside the weights
"""
