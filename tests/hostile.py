"""Contents that a file from elsewhere may have."""


class Calls:
    """Pickles as a call, which `pickle.load` would make."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call
