import numpy as np
import pytest
import scipy.signal

from mldg_jax.data.corpora.debspoof import vocoders

RATE = 16_000
NAMES = [*vocoders.VOCODERS, "world_swap"]


def run(name, waveform, seed=0):
    generator = np.random.default_rng(seed)
    if name == "world_swap":
        target = scipy.signal.resample_poly(waveform, 10, 13)  # 1.3 times as high
        return vocoders.world_swap(waveform, RATE, generator, target)
    return vocoders.VOCODERS[name](waveform, RATE, generator)


@pytest.mark.parametrize("name", NAMES)
def test_vocoder(name, vowel):
    before = vowel.copy()
    output = run(name, vowel)
    np.testing.assert_array_equal(vowel, before)
    assert output.shape == vowel.shape
    assert np.isfinite(output).all()
    assert 0.1 < np.std(output) / np.std(vowel) < 10
    np.testing.assert_array_equal(output, run(name, vowel))
    difference = np.std(output - vowel) / np.std(vowel)
    assert difference > 0.05


@pytest.mark.parametrize(
    "name",
    ["gl_mel", "gl_coarse", "lpc_voc", "phase_voc", "world_shift", "world_pitch"],
)
def test_the_generator_matters(name, vowel):
    assert np.any(run(name, vowel, 0) != run(name, vowel, 1))


@pytest.mark.parametrize(
    "name", ["world_copy", "world_coded", "gl_mel", "lpc_voc", "lpc_low", "phase_voc"]
)
def test_copies_keep_the_envelope(name, vowel):
    def bands(wave):
        power = np.abs(np.fft.rfft(wave)) ** 2
        return np.log10([part.sum() for part in np.array_split(power, 16)])

    assert np.corrcoef(bands(vowel), bands(run(name, vowel)))[0, 1] > 0.9


def test_coarser_settings_lose_more(vowel):
    def loss(name):  # of the log mel spectrum, in nepers
        import librosa

        def mel(wave):
            return np.log(librosa.feature.melspectrogram(y=wave, sr=RATE) + 1e-6)

        return np.abs(mel(run(name, vowel)) - mel(vowel)).mean()

    assert loss("gl_coarse") > loss("gl_mel")
    assert loss("world_coded") > loss("world_copy")
    assert loss("lpc_low") > loss("lpc_voc")


def test_world_pitch_changes_the_melody_alone(vowel):
    import pyworld

    for seed in range(4):
        f0 = pyworld.dio(run("world_pitch", vowel, seed), RATE)[0]
        before = pyworld.dio(vowel, RATE)[0]
        moved = np.median(f0[f0 > 0]) / np.median(before[before > 0])
        swing = np.log(f0[f0 > 0]).std() / np.log(before[before > 0]).std()
        assert 0.75 < moved < 1.35
        assert swing < 0.7 or swing > 1.3


def test_world_swap_moves_the_pitch(vowel):
    import pyworld

    output = run("world_swap", vowel)
    f0 = [
        np.median(f[f > 0]) for f in (pyworld.dio(w, RATE)[0] for w in (vowel, output))
    ]
    assert f0[1] / f0[0] == pytest.approx(1.3, abs=0.1)


def test_world_swap_needs_voiced_speech(vowel):
    short = vowel[: RATE // 16]  # 13 frames
    with pytest.raises(ValueError, match="voiced"):
        vocoders.world_swap(vowel, RATE, np.random.default_rng(0), short)
