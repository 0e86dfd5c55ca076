"""Simulate Measurement Sets whose sky, noise and weights are known exactly.

from casa_ml_tasks.simulation import Source, simulate

disk = Source(flux=1.0, east=-1.2, north=0.8, size=0.3)
truth = simulate("simulated.ms", sources=(disk,), antennas=40, seed=7)

The visibilities are direct sums over the sources, in double precision, so the data do not depend on any gridder. The
same arguments give the same data.
"""

from casa_ml_tasks.simulation.measurement_set import SimulatedMS, add_to_channels, simulate, with_table
from casa_ml_tasks.simulation.observation import lsrk_over_topocentric, observe
from casa_ml_tasks.simulation.sources import (
    REFERENCE,
    Source,
    correlations_of,
    direct_sum,
    restored_terms,
    seen_from,
)

__all__ = [
    "REFERENCE",
    "SimulatedMS",
    "Source",
    "add_to_channels",
    "correlations_of",
    "direct_sum",
    "lsrk_over_topocentric",
    "observe",
    "restored_terms",
    "seen_from",
    "simulate",
    "with_table",
]
