"""TensorFlow's TensorBundle V2 (what `tf.train.Checkpoint` writes), read without TensorFlow.

`table` reads the LevelDB table that an index file is, `wire` the protobuf messages in it, `reader` makes a `Bundle`
of them, `graph` reads the object graph, `shards` the data files. All of it distrusts what it reads: any bytes give
either an answer or a `BundleError`, in time and memory proportional to the size of the file.
"""
