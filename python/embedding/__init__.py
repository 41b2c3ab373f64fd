"""One long-lived net that turns images into codes and fc7, asked through a pipe."""
