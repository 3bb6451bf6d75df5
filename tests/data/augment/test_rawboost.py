"""Compares RawBoost with the reference's recorded output, and with numpy and scipy.

Replayed draws must give equal output, independent draws the same distributions.
"""

import functools
import json
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment import rawboost
from mldg_jax.data.augment.notches import Notches, bandstop, notch_filter
from tests import signals
from tests.data.augment import numpy_rawboost

GOLDEN = Path(__file__).parents[2] / "golden/rawboost.npz"
KEY = jax.random.key(0)
DRAW_LNL = jax.jit(rawboost.draw_lnl, static_argnums=(1, 2))
DRAW_ISD = jax.jit(rawboost.draw_isd, static_argnums=(1, 2, 3))
DRAW_SSI = jax.jit(rawboost.draw_ssi, static_argnums=(1, 2, 3))
CLOSE = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


def collapsed(config) -> rawboost.Ranges:
    """Returns the recorded ranges, each of which is a single point."""
    config = json.loads(str(config))
    snr = (config.get("SNRmin", 10), config.get("SNRmax", 10))
    return rawboost.Ranges(
        bands=config["nBands"],
        frequency=(config["minF"], config["maxF"]),
        bandwidth=(config["minBW"], config["maxBW"]),
        taps=(config["minCoeff"], config["maxCoeff"]),
        gain=(config["minG"], config["maxG"]),
        orders=config.get("N_f", 1),
        bias=(config.get("minBiasLinNonLin", 0), config.get("maxBiasLinNonLin", 0)),
        snr=snr,
    )


def clip(samples: int = 16_000, seed: int = 0) -> np.ndarray:
    return signals.speech_like(samples, seed)[0].astype(np.float64)


def test_lnl_is_the_reference_s(golden, float64):
    filters = DRAW_LNL(KEY, collapsed(golden["lnl_config"]), jnp.float64)
    CLOSE(filters[0], golden["notch_coeffs"])
    CLOSE(rawboost.apply_lnl(jnp.asarray(golden["x"]), filters), golden["lnl"])


def test_isd_is_the_reference_s(golden, float64):
    x = golden["x"]
    count = int(len(x) * golden["isd_beta"][0] / 100)
    change = np.zeros(len(x))
    depth = json.loads(str(golden["isd_config"]))["g_sd"]
    product = (2 * golden["isd_u1"] - 1) * (2 * golden["isd_u2"] - 1)
    change[golden["isd_permutation"][:count]] = depth * product
    CLOSE(rawboost.apply_isd(jnp.asarray(x), jnp.asarray(change)), golden["isd"])


def test_ssi_is_the_reference_s(golden, float64):
    ranges = collapsed(golden["ssi_config"])
    drawn = DRAW_SSI(KEY, len(golden["x"]), ranges, jnp.float64)
    drawn = drawn._replace(white=jnp.asarray(golden["ssi_noise"]))
    CLOSE(rawboost.apply_ssi(jnp.asarray(golden["x"]), drawn), golden["ssi"])


@pytest.mark.parametrize("taps", [11, 57, 99])
@pytest.mark.parametrize(
    ("centre", "width"),
    [(1_500, 400), (20, 1_000), (7_990, 900), (8_000, 100), (4_000, 9_000), (60, 119)],
)
def test_bandstop_is_scipy_s(centre, width, taps, float64):
    low, high = max(1e-3, centre - width / 2), min(8_000 - 1e-3, centre + width / 2)
    expected = scipy.signal.firwin(taps, [low, high], fs=16_000, scale=False)
    expected *= np.sign(expected.sum())  # what scaling by the gain at 0 Hz leaves
    notch = Notches(*np.array([[centre], [width]], float), np.array([taps]), None)
    made = bandstop(notch, longest=99)[0]
    margin = (99 - taps) // 2
    CLOSE(made[margin : margin + taps], expected)
    assert not made[:margin].any() and not made[margin + taps :].any()


@pytest.mark.parametrize(
    "ranges",
    # the reference's; wide notches at the edges; filters longer than its 1024-point FFT
    [
        rawboost.Ranges(),
        rawboost.Ranges(bands=2, frequency=(0, 300), bandwidth=(100, 900)),
        rawboost.Ranges(bands=4, taps=(300, 401), gain=(-3, 9)),
    ],
)
def test_filters_are_scipy_s_at_random_draws(ranges, float64):
    notches = rawboost.draw_notches(KEY, ranges, 20 * [ranges.gain], jnp.float64)
    made = jax.jit(notch_filter, static_argnames="longest")(
        notches, longest=ranges.longest
    )
    for filter, *draws in zip(*map(np.array, (made, *notches)), strict=True):
        expected = numpy_rawboost.notch_filter(*draws)
        margin = (len(filter) - len(expected)) // 2
        CLOSE(filter[margin : margin + len(expected)], expected)
        CLOSE(filter[:margin], 0)


