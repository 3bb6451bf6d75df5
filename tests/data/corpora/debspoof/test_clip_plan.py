from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof import clip_plan, splits
from mldg_jax.data.corpora.debspoof.attacks import ATTACKS
from mldg_jax.data.corpora.debspoof.voices import Recording

counts = st.lists(st.integers(1, 300), min_size=10, max_size=30)


@given(counts)
def test_largest_cap_keeps_every_voice_within_a_tenth(numbers):
    cap = splits.largest_cap(numbers, 0.1)
    total = sum(min(n, cap) for n in numbers)
    assert max(min(n, cap) for n in numbers) <= 0.1 * total + 1e-9
    more = sum(min(n, cap + 1) for n in numbers)
    assert cap == max(numbers) or cap + 1 > 0.1 * more


@given(counts, st.integers(10, 400))
def test_voice_quotas(numbers, wanted):
    available = {f"v{i}": n for i, n in enumerate(numbers)}
    quotas = splits.voice_quotas(available, wanted, 0.1)
    assert all(0 < quotas[voice] <= available[voice] for voice in available)
    assert max(quotas.values()) <= 0.1 * sum(quotas.values()) + 1e-9


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 40), min_size=1, max_size=8))
def test_spread_is_in_proportion_everywhere(numbers):
    order = splits.spread(numbers)
    assert Counter(order) == numbers
    total = sum(numbers.values())
    for n in range(1, total + 1):
        for name, count in Counter(order[:n]).items():
            assert abs(count - n * numbers[name] / total) <= len(numbers)


def extra(language: str) -> list[Recording]:
    """Returns a hundred sentences without a recording."""
    pairs = [a + b for a in "abcdefghij" for b in "klmnopqrst"]
    return [
        Recording(
            *("", language, "", f"x/pkg/{language}.lua#{pair}"),
            *(f"nobody ever read {language} sentence {pair}", None, None),
            *("pkg", "CC0", 0.0),
        )
        for pair in pairs
    ]


@pytest.fixture(scope="module", params=["small", "full"])
def plan(rows, request):
    texts = [*extra("en"), *extra("lt"), *extra("fi")]
    return clip_plan.make_plan(
        rows, request.param, texts=texts if request.param == "full" else ()
    )


def test_plan_is_deterministic(rows):
    first, again = (clip_plan.make_plan(list(rows), "small") for _ in range(2))
    assert again == first and again.digest == first.digest
    other = clip_plan.make_plan(rows, "small", seed=1)
    assert other.digest != first.digest


def test_utterances_are_unique(plan):
    names = [clip.utterance for clip in plan.clips]
    assert len(names) == len(set(names))


def test_speakers_are_disjoint(plan):
    homes = defaultdict(set)
    for clip in plan.clips:
        homes[clip.speaker].add(clip.split)
        for row in (clip.recording, clip.target):
            if row is not None:
                homes[row.voice].add(clip.split)
    shared = {speaker for speaker, where in homes.items() if len(where) > 1}
    # Piper has one voice
    assert all(speaker.startswith("piper_") for speaker in shared)


def test_texts_are_disjoint(plan):
    homes = defaultdict(set)
    for clip in plan.clips:
        if clip.text:
            homes[splits.normal_text(clip.text)].add(clip.split)
    assert all(len(where) == 1 for where in homes.values())


def test_no_voice_above_a_tenth(plan):
    for split in splits.SPLITS:
        quotas = [
            n for cell, n in plan.quotas.items() if cell.startswith(f"{split}/bonafide")
        ]
        assert max(quotas) <= 0.1 * sum(quotas) + 1e-9


def test_every_cell_has_spare_candidates(plan):
    candidates = Counter(clip.cell for clip in plan.clips)
    for cell, quota in plan.quotas.items():
        if "/bonafide/" not in cell:
            assert candidates[cell] >= 1.25 * quota


def test_unseen_attacks_are_in_eval_only(plan):
    for clip in plan.clips:
        if clip.label == "spoof":
            attack = ATTACKS[plan.size][clip.attack]
            assert clip.split == "eval" or attack.seen
            assert clip.family == attack.family


def test_families_are_seen_or_unseen():
    for attacks in ATTACKS.values():
        homes = defaultdict(set)
        for attack in attacks.values():
            homes[attack.family].add(attack.seen)
        assert all(len(kinds) == 1 for kinds in homes.values())


def test_full_has_all_of_small_and_more():
    assert set(ATTACKS["quick"]) < set(ATTACKS["small"]) < set(ATTACKS["full"])
    for name, attack in ATTACKS["small"].items():
        assert ATTACKS["full"][name].family == attack.family
    for split in splits.SPLITS:
        assert sum(clip_plan.attack_counts("full", split).values()) > 2.5 * sum(
            clip_plan.attack_counts("small", split).values()
        )


def test_engine_voices_are_in_one_split():
    for attacks in ATTACKS.values():
        homes = defaultdict(set)
        for attack in attacks.values():
            for split, by_language in attack.voices.items():
                for voices in by_language.values():
                    for voice in voices:
                        homes[voice].add(split)
        assert [v for v, where in homes.items() if len(where) > 1] == ["joe"]


