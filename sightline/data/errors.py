"""What can be wrong with a set of pictures: one class an error; each message quotes the value, the rule and the remedy."""


class DataError(ValueError):
    """A source of pictures can not be used as it is."""


class UnreadableImage(DataError):  # noqa: N818 (it names the picture, as `Unreadable` does)
    """A picture that can not be opened.

    Attributes:
        name: which picture.
        reason: why, in words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class SourceNotFoundError(DataError):
    """There is no such file, folder or built-in set."""


class LayoutError(DataError):
    """The files are there, but not in a layout that tells classes and splits apart."""


class NoImagesError(DataError):
    """Not one picture was found."""


class SingleClassError(DataError):
    """All pictures belong to one class: there is nothing to tell apart."""


class EmptyClassError(DataError):
    """A class without a picture to train on."""


class TooFewImagesError(DataError):
    """A class with too few pictures to have some in each split."""


class ClassMismatchError(DataError):
    """The classes of validation or test pictures are not those of the training pictures."""


class UnknownLabelError(DataError):
    """A label that names no class."""


class OverlappingSplitsError(DataError):
    """The same picture stands in two splits, so that a score would measure memory."""


class TooManyUnreadableError(DataError):
    """More pictures than allowed could not be opened."""
