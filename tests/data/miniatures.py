"""Miniature official archives: real layout and syntax, synthetic audio."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile


class Miniature(NamedTuple):
    """A source folder on disk.

    Attributes:
      source: the folder to pass as --source.
      protocol: file with the keys of ``split``.
      split: one of the splits, with at least four utterances.
      recordings: paths of the recordings of that split, in the protocol's order.
      counts: counts of all splits, as ``OfficialLayout.counts``.
    """

    source: Path
    protocol: Path
    split: str
    recordings: list[Path]
    counts: dict[str, dict[str, int]]


def noise(path: Path, seconds: float = 0.3, rate: int = 16_000) -> np.ndarray:
    """Writes white noise and returns it as (samples,) int16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list(path.name.encode())
    samples = np.random.default_rng(seed).normal(0, 3000, int(seconds * rate))
    samples = np.clip(samples, -32768, 32767).astype(np.int16)
    if path.suffix == ".mp4":
        sound_track(path, samples, rate)
    else:
        soundfile.write(path, samples, rate)
    return samples


def sound_track(path: Path, samples: np.ndarray, rate: int) -> None:
    import av

    waveform = np.float32(samples[None] / 32_768)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(waveform, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def asvspoof2019_la(root: Path) -> Miniature:
    home = root / "LA"
    counts, recordings = {}, {}
    for split, letter, file, attacks in (
        ("train", "T", "train.trn", ("A01", "A02")),
        ("dev", "D", "dev.trl", ("A01", "A02")),
        ("eval", "E", "eval.trl", ("A07", "A19")),
    ):
        rows = [
            (f"LA_{i:04d}", f"LA_{letter}_{1138215 + i}", attack)
            for i, attack in enumerate(("-", "-", *attacks, "-", *attacks))
        ]
        keys = {"-": "bonafide"}
        protocol = home / f"ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{file}.txt"
        _lines(protocol, [f"{s} {u} - {a} {keys.get(a, 'spoof')}" for s, u, a in rows])
        folder = home / f"ASVspoof2019_LA_{split}/flac"
        recordings[split] = [folder / f"{u}.flac" for _, u, _ in rows]
        counts[split] = {"bonafide": 3, **dict.fromkeys(attacks, 2)}
    for path in itertools.chain(*recordings.values()):
        noise(path)
    return Miniature(root, protocol, "eval", recordings["eval"], counts)


def asvspoof2021_la(root: Path) -> Miniature:
    rows = []
    for i in range(7):
        attack, key = ("A07", "spoof") if i % 3 == 0 else ("bonafide", "bonafide")
        rows.append(
            f"LA_0009 LA_E_{9332881 + i} alaw ita_tx {attack} {key} notrim eval"
        )
    rows.append("LA_0010 LA_E_1000001 none - A08 spoof notrim progress")
    rows.append("LA_0011 LA_E_1000002 gsm sin_tx bonafide bonafide trim hidden_track")
    return _asvspoof2021(root, "LA", rows, {"bonafide": 4, "spoof": 3})


def asvspoof2021_df(root: Path) -> Miniature:
    rows = [
        "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim eval "
        "traditional_vocoder - - - -",
        "TEF2 DF_E_2000013 low_m4a vcc2020 Task1-team20 spoof notrim eval "
        "neural_vocoder_nonautoregressive Task1 team20 FF E",
        "TGF1 DF_E_2000024 mp3m4a vcc2020 Task2-team12 spoof notrim eval "
        "traditional_vocoder Task2 team12 FF G",
        "LA_0043 DF_E_2000026 mp3m4a asvspoof bonafide bonafide notrim eval "
        "bonafide - - - -",
        "LA_0043 DF_E_2000027 high_ogg asvspoof bonafide bonafide notrim eval "
        "bonafide - - - -",
        "LA_0023 DF_E_2000028 nocodec asvspoof A14 spoof notrim progress "
        "traditional_vocoder - - - -",
        "LA_0043 DF_E_2000029 nocodec asvspoof bonafide bonafide trim hidden_track "
        "bonafide - - - -",
    ]
    return _asvspoof2021(root, "DF", rows, {"bonafide": 2, "spoof": 3})


def _asvspoof2021(
    root: Path, track: str, rows: list[str], scored: dict[str, int]
) -> Miniature:
    """Builds a miniature from key lines: eval first, then one of each other class."""
    home = root / f"ASVspoof2021_{track}_eval"
    protocol = root / f"keys/{track}/CM/trial_metadata.txt"
    _lines(protocol, rows)
    names = [row.split()[1] for row in rows]
    _lines(home / f"ASVspoof2021.{track}.cm.eval.trl.txt", names)
    recordings = [home / f"flac/{name}.flac" for name in names]
    for path in recordings:
        noise(path)
    counts = {"eval": scored, "progress+hidden_track": {"bonafide": 1, "spoof": 1}}
    used = recordings[: sum(scored.values())]
    return Miniature(root, protocol, "eval", used, counts)


def asvspoof5(root: Path) -> Miniature:
    counts, recordings = {}, {}
    for split, letter, file, folder in (
        ("train", "T", "train", "flac_T"),
        ("dev", "D", "dev.track_1", "flac_D"),
        ("eval", "E", "eval.track_1", "flac_E_eval"),
    ):
        rows = [
            f"{letter}_{4461 + i} {letter}_{169 + 21 * i:010d} F - - - {end} -"
            for i, end in enumerate(
                ["AC1 A14 spoof", "- bonafide bonafide", "AC2 A10 spoof"] * 2
            )
        ]
        protocol = root / f"ASVspoof5.{file}.tsv"
        _lines(protocol, rows)
        recordings[split] = [root / folder / f"{x.split()[1]}.flac" for x in rows]
        counts[split] = {"bonafide": 2, "spoof": 4}
    for path in itertools.chain(*recordings.values()):
        noise(path)
    return Miniature(root, protocol, "eval", recordings["eval"], counts)


def in_the_wild(root: Path) -> Miniature:
    home = root / "release_in_the_wild"
    labels = ["spoof", "bona-fide", "bona-fide", "spoof", "spoof"]
    recordings = [home / f"{i}.wav" for i in range(5)]
    _lines(
        home / "meta.csv",
        [
            "file,speaker,label",
            *(f"{i}.wav,Alec Guinness,{x}" for i, x in enumerate(labels)),
        ],
    )
    for i, path in enumerate(recordings):
        noise(path, rate=(16_000, 22_050, 44_100)[i % 3])
    counts = {"eval": {"bonafide": 2, "spoof": 3}}
    return Miniature(root, home / "meta.csv", "eval", recordings, counts)


def fakeavceleb(root: Path) -> Miniature:
    home = root / "FakeAVCeleb_v1.2"
    videos = [
        ("real", "A", "RealVideo-RealAudio", "id00076", "00109.mp4"),
        ("real", "A", "RealVideo-RealAudio", "id00166", "00109.mp4"),
        ("rtvc", "B", "RealVideo-FakeAudio", "id00076", "00109_fake.mp4"),
        ("faceswap", "C", "FakeVideo-RealAudio", "id00076", "00109_id1.mp4"),
        ("wav2lip", "D", "FakeVideo-FakeAudio", "id00076", "00109_id2.mp4"),
    ]
    rows, recordings = [], []
    for method, category, kind, who, file in videos:
        folder = f"{kind}/Caucasian (American)/men/{who}"
        rows.append(
            f"{who},-,-,{method},{category},{kind},Caucasian (American),men,{file},"
            f"FakeAVCeleb/{folder}"
        )
        recordings.append(home / folder / file)
    header = "source,target1,target2,method,category,type,race,gender,path,"
    _lines(home / "meta_data.csv", [header, *rows])
    for path in recordings:
        noise(path, rate=44_100)
    counts = {"eval": {"bonafide": 3, "spoof": 2}}
    return Miniature(root, home / "meta_data.csv", "eval", recordings, counts)


def partialspoof(root: Path) -> Miniature:
    home = root / "database"
    counts, recordings = {}, {}
    for split, letter in (("train", "T"), ("dev", "D"), ("eval", "E")):
        names = [f"LA_{letter}_1000137", f"CON_{letter}_0000000"]
        names += [f"CON_{letter}_0000001"]
        names += [f"LA_{letter}_100013{i}" for i in (8, 9)]
        rows = [
            f"LA_0079 {x} - {'CON spoof' if x[0] == 'C' else '- bonafide'}"
            for x in names
        ]
        protocol = home / "protocols/PartialSpoof_LA_cm_protocols"
        protocol /= f"PartialSpoof.LA.cm.{split}.trl.txt"
        _lines(protocol, rows)
        recordings[split] = [home / f"{split}/con_wav/{x}.wav" for x in names]
        counts[split] = {"bonafide": 3, "spoof": 2}
        labels = {x: np.array(list("1" * 15)) for x in names}
        labels[names[1]] = np.array(list("110001111100111"))
        labels[names[2]] = np.array(list("0" * 15))
        path = home / f"segment_labels/{split}_seglab_0.02.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = np.array(None, dtype=object)
        content[()] = labels
        np.save(path, content)
    for path in itertools.chain(*recordings.values()):
        noise(path)
    return Miniature(root, protocol, "eval", recordings["eval"], counts)


MAKERS: dict[str, Callable[[Path], Miniature]] = {
    maker.__name__: maker
    for maker in (
        *(asvspoof2019_la, asvspoof2021_la, asvspoof2021_df, asvspoof5),
        *(in_the_wild, fakeavceleb, partialspoof),
    )
}
