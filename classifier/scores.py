"""Measures of a classifier's quality, as the literature defines them."""

import numpy as np
from numpy.typing import NDArray

BINS = 10  # of the calibration error


def f1_by_class(truth: NDArray[np.intp], guess: NDArray[np.intp]) -> dict[int, float]:
    """Return F1, 0..1, of every class that occurs in `truth` or `guess`."""
    result = {}
    for index in np.union1d(truth, guess).tolist():
        hit = int(((truth == index) & (guess == index)).sum())
        result[index] = 2 * hit / (int((truth == index).sum()) + int((guess == index).sum()))
    return result


def macro_f1(truth: NDArray[np.intp], guess: NDArray[np.intp]) -> float:
    """Return the mean F1 over the classes, each counting alike (as scikit-learn's `f1_score(average="macro")`)."""
    values = list(f1_by_class(truth, guess).values())
    return float(np.mean(values)) if values else 0.0


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0..1: mean gap of confidence and accuracy over ten bins, by their size.

    Naeini et al. 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning.
    """
    if not len(confidence):
        return 0.0
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = (
        abs(float(confidence[bins == b].mean()) - float(right[bins == b].mean())) * float((bins == b).mean())
        for b in np.unique(bins)
    )
    return float(sum(gaps))
