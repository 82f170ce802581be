"""The application for Faust's own command line: `faust -A streams.shell.app worker`."""

from streams import settings
from streams.shell.worker.factory import create_app

app = create_app(settings.load())
