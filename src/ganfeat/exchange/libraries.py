"""Which optional libraries the ONNX door needs."""

from __future__ import annotations

from importlib.util import find_spec

from ganfeat.errors import MissingExtraError

LIBRARIES = {"onnx": "writing ONNX", "onnxscript": "writing ONNX", "onnxruntime": "comparing an ONNX file with PyTorch"}
"""Each with what it is for."""


def require_libraries() -> None:
    """Refuse before any work where a library is missing.

    Raises
    ------
    MissingExtraError
        It names the library and the extra.
    """
    for library, purpose in LIBRARIES.items():
        if find_spec(library) is None:
            raise MissingExtraError(library, "onnx", purpose)
