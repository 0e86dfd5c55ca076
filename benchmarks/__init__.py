"""Benchmarks. Importing the package first lets casatools start without a configuration file."""

import casa_ml_tasks  # noqa: F401
