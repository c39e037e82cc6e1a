"""``python -m moedesk``."""

import sys

from moedesk.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
