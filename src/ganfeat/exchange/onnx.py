"""ONNX files: pixels in, features out, checked against PyTorch before they get their name.

The graph takes ``uint8`` images as any reader gives them and does all the rest: scaling, the network, its taps,
pooling, flattening, side by side. It is recorded by ``torch.export`` and written by PyTorch's exporter; onnxruntime
then runs it beside the float32 network, and a file is written only where they agree.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganfeat.arrays import Scaling
from ganfeat.checkpoint import write_atomically
from ganfeat.errors import InputError
from ganfeat.estimators.base import GANEstimator
from ganfeat.exchange.graphs import Features, Images
from ganfeat.exchange.libraries import require_libraries
from ganfeat.exchange.parity import BATCHES, TOLERANCE, compare, features_by_torch, images_to_compare
from ganfeat.features import FeatureExtractor, detached_copy
from ganfeat.projection import Projection
from ganfeat.version import __version__

OPSET = 18
LARGEST = 2**31 - 2**20
"""Bytes that one file of the format holds."""


def export_onnx(
    model: FeatureExtractor | GANEstimator,
    path: Path | str,
    *,
    images: Any = None,
    scaling: Scaling | None = None,
    projection: Projection | None = None,
    card: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Write what turns images into features as one ONNX file.

    The file's input ``images`` is ``uint8 (batch, height, width, channels)``, or, of a model that was fitted on floats,
    ``float32`` in the range of its data; its output ``features`` is ``float32 (batch, n_features)`` in the order of
    ``get_feature_names_out()``. The batch may be of any size. Whatever the precision of the model, the file computes in
    float32.

    Parameters
    ----------
    model : FeatureExtractor or estimator
        Fitted. Of an extractor any network will do; of an estimator :meth:`~ganfeat.DCGAN.extractor` is taken.
    path : Path or str
        Of the file, replaced whole.
    images : array or ImageDataset ``(n, h, w, c)``, optional
        To compare on; by default noise of several coarsenesses, black and white.
    scaling : Scaling, optional
        Of an extractor whose images are floats, e.g. ``Scaling(-1, 1)``: without it the file takes ``uint8``. Of an
        estimator it is known.
    projection : Projection, optional
        Applied to the features, inside the file.
    card : mapping, optional
        What is known of the model: JSON, kept in the file's metadata.
    tolerance : float
        Largest difference that is accepted, see :data:`TOLERANCE`.

    Returns
    -------
    dict
        ``onnx`` (the path), ``bytes``, ``opset``, ``input``, ``output``, ``taps`` and ``parity``: the largest
        difference, the largest feature, the batch sizes and the number of images compared.

    Raises
    ------
    MissingExtraError
        If onnx, onnxscript or onnxruntime is missing.
    InputError
        If the model is not fitted, its network cannot be followed, or no file of this name can be written.
    RunError
        If the file would not agree with PyTorch. Nothing is written.
    """
    require_libraries()
    _refuse_place(Path(path))
    extractor = model
    if isinstance(model, GANEstimator):
        extractor = model.extractor()
        scaling = None if model._integer else model.scaling_
    if not isinstance(extractor, FeatureExtractor) or not hasattr(extractor, "network_"):
        raise InputError("give a fitted FeatureExtractor, or a fitted model: call fit(images) first")
    if projection is not None and projection.n_features != extractor.n_features_out_:
        raise InputError(
            f"the projection was learned from rows of {projection.n_features:,} features, and these are "
            f"{extractor.n_features_out_:,}: give the taps and the pooling that it was learned with"
        )
    graph = Features(extractor, scaling, projection)
    shape = extractor.image_shape_
    batch = images_to_compare(images, shape, scaling)
    content, opset = _write(graph, batch[:2], "images", ("features",), extractor.network_)
    cells = [
        {"tap": tap.name, "channels": c.channels, "grid": list(c.grid)}
        for tap, c in zip(extractor.taps_, extractor._cells, strict=True)
    ]
    settings = {name: getattr(extractor, name) for name in ("pool", "pooling", "mirror", "bn")}
    meaning = {
        "ganfeat.taps": cells,
        "ganfeat.settings": settings,
        "ganfeat.image_shape": list(shape),
        "ganfeat.projection": _said(projection),
        "ganfeat.card": dict(card or {}),
    }
    content = _labelled(content, meaning, "images", batch.dtype)

    def expected(rows: NDArray[Any]) -> list[NDArray[Any]]:
        return [features_by_torch(extractor, scaling, projection, rows)]

    parity = compare(content, batch, "images", expected, tolerance)
    if images is not None:
        parity["images"] = min(len(images), parity["images"])  # a few are repeated to fill the batches
    write_atomically(Path(path), content)
    width = extractor.n_features_out_ if projection is None else projection.n_components
    return {
        "onnx": str(path),
        "bytes": len(content),
        "opset": opset,
        "input": {"name": "images", "dtype": str(batch.dtype), "shape": ["batch", *shape]},
        "output": {"name": "features", "dtype": "float32", "shape": ["batch", width]},
        "taps": [tap.name for tap in extractor.taps_],
        "parity": parity,
    }


