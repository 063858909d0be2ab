"""Second-order solver of the L2-regularised squared-hinge problem, many columns at once.

Every column k is one binary problem (a class against the rest, of one fold, at one C):

    f_k(w, b) = (|w|^2 + b^2) / 2 + C_k * sum_i s_ik * max(0, 1 - y_ik (w x_i + b))^2

which is liblinear's ``L2R_L2LOSS_SVC`` with ``intercept_scaling=1`` (Fan et al. 2008, JMLR 9:1871, equation 2).
It is minimised by Newton's method with conjugate gradients (Keerthi & DeCoste 2005; Lin, Weng & Keerthi 2008),
in three tiers of precision:

- objective and gradient: products in float32, summed over blocks of rows in float64, one pass over the rows a step;
- Hessian products, which only steer: bf16 where the hardware multiplies it faster, both products of a block in one
  visit; the columns share every pass, so ten classes cost little more than one;
- the preconditioner: a randomised eigendecomposition of ``X^T X`` (Halko, Martinsson & Tropp 2011, algorithm 4.4),
  shared by all columns, scaled by the weight of each column's active rows.

Shape legend: N rows, P features, K columns, R rank.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import release
from ganfeat.device import resolve_precision
from ganfeat.probes.few import factor, solve_few

TOLERANCE = 1e-5
"""A column is solved when Newton's decrement, the distance to the minimum, is below this share of its objective."""
MOST_STEPS = 100
MOST_PRODUCTS = 250
"""Conjugate-gradient steps within one Newton step."""
RANK = 256
EXACT_SIDE = 512
"""Up to so many features, the eigendecomposition is exact."""
BLOCK_BYTES = 1 << 22
FEW_ROWS = 600
"""Up to so many rows, the problem is solved in the rows' coordinates: :mod:`ganfeat.probes.few`."""
SMALL = 1 << 20
"""Numbers in a matrix that is multiplied in float64: it stays in the CPU's caches."""
SMALL_HESSIANS = 1 << 28
"""Multiplications in the Hessians of all columns, up to which they are computed and factorised."""
FLOOR = {torch.float32: 1e-5, torch.float64: 1e-13}


