"""Models in forms that others read: ONNX files, folders and repositories of the Hugging Face Hub, model cards."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "export_generator": "onnx",
    "export_onnx": "onnx",
    "model_card": "card",
    "push_folder": "folder",
    "read_results": "card",
    "write_folder": "folder",
}

__all__ = ["export_generator", "export_onnx", "model_card", "push_folder", "read_results", "write_folder"]

if TYPE_CHECKING:
    from ganfeat.exchange.card import model_card, read_results
    from ganfeat.exchange.folder import push_folder, write_folder
    from ganfeat.exchange.onnx import export_generator, export_onnx


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ganfeat.exchange.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ganfeat.exchange' has no attribute {name!r}")
