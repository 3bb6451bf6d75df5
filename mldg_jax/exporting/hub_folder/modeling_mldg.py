# pyright: reportMissingImports=false
"""A detector of synthetic speech in torch: a front-end, a head and a calibration.

Written by mldg_jax (Apache-2.0) for ``trust_remote_code`` of transformers 5. Labels are
0 spoof, 1 bona fide; ``logits[:, 1] - logits[:, 0]`` is the score, higher for bona
fide. There is no dropout in the head.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
)
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from .heads_mldg import STATE_HEADS, SpectroTemporalGraph

BATCH = 16  # windows at a time, whatever the length of the recording


class MldgConfig(PretrainedConfig):
    """Describes the detector.

    Attributes:
      frontend: config of the encoder, as ``transformers`` writes it.
      normalize: whether every window is standardised first.
      head: ``kind`` (aasist, or a key of ``STATE_HEADS``) and its attributes.
      read: the states that a head of ``STATE_HEADS`` takes, by number, -1 for the last;
        empty for all.
      window: length of a window in samples at 16 kHz.
      calibration: ``scale`` and ``offset`` that map scores to log-likelihood ratios;
        None if the detector is not calibrated.
      mldg: config of the training run, for ``mldg_jax.load``.
    """

    model_type = "mldg"

    def __init__(
        self,
        frontend: dict[str, Any] | None = None,
        normalize: bool = False,
        head: dict[str, Any] | None = None,
        read: list[int] | None = None,
        window: int = 64_600,
        calibration: dict[str, Any] | None = None,
        mldg: dict[str, Any] | None = None,
        **others: Any,
    ):
        self.frontend = frontend or {"model_type": "whisper"}
        self.normalize = normalize
        self.head = head or {"kind": "pooling"}
        self.read = read or []
        self.window = window
        self.calibration = calibration
        self.mldg = mldg or {}
        super().__init__(**others)


class WhisperFrontend(WhisperEncoder):
    """Maps windows (batch, samples) to the output and the states of all layers.

    Both are (batch, frames, dim). The input is not padded to 30 s.
    """

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = log_mel(waveform, self.config.num_mel_bins)
        x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], None))
        return self.layer_norm(states[-1]), states


def states_of(model: Any, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Maps windows as ``WhisperFrontend`` does, for models like wav2vec 2.0."""
    x = model.feature_extractor(waveform).transpose(1, 2)
    x = model.feature_projection(x)
    x = x[0] if isinstance(x, tuple) else x
    x = x + model.encoder.pos_conv_embed(x)
    norm, is_last = model.encoder.layer_norm, model.config.do_stable_layer_norm
    states = [x if is_last else norm(x)]
    positions: dict[str, Any] = {}
    for layer in model.encoder.layers:
        x = layer(states[-1], **positions)
        if isinstance(x, tuple):  # WavLM: layer 0 makes the position bias of them all
            x, positions["position_bias"] = x
        states.append(x)
    return norm(states[-1]) if is_last else states[-1], states


class Wav2Vec2Frontend(Wav2Vec2Model):
    """wav2vec 2.0, see ``states_of``."""

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        return states_of(self, waveform)


class HubertFrontend(HubertModel):
    """HuBERT, see ``states_of``."""

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        return states_of(self, waveform)


class UniSpeechSatFrontend(UniSpeechSatModel):
    """UniSpeech-SAT, see ``states_of``."""

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        return states_of(self, waveform)


class WavLMFrontend(WavLMModel):
    """WavLM, see ``states_of``."""

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        return states_of(self, waveform)


FRONTENDS: Any = {
    "whisper": (WhisperFrontend, WhisperConfig),
    "wav2vec2": (Wav2Vec2Frontend, Wav2Vec2Config),
    "hubert": (HubertFrontend, HubertConfig),
    "unispeech-sat": (UniSpeechSatFrontend, UniSpeechSatConfig),
    "wavlm": (WavLMFrontend, WavLMConfig),
}


