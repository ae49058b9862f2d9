"""The operators' port, served by the supervisor: health, metrics, and one screen that everything is made for (screen.py)."""
