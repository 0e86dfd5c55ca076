"""Simulate Measurement Sets whose sky, noise and weights are known exactly.

from casa_ml_tasks.simulation import Source, simulate

disk = Source(flux=1.0, east=-1.2, north=0.8, size=0.3)
truth = simulate("simulated.ms", sources=(disk,), antennas=40, seed=7)

A mosaic by both of ALMA's arrays, and the map of a single dish, are those of an image:

from casa_ml_tasks.simulation import SkyImage, hexagon, observe_mosaic, observe_total_power

sky = SkyImage(pixels, cell=0.25)
observe_mosaic("12m.ms", sky, configuration="alma.cycle9.2", pointings=hexagon(1, 12.0), sigma=0.05)
observe_mosaic("7m.ms", sky, configuration="aca.cycle9", pointings=hexagon(0, 7.0), sigma=0.15, visits=20)
observe_total_power("tp.image", sky, beam=26.7, cell=3.0, npix=72, sigma=0.02)

A dirty cube of galaxies and points, made without visibilities, and its truth; its Measurement Set if wanted:

from casa_ml_tasks.simulation import observe_cube, simulate_cube, write_cube

cube = simulate_cube(7, pixels=256, channels=128)
write_cube("simulated/cube7", cube)
observe_cube("simulated/cube7.ms", cube)

The visibilities are direct sums over the sources or pixels, in double precision, so the data do not depend on any
gridder. The same arguments give the same data.
"""

from casa_ml_tasks.simulation.cube_files import truth_table, write_cube
from casa_ml_tasks.simulation.cube_observation import CubeObservation
from casa_ml_tasks.simulation.cube_sources import CubeSources
from casa_ml_tasks.simulation.cube_visibilities import observe_cube
from casa_ml_tasks.simulation.cubes import SimulatedCube, simulate_cube
from casa_ml_tasks.simulation.measurement_set import SimulatedMS, add_to_channels, simulate, with_table
from casa_ml_tasks.simulation.mosaic import SkyImage, hexagon, observe_mosaic
from casa_ml_tasks.simulation.observation import lsrk_over_topocentric, observe
from casa_ml_tasks.simulation.sources import (
    REFERENCE,
    Source,
    correlations_of,
    direct_sum,
    restored_terms,
    seen_from,
)
from casa_ml_tasks.simulation.total_power import observe_total_power

__all__ = [
    "REFERENCE",
    "CubeObservation",
    "CubeSources",
    "SimulatedCube",
    "SimulatedMS",
    "SkyImage",
    "Source",
    "add_to_channels",
    "correlations_of",
    "direct_sum",
    "hexagon",
    "lsrk_over_topocentric",
    "observe",
    "observe_cube",
    "observe_mosaic",
    "observe_total_power",
    "restored_terms",
    "seen_from",
    "simulate",
    "simulate_cube",
    "truth_table",
    "with_table",
    "write_cube",
]
