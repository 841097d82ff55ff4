"""What `lastgood.explain` is made of: two sides described, matched as TensorFlow matches them, and judged key by key.

described      what a side is: objects by name, values, behaviour. From a checkpoint; `saved_side` opens one
live           what can be asked of one live object; `lastgood.tf` describes a program by it
matching       who meets whom, by the rules of `tf.train.Checkpoint.restore`
sides          both sides and their matching, for whoever judges
taken, loose   what becomes of values that the program takes, and of those without a counterpart
by_name        what becomes of a checkpoint by names, which has no object graph
optimizers     whether an optimizer's state is another optimizer's, by names
displacement   values that come into the wrong variable
counts         where the number of layers differs
predictions    the words that come out
"""
