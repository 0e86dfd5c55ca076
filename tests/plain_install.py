"""The installed package alone images a simulated source: `make wheel-test` runs this outside of the checkout."""

import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import casa_ml_tasks.gotasks  # first: CASA has no data of its own here
import casa_ml_tasks.pipeline
from casa_ml_tasks.simulation import Source, simulate

PEAK = 0.5  # Jy, of a point on a pixel
CALLS = {
    "rmlclean": {"niter": -1},
    "resolveimage": {"niter": 0},
}


def image(task: str, vis: Path) -> None:
    """Image the source and check the products, the flux and what says where they come from."""
    began = time.monotonic()
    result = getattr(casa_ml_tasks, task)(
        vis=str(vis), imagename=task, imsize=48, cell="0.2arcsec", datacolumn="data", **CALLS[task]
    )
    peak = read_peak(f"{task}.image")
    assert abs(peak - PEAK) < 0.02 * PEAK, f"{task}: the peak is {peak} Jy/beam for a point of {PEAK} Jy"
    missing = {f"{task}.{kind}" for kind in ("image", "model", "residual", "psf", "pb")} - set(result["products"])
    assert not missing, f"{task}: no {missing}"
    assert Path(result["report"]).is_file(), result["report"]
    assert result["version"] == casa_ml_tasks.__version__ == version("casa-ml-tasks")
    print(f"{task}: {peak:.4f} Jy/beam for {PEAK} Jy, {time.monotonic() - began:.1f} s; commit {result['commit']}")


def read_peak(path: str) -> float:
    """Of an image, Jy/beam."""
    from casatasks import imstat

    return float(imstat(path)["max"][0])


if __name__ == "__main__":
    assert Path(casa_ml_tasks.__file__).is_relative_to(sys.prefix), f"{casa_ml_tasks.__file__} is not the installed one"
    assert casa_ml_tasks.gotasks.rmlclean._summaries, "the XML is not in the wheel"
    recipe = casa_ml_tasks.pipeline.RECIPE
    templates = list((recipe.parents[1] / "templates").glob("*.mako"))
    assert templates, "the templates of the pipeline's weblog are not in the wheel"
    assert recipe.is_file(), "the recipe for the pipeline is not in the wheel"
    assert find_spec("pytest") is None, "this environment has more than the package needs"
    source = Source(flux=PEAK, east=1.0, north=-0.6)
    simulate(Path("simulated.ms"), antennas=8, integrations=4, sources=(source,))
    for name in CALLS:
        image(name, Path("simulated.ms"))
    assert list(Path().glob("casa-*.log")), "CASA has left no log in the working directory"