def export_generator(
    gan: GANEstimator,
    path: Path | str,
    *,
    given: Any = None,
    card: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Write a generator as one ONNX file: ``z`` in, ``images`` ``uint8 (batch, h, w, c)`` out.

    A second output, ``values``, has the same images as G draws them, ``float32`` in [-1, 1].

    Parameters
    ----------
    gan : estimator
        Fitted.
    path : Path or str
    given : optional
        What G is told beside z, as for :meth:`~ganfeat.DCGAN.decoder`.
    card, tolerance
        As for :func:`export_onnx`. The ``uint8`` images may differ by one where rounding decides.

    Returns
    -------
    dict
        As of :func:`export_onnx`, without ``taps``.

    Raises
    ------
    MissingExtraError, InputError, RunError
        As :func:`export_onnx`.
    """
    require_libraries()
    _refuse_place(Path(path))
    decoder = gan.decoder(given)
    graph = Images(decoder)
    z = gan.latents(max(32, max(BATCHES)), random_state=0)
    content, opset = _write(graph, z[:2], "z", ("images", "values"), decoder)
    meaning = {"ganfeat.prior": getattr(gan, "prior", None), "ganfeat.given": given, "ganfeat.card": dict(card or {})}
    content = _labelled(content, meaning, "z", z.dtype)
    reference = detached_copy(decoder).to("cpu")

    @torch.no_grad()
    def expected(rows: NDArray[Any]) -> list[NDArray[Any]]:
        values = reference(torch.from_numpy(np.array(rows))).permute(0, 2, 3, 1).numpy()
        return [values, values]

    parity = compare(content, z, "z", expected, tolerance)
    write_atomically(Path(path), content)
    drawn = ["batch", *gan._drawn_shape()]
    return {
        "onnx": str(path),
        "bytes": len(content),
        "opset": opset,
        "input": {"name": "z", "dtype": "float32", "shape": ["batch", int(z.shape[1])]},
        "output": {"name": "images", "dtype": "uint8", "shape": drawn},
        "parity": parity,
    }


def _refuse_place(path: Path) -> None:
    """Raise InputError, before the work, where no file of this name can be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it, e.g. {path / 'features.onnx'}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder: make it first")


def _write(
    graph: nn.Module, example: NDArray[Any], name: str, outputs: tuple[str, ...], network: nn.Module
) -> tuple[bytes, int]:
    """The graph as an ONNX file's bytes, and its opset."""
    size = sum(t.numel() * t.element_size() for t in graph.state_dict().values())
    if size > LARGEST:
        raise InputError(f"the network has {size / 2**30:.1f} GiB of weights, and an ONNX file holds 2")
    called = type(network).__name__
    batch = torch.export.Dim("batch", min=1)
    with _hushed(), torch.no_grad():
        try:
            program = torch.export.export(
                graph, (torch.from_numpy(np.array(example)),), dynamic_shapes={name: {0: batch}}, strict=False
            )
        except Exception as error:
            raise InputError(
                f"{called} cannot be followed by torch.export ({_reason(error)}). A network must not take its batch "
                "size as a number (write x.shape[0], not len(x)) and must not decide by the values of tensors"
            ) from None
        try:
            written = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[name],
                output_names=list(outputs),
                opset_version=OPSET,
                verbose=False,
            )
            assert written is not None
            proto = written.model_proto
        except Exception as error:
            raise InputError(
                f"{called} has an operation that PyTorch {torch.__version__} cannot write as ONNX ({_reason(error)}): "
                "choose taps before it, or replace it"
            ) from None
    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    return _stripped(proto).SerializeToString(), int(opset)


def _stripped(proto: Any) -> Any:
    """Without what the exporter noted for its developers: stack traces, with the paths of this machine's files."""
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for values in (proto.graph.value_info, proto.graph.input, proto.graph.output, proto.graph.initializer):
        for value in values:
            value.doc_string = ""
            del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    return proto


def _labelled(content: bytes, meaning: Mapping[str, Any], name: str, dtype: np.dtype[Any]) -> bytes:
    """With the metadata that says what the file is."""
    import onnx

    proto = onnx.load_model_from_string(content)
    proto.producer_name, proto.producer_version = "ganfeat", __version__
    proto.graph.name = "ganfeat"
    proto.doc_string = f"Made by ganfeat {__version__}. Input {name}: {dtype}; the batch may be of any size."
    entries = {"ganfeat": __version__} | {key: json.dumps(value) for key, value in meaning.items()}
    onnx.helper.set_model_props(proto, entries)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def _said(projection: Projection | None) -> dict[str, Any] | None:
    """What the metadata tell of a projection."""
    if projection is None:
        return None
    return {"n_components": projection.n_components, "whitened": projection.whitens, **projection.about}


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Without what exporters tell their developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of what began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
