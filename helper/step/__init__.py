"""The science of a run: what one step computes, and the statistics of the teacher.

Belongs here: views, losses, weights, calls of networks, T. stddev. Images and labels come in, named
losses go out. Does not belong here: options, log files, checkpoints, anything that only makes a
step faster (helper/speed).
"""
