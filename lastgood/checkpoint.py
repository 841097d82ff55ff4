"""One view of a checkpoint, whatever wrote it: its tensors, its object graph, and values that are checked when read.

    with open_checkpoint("ckpts/ckpt-7") as checkpoint:
        for key, tensor in checkpoint.tensors.items():
            print(tensor.label, tensor.dtype, tensor.shape, tensor.full_name)
        kernel = checkpoint.array(b"net/d1/kernel/.ATTRIBUTES/VARIABLE_VALUE")

Opening reads the index alone; the object graph and the values are read when they are asked for, and every value is
checked against its checksum while it is read. Nothing is said here about a checkpoint as a whole: `lastgood.verify`
reads every byte of it.
"""

from lastgood.opened import BUNDLE, KERAS, WEIGHTS_H5, Checkpoint, TensorInfo

__all__ = ["BUNDLE", "KERAS", "WEIGHTS_H5", "Checkpoint", "TensorInfo", "open_checkpoint"]


def open_checkpoint(path: str) -> Checkpoint:
    """The checkpoint at `path`, which is whatever `lastgood.recognition` takes: a prefix, a SavedModel, a Keras file.

    Reads a bundle's index; of a Keras file the structure when `tensors` is asked for. Raises BundleError, and
    MissingExtraError for a Keras file where h5py is not installed.
    """
    from lastgood.recognition import Kind, recognise

    found = recognise(path)
    if found.kind is Kind.BUNDLE:
        from lastgood.bundle_checkpoint import BundleCheckpoint

        return BundleCheckpoint(path, found.location)
    from lastgood.keras.files import KerasCheckpoint

    return KerasCheckpoint(path, found.kind.value)
