"""What the rows of all APIs ask about, and what the sellers' model answers to it."""

from typing import Final

from pydantic import BaseModel

CALLED: Final = ("weather", {"city": "sample", "days": 1})
"""The call of the tool that each row declares in the words of its API."""

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgAAIAAAUAAeUn1KIAAAAASUVORK5CYII="
"""An image, in base64."""

PDF: Final = "JVBERi0xLjQK"
"""As much of a document, in base64, as a seller looks at."""


class Home(BaseModel):
    """A structured answer."""

    name: str
    rocks: int
