"""The parts of a run. README.md beside this file says what belongs in which room.

`VERSION` is the product's; CHANGELOG.md says what each brought.
"""

VERSION = "0.2"
