"""LFCC-GMM: the classical countermeasure, a baseline without a neural network.

Linear-frequency cepstral coefficients with the dimensions of the ASVspoof 2019 baseline
(Todisco et al. 2019; Sahidullah et al. 2015) and one Gaussian mixture per class. The
baseline's mixtures have 512 components; the default here is 64, for small corpora.
"""

import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.fft import dct
from scipy.signal import get_window
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

SAMPLE_RATE = 16_000
WINDOW, HOP, FFT = 320, 160, 512  # samples: 20 ms, 10 ms
FILTERS = 20  # and as many coefficients, the zeroth included
_FLOOR = np.finfo(np.float64).eps  # the log of a digital silence


class LfccGmm(NamedTuple):
    """The two fitted mixtures of `fit`, over frames (n, 60)."""

    bonafide: GaussianMixture
    spoof: GaussianMixture


def lfcc(waveform: np.ndarray) -> np.ndarray:
    """Frames of 20 static coefficients, their deltas and double deltas.

    Hamming windows that lie inside the waveform (no padding), power spectrum,
    triangular filters, log10, orthonormal DCT-II; a delta is half the difference of the
    next and the previous frame, the ends repeated.

    Args:
        waveform: float (samples,), 16 kHz, nominally in [-1, 1], at least 320 samples.

    Returns:
        float64 (1 + (samples − 320) // 160, 60).

    Raises:
        ValueError: not floating point, not one-dimensional, too short, or not finite.
    """
    frames = np.lib.stride_tricks.sliding_window_view(_checked(waveform), WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * get_window("hamming", WINDOW), FFT)
    energies = np.abs(spectrum) ** 2 @ linear_filters().T
    static = dct(np.log10(energies + _FLOOR), type=2, norm="ortho")
    delta = _delta(static)
    return np.concatenate([static, delta, _delta(delta)], axis=1)


def linear_filters() -> np.ndarray:
    """Triangles (20, 257) of height 1, evenly spaced over 0–8 kHz.

    Filter i rises from the centre of filter i − 1 and falls to that of filter i + 1.
    """
    edges = np.linspace(0, SAMPLE_RATE / 2, FILTERS + 2)
    distance = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE) - edges[1:-1, None]
    return np.maximum(0, 1 - np.abs(distance) / edges[1])


def fit(
    bonafide_waveforms: Iterable[np.ndarray],
    spoof_waveforms: Iterable[np.ndarray],
    *,
    components: int = 64,
    seed: int = 0,
    iterations: int = 20,
) -> LfccGmm:
    """Fits one diagonal Gaussian mixture to the frames of each class.

    Args:
        bonafide_waveforms, spoof_waveforms: see `lfcc`; lengths may differ.
        components: of each mixture, at least 1, at most the frames of a class.
        seed: of both mixtures; the result is a function of it and of the waveforms.
        iterations: most steps of expectation-maximisation, at least 1.

    Raises:
        ValueError: a class is empty or has fewer frames than components, an argument
            is out of range, or a waveform is invalid.
    """
    if components < 1 or iterations < 1:
        raise ValueError(
            f"components is {components} and iterations {iterations}, must be at least "
            "1; leave the defaults"
        )
    classes = {"bona fide": bonafide_waveforms, "spoof": spoof_waveforms}
    mixtures = []
    for name, waveforms in classes.items():
        frames = np.concatenate([np.empty((0, 3 * FILTERS)), *map(lfcc, waveforms)])
        if len(frames) < max(2, components):
            raise ValueError(
                f"the {name} class has {len(frames)} frames, need {max(2, components)} "
                f"for {components} components; add audio or lower components"
            )
        mixtures.append(_fit_mixture(frames, components, seed, iterations))
    return LfccGmm(*mixtures)


def score(model: LfccGmm, waveforms: Iterable[np.ndarray]) -> np.ndarray:
    """Log-likelihood ratios in nats, float64 (n,); higher means bona fide.

    The mean over a waveform's frames of log p(frame | bona fide) − log p(frame |
    spoof), so that the length of a waveform does not scale it. `waveforms`: see `lfcc`.
    """
    frames = map(lfcc, waveforms)
    ratios = [model.bonafide.score(x) - model.spoof.score(x) for x in frames]
    return np.array(ratios, np.float64)


def _fit_mixture(
    frames: np.ndarray, components: int, seed: int, iterations: int
) -> GaussianMixture:
    mixture = GaussianMixture(
        components,
        covariance_type="diag",
        # Not "kmeans": 600 clips took 17.7 s with it, 9.9 s without, and the likelihood
        # after the same number of EM steps was lower (31.88 against 31.98 a frame).
        init_params="k-means++",
        # Frames of digital silence are identical; without a floor a component shrinks
        # onto them and their likelihood alone decides the score.
        reg_covar=1e-3,
        max_iter=iterations,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The number of steps is a budget: running out of it is not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(frames)


def _delta(coefficients: np.ndarray) -> np.ndarray:
    padded = np.pad(coefficients, ((1, 1), (0, 0)), mode="edge")
    return (padded[2:] - padded[:-2]) / 2


def _checked(waveform: np.ndarray) -> np.ndarray:
    waveform = np.asarray(waveform)
    if not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(
            f"waveform is {waveform.dtype}, must be floating point; divide 16-bit "
            "samples by 32768"
        )
    if waveform.ndim != 1 or waveform.size < WINDOW:
        raise ValueError(
            f"waveform has shape {waveform.shape}, must be (samples,) with at least "
            f"{WINDOW} samples (20 ms at 16 kHz); mix to mono, drop or pad it"
        )
    if not np.isfinite(waveform).all():
        bad = np.flatnonzero(~np.isfinite(waveform))[0]
        raise ValueError(
            f"waveform[{bad}] is {waveform[bad]}, samples must be finite; decode the "
            "file again or drop it"
        )
    return waveform.astype(np.float64)
