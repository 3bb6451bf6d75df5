"""Changes against clean, against a bootstrap written out for each replicate."""

import numpy as np
import pytest

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.scoring import small_samples
from mldg_jax.scoring.key_files import Keys
from mldg_jax.scoring.robustness.degraded_scores import DegradedScores
from mldg_jax.scoring.robustness.score_drops import measure
from mldg_jax.scoring.scheme import Scheme
from tests import signals


def case(seed=0, failed=()):
    scores, labels, attacks, speakers = signals.random_trials(seed, n=240)
    names = np.array([f"u{i}" for i in range(240)])
    keys = Keys(names, labels, {"attack": attacks, "speaker": speakers}, "test")
    noise = np.random.default_rng(seed + 1).normal(size=240)
    worse = scores - 0.4 + 0.8 * noise
    worse[list(failed)] = np.nan
    problems = {str(names[i]): "why" for i in failed}
    scored = {
        "clean": DegradedScores(scores, 0, {}, None),
        "g722": DegradedScores(worse, 240, problems, 3.0),
        "mulaw": DegradedScores(scores - 1, 240, {}, 5.0),
    }
    return keys, scored


def test_a_shift_moves_the_errors_at_the_threshold_alone():
    keys, scored = case()
    drops = measure("x", keys, scored, Scheme("together", replicates=100)).drops
    assert drops["mulaw"].eer_change.difference == 0
    assert drops["mulaw"].eer_change.text() == "+0.0 [+0.0, +0.0]"
    real, clean = keys.label == 1, scored["clean"].scores
    threshold = drops["clean"].errors.threshold
    frr = np.mean(clean[real] - 1 < threshold)
    far = np.mean(clean[~real] - 1 >= threshold)
    assert drops["mulaw"].errors.hter == pytest.approx((frr + far) / 2)
    assert drops["clean"].errors.hter == pytest.approx(
        metrics.eer(clean[real], clean[~real], attainable=True)[0]
    )


@pytest.mark.parametrize("name", ["g722", "mulaw"])
@pytest.mark.parametrize("failed", [(), (3, 7, 100)])
def test_intervals_are_those_of_repeated_trials(name, failed):
    """Two-way: a trial counts as often as its speaker times its attack is drawn."""
    keys, scored = case(1, failed)
    scheme = Scheme("together", replicates=60, clusters="speakers and attacks")
    drop = measure("x", keys, scored, scheme).drops[name]
    threshold = measure("x", keys, scored, scheme).drops["clean"].errors.threshold
    speakers, s = np.unique(keys.columns["speaker"], return_inverse=True)
    real = keys.label == 1
    attacks, a = np.unique(keys.columns["attack"][~real], return_inverse=True)
    both = np.isfinite(scored[name].scores)
    by_speaker = np.random.default_rng(np.random.SeedSequence((0,)))
    by_attack = np.random.default_rng(np.random.SeedSequence((0,), spawn_key=(0,)))
    n, m = len(speakers), len(attacks)
    drawn = by_speaker.integers(n, size=(60, n)), by_attack.integers(m, size=(60, m))
    changes = []
    for own, other in zip(*drawn, strict=True):
        counts = np.bincount(own, minlength=n)[s]
        counts[~real] *= np.bincount(other, minlength=m)[a]
        rates = []
        for x in (scored[name].scores, scored["clean"].scores):
            bonafide = np.repeat(x[real & both], counts[real & both])
            spoof = np.repeat(x[~real & both], counts[~real & both])
            hter = (np.mean(bonafide < threshold) + np.mean(spoof >= threshold)) / 2
            rates.append([metrics.eer(bonafide, spoof)[0], hter])
        changes.append(np.subtract(*rates))
    level = small_samples.level(0.95, min(n, m))
    ends = np.quantile(changes, [(1 - level) / 2, (1 + level) / 2], axis=0)
    for i, change in enumerate((drop.eer_change, drop.hter_change)):
        assert (change.low, change.high) == pytest.approx(tuple(ends[:, i]))
    assert drop.errors.n_bonafide + drop.errors.n_spoof == both.sum()


def test_without_attacks_or_speakers_there_is_less():
    keys, scored = case()
    scheme = Scheme("together", replicates=60, clusters="speakers and attacks")
    two = np.where(keys.columns["attack"] == "A19", "A07", keys.columns["attack"])
    columns = {**keys.columns, "attack": two}
    result = measure("x", keys._replace(columns=columns), scored, scheme)
    assert "attacks" not in result.scheme.sentence(result.units)
    one = {**keys.columns, "speaker": np.array([f"s{i % 3}" for i in range(240)])}
    result = measure("x", keys._replace(columns=one), scored, scheme)
    assert result.scheme.replicates == 0
    assert result.to_json()["degradations"]["g722"]["eer_change"].keys() == {
        "difference"
    }


def test_scores_that_allow_no_rates():
    keys, scored = case()
    scheme = Scheme("together", replicates=0)
    nothing = DegradedScores(np.full(240, np.nan), 0, {"u0": "too short"}, None)
    with pytest.raises(
        UserError, match=r"could be scored \(too short\).*--without aac"
    ):
        measure("x", keys, {**scored, "aac": nothing}, scheme)
    flat = scored["clean"]._replace(scores=np.zeros(240))
    with pytest.raises(UserError, match="clean recordings: every score is 0"):
        measure("x", keys, {**scored, "clean": flat}, scheme)
