"""The project's nets: their definitions, the prototxt written from them, and which of them a caffemodel holds."""
