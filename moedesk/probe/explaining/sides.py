"""The two sides of an encoder-decoder model: which of them a token is read by, and what the other one needs to run."""

from collections.abc import Collection
from typing import Any

from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.core.sides import DECODER, ENCODER
from moedesk.probe.explaining.passage import Passage

GIVE_BOTH = "moe.why(text, layer, decoder=ids) is of the decoder's, without decoder= it is of the encoder's"


def two_sided(model: nn.Module, arguments: Collection[str]) -> bool:
    """Return whether a model has an encoder and a decoder.

    Parameters
    ----------
    model : Module
    arguments : collection of str
        Of its forward.
    """
    config: Any = getattr(model, "config", None)
    return bool(getattr(config, "is_encoder_decoder", False)) or "decoder_input_ids" in arguments


def side_of(model: nn.Module, arguments: Collection[str], passage: Passage) -> str:
    """Return which side reads a passage; empty where there is one alone.

    Raises
    ------
    MoedeskError
        If the model has two, and what the other one reads is not known; or if it has one, and two are given.
    """
    name = type(model).__name__
    if not two_sided(model, arguments):
        if passage.source is not None:
            raise MoedeskError(f"{name} has no decoder of its own; leave decoder= out")
        return ""
    if "decoder_input_ids" not in arguments:
        raise MoedeskError(f"{name} takes no decoder_input_ids, so its two sides can't be run on token ids alone")
    first_of_decoder(model)
    if passage.source is not None:
        return DECODER
    if passage.after is None:
        other = (
            "tokens that the encoder read with it were"
            if passage.stream == ENCODER
            else "what the encoder read for it was"
        )
        raise MoedeskError(
            f"{name} is an encoder-decoder model, and {other} not recorded, or can't be told (beams and several answers to one "
            f"text are copies of what the encoder wrote); give both: {GIVE_BOTH}"
        )
    return ENCODER


def first_of_decoder(model: nn.Module) -> int:
    """Return the token with which a model's decoder begins.

    Raises
    ------
    MoedeskError
        If it doesn't say.
    """
    for owner in (getattr(model, "generation_config", None), getattr(model, "config", None)):
        token = getattr(owner, "decoder_start_token_id", None)
        if isinstance(token, int):
            return token
    raise MoedeskError(
        f"{type(model).__name__} doesn't say with which token its decoder begins (decoder_start_token_id), as if it did not "
        "write one token after another; such models can't be explained"
    )


def refuse_encoder(side: str, function: str) -> None:
    """Raise if a token is one of an encoder.

    Raises
    ------
    MoedeskError
        It has no logits of its own.
    """
    if side == ENCODER:
        raise MoedeskError(
            f"a token of the encoder has no next token; select one of the decoder, or give its tokens: "
            f"moe.{function}(text, decoder=ids) is of them"
        )
