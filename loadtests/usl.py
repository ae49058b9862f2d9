"""The universal scalability law: how much more is done as more is asked at once, and where it becomes less.

Pure.  Source: N. J. Gunther, Guerrilla Capacity Planning (2007), chapters 4-6.

    X(N) = λN / (1 + σ(N - 1) + κN(N - 1))       N* = √((1 - σ) / κ)       X* = X(N*)

    rate ▲        ____                  λ  rate of one alone
         │     ／      ＼___            σ  contention: a share of the work that one does at a time, so X ≤ λ/σ
         │   ／             ＼____      κ  coherency: each has to agree with each other, so X falls again
         │ ／        N*                 λ per second, σ and κ without unit
         └───────────┴────────────▶ N

N is whatever shares what is scarce: workers, requests in progress, sign-ups waiting for a database.
Not decided here: which of these it is (capacity.py says so for a machine, scenario.py's Downstream for what consumes).
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.special import stdtrit

POINTS_MIN: Final = 4  # three parameters, and one to judge them by
FAR: Final = 2.0  # times the largest load: a knee so far from all that was tried is no finding
HIGH: Final = 1.25  # times the highest rate: nor is a peak that nobody saw half of, between two loads
R2_MIN: Final = 0.8  # less, and what was measured follows another law
CONFIDENCE: Final = 0.95
NEVER: Final = math.inf
_GUESSES: Final = ((0.5, 0.1), (0.1, 2.0), (0.01, 0.01))  # σ per largest load, κ per its square: where the search begins

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """95 in 100 of such lie around the truth, if the law holds and the noise is even."""

    low: float
    high: float


class Usl(NamedTuple):
    """One law."""

    lambda_: float  # per second, of one alone
    sigma: float
    kappa: float

    @classmethod
    def with_knee(cls, per_s: float, knee: float, contention: float = 0.0) -> "Usl":
        """The law whose most is `per_s`, at `knee` at once.

        Args:
            contention: σ x knee, so that the shape is the same for any knee.  0: only coherency bends the curve;
                at five knees it then does 0.38 of its most, at ten 0.2.
        """
        if not (per_s > 0 and knee > 1 and 0 <= contention < knee):
            raise ValueError(f"{per_s:g}/s at {knee:g}, contention {contention:g}: want a rate above 0, a knee above 1, 0 <= contention < knee")
        shape = cls(1.0, contention / knee, (1 - contention / knee) / knee**2)
        return shape._replace(lambda_=per_s / shape.rate(knee))

    def rate(self, n: float) -> float:
        """X(N), per second; below one it is a straight line from 0, for less than one is one for a part of the time."""
        if n < 1:
            return self.lambda_ * max(n, 0.0)
        return self.lambda_ * n / (1 + self.sigma * (n - 1) + self.kappa * n * (n - 1))

    def peak(self) -> tuple[float, float]:
        """(N*, X*); where nothing falls, N* is infinite and X* is what it approaches."""
        if self.kappa <= 0:
            return NEVER, self.lambda_ / self.sigma if self.sigma > 0 else NEVER
        # Below one there is nobody: who is slowed by any second one is quickest alone.
        n = max(1.0, math.sqrt(max(1 - self.sigma, 0.0) / self.kappa))
        return n, self.rate(n)


class Fit(NamedTuple):
    """A law found in measurements.  Without `has_knee` the peak is no finding: what `says` holds instead."""

    usl: Usl
    lambda_: Interval
    sigma: Interval
    kappa: Interval
    n_peak: float  # N*; infinite without a knee
    n_peak_interval: Interval
    x_peak: float  # X*; without a knee the rate at the largest load
    x_peak_interval: Interval
    r2: float  # of the variance, the share that the law explains
    n_max: float  # the largest load that was tried
    has_knee: bool
    says: str


def fit(loads: Sequence[float], rates: Sequence[float]) -> Fit:
    """The law nearest to (load, rate per second), by least squares.

    Raises ValueError where there are too few, or some are not above 0.
    """
    n, x = np.asarray(loads, float), np.asarray(rates, float)
    if len(n) != len(x) or len(set(loads)) < POINTS_MIN or not (np.isfinite(n).all() and np.isfinite(x).all() and n.min() > 0 and x.min() > 0):
        raise ValueError(f"{len(set(loads))} loads, {len(rates)} rates: want {POINTS_MIN} different ones or more, one rate each, all above 0")
    n_max = float(n.max())
    found, covariance = _nearest(n, x)
    usl = _unscaled(found, n_max)
    margin = float(stdtrit(len(n) - 3, 0.5 + CONFIDENCE / 2))  # Student's t
    spread = np.sqrt(np.diag(covariance)) * margin
    scale = (1 / n_max, 1 / n_max, 1 / n_max**2)
    lambda_, sigma, kappa = (
        Interval(max(float(value - width) * unit, 0.0), float(value + width) * unit) for value, width, unit in zip(found, spread, scale, strict=True)
    )
    residual = x - _law(n / n_max, found[0], found[1], found[2], float(1 / n_max))
    r2 = 1 - float(residual @ residual) / max(float(((x - x.mean()) ** 2).sum()), 1e-300)
    problem = _no_knee(usl, kappa, n_max, float(x.max()), r2)

    def between(measure: Callable[[Usl], float]) -> Interval:
        return _interval(lambda scaled: measure(_unscaled(scaled, n_max)), found, covariance, margin)

    if problem:
        most = usl.rate(n_max)
        return Fit(
            usl,
            lambda_,
            sigma,
            kappa,
            NEVER,
            Interval(n_max, NEVER),
            most,
            between(lambda law: law.rate(n_max)),
            r2,
            n_max,
            False,
            problem,
        )
    n_peak, x_peak = usl.peak()
    at, most_per_s = between(lambda law: law.peak()[0]), between(lambda law: law.peak()[1])
    says = f"it does most, {x_peak:,.0f}/s ({most_per_s.low:,.0f} to {most_per_s.high:,.0f}), at {n_peak:,.3g} at once ({at.low:,.3g} to {at.high:,.3g})"
    return Fit(usl, lambda_, sigma, kappa, n_peak, at, x_peak, most_per_s, r2, n_max, True, says)


def _no_knee(usl: Usl, kappa: Interval, n_max: float, x_max: float, r2: float) -> str:
    """Why the data show none; "" where they do."""
    n_peak, x_peak = usl.peak()
    if r2 < R2_MIN:
        return f"no knee is shown: what was measured follows another law (R² {r2:.2f})"
    if kappa.low <= 0 or usl.kappa <= 0:
        return f"no knee is shown: up to {n_max:,.3g} at once the data fit a law that never falls as well"
    if n_peak > FAR * n_max:
        return f"no knee is shown: it would lie at {n_peak:,.3g} at once, and no more than {n_max:,.3g} were tried"
    if x_peak > HIGH * x_max:
        return f"no knee is shown: the law would have its most at {x_peak:,.0f}/s, and no more than {x_max:,.0f}/s were seen"
    return ""


# The search, with loads as shares of the largest: λ, σ and κ are then near 1, as least squares wants them


def _law(share: Floats, rate: float, contention: float, coherency: float, one: float) -> Floats:
    """X at a share of the largest load; `one` is the share of a load of 1."""
    over = share - one
    return rate * share / (1 + contention * over + coherency * share * over)


def _nearest(n: Floats, x: Floats) -> tuple[Floats, Floats]:
    """(parameters, covariance) of the best of a few searches."""
    share, one = n / n.max(), float(1 / n.max())
    slope = float((x / share).max())

    def law(at: Floats, rate: float, contention: float, coherency: float) -> Floats:
        return _law(at, rate, contention, coherency, one)

    bounds = ([0.0, 0.0, 0.0], [np.inf, max(float(n.max()), 1.0), np.inf])
    best: tuple[float, Floats, Floats] | None = None
    for contention, coherency in _GUESSES:
        found, covariance = curve_fit(law, share, x, p0=(slope, contention, coherency), bounds=bounds, x_scale=(slope, 1.0, 1.0), max_nfev=5_000)
        missed = float(((law(share, *found) - x) ** 2).sum())
        if best is None or missed < best[0]:
            best = missed, found, covariance
    assert best is not None
    return best[1], np.nan_to_num(best[2], posinf=1e300)


def _unscaled(found: Floats, n_max: float) -> Usl:
    rate, contention, coherency = map(float, found)
    return Usl(rate / float(n_max), contention / float(n_max), coherency / float(n_max) ** 2)


def _interval(measure: Callable[[Floats], float], found: Floats, covariance: Floats, margin: float) -> Interval:
    """Of something computed from the parameters: the delta method, on its logarithm, so that it stays above 0."""
    value, slopes = math.log(measure(found)), np.zeros(3)
    for index in range(3):
        step = max(abs(found[index]) * 1e-4, 1e-9)
        moved = found.copy()
        moved[index] += step
        slopes[index] = (math.log(measure(moved)) - value) / step
    width = margin * math.sqrt(max(float(slopes @ covariance @ slopes), 0.0))
    return Interval(math.exp(value - width), math.exp(min(value + width, 700.0)))
