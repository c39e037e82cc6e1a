"""The tokens of a page set in lines. No Qt."""

from moedesk.panels.network.model_tokens import TokenPage
from moedesk.ui.token_layout import TokenLayout, cells, pieces


def lay_out(page: TokenPage, columns: int, hide_padding: bool) -> TokenLayout:
    """Set the tokens of a page: sequence after sequence, wrapped at ``columns`` cells, line breaks kept."""
    layout = TokenLayout(max(columns, 8))
    tokens = page.tokens.tokens
    sequences, padding = tokens["sequence"].tolist(), tokens["is_padding"].tolist()
    several = len(set(sequences)) > 1
    current = None
    for place in page.order.tolist():
        if hide_padding and padding[place]:
            continue
        if sequences[place] != current:
            current = sequences[place]
            layout.head(f"Sequence {current:,}" if several else "")
        for piece, ends in pieces(page.tokens.texts[place], layout.columns):
            layout.add(place, piece, cells(piece), ends)
    return layout