def replayed(key, x: np.ndarray, algorithm: int) -> np.ndarray:
    """Returns the numpy version's output at our draws, with unpadded filters."""
    keys, ranges = jax.random.split(key, 3), rawboost.REFERENCE

    def short(filter):
        used = np.flatnonzero(np.abs(filter) > 1e-12)
        return np.asarray(filter)[used[0] : used[-1] + 1]

    def stage(name, x):
        if name == "lnl":
            return numpy_rawboost.lnl(
                x, map(short, DRAW_LNL(keys[0], ranges, jnp.float64))
            )
        if name == "isd":
            change = np.asarray(DRAW_ISD(keys[1], len(x), ranges, jnp.float64))
            return numpy_rawboost.isd(x, np.flatnonzero(change), change[change != 0])
        white, filter, snr = DRAW_SSI(keys[2], len(x), ranges, jnp.float64)
        return numpy_rawboost.ssi(x, white, short(filter), float(snr))

    if algorithm == 8:
        return numpy_rawboost.normalised(stage("lnl", x) + stage("isd", x))
    series = ["lnl", "isd", "ssi", "lnl isd ssi", "lnl isd", "lnl ssi", "isd ssi"]
    return functools.reduce(lambda x, s: stage(s, x), series[algorithm - 1].split(), x)


@pytest.mark.parametrize("algorithm", rawboost.ALGORITHMS)
def test_every_algorithm_is_numpy_s_at_our_draws(algorithm, float64):
    x = np.stack(
        [clip(8_000, 0), 2 * clip(8_000, 1)]
    )  # one that needs its peak limited
    keys = jax.random.split(KEY, 2)
    made = rawboost.rawboost(keys, jnp.asarray(x), algorithm=algorithm)
    for key, one, augmented in zip(keys, x, made, strict=True):
        np.testing.assert_allclose(augmented, replayed(key, one, algorithm), atol=1e-9)


def test_batches_in_float32():
    x = jnp.asarray(clip(6_000), jnp.float32)
    batch = jnp.broadcast_to(x, (2, 2, 6_000)).at[1, 1].set(0)
    keys = jax.random.split(KEY, (2, 2))
    made = rawboost.rawboost(keys, batch, algorithm=4)
    assert made.shape == batch.shape and made.dtype == jnp.float32
    assert jnp.isfinite(made).all()
    assert len(np.unique(np.asarray(made).reshape(4, -1), axis=0)) == 4  # own draws
    assert not made[1, 1].any()  # silence stays silent
    # it does not matter how clips are dealt
    part = rawboost.rawboost(keys[:, 1:], batch[:, 1:], algorithm=4)
    np.testing.assert_allclose(made[:, 1:], part, atol=2e-6)


def test_float32_is_near_float64(float64):
    filters = DRAW_LNL(KEY, rawboost.REFERENCE, jnp.float64)
    x = jnp.asarray(clip())
    single = rawboost.apply_lnl(x.astype(jnp.float32), filters.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, rawboost.apply_lnl(x, filters), atol=2e-6)


def test_chosen_places_are_different_and_as_many_as_asked():
    counts = np.array([0, 1, 500, 999, 1_000] * 40)
    keys = jax.random.split(KEY, len(counts))
    choose = functools.partial(rawboost.choose, largest=0.1)
    choose = jax.jit(jax.vmap(choose, (0, None, 0)), static_argnums=1)
    hits = np.zeros(10_000)
    for place, use, count in zip(
        *map(np.array, choose(keys, 10_000, counts)), counts, strict=True
    ):
        assert len(np.unique(place[use])) == use.sum() == count
        hits[place[use]] += 1
    # every place as likely
    assert scipy.stats.chisquare(hits.reshape(50, -1).sum(axis=1)).pvalue > 0.01


def same(ours, theirs) -> None:
    """Asserts that two samples may have the same distribution (Kolmogorov–Smirnov)."""
    ours, theirs = np.ravel(ours), np.ravel(theirs)
    assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-3


