"""A Ray cluster of this project: starting and stopping its nodes, connecting to it. Ray is imported only when used."""
