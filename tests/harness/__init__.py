"""What tests and benchmarks share: sites, daemons, tiny pipelines, stand-ins and real services.

It knows neither tests nor benchmarks.
"""

from pathlib import Path

HARNESS = Path(__file__).parent
