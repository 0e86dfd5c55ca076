"""Importing the package first lets casatools start without a configuration file, whatever a test imports itself."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

# The modules, the workers of xdist and the processes that tests start share the programs that JAX compiles.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled_in_this_session = tempfile.TemporaryDirectory(prefix="compiled_for_tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled_in_this_session.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from jaxlib import version as jaxlib_version

# Most programs of the tests take longer to compile than to run, and XLA's older code generator compiles them in two
# thirds of the time. A version of XLA that does not know a flag ends the process.
if jaxlib_version.__version_info__[:2] == (0, 10):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import pytest
from casaconfig import config
from matplotlib.figure import Figure

import casa_ml_tasks  # noqa: F401

config.logfile = os.devnull  # before casatools is imported, which would write its log into the checkout

from benchmarks import real_data_files  # noqa: E402
from casa_ml_tasks.simulation import SimulatedMS, simulate  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def compiled_for_one_module():
    """JAX keeps what it compiled, in memory maps, of which a process has 65,530."""
    yield
    jax.clear_caches()


save_with_pixels = Figure.savefig


@pytest.fixture(scope="session", autouse=True)
def _figures_without_pixels():
    """Reports compose all figures; their pixels, half the time of a small run, are for the tests that look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).touch())
        yield


@pytest.fixture(scope="session")
def pixels():
    """A context in which figures are saved with their pixels."""

    @contextmanager
    def saved():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Figure, "savefig", save_with_pixels)
            yield

    return saved


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def simulated_ms(tmp_path_factory) -> SimulatedMS:
    """Point source and Gaussian as ALMA sees them, with their truth. Tests that write take `writable_ms`."""
    return simulate(tmp_path_factory.mktemp("simulated") / "simulated.ms")


@pytest.fixture
def writable_ms(simulated_ms, tmp_path) -> str:
    """The path of a copy of `simulated_ms` that a test may spoil."""
    return shutil.copytree(simulated_ms.path, tmp_path / "copy.ms").as_posix()


@pytest.fixture(scope="session")
def real_ms():
    """`real_data_files.real_ms`, which skips the test where this machine has no such data."""

    def unpacked(name, folder):
        try:
            return real_data_files.real_ms(name, folder)
        except real_data_files.RealDataMissing as missing:
            pytest.skip(str(missing))

    return unpacked


@pytest.fixture
def casa_log(tmp_path_factory):
    """Reads the CASA log written since the test began."""
    from casatasks import casalog

    before = casalog.logfile()
    path = tmp_path_factory.mktemp("log") / "casa.log"
    casalog.setlogfile(str(path))
    yield path.read_text
    casalog.setlogfile(before)


@contextmanager
def local_workers(count):
    """A client of so many workers on this machine."""
    from casa_ml_tasks.parallel import clusters  # dask is optional

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "available_cores", lambda: count)
        with clusters.opened_workers("") as client:
            yield client


@pytest.fixture(scope="module")
def workers():
    """A client of two workers on this machine."""
    with local_workers(2) as client:
        yield client
