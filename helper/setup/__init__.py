"""From options to objects: device, generators, batches, networks, methods, views; and the plan in
words.

The options stop in this room. Does not belong here: loops (helper/loop), formulas (helper/step),
flags (helper/cli).
"""
