"""Bad inputs by the hundred, kills and full disks: `make torture` (tests/README.md)."""