class Rows:
    """Rows ``(n, p)`` of any float kind, scaled as they are read, and a compact copy for Hessian products.

    Parameters
    ----------
    array : ndarray or memory map ``(n, p)``
    mean, factor : ndarray ``(p,)``, optional
        Rows become ``(row - mean) * factor``.
    device : torch.device
    precision : {"auto", "bf16", "fp32"}
        Of the copy.
    memory : int
        Bytes that the copy may take; if it would take more, every product reads the rows again.
    """

    def __init__(
        self,
        array: NDArray[Any],
        mean: NDArray[Any] | None = None,
        factor: NDArray[Any] | None = None,
        *,
        device: torch.device,
        precision: str = "auto",
        memory: int = 1 << 62,
    ) -> None:
        self.array, self.device = array, device
        self.n, self.p = array.shape
        small = self.n * self.p <= SMALL
        self.dtype = torch.float64 if small else torch.float32
        # Whole numbers and float64 are centred before they are rounded to float32.
        narrow = array.dtype in (np.float16, np.float32) and not small
        self._wide = torch.float32 if narrow else torch.float64
        as_row = {"dtype": self._wide, "device": device}
        self._mean = None if mean is None else torch.as_tensor(mean, **as_row)  # type: ignore[arg-type]
        self._factor = None if factor is None else torch.as_tensor(factor, **as_row)  # type: ignore[arg-type]
        self.block = max(1, BLOCK_BYTES // (2 * self.p)) if device.type == "cpu" else max(1, (1 << 28) // (4 * self.p))
        quick = self.n > FEW_ROWS and not small and resolve_precision(precision, device) == "bf16"
        self.half = torch.bfloat16 if quick else self.dtype
        self.copy: torch.Tensor | None = None
        self._products: torch.Tensor | None = None
        if self.n * self.p * self.half.itemsize <= memory:
            copy = torch.empty(self.n, self.p, dtype=self.half, device=device)
            for where, block in self.exact():
                copy[where] = block
            self.copy = copy

    def _scaled(self, piece: NDArray[Any]) -> torch.Tensor:
        if not piece.dtype.isnative:
            piece = piece.astype(piece.dtype.newbyteorder("="))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "not writable": it is only read
            block = torch.from_numpy(np.ascontiguousarray(piece)).to(self.device)
        if self._mean is None:
            block = block.to(self._wide)
        else:
            block = torch.sub(block, self._mean)
        if self._factor is not None:
            block = block.mul_(self._factor) if self._mean is not None else block * self._factor
        return block.to(self.dtype)

    def exact(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Blocks of rows in ``dtype``, in order."""
        kept = self.copy is not None and self.half == self.dtype
        for start in range(0, self.n, self.block):
            where = slice(start, min(start + self.block, self.n))
            yield where, self.copy[where] if kept else self._scaled(self.array[where])  # type: ignore[index]
            if not kept and (start // self.block) % 16 == 15:
                release(self.array)
        if not kept:
            release(self.array)

    def compact(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Blocks of rows as Hessian products take them, in order."""
        if self.copy is None:
            for where, block in self.exact():
                yield where, block.to(self.half)
            return
        for start in range(0, self.n, self.block):
            where = slice(start, min(start + self.block, self.n))
            yield where, self.copy[where]

    def products(self) -> torch.Tensor:
        """``X X^T + 1``, the products of all rows and their ones, float64 ``(n, n)``: for few rows. Kept."""
        if self._products is None:
            rows = torch.cat([block for _, block in self.exact()]).double()
            self._products = rows @ rows.T + 1
        return self._products

    def gram_times(self, V_PR: torch.Tensor, weight_N: torch.Tensor | None = None) -> torch.Tensor:
        """``X^T diag(weight) X V``, in the copy's precision."""
        out = torch.zeros_like(V_PR)
        small = V_PR.to(self.half)
        for where, block in self.compact():
            middle = block @ small
            if weight_N is not None:
                middle = middle * weight_N[where, None].to(self.half)
            out += block.T @ middle
        return out

    def times(self, W_PK: torch.Tensor) -> torch.Tensor:
        """``X W``, exactly."""
        out = torch.empty(self.n, W_PK.shape[1], dtype=self.dtype, device=self.device)
        small_KP = W_PK.T.to(self.dtype).contiguous()
        for where, block in self.exact():
            out[where] = (small_KP @ block.T).T  # this way round, thin products are twice as fast on the CPU
        return out


@dataclass(frozen=True)
class Spectrum:
    """Leading eigenpairs of ``X^T diag(weight) X``, float64, the mass of the weights, and a bound of the rest."""

    vectors_PR: torch.Tensor
    values_R: torch.Tensor
    rest: float
    mass: float


def spectrum(rows: Rows, weight_N: torch.Tensor | None = None, seed: int = 0) -> Spectrum:
    """Eigendecomposition for the preconditioner: exact for few features, randomised otherwise.

    The vectors are orthonormal to float64's last digits, however rough the products: else the preconditioner of an
    ill-conditioned problem would not be positive.
    """
    mass = float(rows.n if weight_N is None else weight_N.sum())
    exact = rows.p <= EXACT_SIDE
    rank = rows.p if exact else min(RANK, rows.n)
    if exact:
        basis = torch.eye(rows.p, dtype=torch.float64, device=rows.device)
    else:
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(rows.p, rank, generator=generator, dtype=torch.float64).to(rows.device)
        basis = torch.linalg.qr(rows.gram_times(torch.linalg.qr(start).Q, weight_N)).Q
    image = rows.gram_times(basis, weight_N)
    core = basis.T @ image
    values, vectors = torch.linalg.eigh((core + core.T).cpu() / 2)
    values, vectors = values.clamp_min(0).to(rows.device), vectors.to(rows.device)
    rest = 0.0 if exact or rows.n <= rank else float(values[0]) / 2
    return Spectrum(basis @ vectors, values, rest, mass)


@dataclass
class Solution:
    """Weights of every column and what they reached.

    ``gap_K`` is an upper bound of ``f - min f``, that of the dual point ``alpha = 2 C s max(0, 1 - y z)``: half the
    squared length of the gradient. It is loose where rows are long or C is large. ``decrement_K`` is Newton's, before
    the last step: half the squared distance to the minimum, as the Hessian measures it. Where that was below the
    tolerance, or below 1e-4 of the objective when no step gained anything any more, ``converged_K`` is true.
    """

    W_PK: torch.Tensor
    b_K: torch.Tensor
    objective_K: torch.Tensor
    gap_K: torch.Tensor
    decrement_K: torch.Tensor
    converged_K: torch.Tensor
    steps: int
    products: int


class _Problem:
    """Objective, gradient and Hessian of some columns of one problem."""

    def __init__(self, rows: Rows, signs: torch.Tensor, cost: torch.Tensor, weight: torch.Tensor | None) -> None:
        self.rows, self.signs_NK, self.cost_K, self.weight_NK = rows, signs, cost, weight

    def take(self, columns: torch.Tensor) -> _Problem:
        weight = self.weight_NK
        if weight is not None and weight.shape[1] > 1:
            weight = weight[:, columns]
        return _Problem(self.rows, self.signs_NK[:, columns], self.cost_K[columns], weight)

    def at(self, W_PK: torch.Tensor, b_K: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Objective ``(K,)``, gradients ``(P, K)`` and ``(K,)`` in float64, margins ``1 - y z`` ``(N, K)``."""
        dtype = self.rows.dtype
        small_KP, small_b = W_PK.T.to(dtype).contiguous(), b_K.to(dtype)
        slack_NK = torch.empty_like(self.signs_NK, dtype=dtype)
        g_KP = torch.zeros(W_PK.shape[1], self.rows.p, dtype=torch.float64, device=W_PK.device)
        g_b, loss = torch.zeros_like(b_K), torch.zeros_like(b_K)
        for where, block in self.rows.exact():
            signs = self.signs_NK[where]
            slack = slack_NK[where] = 1 - signs * ((small_KP @ block.T).T + small_b)
            slack = slack.clamp_min(0)
            weighted = slack if self.weight_NK is None else slack * self.weight_NK[where].to(dtype)
            pull = signs * weighted
            g_KP += pull.T.contiguous() @ block
            g_b += pull.sum(0, dtype=torch.float64)
            loss += (slack * weighted).sum(0, dtype=torch.float64)
        objective = ((W_PK * W_PK).sum(0) + b_K * b_K) / 2 + self.cost_K * loss
        return objective, W_PK - 2 * self.cost_K * g_KP.T, b_K - 2 * self.cost_K * g_b, slack_NK

    def active(self, slack_NK: torch.Tensor) -> torch.Tensor:
        """Weights of the rows on the curved side of the hinge, ``(N, K)``."""
        active = (slack_NK > 0).to(slack_NK.dtype)
        return active if self.weight_NK is None else active * self.weight_NK.to(slack_NK.dtype)


def _curve(
    rows: Rows, active_NK: torch.Tensor, cost_K: torch.Tensor, D_PK: torch.Tensor, d_K: torch.Tensor, careful: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hessian times ``(D, d)``, and ``X D + d``."""
    dtype = rows.dtype if careful else rows.half
    half_KP = D_PK.T.to(dtype).contiguous()
    u_NK = torch.empty_like(active_NK)
    H_KP = torch.zeros(D_PK.shape[1], rows.p, dtype=D_PK.dtype, device=D_PK.device)
    for where, block in rows.exact() if careful else rows.compact():
        u = u_NK[where] = (half_KP @ block.T).T.to(D_PK.dtype) + d_K
        H_KP += (active_NK[where] * u).to(dtype).T.contiguous() @ block
    h_K = (active_NK * u_NK).sum(0)
    return D_PK + 2 * cost_K * H_KP.T, d_K + 2 * cost_K * h_K, u_NK


def _exact_direction(
    problem: _Problem, active_NK: torch.Tensor, g_PK: torch.Tensor, g_K: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Newton's direction of a small problem, whatever its condition: every column's Hessian, factorised."""
    rows = problem.rows
    X = torch.cat([block for _, block in rows.exact()])
    X = torch.cat([X, torch.ones_like(X[:, :1])], 1)
    hessians = 2 * problem.cost_K[:, None, None] * (X.T @ (active_NK.T[:, :, None] * X))
    hessians.diagonal(dim1=1, dim2=2).add_(1)
    g = torch.cat([g_PK, g_K[None]]).T[:, :, None]
    step = -torch.cholesky_solve(g, factor(hessians))[:, :, 0].T
    return step[:-1], step[-1], X @ step


def _direction(
    problem: _Problem,
    active_NK: torch.Tensor,
    g_PK: torch.Tensor,
    g_K: torch.Tensor,
    leading: Spectrum,
    accuracy_K: torch.Tensor,
    careful: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Newton's direction by preconditioned conjugate gradients, its ``X D + d``, and the products it took."""
    rows, dtype = problem.rows, active_NK.dtype
    if dtype == torch.float64 and active_NK.numel() * rows.p**2 <= SMALL_HESSIANS:
        return *_exact_direction(problem, active_NK, g_PK, g_K), 0
    cost, mass = problem.cost_K.to(dtype), active_NK.sum(0).double()
    force = 2 * problem.cost_K * mass / leading.mass
    rest = 1 / (1 + force * leading.rest)
    top = 1 / (1 + force * leading.values_R[:, None])
    # In float32, a smaller ratio would drown in rounding, and the preconditioner would not be positive any more.
    top = ((torch.maximum(top, rest * FLOOR[dtype]) - rest).T).to(dtype)
    rest = rest.to(dtype)[:, None]
    bias = (1 / (1 + 2 * problem.cost_K * mass)).to(dtype)
    vectors = leading.vectors_PR.to(dtype)

    def precondition(r: torch.Tensor, r_b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r_KP = r.T.contiguous()
        return (((r_KP @ vectors) * top) @ vectors.T + rest * r_KP).T, bias * r_b

    r, r_b = -g_PK.to(dtype), -g_K.to(dtype)
    D, d = torch.zeros_like(r), torch.zeros_like(r_b)
    u_NK = torch.zeros_like(active_NK)
    s, s_b = precondition(r, r_b)
    first_s, first_s_b = s, s_b
    p, p_b = s, s_b
    rho = first = (r * s).sum(0) + r_b * s_b
    products = 0
    while products < MOST_PRODUCTS:
        products += 1
        H, h, u = _curve(rows, active_NK, cost, p, p_b, careful)
        curvature = (p * H).sum(0) + p_b * h
        # A column that is as good as solved has no residual left to go along.
        step = torch.where((rho > accuracy_K**2 * first * 1e-4) & (curvature > 0), rho / curvature, 0.0)
        D, d = D + step * p, d + step * p_b
        u_NK += step * u
        r, r_b = r - step * H, r_b - step * h
        s, s_b = precondition(r, r_b)
        before, rho = rho, (r * s).sum(0) + r_b * s_b
        if bool((rho <= accuracy_K**2 * first).all()):
            break
        beta = torch.where(before > 0, rho / before, 0.0)
        p, p_b = s + beta * p, s_b + beta * p_b
    uphill = (g_PK * D).sum(0) + g_K * d >= 0
    if bool(uphill.any()):  # rounding has eaten the direction: the preconditioned gradient always leads down
        D, d = torch.where(uphill, first_s, D), torch.where(uphill, first_s_b, d)
        u_NK = torch.where(uphill, rows.times(D).to(dtype) + d, u_NK)
    return D, d, u_NK, products


def _line_search(
    problem: _Problem,
    W_PK: torch.Tensor,
    b_K: torch.Tensor,
    slack_NK: torch.Tensor,
    D_PK: torch.Tensor,
    d_K: torch.Tensor,
    u_NK: torch.Tensor,
) -> torch.Tensor:
    """Step lengths that minimise the objective along the direction: Newton's method in one dimension."""
    dtype = D_PK.dtype
    W, b, D, d = W_PK.to(dtype), b_K.to(dtype), D_PK, d_K
    slope = (W * D).sum(0) + b * d
    length = (D * D).sum(0) + d * d
    cost, toward = problem.cost_K.to(dtype), problem.signs_NK * u_NK
    weighted = toward if problem.weight_NK is None else toward * problem.weight_NK.to(dtype)
    t = torch.ones_like(slope)
    for _ in range(12):
        slack = slack_NK - t * toward
        first = slope + t * length - 2 * cost * (slack.clamp_min(0) * weighted).sum(0)
        second = length + 2 * cost * ((slack > 0) * weighted * toward).sum(0)
        change = torch.where(second > 0, first / second, 0.0)
        t = (t - change).clamp(1e-6, 1e3)
        if bool((change.abs() < 1e-3 * t).all()):
            break
    return t


def _solve_few(
    rows: Rows,
    signs_NK: torch.Tensor,
    cost: Sequence[float] | torch.Tensor,
    weight: torch.Tensor | None,
    tolerance: float,
    most_steps: int,
) -> Solution:
    cost_K = torch.as_tensor(cost, dtype=torch.float64, device=rows.device)
    beta, decrement, steps = solve_few(rows.products(), signs_NK, cost_K, weight, tolerance, most_steps)
    W = torch.zeros(rows.p, signs_NK.shape[1], dtype=torch.float64, device=rows.device)
    for where, block in rows.exact():
        W += block.T.double() @ beta[where]
    b = beta.sum(0)
    objective, g, g_b, _ = _Problem(rows, signs_NK, cost_K, weight).at(W, b)
    gap, converged = ((g * g).sum(0) + g_b * g_b) / 2, decrement <= tolerance * objective
    return Solution(W, b, objective, gap, decrement, converged, steps, 0)


def solve(
    rows: Rows,
    signs_NK: torch.Tensor,
    cost: Sequence[float] | torch.Tensor,
    *,
    weight: torch.Tensor | None = None,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
    leading: Spectrum | None = None,
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
) -> Solution:
    """Minimise every column's objective.

    Parameters
    ----------
    rows : Rows
    signs_NK : Tensor ``float32 (n, k)`` of +1 and -1
    cost : ``(k,)``
        C of every column.
    weight : Tensor ``float32 (n, k)`` or ``(n, 1)``, optional
        Weight of every row, in every column; 0 leaves it out.
    start : (Tensor ``(p, k)``, Tensor ``(k,)``), optional
        Weights and intercepts to start from, e.g. those of a smaller C.
    leading : Spectrum, optional
        Of these rows, from an earlier call. Few rows need none, and no start.
    tolerance : float
        Relative to the objective, see :data:`TOLERANCE`.
    most_steps : int
        Newton steps.
    """
    device, columns = rows.device, signs_NK.shape[1]
    if rows.n <= FEW_ROWS:
        return _solve_few(rows, signs_NK, cost, weight, tolerance, most_steps)
    problem = _Problem(rows, signs_NK, torch.as_tensor(cost, dtype=torch.float64, device=device), weight)
    if leading is None:
        leading = spectrum(rows, None if weight is None else weight.mean(1))
    if start is None:
        W = torch.zeros(rows.p, columns, dtype=torch.float64, device=device)
        b = torch.zeros(columns, dtype=torch.float64, device=device)
    else:
        W, b = start[0].to(device, torch.float64, copy=True), start[1].to(device, torch.float64, copy=True)
    objective, g, g_b, slack = problem.at(W, b)
    decrement = torch.full_like(objective, torch.inf)
    left = torch.ones(columns, dtype=torch.bool, device=device)
    careful = rows.half == rows.dtype
    finest = min(0.3, max(0.05, 5 * tolerance**0.5))
    steps = products = 0
    while bool(left.any()) and steps < most_steps:
        which = torch.nonzero(left).flatten()
        some = problem.take(which) if len(which) < columns else problem
        active = some.active(slack[:, which])
        # Far from the minimum the active rows will change, so an exact direction would be wasted.
        near = (decrement[which] / objective[which].clamp_min(1e-300)).clamp(max=1.0).sqrt()
        accuracy = (near / 2).clamp(finest, 0.3).to(rows.dtype)
        D, d, u, used = _direction(some, active, g[:, which], g_b[which], leading, accuracy, careful)
        t = _line_search(some, W[:, which], b[which], slack[:, which], D, d, u).double()
        decrement[which] = -((g[:, which] * D).sum(0) + g_b[which] * d).double() / 2
        tried_W, tried_b = W[:, which] + t * D, b[which] + t * d
        values, g_new, g_b_new, slack_new = some.at(tried_W, tried_b)
        better = values <= objective[which]
        move = which[better]
        W[:, move], b[move], objective[move] = tried_W[:, better], tried_b[better], values[better]
        g[:, move], g_b[move], slack[:, move] = g_new[:, better], g_b_new[better], slack_new[:, better]
        steps, products = steps + 1, products + used
        far = decrement[which] > tolerance * objective[which]
        # A step that gains nothing has met the last digit of the products, so those without bf16 are next, and last.
        left[which] = far & (better | (not careful))
        careful = careful or bool((far & ~better).any())
    gap = ((g * g).sum(0) + g_b * g_b) / 2
    converged = (decrement <= tolerance * objective) | (~left & (decrement <= 1e-4 * objective))
    return Solution(W, b, objective, gap, decrement, converged, steps, products)
