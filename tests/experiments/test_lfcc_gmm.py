"""LFCC-GMM against librosa, closed forms, scipy densities and a separable corpus."""

import numpy as np
import pytest
from scipy.fft import dct, idct
from scipy.signal import lfilter
from scipy.special import logsumexp
from scipy.stats import norm

from mldg_jax import metrics
from mldg_jax.experiments import lfcc_gmm


def noises(seed, pole, count=12):
    """Coloured noise with one resonance, 0.3 to 0.6 s, float32."""
    rng = np.random.default_rng(seed)
    return [
        (0.1 * lfilter([1], [1, -pole], rng.normal(size=n))).astype(np.float32)
        for n in rng.integers(4_800, 9_600, count)
    ]


@pytest.mark.parametrize("samples", [320, 479, 480, 16_000])
def test_equals_librosa(samples):
    import librosa

    waveform = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    # librosa centres a 320-sample window in a 512-sample frame: 96 zeros either side.
    # The power spectrum does not depend on where in the frame the window lies.
    power = np.abs(
        librosa.stft(
            np.pad(waveform.astype(np.float64), 96),
            n_fft=512,
            hop_length=160,
            win_length=320,
            window="hamming",
            center=False,
        )
    )
    power **= 2
    edges, bins = (
        np.linspace(0, 8_000, 22),
        librosa.fft_frequencies(sr=16_000, n_fft=512),
    )
    filters = [np.interp(bins, edges[i : i + 3], [0, 1, 0]) for i in range(20)]
    static = dct(np.log10(np.array(filters) @ power), axis=0, norm="ortho")
    delta, double = static, static
    if static.shape[1] >= 3:
        delta = librosa.feature.delta(static, width=3, mode="nearest")
        double = librosa.feature.delta(delta, width=3, mode="nearest")
    got = lfcc_gmm.lfcc(waveform)
    assert got.shape == (1 + (samples - 320) // 160, 60)
    np.testing.assert_allclose(got[:, :20], static.T, atol=1e-9)
    if len(got) >= 3:
        np.testing.assert_allclose(got[:, 20:40], delta.T, atol=1e-9)
        np.testing.assert_allclose(got[:, 40:], double.T, atol=1e-9)


@pytest.mark.parametrize("filter_index", [0, 7, 19])
def test_a_tone_excites_its_filter(filter_index):
    frequency = 8_000 / 21 * (filter_index + 1)
    tone = np.sin(2 * np.pi * frequency * np.arange(8_000) / 16_000)
    energies = idct(lfcc_gmm.lfcc(tone)[:, :20], norm="ortho")
    assert np.all(energies.argmax(axis=1) == filter_index)


def test_gain_moves_only_the_zeroth_coefficient():
    (waveform,) = noises(0, 0.3, count=1)
    change = lfcc_gmm.lfcc(10 * waveform.astype(np.float64)) - lfcc_gmm.lfcc(waveform)
    # log10 of a power of 100 is 2 in each of 20 filters; the orthonormal DCT: 2 √20.
    np.testing.assert_allclose(change[:, 0], 2 * np.sqrt(20), atol=1e-6)
    np.testing.assert_allclose(change[:, 1:], 0, atol=1e-6)


def test_digital_silence_is_finite():
    assert np.isfinite(lfcc_gmm.lfcc(np.zeros(1_600, np.float32))).all()


def test_separates_two_kinds_of_noise():
    model = lfcc_gmm.fit(noises(1, 0.3), noises(2, 0.5), components=2, seed=0)
    bonafide = lfcc_gmm.score(model, noises(3, 0.3))
    spoof = lfcc_gmm.score(model, noises(4, 0.5))
    assert metrics.eer(bonafide, spoof)[0] == 0
    assert bonafide.mean() > 0 > spoof.mean()


def test_score_equals_the_density_ratio_from_scipy():
    model = lfcc_gmm.fit(noises(1, 0.3), noises(2, 0.5), components=3, seed=0)
    waveforms = noises(5, 0.4, count=3)

    def density(mixture, frames):
        each = norm.logpdf(
            frames[:, None], mixture.means_, np.sqrt(mixture.covariances_)
        )
        return logsumexp(each.sum(axis=-1), b=mixture.weights_, axis=1).mean()

    expected = [
        density(model.bonafide, frames) - density(model.spoof, frames)
        for frames in map(lfcc_gmm.lfcc, waveforms)
    ]
    np.testing.assert_allclose(lfcc_gmm.score(model, waveforms), expected, rtol=1e-6)


def test_fit_is_a_function_of_the_seed():
    def scores(seed):
        model = lfcc_gmm.fit(noises(1, 0.3), noises(2, 0.5), components=4, seed=seed)
        return lfcc_gmm.score(model, noises(5, 0.4, count=3))

    np.testing.assert_array_equal(scores(0), scores(0))
    assert np.any(scores(0) != scores(1))


GOOD = noises(0, 0.3, count=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lfcc_gmm.lfcc(np.zeros(319, np.float32)), r"\(319,\).*320"),
        (lambda: lfcc_gmm.lfcc(np.zeros((2, 400), np.float32)), r"\(2, 400\).*mono"),
        (lambda: lfcc_gmm.lfcc(np.zeros(400, np.int16)), "int16.*32768"),
        (
            lambda: lfcc_gmm.lfcc(np.full(400, np.nan, np.float32)),
            r"waveform\[0\] is nan",
        ),
        (lambda: lfcc_gmm.fit(GOOD, []), "spoof class has 0 frames"),
        (
            lambda: lfcc_gmm.fit(GOOD, GOOD, components=10_000),
            "frames, but components = 10000 needs at least 10000",
        ),
        (lambda: lfcc_gmm.fit(GOOD, GOOD, components=0), "components is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
