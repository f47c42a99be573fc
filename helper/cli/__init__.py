"""The command line: flags, the parser, the rules between flags, what --list prints.

Belongs here: everything that turns words into a checked options object. Does not belong here:
objects made from it (helper/setup), anything that a run does.
"""
