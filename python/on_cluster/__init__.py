"""Work of the driver on the nodes of a Ray cluster; Ray is imported here alone."""
