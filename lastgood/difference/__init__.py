"""What `lastgood.diff` is made of.

deltas   by how much the values of one tensor differ
moves    which tensors merely changed their place
"""
