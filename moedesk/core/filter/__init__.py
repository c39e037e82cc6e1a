"""The filter language of Network: ``layer:12 expert:37 token:"def" phase:decode entropy>1.5 -is:padding``."""

from moedesk.core.filter.language import NO_FILTER, Filter

__all__ = ["NO_FILTER", "Filter"]
