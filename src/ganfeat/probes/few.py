"""The squared-hinge problem of few rows, solved in the rows' own coordinates.

The solution lies in the span of the rows, ``w = X^T beta``, ``b = sum beta``, so only their products ``G = X X^T + 1``
matter, however many features there are. Newton's step for the rows with a margin below 1, A, is exact:

    (G_AA + diag(1 / (2 C s_A))) beta_A = y_A,  beta = 0 elsewhere

(Chapelle 2007, "Training a Support Vector Machine in the Primal", section 3; Keerthi & DeCoste 2005), followed by an
exact line search. Everything is float64.

Shape legend: N rows, K columns, A active rows.
"""

from __future__ import annotations

import torch

BATCHED = 160
"""Up to so many rows, all columns' systems are factorised in one call; beyond, one by one, active rows only."""


def _next(G: torch.Tensor, signs_NK: torch.Tensor, stiff_NK: torch.Tensor, active_NK: torch.Tensor) -> torch.Tensor:
    """The minimum of every column's quadratic model, ``beta (N, K)``; ``stiff`` is ``1 / (2 C s)``."""
    n, columns = signs_NK.shape
    if n <= BATCHED:
        on = active_NK.T.to(G.dtype)
        systems = G * on[:, :, None] * on[:, None, :]
        systems.diagonal(dim1=1, dim2=2).add_(torch.where(active_NK, stiff_NK, 1.0).T)
        right = (signs_NK * active_NK).T[:, :, None]
        return torch.cholesky_solve(right, factor(systems))[:, :, 0].T
    beta = torch.zeros_like(signs_NK)
    for k in range(columns):
        rows = torch.nonzero(active_NK[:, k]).flatten()
        if len(rows):
            system = G[rows][:, rows]
            system.diagonal().add_(stiff_NK[rows, k])
            beta[rows, k] = torch.cholesky_solve(signs_NK[rows, k, None], factor(system))[:, 0]
    return beta


def factor(systems: torch.Tensor) -> torch.Tensor:
    """Cholesky factors; where rounding has made a system indefinite, its diagonal grows until it is not."""
    factors, failed = torch.linalg.cholesky_ex(systems)
    diagonal = systems.diagonal(dim1=-2, dim2=-1)
    grow = 1e-15
    while bool(failed.any()) and grow < 1e-3:
        diagonal += diagonal.mean(-1, keepdim=True) * grow * (failed > 0).to(systems.dtype)[..., None]
        factors, failed = torch.linalg.cholesky_ex(systems)
        grow *= 10
    return factors


def solve_few(
    G: torch.Tensor,
    signs_NK: torch.Tensor,
    cost_K: torch.Tensor,
    weight_NK: torch.Tensor | None,
    tolerance: float,
    most_steps: int,
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Minimise every column.

    Parameters
    ----------
    G : Tensor ``float64 (n, n)``
        ``X X^T + 1``.
    signs_NK : Tensor ``(n, k)`` of +1 and -1
    cost_K : Tensor ``float64 (k,)``
    weight_NK : Tensor ``(n, k)`` or ``(n, 1)``, optional
    tolerance : float
        Of Newton's decrement, relative to the objective.
    most_steps : int

    Returns
    -------
    beta ``(n, k)``, Newton's decrement before the last step ``(k,)``, steps
    """
    signs = signs_NK.double()
    weight = torch.ones_like(signs) if weight_NK is None else weight_NK.double().expand_as(signs)
    force = cost_K * weight
    there = weight > 0
    stiff = torch.where(there, 1 / (2 * force.clamp_min(1e-300)), 1.0)
    beta, z = torch.zeros_like(signs), torch.zeros_like(signs)
    objective = force.sum(0)
    decrement = torch.full_like(objective, torch.inf)
    left = torch.arange(signs.shape[1], device=signs.device)
    steps = 0
    while len(left) and steps < most_steps:
        s, c = signs[:, left], force[:, left]
        slack = 1 - s * z[:, left]
        active = (slack > 0) & there[:, left]
        D = _next(G, s, stiff[:, left], active) - beta[:, left]
        u = G @ D
        # f(t) = |w + t d|^2 / 2 + sum c max(0, slack - t s u)^2, and |d|^2 = D G D
        slope, length = (z[:, left] * D).sum(0), (u * D).sum(0)
        toward = s * u
        t = torch.ones_like(slope)
        for _ in range(30):
            reach = slack - t * toward
            first = slope + t * length - 2 * (c * reach.clamp_min(0) * toward).sum(0)
            second = length + 2 * (c * (reach > 0) * toward * toward).sum(0)
            change = torch.where(second > 0, first / second, 0.0)
            t = t - change
            if bool((change.abs() <= 1e-6 * t.abs()).all()):
                break
        gradient = slope - 2 * (c * slack.clamp_min(0) * toward).sum(0)
        decrement[left] = -gradient / 2
        tried, z_tried = beta[:, left] + t * D, z[:, left] + t * u
        values = (tried * z_tried).sum(0) / 2 + (c * (1 - s * z_tried).clamp_min(0) ** 2).sum(0)
        better = values <= objective[left]
        move = left[better]
        beta[:, move], z[:, move], objective[move] = tried[:, better], z_tried[:, better], values[better]
        steps += 1
        left = left[(decrement[left] > tolerance * objective[left]) & better]
    return beta, decrement, steps