def test_languages_of_spoof_are_those_of_bonafide(rows):
    """In size full; size small is not balanced."""
    texts = [*extra("en"), *extra("lt"), *extra("ml"), *extra("uk")]
    plan = clip_plan.make_plan(rows, "full", texts=texts)
    shares, filled = defaultdict(Counter), Counter()
    for clip in plan.clips:
        filled[clip.cell] += 1
        if filled[clip.cell] <= plan.quotas[clip.cell]:
            shares[clip.split, clip.label][clip.language] += 1
    for split in splits.SPLITS:
        real, fake = shares[split, "bonafide"], shares[split, "spoof"]
        assert set(fake) <= set(real)
        distance = sum(
            abs(real[key] / real.total() - fake[key] / fake.total()) for key in real
        )
        assert distance / 2 < 0.15  # share of utterances to move


def test_folds_are_disjoint(plan):
    homes, said = defaultdict(set), defaultdict(set)
    for clip in plan.clips:
        assert 0 <= clip.fold < splits.FOLDS
        if clip.recording is None:
            said[splits.normal_text(clip.text)].add(clip.fold)
        else:
            homes[clip.recording.voice].add(clip.fold)
        if clip.target is not None and plan.size == "full":
            homes[clip.target.voice].add(clip.fold)
    assert all(len(folds) == 1 for folds in [*homes.values(), *said.values()])


def test_folds_have_about_as_many_voices_and_clips(plan):
    for split in splits.SPLITS:
        clips, voices = Counter(), defaultdict(set)
        for cell, quota in plan.quotas.items():
            if cell.startswith(f"{split}/bonafide/"):
                voice = cell.split("/")[-1]
                (fold,) = {c.fold for c in plan.clips if c.cell == cell}
                clips[fold] += quota
                voices[fold].add(voice)
        assert len(voices) == splits.FOLDS
        assert max(clips.values()) < 2 * min(clips.values())
        assert min(map(len, voices.values())) >= 2


def test_texts_that_nobody_reads_go_where_their_language_is_spoken(rows):
    parts = splits.assign_splits(rows, [*extra("lt"), *extra("en"), *extra("fi")])
    homes = defaultdict(Counter)
    for split, members in parts.items():
        for row in members:
            if not row.voice:
                homes[row.language][split] += 1
    assert homes["lt"] == {"train": 100}
    assert set(homes["en"]) == set(splits.SPLITS) and homes["en"].total() == 100
    assert "fi" not in homes


def test_unit_selection_never_says_its_own_sentences(plan):
    for clip in plan.clips:
        if clip.attack == "fest_clunits":
            assert clip.package != "pkg-fest_ru"


def test_copies_use_the_languages_of_bonafide(plan):
    for split in splits.SPLITS:
        shares = []
        for attack in ("-", "gl_mel"):
            languages = [
                clip.language
                for clip in plan.clips
                if clip.split == split and clip.attack == attack
            ]
            shares.append(
                {k: v / len(languages) for k, v in Counter(languages).items()}
            )
        for language, share in shares[0].items():
            assert shares[1].get(language, 0) == pytest.approx(share, abs=0.1)


def test_world_swap_targets_another_voice(plan):
    swaps = [clip for clip in plan.clips if clip.attack == "world_swap"]
    assert swaps
    assert all(clip.target.voice != clip.recording.voice for clip in swaps)


def test_quick_needs_no_root_and_no_recordings_that_differ_between_releases(rows):
    """Checks that its attacks are Python packages, not espeak, flite or festival."""
    packages = ("fil", "ast", "mfa", "ami", "librivox")
    some = [row for row in rows if row.voice.startswith(packages)]
    plan = clip_plan.make_plan(some, "quick")
    quotas = plan.quotas
    assert not any(
        clip.attack.startswith(("espeak", "flite", "fest")) for clip in plan.clips
    )
    attacks = {split: {c.attack for c in plan.clips if c.split == split} - {"-"}
               for split in splits.SPLITS}  # fmt: skip
    assert attacks["eval"] - attacks["train"] == {"phase_voc", "world_swap"}
    assert attacks["dev"] == attacks["train"] < attacks["eval"]
    for split in splits.SPLITS:
        own = {cell: n for cell, n in quotas.items() if cell.startswith(f"{split}/")}
        bonafide = [n for cell, n in own.items() if "/bonafide/" in cell]
        assert max(bonafide) <= 0.25 * sum(bonafide)
        if split == "dev":  # fewer would make an unreliable calibration
            assert sum(bonafide) >= 50 and sum(own.values()) - sum(bonafide) >= 50
    with pytest.raises(UserError, match=r"Only 3 human speakers.*at least 12"):
        clip_plan.make_plan([x for x in some if x.voice[:7] in {
            "mfa_man", "mfa_ipa", "librivo"}], "quick")  # fmt: skip


def test_unknown_size(rows):
    with pytest.raises(UserError, match=r"'tiny'.*small or full"):
        clip_plan.make_plan(rows, "tiny")


def test_a_poor_voice_is_named(rows):
    poor = [
        row for row in rows if row.voice != "tux_bg" or row.path < "x/pkg-tux_bg/003"
    ]
    with pytest.raises(UserError, match="tux_bg has 3 usable"):
        clip_plan.make_plan(poor, "small")


def test_too_few_voices(rows):
    few = [row for row in rows if not row.voice.startswith(("tux", "kt", "fil", "ami"))]
    with pytest.raises(UserError, match=r"Only \d+ human speakers"):
        clip_plan.make_plan(few, "small")


def test_missing_transcripts_are_named(rows):
    silent = [replace(row, text="") for row in rows]
    with pytest.raises(UserError, match="no texts for the attack"):
        clip_plan.make_plan(silent, "small")
