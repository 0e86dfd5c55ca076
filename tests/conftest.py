"""Importing the package first lets casatools start without a configuration file, whatever a test imports itself."""

import casa_ml_tasks  # noqa: F401