def log_mel(waveform: Tensor, mels: int) -> Tensor:
    """Computes Whisper's log-mel spectrogram, (batch, mels, samples // 160).

    In double precision: rounding errors of quiet bands would show in the logarithm.
    """
    x = waveform.double()
    window = torch.hann_window(400, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(x, 400, 160, window=window, return_complex=True)
    power = spectrum[..., : x.shape[-1] // 160].abs().square()
    filters = mel_filter_bank(201, mels, 0.0, 8000.0, 16_000, "slaney", "slaney")
    log = torch.as_tensor(filters.T).to(power) @ power
    log = log.clamp(min=1e-10).log10()
    log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8.0)
    return ((log + 4.0) / 4.0).to(waveform.dtype)


def split_windows(waveform: Tensor, samples: int) -> Tensor:
    """Splits (n,) into the fewest, evenly spread windows that cover it.

    Returns (windows, samples). A recording shorter than a window is repeated.
    """
    spare = max(0, len(waveform) - samples)
    waveform = waveform.repeat(-(-samples // len(waveform)))  # unchanged if long
    gaps = math.ceil(spare / samples)
    shares = [min(i / max(1, gaps), 1 - 1e-9) for i in range(1 + gaps)]
    starts = [int(share * (spare + 1)) for share in shares]
    return torch.stack([waveform[i : i + samples] for i in starts])


class MldgForAudioClassification(PreTrainedModel):
    """Recordings at 16 kHz to logits of spoof (0) and bona fide (1)."""

    config_class = MldgConfig
    main_input_name = "input_values"
    _supports_sdpa = True

    def __init__(self, config: MldgConfig):
        super().__init__(config)
        frontend: Any = config.frontend
        head: Any = dict(config.head)
        encoder, options = FRONTENDS[frontend["model_type"]]
        self.frontend = encoder(options(**frontend))
        width = self.frontend.config.hidden_size
        if (kind := head.pop("kind")) in STATE_HEADS:
            states = len(config.read) or self.frontend.config.num_hidden_layers + 1
            self.head = STATE_HEADS[kind](states, width, **head)
        else:
            self.head = SpectroTemporalGraph(width, **head)
        self.post_init()

    def load_base(self, encoder: nn.Module) -> None:
        """Replaces the encoder by a pretrained one, whose upper layers are dropped."""
        pretrained = encoder.state_dict()
        own = self.frontend.state_dict()
        self.frontend.load_state_dict({name: pretrained[name] for name in own})

    def forward(self, input_values, attention_mask=None, labels=None, **others):
        """Returns the logits (batch, 2), means over the windows of each recording.

        Args:
          input_values: (batch, samples), 16 kHz, within [-1, 1], not standardised.
          attention_mask: (batch, samples), 0 for padding at the end; None for none.
          labels: (batch,) 0 spoof, 1 bona fide, for the loss; None for no loss.
          **others: ignored.
        """
        lengths = [input_values.shape[1]] * len(input_values)
        if attention_mask is not None:
            lengths = attention_mask.sum(1).tolist()
        recordings = [x[: int(n)] for x, n in zip(input_values, lengths, strict=True)]
        windows = [split_windows(x, self.config.window) for x in recordings]
        parts = [self.classify(x) for x in torch.cat(windows).split(BATCH)]
        logits = torch.cat(parts).split([len(x) for x in windows])
        logits = torch.stack([x.mean(0) for x in logits])
        if (fit := self.config.calibration) is not None:
            shift = logits.new_tensor([-0.5, 0.5]) * fit["offset"]
            logits = fit["scale"] * logits + shift
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def classify(self, windows: Tensor) -> Tensor:
        """Maps windows (batch, samples) to logits that are not calibrated."""
        if self.config.normalize:
            windows = windows - windows.mean(1, keepdim=True)
            power = windows.square().mean(1, keepdim=True)
            windows = windows / (power + 1e-7).sqrt()
        output, states = self.frontend(windows)
        if self.config.read:
            states = [states[i] for i in self.config.read]
        return self.head(output, states)
