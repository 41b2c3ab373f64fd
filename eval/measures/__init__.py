"""From ranked lists to numbers: average precision, distance counts, baselines, agreement, published figures."""
