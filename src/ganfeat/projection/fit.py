"""Principal components of rows that pass by in blocks: exactly, or in few passes where they are long.

Two ways. :class:`Covariance` adds up ``X^T X`` in float64, ``8 n_features ** 2`` bytes, and has all there is to know
after one pass (its eigenvectors are those of LAPACK, or of many columns and few components :func:`leading`'s).
:class:`Sketch` multiplies it with few columns, ``X^T (X W)``, in ``16 n_features * n_sketched`` bytes: a step of
subspace iteration a pass. Rows are cut anew into pieces of one size: the result does not depend on how they came.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.config import require
from ganfeat.device import resolve_device
from ganfeat.errors import InputError
from ganfeat.projection.linear import Projection, whitening

MOST_COLUMNS = 8192
"""Up to here the covariance itself is added up: 512 MiB."""
METHODS = ("auto", "covariance", "sketch")
N_PASSES = 3
_CHUNK_BYTES = 1 << 27
_MOST_ROWS = 1024
_TILE = 1024
_FOLD = 16
_ALL_AT_ONCE = 2048
_FEW = 8
_MOST_ITERATIONS, _LEAST_ITERATIONS = 50, 8
_SETTLED = 1e-6

Blocks = Callable[[], Iterable[NDArray[Any]]]


class _Sums:
    """Rows, their mean and total variance, and what a subclass adds up; shifted by the mean of the first piece."""

    dtype: torch.dtype

    def __init__(self, n_features: int, device: torch.device) -> None:
        self.n_features, self.device = n_features, device
        self.n_rows = 0
        self.shift: torch.Tensor | None = None
        self.sums = torch.zeros(n_features, dtype=torch.float64, device=device)
        self.squares = 0.0
        self._waiting: list[NDArray[Any]] = []
        self._size = int(max(1, min(_MOST_ROWS, _CHUNK_BYTES // (8 * n_features))))

    def update(self, block: NDArray[Any]) -> None:
        """Take rows ``(n, n_features)`` in; their order matters to the last digits, how they are cut does not.

        Raises
        ------
        InputError
            If they are of another length, or NaN or infinite.
        """
        if block.ndim != 2 or block.shape[1] != self.n_features:
            raise InputError(f"rows of {self.n_features} features are followed by others, {block.shape}")
        while len(block):
            room = self._size - sum(map(len, self._waiting))
            self._waiting.append(np.array(block[:room]))
            block = block[room:]
            if sum(map(len, self._waiting)) == self._size:
                self.flush()

    def flush(self) -> None:
        """Take in the rows that wait for others."""
        if not self._waiting:
            return
        rows = torch.from_numpy(np.concatenate(self._waiting).astype(_NUMPY[self.dtype], copy=False)).to(self.device)
        self._waiting = []
        if not bool(torch.isfinite(rows).all()):
            last = self.n_rows + len(rows) - 1
            raise InputError(f"features are NaN or infinite in rows {self.n_rows} to {last}: extract them anew")
        if self.shift is None:
            self.shift = rows.mean(dim=0, dtype=torch.float64).to(self.dtype)
        rows -= self.shift
        self.n_rows += len(rows)
        self.sums += rows.sum(dim=0, dtype=torch.float64)
        self.squares += float(torch.linalg.vector_norm(rows, dtype=torch.float64) ** 2)
        self._add(rows)

    def _add(self, rows: torch.Tensor) -> None:
        raise NotImplementedError

    @property
    def offset(self) -> torch.Tensor:
        """Mean of the shifted rows, float64."""
        return self.sums / max(1, self.n_rows)

    @property
    def mean(self) -> torch.Tensor:
        """Mean of the rows, float64."""
        assert self.shift is not None
        return self.shift.double() + self.offset

    @property
    def total_variance(self) -> float:
        """Sum of the variances of all columns."""
        return max(0.0, self.squares - self.n_rows * float(self.offset @ self.offset)) / max(1, self.n_rows - 1)


class Covariance(_Sums):
    """``X^T X`` in float64, and the principal components of it: exact, but see :func:`leading`."""

    dtype = torch.float64

    def __init__(self, n_features: int, device: torch.device) -> None:
        super().__init__(n_features, device)
        self.products = torch.zeros(n_features, n_features, dtype=torch.float64, device=device)

    def _add(self, rows: torch.Tensor) -> None:
        for start in range(0, self.n_features, _TILE):  # the lower triangle, in tiles
            part = rows[:, start : start + _TILE]
            self.products[start:, start : start + _TILE].addmm_(rows[:, start:].T, part)

    def kept(self) -> Covariance:
        """The same sums, which :meth:`finish` may use up."""
        other = copy.copy(self)
        other.products = self.products.clone()
        return other

    def finish(self, n_components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Variances ``(n_components,)`` and components ``(n_components, n_features)``; the sums are used up."""
        covariance = self.products
        for start in range(0, self.n_features, _TILE):  # in place: it is as large as all else together
            rows = slice(start, start + _TILE)
            covariance[rows].addr_(self.offset[rows], self.offset, alpha=-self.n_rows).div_(max(1, self.n_rows - 1))
            covariance[rows, rows.stop :] = 0
            covariance[rows, rows] = covariance[rows, rows].tril()
            covariance[:start, rows] = covariance[rows, :start].T
            covariance[rows, rows] += covariance[rows, rows].tril(-1).T
        if self.n_features > _ALL_AT_ONCE and _FEW * n_components <= self.n_features:
            return leading(covariance, n_components)
        return _all_at_once(covariance, n_components)


