"""What every program of the driver needs: errors and how they end, the guarded child, whole files, a run's folder."""
import process.interruption  # noqa: F401 - before anything that takes long to load
