"""The one exception of these diagnostics."""


class NotMeasurable(ValueError):
    """A metric has no value for these rows; the message says what it needs. Reports mark it and go on."""