def _all_at_once(covariance: torch.Tensor, n_components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.linalg import eigh

    last = len(covariance) - 1
    values, vectors = eigh(
        covariance.cpu().numpy(),
        lower=True,
        overwrite_a=True,
        check_finite=False,
        subset_by_index=[last + 1 - n_components, last],
    )
    return np.maximum(values[::-1], 0), vectors[:, ::-1].T


def leading(covariance: torch.Tensor, n_components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first components of a large matrix: subspace iteration until they hold no more variance.

    All eigenvectors of 7,168 columns take a minute or two; 256 of them a few seconds. It ends when the next iterations
    would add less than a millionth to the variance held, together; where that is not so in the time that all
    eigenvectors take, as of a flat spectrum, it computes those. Components are orthonormal; among those whose variances
    are nearly the same, each may be a mixture of them and of the next.

    Parameters
    ----------
    covariance : Tensor of float64 ``(n_features, n_features)``
        It may be overwritten.
    n_components : int

    Returns
    -------
    variances : ndarray of float64 ``(n_components,)``
    components : ndarray of float64 ``(n_components, n_features)``
    """
    n_features = len(covariance)
    columns = min(n_features, n_components + max(32, n_components // 2))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(n_features, columns, generator=generator, dtype=torch.float64).to(covariance.device)
    held, gain = 0.0, np.inf
    for _ in range(min(_MOST_ITERATIONS, max(_LEAST_ITERATIONS, n_features // columns))):
        basis = torch.linalg.qr(covariance @ (covariance @ image))[0]
        image = covariance @ basis
        values, vectors = torch.linalg.eigh(basis.T @ image)
        before, held = held, float(values[-n_components:].sum())
        earlier, gain = gain, max(0.0, held - before)
        rate = gain / earlier if gain < earlier else 1.0
        rest = gain * rate / (1 - rate) if rate < 1 else np.inf  # what is still to come, if it goes on like this
        if max(gain, rest) <= _SETTLED * held or gain <= 1e-12 * held:
            components = basis @ vectors[:, -n_components:].flip(1)
            return values[-n_components:].flip(0).clamp(min=0).cpu().numpy(), components.T.cpu().numpy()
    return _all_at_once(covariance, n_components)


class Sketch(_Sums):
    """``X^T (X W)`` of few columns ``W``: one step of subspace iteration on the covariance.

    Products of a piece are float32; what is added up over many pieces is float64.
    """

    dtype = torch.float32

    def __init__(self, basis_FL: torch.Tensor, device: torch.device) -> None:
        super().__init__(len(basis_FL), device)
        self.basis_FL = basis_FL.to(device, torch.float32)
        self._recent_FL = torch.zeros_like(self.basis_FL)
        self._images_FL = torch.zeros_like(self.basis_FL, dtype=torch.float64)
        self._unfolded = 0

    @classmethod
    def random(cls, n_features: int, n_sketched: int, random_state: int, device: torch.device) -> Sketch:
        """Begin with Gaussian columns."""
        generator = torch.Generator().manual_seed(random_state)
        return cls(torch.randn(n_features, min(n_sketched, n_features), generator=generator), device)

    def _add(self, rows: torch.Tensor) -> None:
        self._recent_FL.addmm_(rows.T, rows @ self.basis_FL)
        self._unfolded += 1
        if self._unfolded == _FOLD:
            self._fold()

    def _fold(self) -> None:
        self._images_FL += self._recent_FL
        self._recent_FL.zero_()
        self._unfolded = 0

    def images(self) -> torch.Tensor:
        """The covariance times the basis, float64 ``(n_features, n_sketched)``."""
        self._fold()
        basis = self.basis_FL.double()
        image = torch.addmm(self._images_FL, self.offset[:, None], self.offset[None] @ basis, alpha=-self.n_rows)
        return image.div_(max(1, self.n_rows - 1))

    def next_basis(self) -> torch.Tensor:
        """Orthonormal columns that span the images: nearer to the leading components."""
        return torch.linalg.qr(self.images())[0].float()

    def finish(self, n_components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Variances and components of the Nystrom approximation ``Y (W^T Y)^-1 Y^T`` of the covariance.

        ``Y`` are the images of the basis ``W``. The variances are at most the true ones.
        """
        image = self.images()
        inner = self.basis_FL.double().T @ image
        values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
        good = values > values[-1] * 1e-6
        roots = image @ (vectors[:, good] / values[good].sqrt())
        values, vectors = torch.linalg.eigh(roots.T @ roots)
        values, vectors = values.flip(0)[:n_components], vectors.flip(1)[:, :n_components]
        components = roots @ (vectors / values.clamp(min=torch.finfo(torch.float64).tiny).sqrt())
        return _padded(values.cpu().numpy(), components.T.cpu().numpy(), n_components)


class Ritz(_Sums):
    """The covariance within few orthonormal columns, exactly: the best components that they span."""

    dtype = torch.float32

    def __init__(self, basis_FL: torch.Tensor, device: torch.device) -> None:
        super().__init__(len(basis_FL), device)
        self.basis_FL = basis_FL.to(device, torch.float32)
        self.inner = torch.zeros(basis_FL.shape[1], basis_FL.shape[1], dtype=torch.float64, device=device)

    def _add(self, rows: torch.Tensor) -> None:
        inside = (rows @ self.basis_FL).double()
        self.inner.addmm_(inside.T, inside)

    def finish(self, n_components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Variances and components; the variances are those of the rows along the components."""
        offset = self.offset @ self.basis_FL.double()
        inner = (self.inner - self.n_rows * torch.outer(offset, offset)) / max(1, self.n_rows - 1)
        values, vectors = torch.linalg.eigh(inner)
        values, vectors = values.flip(0)[:n_components].clamp(min=0), vectors.flip(1)[:, :n_components]
        return values.cpu().numpy(), (self.basis_FL.double() @ vectors).T.cpu().numpy()


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def fit_projection(
    blocks: Blocks,
    n_components: int | None,
    *,
    whiten: bool = False,
    method: str = "auto",
    n_passes: int = N_PASSES,
    oversampling: int | None = None,
    random_state: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    n_rows: int | None = None,
) -> Projection:
    """Learn principal components from blocks of rows, in constant memory.

    Parameters
    ----------
    blocks : callable
        Gives the blocks ``(some, n_features)`` of the same rows in the same order, anew for every pass.
    n_components : int or None
        At most the number of rows and of features. None: as many as that.
    whiten : bool
        Scale every component to variance 1.
    method : {"auto", "covariance", "sketch"}
        ``covariance`` needs one pass, and is exact (beyond 2,048 columns with few components: but for a millionth of
        the variance, see :func:`leading`). ``sketch`` is for long rows: a random basis, made better by every pass
        (subspace iteration), and in the last one the best components within it. ``auto`` takes the former up to
        :data:`MOST_COLUMNS` columns.
    n_passes : int
        Of ``sketch``. With 1, the components are those of the Nystrom approximation, whose variances are a little low.
    oversampling : int, optional
        Columns that ``sketch`` carries beyond ``n_components``. By default a quarter, at least 32.
    random_state : int
        Of ``sketch``.
    device : str
        Apple's ``mps`` has no float64: there, the CPU is used.
    progress : callable(done, total), optional
        Called after every block, with rows; total counts all passes, and is 0 where ``n_rows`` is not given.
    n_rows : int, optional
        How many there are: for ``progress``, and to refuse too few before they are read.

    Returns
    -------
    Projection

    Raises
    ------
    InputError
        If there are too few rows or features for so many components, or rows are not finite.

    References
    ----------
    N. Halko, P. G. Martinsson, J. A. Tropp, "Finding Structure with Randomness", SIAM Review 53, 2011, algorithms 4.4
    and 5.3. J. A. Tropp, A. Yurtsever, M. Udell, V. Cevher, "Fixed-Rank Approximation of a Positive-Semidefinite Matrix
    from Streaming Data", NIPS 2017, algorithm 3 (of one pass).
    """
    if n_components is not None:
        require("n_components", n_components, int, least=1)
    require("n_passes", n_passes, int, least=1)
    require("random_state", random_state, int, least=0)
    place = place_of(device)
    first = next(iter(blocks()), None)
    if first is None:
        raise InputError("there are 0 rows to learn components from: give at least 2")
    if n_rows is not None:
        _check_rows(n_rows, first.shape[1], n_components)
    method = resolve_method(method, first.shape[1], n_components)
    sums: Any = start(method, first.shape[1], n_components, oversampling, random_state, place)
    passes = n_passes if method == "sketch" else 1
    done = seen = 0
    for number in range(passes):
        if number:
            seen, basis = sums.n_rows, sums.next_basis()
            del sums  # before the next is made: they are large
            sums = Sketch(basis, place) if number < passes - 1 else Ritz(basis, place)
        for block in blocks():
            sums.update(block)
            done += len(block)
            if progress is not None:
                progress(done, passes * (n_rows or 0))
        sums.flush()
        if seen and sums.n_rows != seen:
            raise InputError(f"the blocks held {seen} rows in one pass and {sums.n_rows} in the next: give the same")
    return finish(sums, n_components, whiten, method=method, passes=passes, random_state=random_state)


def place_of(device: str) -> torch.device:
    """Where sums are kept: they need float64, which Apple's ``mps`` does not have."""
    place = resolve_device(device)
    return torch.device("cpu") if place.type == "mps" else place


def _check_rows(n_rows: int, n_features: int, n_components: int | None) -> None:
    if n_rows < 2:
        raise InputError(f"there is {n_rows} row, 1 sample, to learn components from: give at least 2")
    if n_components is not None and n_components > n_features:
        raise InputError(f"n_components={n_components} is more than the {n_features} features a row: give at most that")
    if n_components is not None and n_components > n_rows:
        raise InputError(
            f"n_components={n_components} cannot be learned from {n_rows} rows of {n_features} features: give "
            f"{min(n_rows, n_features)} or less, or more rows"
        )


def resolve_method(method: str, n_features: int, n_components: int | None) -> str:
    """``covariance`` or ``sketch``.

    Raises
    ------
    InputError
        If it is neither nor ``auto``, or a sketch would not know its size.
    """
    if method not in METHODS:
        raise InputError(f"method={method!r} is not known: choose one of {', '.join(METHODS)}")
    if method == "auto":
        method = "covariance" if n_features <= MOST_COLUMNS else "sketch"
    if method == "sketch" and n_components is None:
        raise InputError(f"rows of {n_features} features: say how many components to learn, e.g. n_components=512")
    return method


def start(
    method: str,
    n_features: int,
    n_components: int | None,
    oversampling: int | None,
    random_state: int,
    device: torch.device,
) -> Covariance | Sketch:
    """What takes the rows of the first pass in."""
    if n_components is not None and n_components > n_features:
        raise InputError(f"n_components={n_components} is more than the {n_features} features a row: give at most that")
    if method == "covariance":
        return Covariance(n_features, device)
    assert n_components is not None
    more = max(32, n_components // 4) if oversampling is None else oversampling
    require("oversampling", more, int, least=0)
    return Sketch.random(n_features, n_components + more, random_state, device)


def finish(sums: Any, n_components: int | None, whiten: bool, **about: Any) -> Projection:
    """The projection that the sums come to.

    Raises
    ------
    InputError
        If there are too few rows, or components without variance to be whitened.
    """
    sums.flush()
    _check_rows(sums.n_rows, sums.n_features, n_components)
    most = min(sums.n_rows, sums.n_features)
    total = sums.total_variance
    values, components = sums.finish(n_components or most)
    if n_components is None and whiten:
        rank = max(1, int((values > total * np.finfo(np.float32).eps).sum()))
        values, components = values[:rank], components[:rank]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return Projection(
        sums.mean.cpu().numpy().astype(np.float32),
        (components * np.where(largest < 0, -1.0, 1.0)).astype(np.float32),
        whitening(values, total) if whiten else np.ones(len(values), np.float32),
        values,
        total,
        sums.n_rows,
        about,
    )


def _padded(
    values: NDArray[np.float64], components: NDArray[np.float64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the covariance has fewer dimensions than components were asked for: others, orthogonal, of variance 0."""
    missing = n - len(values)
    if missing <= 0:
        return np.maximum(values, 0), components
    full = np.linalg.qr(np.concatenate([components.T, np.eye(components.shape[1], missing)], axis=1))[0].T
    full[: len(values)] = components
    return np.concatenate([np.maximum(values, 0), np.zeros(missing)]), full
