"""An observer for tests."""


class Watching:
    """`see(images, views)` at every step."""

    interval = 1

    def __init__(self, see):
        self.see = see

    def __call__(self, step, images, views):
        self.see(images, views)
