"""Workers forked after imaging would wait for ever for threads of their parent; they say so instead."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from casa_ml_tasks import rmlclean

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE = 100  # seconds
REFUSAL = r"rmlclean cannot run in a process forked after .*get_context\('spawn'\)"

#: Prints what a child says that is forked before its parent does something, and one that is forked after it.
BEFORE_AND_AFTER = """
import multiprocessing, sys
from casa_ml_tasks import rmlclean
from casatasks import tclean
import jax.numpy as jnp

dirty = {{"imsize": 32, "cell": "0.2arcsec", "datacolumn": "data", "niter": 0}}

def image(name):
    try:
        rmlclean(vis=sys.argv[1], imagename=name, gridder="native", **dirty)
        return f"{{name}}: done"
    except RuntimeError as error:
        return f"{{name}}: {{error}}"

for name in ("before", "after"):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply_async(image, [name]).get(100))
    {something}
"""


def dirty(vis: str, imagename: str) -> None:
    rmlclean(vis=vis, imagename=imagename, imsize=32, cell="0.2arcsec", datacolumn="data", niter=0)


def test_a_worker_forked_after_imaging_refuses_and_names_the_remedy(simulated_ms, tmp_path):
    dirty(str(simulated_ms.path), f"{tmp_path}/parent")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        answer = pool.apply_async(dirty, [str(simulated_ms.path), f"{tmp_path}/child"])
        with pytest.raises(RuntimeError, match=REFUSAL):
            answer.get(PATIENCE)
    assert not list(tmp_path.glob("child*"))


@pytest.mark.parametrize(
    "something",
    [
        "jnp.ones(1)",
        "tclean(vis=sys.argv[1], imagename='parent', **dirty)",
    ],
    ids=["JAX", "tclean"],
)
def test_a_worker_forked_before_images_and_one_forked_after_refuses(simulated_ms, tmp_path, something):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", BEFORE_AND_AFTER.format(something=something), str(simulated_ms.path)]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE
    )
    said = result.stdout.splitlines()
    assert said[0] == "before: done", result.stderr
    assert said[1].startswith("after: rmlclean cannot run in a process forked after imaging"), result.stderr
    assert (tmp_path / "before.image").is_dir()
