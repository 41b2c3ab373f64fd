"""What every program of the driver needs: errors and how they end, the guarded child, whole files, a run's folder."""
