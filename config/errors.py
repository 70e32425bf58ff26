"""The root of all our errors, and the one the lowest room raises. `appeals.errors` has the rest of the hierarchy."""


class OknoError(Exception):
    """Root of all errors that Okno raises on purpose. The text may be shown to an operator, never to a citizen."""


class ConfigurationError(OknoError):
    """A setting or a YAML file is wrong. `faults` lists every fault found, each with file, line, key and value."""

    def __init__(self, message: str, *, faults: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((message, *faults)))
        self.faults = faults
