"""From numbers to what people read: HTML pages, figures, the lines printed at the end."""
