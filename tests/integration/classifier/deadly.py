"""Runs in the predicting process: a prediction that kills it, as a crash in a library's C code would."""

import os
from collections.abc import Mapping, Sequence

from classifier.prediction import Prediction


def predict(_path: str, _priorities: Mapping[str, int], texts: Sequence[str]) -> list[Prediction]:
    """End the process if "deadly" is among `texts`."""
    if "deadly" in texts:
        os._exit(1)
    return []
