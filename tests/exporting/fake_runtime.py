"""A package of the npm registry like onnxruntime-web, of a few bytes."""

import base64
import hashlib
import io
import tarfile

from mldg_jax.exporting.browser_runtime import LOADER, WASM, RuntimePackage

CONTENTS = {
    LOADER: b"var a=import.meta.url,b=1;export{a as Tensor,b as InferenceSession};",
    WASM: b"\0asm" + bytes(1_000),
}


def tarball(contents=CONTENTS) -> bytes:
    """Packs files as npm does.

    Args:
      contents: by the name in ``dist``.
    """
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


TARBALL = tarball()
PACKAGE = RuntimePackage(
    "onnxruntime-web",
    "9.9.9",
    "sha512-" + base64.b64encode(hashlib.sha512(TARBALL).digest()).decode(),
    {name: hashlib.sha256(x).hexdigest() for name, x in CONTENTS.items()},
    megabytes=1,
)