def decibels(filters) -> np.ndarray:
    """Returns the responses (n, frequencies) of (n, length) in dB, at least −60."""
    spectrum = [np.abs(np.fft.rfft(filter, 1_024))[:-1] for filter in filters]
    return 20 * np.log10(np.maximum(spectrum, 1e-3))


def test_filters_are_distributed_as_the_reference_s():
    rng, keys = np.random.default_rng(0), jax.random.split(KEY, 400)
    draw = jax.jit(jax.vmap(lambda key: rawboost.draw_lnl(key, rawboost.REFERENCE)))
    ours = np.array(draw(keys))  # (400, 5, length)
    theirs = [numpy_rawboost.draw_lnl(rng) for _ in keys]
    for order in (0, 1, 4):
        one, two = decibels(ours[:, order]), decibels([f[order] for f in theirs])
        gains = one.max(axis=1, keepdims=True), two.max(axis=1, keepdims=True)
        if order == 0:
            np.testing.assert_allclose(gains, 0, atol=1e-2)
        else:
            same(*gains)
        one, two = one - gains[0], two - gains[1]
        same(one.mean(axis=1), two.mean(axis=1))  # how much all notches take
        for frequency in (20, 200, 500):  # times 15.6 Hz
            same(one[:, frequency], two[:, frequency])


def test_draws_are_distributed_as_the_reference_s():
    rng, keys, n = np.random.default_rng(1), jax.random.split(KEY, 500), 4_000
    draw_isd = jax.jit(
        jax.vmap(lambda key: rawboost.draw_isd(key, n, rawboost.REFERENCE))
    )
    ours = np.array(draw_isd(keys))
    theirs = [numpy_rawboost.draw_isd(rng, n)[1] for _ in keys]
    same((ours != 0).sum(axis=1), [len(x) for x in theirs])
    same(ours[ours != 0], np.concatenate(theirs))
    draw_ssi = jax.jit(
        jax.vmap(lambda key: rawboost.draw_ssi(key, n, rawboost.REFERENCE))
    )
    drawn = draw_ssi(keys)
    same(drawn.snr, rng.uniform(10, 40, len(keys)))
    same(drawn.white * np.sqrt(n), rng.standard_normal((len(keys), n)))


def test_output_is_distributed_as_the_reference_s():
    x, count = clip(8_000, seed=3).astype(np.float32), 400
    rng = np.random.default_rng(2)
    ours = np.array(rawboost.rawboost(KEY, jnp.tile(x, (count, 1)), algorithm=4))
    theirs = [
        numpy_rawboost.rawboost(rng, x, 4, scipy.signal.oaconvolve)
        for _ in range(count)
    ]
    for measure in (
        lambda y: np.std(y, axis=1),
        lambda y: np.abs(y).max(axis=1),
        lambda y: np.std(y - x, axis=1),
        *(functools.partial(octave, number=i) for i in (1, 3, 5)),
    ):
        same(measure(ours), measure(np.array(theirs)))


def octave(waveform, number: int):
    """Returns (n,) the level in dB of the octave below 8 kHz · 2**(1 - number)."""
    spectrum = np.abs(np.fft.rfft(waveform, axis=-1)) ** 2
    top = spectrum.shape[-1] >> number - 1
    return 10 * np.log10(spectrum[:, top // 2 : top].sum(axis=-1))


@pytest.mark.parametrize("algorithm", [4, 8])
def test_lowers_for_tpu_and_cuda(algorithm):
    def augment(key, waveform):
        return rawboost.rawboost(
            jax.random.wrap_key_data(key), waveform, algorithm=algorithm
        )

    lowered = jax.export.export(jax.jit(augment), platforms=("cpu", "cuda", "tpu"))(
        jax.ShapeDtypeStruct((2,), "uint32"),
        jax.ShapeDtypeStruct((6, 4, 64_600), "float32"),
    )
    assert set(lowered.platforms) == {"cpu", "cuda", "tpu"}


def test_impossible_values_are_named():
    with pytest.raises(UserError, match=r"algorithm 9.*1 … 8"):
        rawboost.rawboost(KEY, jnp.zeros((1, 4_000)), algorithm=9)
    for name, value in {
        "frequency": (20, 9_000),
        "bandwidth": (0, 100),
        "taps": (1, 10),
        "snr": (40, 10),
        "share": 60,
        "orders": 0,
    }.items():
        with pytest.raises(UserError, match=name):
            rawboost.Ranges(**{name: value})
