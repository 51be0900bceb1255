"""The small text-to-video model that comes with reeldrop: its world, its training, its judge."""
