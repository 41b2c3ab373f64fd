"""From feature files to ranked lists: codes, the coarse and the fine search, protocols, saved lists."""
